package fleet

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func ago(d time.Duration) time.Time {
	return now.Add(-d)
}

// engineState is a server measured some time ago.
func engineState(name string, share float64, age time.Duration) *source.State {
	i := pressure.Instance{Name: name, ActiveDecodeBlocks: &share}
	return &source.State{Name: name, Kind: source.Engine, SampledAt: ago(age), Sample: &source.Sample{Instances: []source.Instance{{Instance: i}}}}
}

func gpuState(age time.Duration, uuids ...string) *source.State {
	s := &source.State{Name: "nvml", Kind: source.NVML, SampledAt: ago(age), Sample: &source.Sample{}}
	for i, uuid := range uuids {
		s.Sample.GPUs = append(s.Sample.GPUs, gpu.Reading{Index: i, UUID: uuid})
	}
	return s
}

// peerState is instances that another exporter told of a second ago: their ages then are given.
func peerState(ages map[string]time.Duration) *source.State {
	s := &source.State{Name: "peer", Kind: source.Peer, SampledAt: ago(time.Second), Sample: &source.Sample{}}
	for name, age := range ages {
		share := 0.5
		s.Sample.Instances = append(s.Sample.Instances, source.Instance{
			Instance: pressure.Instance{Name: name, ActiveDecodeBlocks: &share}, At: ago(age),
		})
	}
	return s
}

var options = Options{Node: "node", MaxInstances: 10, DropAfter: time.Minute}

// compose writes the instances as JSON, one a line.
func compose(t *testing.T, o Options, states ...*source.State) string {
	t.Helper()
	v := Compose(states, o, now)
	var lines []string
	for _, i := range v.Document(now).Instances {
		text, err := json.Marshal(i)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(text))
	}
	return strings.Join(lines, "\n")
}

func TestWhoseGPUs(t *testing.T) {
	two := options
	two.GPUs = map[string][]string{"node/a": {"1"}, "node/b": {"GPU-2"}}
	for _, test := range []struct {
		name   string
		o      Options
		states []*source.State
		want   string
	}{
		{"nobody's: an instance of their own", options, []*source.State{gpuState(time.Second, "GPU-0", "GPU-1")},
			`{"name":"node","gpus":[{"uuid":"GPU-0"},{"uuid":"GPU-1"}],"ageSeconds":1}`},
		{"the only server's, with an age of their own", options, []*source.State{engineState("node/a", 0.5, 2*time.Second), gpuState(time.Second, "GPU-0")},
			`{"name":"node/a","gpus":[{"uuid":"GPU-0","ageSeconds":1}],"activeDecodeBlocks":0.5,"ageSeconds":2}`},
		{"of two servers nobody's", options, []*source.State{engineState("node/a", 0.5, 0), engineState("node/b", 0.5, 0), gpuState(0, "GPU-0")},
			`{"name":"node","gpus":[{"uuid":"GPU-0"}],"ageSeconds":0}
{"name":"node/a","activeDecodeBlocks":0.5,"ageSeconds":0}
{"name":"node/b","activeDecodeBlocks":0.5,"ageSeconds":0}`},
		{"of two servers as configured", two, []*source.State{engineState("node/a", 0.5, 0), engineState("node/b", 0.5, 0), gpuState(0, "GPU-0", "GPU-1", "GPU-2")},
			`{"name":"node","gpus":[{"uuid":"GPU-0"}],"ageSeconds":0}
{"name":"node/a","gpus":[{"uuid":"GPU-1","ageSeconds":0}],"activeDecodeBlocks":0.5,"ageSeconds":0}
{"name":"node/b","gpus":[{"uuid":"GPU-2","ageSeconds":0}],"activeDecodeBlocks":0.5,"ageSeconds":0}`},
		{"a server that has long been silent loses them", options, []*source.State{engineState("node/a", 0.5, time.Hour), gpuState(0, "GPU-0")},
			`{"name":"node","gpus":[{"uuid":"GPU-0"}],"ageSeconds":0}`},
		{"not a peer's", options, []*source.State{peerState(map[string]time.Duration{"other/a": time.Second}), gpuState(0, "GPU-0")},
			`{"name":"node","gpus":[{"uuid":"GPU-0"}],"ageSeconds":0}
{"name":"other/a","activeDecodeBlocks":0.5,"ageSeconds":1}`},
		{"long silent ones are left out", options, []*source.State{gpuState(time.Hour, "GPU-0")}, ``},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 2 { // the states are shared: the second time has to find them as they were
				if got := compose(t, test.o, test.states...); got != test.want {
					t.Errorf("got\n%s\nwant\n%s", got, test.want)
				}
			}
		})
	}
}

func TestTheYoungestReportOfAnInstanceIsUsed(t *testing.T) {
	local := engineState("node/a", 0.9, 2*time.Second)
	for name, test := range map[string]struct {
		peer time.Duration
		want string
	}{
		"an older copy":           {3 * time.Second, `{"name":"node/a","activeDecodeBlocks":0.9,"ageSeconds":2}`},
		"an equally old copy":     {2 * time.Second, `{"name":"node/a","activeDecodeBlocks":0.9,"ageSeconds":2}`},
		"somebody who knows more": {1 * time.Second, `{"name":"node/a","activeDecodeBlocks":0.5,"ageSeconds":1}`},
	} {
		peer := peerState(map[string]time.Duration{"node/a": test.peer})
		for _, states := range [][]*source.State{{local, peer}, {peer, local}} {
			if got := compose(t, options, states...); got != test.want {
				t.Errorf("%s: got %s", name, got)
			}
			if v := Compose(states, options, now); v.Duplicate != 1 {
				t.Errorf("%s: %d duplicates", name, v.Duplicate)
			}
		}
	}
}

// Two exporters that read each other: what neither of them measures any more goes away, after DropAfter at the latest.
func TestACircleOfExportersForgets(t *testing.T) {
	at := map[string]time.Time{"a/x": now} // what the other one says, and when it was measured
	states := func(clock time.Time) []*source.State {
		s := &source.State{Kind: source.Peer, SampledAt: clock, Sample: &source.Sample{}}
		for name, t := range at {
			s.Sample.Instances = append(s.Sample.Instances, source.Instance{Instance: pressure.Instance{Name: name}, At: t})
		}
		return []*source.State{s}
	}
	rounds := 0
	for clock := now; len(at) > 0; clock = clock.Add(time.Second) {
		v := Compose(states(clock), options, clock)
		d := v.Document(clock)
		at = map[string]time.Time{}
		for _, i := range d.Instances { // the other one reads it 100 ms later, and tells it back
			at[i.Name] = clock.Add(-time.Duration(i.AgeSeconds * float64(time.Second)))
		}
		if rounds++; rounds > 1000 {
			t.Fatal("it circles for ever")
		}
	}
	if rounds < 60 || rounds > 63 {
		t.Errorf("gone after %d rounds of a second, want DropAfter's 60", rounds)
	}
}

func TestBeyondTheBoundTheFullestAreLeftOut(t *testing.T) {
	o := options
	o.MaxInstances = 3
	states := []*source.State{
		engineState("e", 1, 0), engineState("d", 0.9, 0), engineState("c", 0.2, 0), engineState("b", 0.9, 0), engineState("a", 0.95, 0),
		gpuState(0, "GPU-0"),
	}
	want := `{"name":"b","activeDecodeBlocks":0.9,"ageSeconds":0}
{"name":"c","activeDecodeBlocks":0.2,"ageSeconds":0}
{"name":"d","activeDecodeBlocks":0.9,"ageSeconds":0}`
	if got := compose(t, o, states...); got != want {
		t.Errorf("got\n%s", got)
	}
	v := Compose(states, o, now)
	if d := v.Document(now); v.Omitted != 3 || d.Omitted != 3 {
		t.Errorf("%d omitted, want 3", v.Omitted)
	}
}

// The size of what a fleet of 1,000 tells, and what is read of it elsewhere.
func TestAThousandInstances(t *testing.T) {
	var states []*source.State
	for n := range 1200 {
		s := engineState(fmt.Sprintf("gpu-node-%04d/vllm", n), float64(n%97)/97, time.Duration(n)*time.Millisecond)
		in := &s.Sample.Instances[0].Instance
		in.ActiveDecodeBlocks = pressure.Share(*in.ActiveDecodeBlocks)
		used, total, share, throttled := uint64(80000000000+n), uint64(85899345920), 0.97, false
		in.GPUs = []pressure.GPU{{UUID: fmt.Sprintf("GPU-11111111-2222-3333-4444-%012d", n), MemoryUsedBytes: &used, MemoryTotalBytes: &total, Utilization: &share, Throttled: &throttled}}
		in.ActivePrefillTokens, in.Running, in.Waiting = pressure.Count(12000), pressure.Count(24), pressure.Count(3)
		states = append(states, s)
	}
	o := options
	o.MaxInstances = 1000
	size := func(count int) int {
		began := time.Now()
		v := Compose(states[:count], o, now)
		body, err := json.Marshal(v.Document(now))
		if err != nil {
			t.Fatal(err)
		}
		took := time.Since(began)
		d, err := pressure.Decode(body, 1000)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%4d instances with a GPU each: %d bytes, %d instances told, %d omitted, written in %v", count, len(body), len(d.Instances), d.Omitted, took)
		if len(d.Instances) != min(count, 1000) || d.Omitted != max(count-1000, 0) {
			t.Errorf("%d instances and %d omitted", len(d.Instances), d.Omitted)
		}
		return len(body)
	}
	size(1)
	size(100)
	full := size(1000)
	if beyond := size(1200); beyond > full+1000 || beyond > 400_000 {
		t.Errorf("%d bytes beyond the bound, %d at it", beyond, full)
	}
}

// An exporter of exporters adds to the ages of GPUs too.
func TestAPeersGPUsKeepTheirAge(t *testing.T) {
	s := peerState(map[string]time.Duration{"other/a": 2 * time.Second})
	told := 7.0
	in := &s.Sample.Instances[0]
	in.GPUs = []pressure.GPU{{UUID: "GPU-0", AgeSeconds: &told}}
	in.GPUsAt = ago(9 * time.Second)
	if got := compose(t, options, s); got != `{"name":"other/a","gpus":[{"uuid":"GPU-0","ageSeconds":9}],"activeDecodeBlocks":0.5,"ageSeconds":2}` {
		t.Errorf("got %s", got)
	}
}

// told is an instance as another exporter tells of it, measured some time ago, with its GPUs.
func told(name string, server bool, age time.Duration, uuids ...string) *source.State {
	i := pressure.Instance{Name: name}
	if server {
		share := 0.5
		i.ActiveDecodeBlocks = &share
	}
	for _, uuid := range uuids {
		used := uint64(age / time.Second) // which shows whose number it is
		i.GPUs = append(i.GPUs, pressure.GPU{UUID: uuid, MemoryUsedBytes: &used})
	}
	return &source.State{Name: name, Kind: source.Peer, SampledAt: ago(0), Sample: &source.Sample{Instances: []source.Instance{{Instance: i, At: ago(age)}}}}
}

func TestAGPUThatSeveralTellOfIsToldOnce(t *testing.T) {
	for _, test := range []struct {
		name       string
		states     []*source.State
		want       string
		duplicates int
	}{
		{"two exporters on one machine", []*source.State{told("b", false, 1*time.Second, "x", "y"), told("a", false, 2*time.Second, "x", "z")},
			`{"name":"a","gpus":[{"uuid":"x","memoryUsedBytes":1,"ageSeconds":1},{"uuid":"z","memoryUsedBytes":2}],"ageSeconds":2}
{"name":"b","gpus":[{"uuid":"y","memoryUsedBytes":1}],"ageSeconds":1}`, 1},
		{"a machine without GPUs of its own is none", []*source.State{told("a", false, 0, "x"), told("b", false, 0, "x")},
			`{"name":"a","gpus":[{"uuid":"x","memoryUsedBytes":0}],"ageSeconds":0}`, 1},
		{"the server's, though its machine is measured too, with the younger numbers", []*source.State{told("a", false, 1*time.Second, "x"), told("v", true, 5*time.Second, "x")},
			`{"name":"v","gpus":[{"uuid":"x","memoryUsedBytes":1,"ageSeconds":1}],"activeDecodeBlocks":0.5,"ageSeconds":5}`, 1},
		{"two servers share it", []*source.State{told("v", true, 2*time.Second, "x"), told("w", true, 1*time.Second, "x")},
			`{"name":"v","gpus":[{"uuid":"x","memoryUsedBytes":1,"ageSeconds":1}],"activeDecodeBlocks":0.5,"ageSeconds":2}
{"name":"w","activeDecodeBlocks":0.5,"ageSeconds":1}`, 1},
		{"and one of them is long silent", []*source.State{told("v", true, 20*time.Second, "x"), told("w", true, 1*time.Second, "x")},
			`{"name":"v","activeDecodeBlocks":0.5,"ageSeconds":20}
{"name":"w","gpus":[{"uuid":"x","memoryUsedBytes":1}],"activeDecodeBlocks":0.5,"ageSeconds":1}`, 1},
		{"this machine's, which a peer relays", []*source.State{gpuState(time.Second, "x"), told("other", false, 3*time.Second, "x", "y")},
			`{"name":"node","gpus":[{"uuid":"x"}],"ageSeconds":1}
{"name":"other","gpus":[{"uuid":"y","memoryUsedBytes":3}],"ageSeconds":3}`, 1},
		{"three tell of it", []*source.State{told("c", false, 1*time.Second, "x"), told("a", false, 2*time.Second, "x"), told("b", false, 3*time.Second, "x")},
			`{"name":"a","gpus":[{"uuid":"x","memoryUsedBytes":1,"ageSeconds":1}],"ageSeconds":2}`, 2},
		{"GPUs without a UUID are never the same", []*source.State{told("a", false, 0, "unknown-0"), told("b", false, 0, "unknown-0")},
			`{"name":"a","gpus":[{"uuid":"unknown-0","memoryUsedBytes":0}],"ageSeconds":0}
{"name":"b","gpus":[{"uuid":"unknown-0","memoryUsedBytes":0}],"ageSeconds":0}`, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			reversed := slices.Clone(test.states)
			slices.Reverse(reversed)
			for _, states := range [][]*source.State{test.states, reversed, test.states} {
				if got := compose(t, options, states...); got != test.want {
					t.Errorf("got\n%s\nwant\n%s", got, test.want)
				}
				if v := Compose(states, options, now); v.DuplicateGPUs != test.duplicates {
					t.Errorf("%d GPUs told of more than once, want %d", v.DuplicateGPUs, test.duplicates)
				}
			}
		})
	}
}
