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
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
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

// Source measures all GPUs of this machine, and tells them apart by UUID: an index is a place in the driver's list, and
// places shift when a GPU falls off the bus. Of each, Index is the place where it was first seen.
type Source struct {
	library Library
	open    bool
	// known are the GPUs that answered once, in the order in which they did. A lost one can't say any more which one it is,
	// and may be missing from the driver's list.
	known []gpu.Reading
}

// New makes a source that opens the library when it first measures.
func New(library Library) *Source {
	return &Source{library: library}
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
	return s.read(count), nil
}

// read measures what is in the driver's list, and tells those that were there once and aren't any more as lost. The list may
// shift while it is read: a GPU that is met twice is told once.
func (s *Source) read(count int) source.Sample {
	r := round{sample: source.Sample{Notes: map[string]int{}}, told: map[string]bool{}}
	var nameless []place
	for index := range count {
		p := place{index: index}
		var uuid string
		if d, err := s.library.Device(index); err == nil {
			p.device = d
			uuid, _ = value(&p.reader, d.UUID)
		} else {
			p.reader.failures++
		}
		switch {
		case !pressure.ValidName(uuid):
			nameless = append(nameless, p)
		case r.told[uuid]:
			r.note("gpu_repeated", 1)
		default:
			r.add(p.read(s.identity(&p, uuid)))
		}
		r.note("gpu_read_errors", p.reader.failures)
	}
	for _, g := range s.known {
		if !r.told[g.UUID] {
			g.Lost = true
			r.add(g)
		}
	}
	// The lost ones may be in the list still, without a name. Those beyond them were never known.
	for _, p := range nameless[min(r.lost, len(nameless)):] {
		before := p.reader.failures
		r.add(p.read(gpu.Reading{Index: p.index, UUID: pressure.UnknownGPU + strconv.Itoa(p.index)}))
		r.note("gpu_read_errors", p.reader.failures-before)
	}
	slices.SortStableFunc(r.sample.GPUs, func(a, b gpu.Reading) int { return a.Index - b.Index })
	return r.sample
}

// identity is what a GPU is known by, which it keeps wherever it is found later.
func (s *Source) identity(p *place, uuid string) gpu.Reading {
	at := slices.IndexFunc(s.known, func(g gpu.Reading) bool { return g.UUID == uuid })
	if at < 0 {
		if len(s.known) == pressure.MaxGPUs { // the driver makes them up
			return gpu.Reading{Index: p.index, UUID: uuid}
		}
		at = len(s.known)
		s.known = append(s.known, gpu.Reading{Index: p.index, UUID: uuid})
	}
	if s.known[at].Name == "" {
		s.known[at].Name, _ = value(&p.reader, p.device.Name)
	}
	return s.known[at]
}

// place is one of the driver's list.
type place struct {
	index  int
	device Device // nil: it has no handle
	reader reader
}

// read measures the GPU, under its identity.
func (p *place) read(identity gpu.Reading) gpu.Reading {
	r := identity
	if p.device != nil && !p.reader.lost {
		p.reader.measure(p.device, &r)
	}
	if p.device == nil || p.reader.lost {
		r = identity
		r.Lost = true
	}
	return r
}

// round is one look at all GPUs.
type round struct {
	sample source.Sample
	told   map[string]bool // by UUID, of GPUs and of their MIG devices
	lost   int
}

func (r *round) note(name string, n int) {
	if n > 0 {
		r.sample.Notes[name] += n
	}
}

func (r *round) add(g gpu.Reading) {
	r.told[g.UUID] = true
	if g.Lost {
		r.lost++
	}
	g.MIG = slices.DeleteFunc(g.MIG, func(p gpu.Partition) bool {
		repeated := r.told[p.UUID] || !pressure.ValidName(p.UUID)
		r.told[p.UUID] = true
		return repeated
	})
	r.sample.GPUs = append(r.sample.GPUs, g)
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
