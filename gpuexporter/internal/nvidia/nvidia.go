// Package nvidia measures the GPUs of this machine through NVML, NVIDIA's management library.
//
// NVML is reached through two narrow interfaces, Library and Device: the real ones need cgo and a driver, tests and a
// build without cgo need neither.
package nvidia

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// MaxProcesses bounds the processes reported of one GPU: those that hold most memory.
const MaxProcesses = 64

// What a Library and a Device answer beside values.
var (
	// ErrNotSupported is the answer of a GPU or a driver that doesn't have the measurement.
	ErrNotSupported = errors.New("not supported")
	// ErrLost is the answer of a GPU that fell off the bus or needs a reset.
	ErrLost = errors.New("GPU is lost")
	// ErrUnavailable is the answer where there is nothing to measure: no driver, or a build without NVML.
	ErrUnavailable = errors.New("NVML is not available")
	// ErrNoGPU is the answer of a driver without a GPU.
	ErrNoGPU = errors.New("the driver finds no GPU")
)

// Library is NVML as far as it is used here. Calls may block for as long as the driver does.
type Library interface {
	// Open loads the library and connects to the driver.
	Open() error
	Close()
	Count() (int, error)
	Device(index int) (Device, error)
}

// Device is a GPU. Each method fails by itself: with ErrNotSupported, ErrLost or something else.
type Device interface {
	UUID() (string, error)
	Name() (string, error)
	// Memory gives bytes.
	Memory() (used, total uint64, err error)
	// Utilization gives shares, 0 to 1.
	Utilization() (compute, memory float64, err error)
	// Power and PowerLimit give watts.
	Power() (float64, error)
	PowerLimit() (float64, error)
	// Temperature gives degrees Celsius.
	Temperature() (float64, error)
	Throttle() (gpu.Reasons, error)
	// ECC counts errors since the driver was loaded.
	ECC() (corrected, uncorrected uint64, err error)
	// MIG says whether the GPU can be partitioned now, and its parts.
	MIG() (enabled bool, parts []gpu.Partition, err error)
	Processes() ([]gpu.Process, error)
}

// Source measures all GPUs of this machine.
type Source struct {
	library Library
	open    bool
	// known are the GPUs by index. A lost one can't say any more which one it is.
	known map[int]gpu.Reading
}

// New makes a source that opens the library when it first measures.
func New(library Library) *Source {
	return &Source{library: library, known: map[int]gpu.Reading{}}
}

// Sample reads every GPU. It fails only if the driver as a whole does.
func (s *Source) Sample(context.Context) (source.Sample, error) {
	if !s.open {
		if err := s.library.Open(); err != nil {
			return source.Sample{}, err
		}
		s.open = true
	}
	count, err := s.library.Count()
	if err != nil {
		// The driver may have been reloaded: a library that was opened before that doesn't recover.
		s.library.Close()
		s.open = false
		return source.Sample{}, fmt.Errorf("counting GPUs: %w", err)
	}
	if count == 0 && len(s.known) == 0 {
		return source.Sample{}, ErrNoGPU
	}
	return s.read(max(count, s.lastKnown()+1)), nil
}

// lastKnown is the highest index seen. A GPU that fell off the bus may be missing from the count.
func (s *Source) lastKnown() int {
	last := -1
	for index := range s.known {
		last = max(last, index)
	}
	return last
}

func (s *Source) read(count int) source.Sample {
	sample := source.Sample{Notes: map[string]int{}}
	for index := range count {
		r, failures := s.readOne(index)
		sample.GPUs = append(sample.GPUs, r)
		if failures > 0 {
			sample.Notes["gpu_read_errors"] += failures
		}
	}
	return sample
}

// readOne reads a GPU, and counts the measurements that failed other than by being unsupported.
func (s *Source) readOne(index int) (r gpu.Reading, failures int) {
	d, err := s.library.Device(index)
	if err != nil {
		return s.lost(index), 1
	}
	reader := reader{}
	r = gpu.Reading{Index: index}
	r.UUID, _ = value(&reader, d.UUID)
	r.Name, _ = value(&reader, d.Name)
	if r.UUID == "" {
		r.UUID = s.lost(index).UUID
	}
	if !reader.lost {
		s.known[index] = gpu.Reading{Index: index, UUID: r.UUID, Name: r.Name}
		reader.measure(d, &r)
	}
	if reader.lost {
		return s.lost(index), reader.failures
	}
	return r, reader.failures
}

// lost is a reading of a GPU that doesn't answer, under the name that it had.
func (s *Source) lost(index int) gpu.Reading {
	r, ok := s.known[index]
	if !ok {
		r = gpu.Reading{Index: index, UUID: "unknown-" + strconv.Itoa(index)}
	}
	r.Lost = true
	return r
}

// reader notes what went wrong while a GPU is read.
type reader struct {
	lost     bool
	failures int
}

// failed notes an error, and says whether there was one.
func (r *reader) failed(err error) bool {
	switch {
	case err == nil:
		return false
	case errors.Is(err, ErrNotSupported):
	case errors.Is(err, ErrLost):
		r.lost = true
		r.failures++
	default:
		r.failures++
	}
	return true
}

// value asks for one measurement, which is nil where there is none.
func value[T any](r *reader, ask func() (T, error)) (v T, pointer *T) {
	v, err := ask()
	if r.failed(err) {
		var zero T
		return zero, nil
	}
	return v, &v
}

func (r *reader) measure(d Device, to *gpu.Reading) {
	if used, total, err := d.Memory(); !r.failed(err) {
		to.MemoryUsed, to.MemoryTotal = &used, &total
	}
	if r.lost {
		return // each further question could take the driver's whole time-out
	}
	if compute, memory, err := d.Utilization(); !r.failed(err) {
		to.Utilization, to.MemoryUtilization = &compute, &memory
	}
	_, to.Power = value(r, d.Power)
	_, to.PowerLimit = value(r, d.PowerLimit)
	_, to.Temperature = value(r, d.Temperature)
	_, to.Throttle = value(r, d.Throttle)
	if corrected, uncorrected, err := d.ECC(); !r.failed(err) {
		to.ECCCorrected, to.ECCUncorrected = &corrected, &uncorrected
	}
	if enabled, parts, err := d.MIG(); !r.failed(err) {
		to.MIGEnabled, to.MIG = &enabled, parts
	}
	if processes, err := d.Processes(); !r.failed(err) {
		processes = largest(processes)
		to.Processes = &processes
	}
}

// largest keeps the processes that hold most memory.
func largest(processes []gpu.Process) []gpu.Process {
	memory := func(p gpu.Process) uint64 {
		if p.Memory == nil {
			return 0
		}
		return *p.Memory
	}
	slices.SortFunc(processes, func(a, b gpu.Process) int {
		switch {
		case memory(a) != memory(b) && memory(a) > memory(b):
			return -1
		case memory(a) != memory(b):
			return 1
		}
		return int(int64(a.PID) - int64(b.PID))
	})
	return processes[:min(len(processes), MaxProcesses)]
}

// Close closes the library. It must not be called while a measurement runs.
func (s *Source) Close() {
	if s.open {
		s.library.Close()
		s.open = false
	}
}
