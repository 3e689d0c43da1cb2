//go:build linux && cgo

package nvidia

import (
	"errors"
	"fmt"

	"github.com/NVIDIA/go-nvml/pkg/nvml"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
)

// Built says whether NVML is in this build.
const Built = true

// NewLibrary is the driver's NVML. An empty path lets the system's loader find it.
func NewLibrary(path string) Library {
	if path == "" {
		path = "libnvidia-ml.so.1"
	}
	return FromNVML(nvml.New(nvml.WithLibraryPath(path)))
}

// FromNVML is a library with the interface of NVIDIA's Go bindings.
func FromNVML(n nvml.Interface) Library {
	return library{nvml: n}
}

type library struct {
	nvml nvml.Interface
}

func (l library) Open() error {
	switch r := l.nvml.Init(); r {
	case nvml.SUCCESS:
		return nil
	case nvml.ERROR_LIBRARY_NOT_FOUND:
		return fmt.Errorf("%w: no libnvidia-ml.so.1: is NVIDIA's driver installed, and its library in this container?", ErrUnavailable)
	case nvml.ERROR_DRIVER_NOT_LOADED:
		return fmt.Errorf("%w: NVIDIA's kernel driver is not loaded", ErrUnavailable)
	case nvml.ERROR_NO_PERMISSION:
		return fmt.Errorf("%w: no permission to open /dev/nvidia*", ErrUnavailable)
	default:
		return fmt.Errorf("%w: %w", ErrUnavailable, r)
	}
}

func (l library) Close() {
	_ = l.nvml.Shutdown() // there is nothing to be done about it
}

func (l library) Count() (int, error) {
	n, r := l.nvml.DeviceGetCount()
	return n, asError(r)
}

func (l library) Device(index int) (Device, error) {
	d, r := l.nvml.DeviceGetHandleByIndex(index)
	if err := asError(r); err != nil {
		return nil, err
	}
	return device{nvml: d, has: l.has}, nil
}

// has says whether the driver's library has a function. Calling one that an old driver lacks ends the program.
func (l library) has(symbol string) bool {
	return l.nvml.Extensions().LookupSymbol(symbol) == nil
}

type device struct {
	nvml nvml.Device
	has  func(symbol string) bool
}

// asError keeps apart what is handled differently.
func asError(r nvml.Return) error {
	switch r {
	case nvml.SUCCESS:
		return nil
	case nvml.ERROR_NOT_SUPPORTED, nvml.ERROR_FUNCTION_NOT_FOUND, nvml.ERROR_NO_PERMISSION, nvml.ERROR_DEPRECATED,
		nvml.ERROR_ARGUMENT_VERSION_MISMATCH:
		return ErrNotSupported
	case nvml.ERROR_GPU_IS_LOST, nvml.ERROR_RESET_REQUIRED:
		return ErrLost
	default:
		return errors.New(r.Error())
	}
}

func (d device) UUID() (string, error) {
	v, r := d.nvml.GetUUID()
	return v, asError(r)
}

func (d device) Name() (string, error) {
	v, r := d.nvml.GetName()
	return v, asError(r)
}

func (d device) Memory() (used, total uint64, err error) {
	m, r := d.nvml.GetMemoryInfo()
	return m.Used, m.Total, asError(r)
}

func (d device) Utilization() (compute, memory float64, err error) {
	u, r := d.nvml.GetUtilizationRates()
	return float64(u.Gpu) / 100, float64(u.Memory) / 100, asError(r)
}

func (d device) Power() (float64, error) {
	milliwatts, r := d.nvml.GetPowerUsage()
	return float64(milliwatts) / 1000, asError(r)
}

func (d device) PowerLimit() (float64, error) {
	milliwatts, r := d.nvml.GetEnforcedPowerLimit()
	return float64(milliwatts) / 1000, asError(r)
}

func (d device) Temperature() (float64, error) {
	celsius, r := d.nvml.GetTemperature(nvml.TEMPERATURE_GPU)
	return float64(celsius), asError(r)
}

// Throttle asks by the function's older name, which every driver has.
func (d device) Throttle() (gpu.Reasons, error) {
	mask, r := d.nvml.GetCurrentClocksThrottleReasons()
	return gpu.Reasons(mask), asError(r)
}

func (d device) ECC() (corrected, uncorrected uint64, err error) {
	corrected, r := d.nvml.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_CORRECTED, nvml.VOLATILE_ECC)
	if err := asError(r); err != nil {
		return 0, 0, err
	}
	uncorrected, r = d.nvml.GetTotalEccErrors(nvml.MEMORY_ERROR_TYPE_UNCORRECTED, nvml.VOLATILE_ECC)
	return corrected, uncorrected, asError(r)
}

func (d device) MIG() (enabled bool, parts []gpu.Partition, err error) {
	if !d.has("nvmlDeviceGetMigMode") {
		return false, nil, ErrNotSupported
	}
	mode, _, r := d.nvml.GetMigMode()
	if r != nvml.SUCCESS || mode != nvml.DEVICE_MIG_ENABLE {
		return false, nil, asError(r)
	}
	most, r := d.nvml.GetMaxMigDeviceCount()
	if err := asError(r); err != nil {
		return false, nil, err
	}
	for i := range most {
		// Places that hold no device answer NOT_FOUND; a device that goes while it is read is left out too.
		part, r := d.nvml.GetMigDeviceHandleByIndex(i)
		if r != nvml.SUCCESS {
			continue
		}
		if p, ok := partition(part); ok {
			parts = append(parts, p)
		}
	}
	return true, parts, nil
}

func partition(d nvml.Device) (p gpu.Partition, ok bool) {
	uuid, r := d.GetUUID()
	if r != nvml.SUCCESS {
		return gpu.Partition{}, false
	}
	p.UUID = uuid
	if m, r := d.GetMemoryInfo(); r == nvml.SUCCESS {
		p.MemoryUsed, p.MemoryTotal = &m.Used, &m.Total
	}
	return p, true
}

// notAvailable is NVML's value for memory that the driver doesn't account for by process.
const notAvailable = ^uint64(0)

func (d device) Processes() ([]gpu.Process, error) {
	running, r := d.nvml.GetComputeRunningProcesses()
	if err := asError(r); err != nil {
		return nil, err
	}
	// A process with several contexts is listed several times.
	byPID := map[uint32]*uint64{}
	for _, p := range running {
		if _, ok := byPID[p.Pid]; !ok {
			byPID[p.Pid] = nil
		}
		if p.UsedGpuMemory == notAvailable {
			continue
		}
		sum := p.UsedGpuMemory
		if before := byPID[p.Pid]; before != nil {
			sum += *before
		}
		byPID[p.Pid] = &sum
	}
	processes := make([]gpu.Process, 0, len(byPID))
	for pid, memory := range byPID {
		processes = append(processes, gpu.Process{PID: pid, Memory: memory})
	}
	return processes, nil
}
