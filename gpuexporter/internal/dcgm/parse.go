package dcgm

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/lines"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
)

var read = map[string]bool{
	Utilization: true, MemoryUtilization: true, MemoryUsed: true, MemoryFree: true, memoryReserved: true, memoryTotal: true,
	Power: true, PowerLimit: true, Temperature: true, ClockReasons: true, throttleReasons: true,
	ECCCorrected: true, ECCUncorrected: true, MIGMode: true,
}

func wanted(metric string) string {
	if !read[metric] {
		return ""
	}
	return metric
}

// blank is what DCGM's smallest value for "not supported" is above of: some versions print it.
const blank = 1 << 46

// values are the metrics of a GPU, or of a part of one.
type values map[string]float64

// device is what the text says of a GPU.
type device struct {
	reading gpu.Reading
	whole   values
	parts   map[string]values // by the number of the MIG instance
}

// parse reads the GPUs, sorted by their number. Skipped counts lines and values that say nothing, and GPUs beyond maxGPUs.
func parse(text []byte) (gpus []gpu.Reading, skipped int) {
	samples, skipped := lines.Read(text, wanted, maxSamples)
	devices := map[string]*device{}
	for name, all := range samples {
		for _, s := range all {
			d := find(devices, s)
			if d == nil || s.Value >= blank {
				skipped++
				continue
			}
			// A GPU that several containers share is told once for each of them, with the same numbers.
			to := d.whole
			if part := s.Label("GPU_I_ID"); part != "" {
				if d.parts[part] == nil {
					d.parts[part] = values{}
				}
				to = d.parts[part]
			}
			to[name] = max(to[name], s.Value)
		}
	}
	for _, d := range devices {
		gpus = append(gpus, d.measured())
	}
	slices.SortFunc(gpus, func(a, b gpu.Reading) int { return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.UUID, b.UUID)) })
	return gpus, skipped
}

// find gives the GPU of a sample, and nil for a sample without one.
func find(devices map[string]*device, s lines.Sample) *device {
	uuid := cmp.Or(s.Label("UUID"), s.Label("uuid"))
	index, err := strconv.Atoi(s.Label("gpu"))
	if err != nil || index < 0 || !pressure.ValidName(uuid) {
		return nil
	}
	if devices[uuid] == nil {
		if len(devices) == maxGPUs {
			return nil
		}
		devices[uuid] = &device{
			reading: gpu.Reading{Index: index, UUID: uuid, Name: s.Label("modelName")}, whole: values{}, parts: map[string]values{},
		}
	}
	return devices[uuid]
}

// measured makes a reading of it. A GPU in MIG mode is told by its parts alone: its memory is theirs together.
func (d *device) measured() gpu.Reading {
	r, v := d.reading, d.whole
	r.MemoryUsed, r.MemoryTotal = v.memory()
	r.Utilization, r.MemoryUtilization = v.share(Utilization), v.share(MemoryUtilization)
	r.Power, r.PowerLimit, r.Temperature = v.get(Power), v.get(PowerLimit), v.get(Temperature)
	for _, name := range []string{throttleReasons, ClockReasons} {
		if mask := v.count(name, 1); mask != nil {
			reasons := gpu.Reasons(*mask)
			r.Throttle = &reasons
		}
	}
	r.ECCCorrected, r.ECCUncorrected = v.count(ECCCorrected, 1), v.count(ECCUncorrected, 1)
	if mode := v.get(MIGMode); mode != nil {
		on := *mode != 0
		r.MIGEnabled = &on
	}
	var used, total uint64
	known := len(d.parts) > 0
	for _, id := range slices.Sorted(maps.Keys(d.parts)) {
		p := gpu.Partition{UUID: r.UUID + "/" + id}
		p.MemoryUsed, p.MemoryTotal = d.parts[id].memory()
		r.MIG = append(r.MIG, p)
		if known = known && p.MemoryUsed != nil && p.MemoryTotal != nil; known {
			used, total = used+*p.MemoryUsed, total+*p.MemoryTotal
		}
	}
	if known && r.MemoryUsed == nil && r.MemoryTotal == nil {
		r.MemoryUsed, r.MemoryTotal = &used, &total
	}
	return r
}

// memory gives bytes. What the driver reserved is in use: NVML says so, too.
func (v values) memory() (used, total *uint64) {
	const mebi = 1 << 20
	used, free, reserved := v.count(MemoryUsed, mebi), v.count(MemoryFree, mebi), v.count(memoryReserved, mebi)
	if used != nil && reserved != nil {
		*used += *reserved
	}
	if total = v.count(memoryTotal, mebi); total == nil && used != nil && free != nil {
		sum := *used + *free
		total = &sum
	}
	return used, total
}

func (v values) get(name string) *float64 {
	value, ok := v[name]
	if !ok {
		return nil
	}
	return &value
}

func (v values) share(name string) *float64 {
	value := v.get(name)
	if value == nil {
		return nil
	}
	return pressure.Share(*value / 100)
}

// count is a value times unit. Values are bounded by blank, so there is no overflow.
func (v values) count(name string, unit uint64) *uint64 {
	value := v.get(name)
	if value == nil || *value >= blank/float64(unit) {
		return nil
	}
	n := uint64(*value) * unit
	return &n
}
