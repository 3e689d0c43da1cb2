// Package gpu has the words for what is measured on a GPU.
package gpu

import "github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"

// Reading is one GPU at one time. What the GPU or its driver doesn't support is nil.
type Reading struct {
	// Index is the GPU's number on its machine, as the driver counts.
	Index int
	UUID  string
	// Name is the product's name, such as "NVIDIA H100 80GB HBM3".
	Name string
	// Lost says that the GPU fell off the bus, or doesn't answer its driver. Nothing else is known then.
	Lost bool

	MemoryUsed  *uint64 // bytes
	MemoryTotal *uint64 // bytes
	// Utilization and MemoryUtilization are the shares of the driver's last sample period in which a kernel ran, and in
	// which memory was read or written; 0 to 1.
	Utilization       *float64
	MemoryUtilization *float64
	Power             *float64 // watts
	PowerLimit        *float64 // watts
	Temperature       *float64 // celsius
	Throttle          *Reasons
	// ECCCorrected and ECCUncorrected count memory errors since the driver was loaded.
	ECCCorrected   *uint64
	ECCUncorrected *uint64
	MIGEnabled     *bool
	MIG            []Partition
	// Processes is nil where the driver doesn't tell.
	Processes *[]Process
}

// Partition is a MIG device: a part of a GPU with memory of its own.
type Partition struct {
	UUID        string
	MemoryUsed  *uint64 // bytes
	MemoryTotal *uint64 // bytes
}

// Process is a program that holds memory of a GPU.
type Process struct {
	PID    uint32
	Memory *uint64 // bytes
}

// Reasons is NVML's mask of what holds a GPU's clocks down.
type Reasons uint64

// Reason is one of them, and whether it is a slowdown: clocks below what the GPU could do within its power limit.
// Running at the power limit isn't one; that is how a busy GPU works.
type Reason struct {
	Mask     Reasons
	Name     string
	Slowdown bool
}

// AllReasons has the values of nvmlClocksEventReasons, by rising bit.
var AllReasons = []Reason{
	{0x001, "gpu_idle", false},
	{0x002, "applications_clocks_setting", false},
	{0x004, "sw_power_cap", false},
	{0x008, "hw_slowdown", true},
	{0x010, "sync_boost", false},
	{0x020, "sw_thermal_slowdown", true},
	{0x040, "hw_thermal_slowdown", true},
	{0x080, "hw_power_brake_slowdown", true},
	{0x100, "display_clock_setting", false},
}

// Throttled says whether any of the reasons is a slowdown.
func (r Reasons) Throttled() bool {
	for _, reason := range AllReasons {
		if reason.Slowdown && r&reason.Mask != 0 {
			return true
		}
	}
	return false
}

// Pressure is the part of a reading that the filter is told.
func (r Reading) Pressure() pressure.GPU {
	p := pressure.GPU{UUID: r.UUID, MemoryUsedBytes: r.MemoryUsed, MemoryTotalBytes: r.MemoryTotal, Lost: r.Lost}
	if r.Utilization != nil {
		p.Utilization = pressure.Share(*r.Utilization)
	}
	if r.Throttle != nil {
		throttled := r.Throttle.Throttled()
		p.Throttled = &throttled
	}
	return p
}
