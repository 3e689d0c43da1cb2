package nvidia

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
)

// fake is a library and, for each GPU, what it answers.
type fake struct {
	openErr, countErr error
	opened, closed    int
	gpus              []*fakeGPU
}

func (f *fake) Open() error {
	f.opened++
	return f.openErr
}

func (f *fake) Close() {
	f.closed++
}

func (f *fake) Count() (int, error) {
	return len(f.gpus), f.countErr
}

func (f *fake) Device(index int) (Device, error) {
	if index >= len(f.gpus) {
		return nil, errors.New("invalid argument")
	}
	return f.gpus[index], f.gpus[index].handleErr
}

// fakeGPU answers err to everything but its identity.
type fakeGPU struct {
	handleErr, err error
	uuid           string
	processes      []gpu.Process
	parts          []gpu.Partition
}

func (g *fakeGPU) UUID() (string, error)                          { return g.uuid, nil }
func (g *fakeGPU) Name() (string, error)                          { return "Fake", nil }
func (g *fakeGPU) Memory() (used, total uint64, err error)        { return 1, 2, g.err }
func (g *fakeGPU) Utilization() (compute, mem float64, err error) { return 0.5, 0.25, g.err }
func (g *fakeGPU) Power() (float64, error)                        { return 100, g.err }
func (g *fakeGPU) PowerLimit() (float64, error)                   { return 200, g.err }
func (g *fakeGPU) Temperature() (float64, error)                  { return 40, g.err }
func (g *fakeGPU) Throttle() (gpu.Reasons, error)                 { return 0x20, g.err }
func (g *fakeGPU) ECC() (corrected, uncorrected uint64, err error) {
	return 3, 4, g.err
}
func (g *fakeGPU) MIG() (bool, []gpu.Partition, error) { return len(g.parts) > 0, g.parts, g.err }
func (g *fakeGPU) Processes() ([]gpu.Process, error)   { return g.processes, g.err }

func TestUnsupportedIsAbsentAndNoError(t *testing.T) {
	s := New(&fake{gpus: []*fakeGPU{{uuid: "GPU-0", err: ErrNotSupported}}})
	sample, err := s.Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := (gpu.Reading{UUID: "GPU-0", Name: "Fake"}); !reflect.DeepEqual(sample.GPUs[0], want) {
		t.Errorf("got %+v", sample.GPUs[0])
	}
	if n := sample.Notes["gpu_read_errors"]; n != 0 {
		t.Errorf("%d errors", n)
	}
}

func TestOtherErrorsAreAbsentAndCounted(t *testing.T) {
	s := New(&fake{gpus: []*fakeGPU{{uuid: "GPU-0", err: errors.New("unknown error")}}})
	sample, err := s.Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if g := sample.GPUs[0]; g.Lost || g.MemoryUsed != nil || sample.Notes["gpu_read_errors"] != 9 {
		t.Errorf("got %+v, %v", g, sample.Notes)
	}
}

func TestALostGPUIsToldByItsOldNameWhicheverWayItIsLost(t *testing.T) {
	for name, lose := range map[string]func(f *fake){
		"answers that it is lost": func(f *fake) { f.gpus[1].err = ErrLost },
		"has no handle any more":  func(f *fake) { f.gpus[1].handleErr = ErrLost },
		"is missing in the count": func(f *fake) { f.gpus = f.gpus[:1] },
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{gpus: []*fakeGPU{{uuid: "GPU-0"}, {uuid: "GPU-1"}}}
			s := New(f)
			if _, err := s.Sample(t.Context()); err != nil {
				t.Fatal(err)
			}
			lose(f)
			sample, err := s.Sample(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if len(sample.GPUs) != 2 || sample.GPUs[0].MemoryUsed == nil {
				t.Errorf("the other GPU: %+v", sample.GPUs)
			}
			if want := (gpu.Reading{Index: 1, UUID: "GPU-1", Name: "Fake", Lost: true}); !reflect.DeepEqual(sample.GPUs[1], want) {
				t.Errorf("got %+v", sample.GPUs[1])
			}
		})
	}
}

// told is what a sample says of each GPU: its UUID, its number, and whether it is lost.
func told(t *testing.T, s *Source) string {
	t.Helper()
	sample, err := s.Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, g := range sample.GPUs {
		state := "measured"
		if g.Lost {
			state = "lost"
		} else if g.MemoryUsed == nil {
			state = "not measured"
		}
		list = append(list, fmt.Sprintf("%s #%d %s", g.UUID, g.Index, state))
		for _, p := range g.MIG {
			list = append(list, p.UUID)
		}
	}
	return strings.Join(list, ", ")
}

// Whatever happens to the driver's list, every GPU is told once, and one that was there once goes on being told.
func TestGPUsAreToldApartByUUIDWhateverTheirPlace(t *testing.T) {
	for _, test := range []struct {
		name string
		then func(a, b, c *fakeGPU, f *fake)
		want string
	}{
		{"one is gone, and those after it shift", func(a, _, c *fakeGPU, f *fake) { f.gpus = []*fakeGPU{a, c} },
			"a #0 measured, b #1 lost, c #2 measured"},
		{"the first is gone", func(_, b, c *fakeGPU, f *fake) { f.gpus = []*fakeGPU{b, c} },
			"a #0 lost, b #1 measured, c #2 measured"},
		{"one is gone, another came", func(a, _, c *fakeGPU, f *fake) { f.gpus = []*fakeGPU{a, c, {uuid: "d"}} },
			"a #0 measured, b #1 lost, c #2 measured, d #2 measured"},
		{"turned around", func(a, b, c *fakeGPU, f *fake) { f.gpus = []*fakeGPU{c, b, a} },
			"a #0 measured, b #1 measured, c #2 measured"},
		{"all are gone", func(_, _, _ *fakeGPU, f *fake) { f.gpus = nil }, "a #0 lost, b #1 lost, c #2 lost"},
		{"the list shifts while it is read", func(a, b, _ *fakeGPU, f *fake) { f.gpus = []*fakeGPU{a, b, b} },
			"a #0 measured, b #1 measured, c #2 lost"},
		{"one is lost, its place is still there, elsewhere", func(a, b, c *fakeGPU, f *fake) { b.handleErr = ErrLost; f.gpus = []*fakeGPU{a, c, b} },
			"a #0 measured, b #1 lost, c #2 measured"},
		{"one doesn't say which it is", func(_, b, _ *fakeGPU, _ *fake) { b.uuid = "" }, "a #0 measured, b #1 lost, c #2 measured"},
		{"one with a name that can't be one", func(a, b, c *fakeGPU, f *fake) { f.gpus = []*fakeGPU{a, b, c, {uuid: "\xff"}} },
			"a #0 measured, b #1 measured, c #2 measured, unknown-3 #3 measured"},
		{"MIG devices that are listed twice", func(a, b, _ *fakeGPU, _ *fake) {
			a.parts = []gpu.Partition{{UUID: "p"}, {UUID: "q"}, {UUID: "p"}}
			b.parts = []gpu.Partition{{UUID: "q"}, {UUID: "r"}, {UUID: "a"}}
		}, "a #0 measured, p, q, b #1 measured, r, c #2 measured"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b, c := &fakeGPU{uuid: "a"}, &fakeGPU{uuid: "b"}, &fakeGPU{uuid: "c"}
			f := &fake{gpus: []*fakeGPU{a, b, c}}
			s := New(f)
			if got := told(t, s); got != "a #0 measured, b #1 measured, c #2 measured" {
				t.Fatal(got)
			}
			test.then(a, b, c, f)
			for range 2 {
				if got := told(t, s); got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
			}
		})
	}
}

func TestAGPUThatIsMetTwiceIsCounted(t *testing.T) {
	g := &fakeGPU{uuid: "a"}
	sample, err := New(&fake{gpus: []*fakeGPU{g, g, g}}).Sample(t.Context())
	if err != nil || len(sample.GPUs) != 1 || sample.Notes["gpu_repeated"] != 2 || sample.Notes["gpu_read_errors"] != 0 {
		t.Errorf("%d GPUs, %v, %v", len(sample.GPUs), sample.Notes, err)
	}
}

func TestADriverThatMakesUpGPUsIsBounded(t *testing.T) {
	f := &fake{gpus: []*fakeGPU{{}}}
	s := New(f)
	for n := range 2 * pressure.MaxGPUs {
		f.gpus[0].uuid = fmt.Sprint("GPU-", n)
		if _, err := s.Sample(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.known) > pressure.MaxGPUs {
		t.Errorf("%d GPUs are remembered", len(s.known))
	}
}

func TestAGPULostFromTheStartHasAPlaceholder(t *testing.T) {
	s := New(&fake{gpus: []*fakeGPU{{handleErr: ErrLost}}})
	sample, err := s.Sample(t.Context())
	if err != nil || sample.GPUs[0].UUID != "unknown-0" || !sample.GPUs[0].Lost {
		t.Errorf("got %+v, %v", sample.GPUs, err)
	}
}

func TestAReloadedDriverIsOpenedAgain(t *testing.T) {
	f := &fake{gpus: []*fakeGPU{{uuid: "GPU-0"}}}
	s := New(f)
	for _, step := range []struct {
		err            error
		fails          bool
		opened, closed int
	}{{nil, false, 1, 0}, {errors.New("uninitialized"), true, 1, 1}, {nil, false, 2, 1}} {
		f.countErr = step.err
		_, err := s.Sample(t.Context())
		if (err != nil) != step.fails || f.opened != step.opened || f.closed != step.closed {
			t.Errorf("error %v, opened %d, closed %d: want %+v", err, f.opened, f.closed, step)
		}
	}
}

func TestNoDriverAndNoGPUAreToldApart(t *testing.T) {
	if _, err := New(&fake{openErr: ErrUnavailable}).Sample(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	if _, err := New(&fake{}).Sample(t.Context()); !errors.Is(err, ErrNoGPU) {
		t.Errorf("error %v", err)
	}
}

func TestProcessesAreBounded(t *testing.T) {
	g := &fakeGPU{uuid: "GPU-0"}
	for pid := range uint32(100) {
		memory := uint64(pid)
		g.processes = append(g.processes, gpu.Process{PID: pid, Memory: &memory})
	}
	g.processes = append(g.processes, gpu.Process{PID: 1000})
	sample, err := New(&fake{gpus: []*fakeGPU{g}}).Sample(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := *sample.GPUs[0].Processes
	if len(got) != MaxProcesses || got[0].PID != 99 || got[MaxProcesses-1].PID != 99-MaxProcesses+1 {
		t.Errorf("got %d, from %d to %d", len(got), got[0].PID, got[len(got)-1].PID)
	}
}

// TestHardware measures the GPUs of the machine it runs on, if there are any: `make gpu-test`.
func TestHardware(t *testing.T) {
	s := New(NewLibrary(""))
	sample, err := s.Sample(t.Context())
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrNoGPU) {
		t.Skipf("there is no GPU here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, g := range sample.GPUs {
		t.Logf("%+v", g)
		if g.Lost || g.UUID == "" || g.Name == "" {
			t.Errorf("GPU %d: no identity, or lost", g.Index)
		}
		if g.MemoryTotal != nil && (g.MemoryUsed == nil || *g.MemoryUsed > *g.MemoryTotal) {
			t.Errorf("GPU %d: memory %v of %v", g.Index, g.MemoryUsed, *g.MemoryTotal)
		}
		if g.Utilization != nil && (*g.Utilization < 0 || *g.Utilization > 1) {
			t.Errorf("GPU %d: utilization %v", g.Index, *g.Utilization)
		}
		if g.Temperature != nil && (*g.Temperature < 5 || *g.Temperature > 130) {
			t.Errorf("GPU %d: %v °C", g.Index, *g.Temperature)
		}
	}
}
