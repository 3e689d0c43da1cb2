package pressure

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const (
	second = 1_000_000_000 // of moments and durations alike
	start  = 1000 * second
)

func TestParse(t *testing.T) {
	const head = `{"version":1,"time":"2026-01-01T00:00:00Z","instances":[`
	none := Instance{Decode: Absent, Prefill: Absent, Memory: Absent, Running: Absent, Waiting: Absent}
	with := func(change func(*Instance)) Instance {
		x := none
		change(&x)
		return x
	}
	for _, c := range []struct {
		name, body string
		want       Snapshot
		err        string
	}{
		{"the documented example", head + `{"name":"a","gpus":[{"uuid":"u","memoryUsedBytes":40,"memoryTotalBytes":80,"utilization":0.5,"throttled":false}],` +
			`"activeDecodeBlocks":0.42,"activePrefillTokens":1200,"running":3,"waiting":0,"ageSeconds":0.4}]}`,
			Snapshot{Instances: []Instance{{Decode: 0.42, Prefill: 1200, Memory: 0.5, Running: 3, Age: 4e8}}}, ""},
		{"no instances", head + `]}`, Snapshot{}, ""},
		{"nothing measured", head + `{"name":"a"},{"activeDecodeBlocks":null}]}`, Snapshot{Instances: []Instance{none, none}}, ""},
		{"the fullest GPU counts", head + `{"gpus":[{"memoryUsedBytes":1,"memoryTotalBytes":10},{"memoryUsedBytes":9,"memoryTotalBytes":10},{"memoryUsedBytes":5}]}]}`,
			Snapshot{Instances: []Instance{with(func(x *Instance) { x.Memory = 0.9 })}}, ""},
		{"a share above one", head + `{"activeDecodeBlocks":42,"gpus":[{"memoryUsedBytes":9,"memoryTotalBytes":1}]}]}`,
			Snapshot{Instances: []Instance{none}, Wrong: 2}, ""},
		{"negative", head + `{"activeDecodeBlocks":-0.1,"activePrefillTokens":-1,"ageSeconds":-5}]}`, Snapshot{Instances: []Instance{none}, Wrong: 3}, ""},
		{"other types", head + `{"activeDecodeBlocks":"0.5","activePrefillTokens":[1],"ageSeconds":{}}]}`, Snapshot{Instances: []Instance{none}, Wrong: 3}, ""},
		{"beyond all numbers", head + `{"activeDecodeBlocks":1e999,"activePrefillTokens":1e300,"ageSeconds":1e300}]}`,
			Snapshot{Instances: []Instance{with(func(x *Instance) { x.Age = 1e18 })}, Wrong: 2}, ""},
		{"a GPU that doesn't say what is in use", head + `{"gpus":[{"memoryTotalBytes":10},{"memoryUsedBytes":null,"memoryTotalBytes":10},{"memoryUsedBytes":-1,"memoryTotalBytes":10}]}]}`,
			Snapshot{Instances: []Instance{none}, Wrong: 1}, ""},
		{"a GPU of no size", head + `{"gpus":[{"memoryUsedBytes":0,"memoryTotalBytes":0},{"memoryUsedBytes":5}]}]}`, Snapshot{Instances: []Instance{none}}, ""},
		{"one GPU's use is not another one's", head + `{"gpus":[{"memoryUsedBytes":9},{"memoryTotalBytes":10}]},{"gpus":[{"memoryUsedBytes":1,"memoryTotalBytes":10}]}]}`,
			Snapshot{Instances: []Instance{none, with(func(x *Instance) { x.Memory = 0.1 })}}, ""},
		{"unused is measured", head + `{"activeDecodeBlocks":0,"activePrefillTokens":0,"gpus":[{"memoryUsedBytes":0,"memoryTotalBytes":10}]}]}`,
			Snapshot{Instances: []Instance{{Running: Absent, Waiting: Absent}}}, ""},
		{"more requests than there can be", head + `{"running":1e12,"waiting":1073741825},{"running":-1,"waiting":1073741824}]}`,
			Snapshot{Instances: []Instance{none, with(func(x *Instance) { x.Waiting = 1 << 30 })}, Wrong: 3}, ""},
		{"NaN and Infinity are not JSON", head + `{"activeDecodeBlocks":NaN}]}`, Snapshot{}, "not JSON"},
		{"a time of the future, and of the past", `{"version":1,"time":"9999-12-31T23:59:59Z","instances":[{"activeDecodeBlocks":0.5}],"time":-1e300}`,
			Snapshot{Instances: []Instance{with(func(x *Instance) { x.Decode = 0.5 })}}, ""},
		{"names of any kind", head + `{"name":"\u0000\n\u001b[31m{}","activeDecodeBlocks":0.5,"gpus":[{"uuid":"\n"}]},{"name":{"a":[1]},"activeDecodeBlocks":0.6}]}`,
			Snapshot{Instances: []Instance{with(func(x *Instance) { x.Decode = 0.5 }), with(func(x *Instance) { x.Decode = 0.6 })}}, ""},
		{"instances that are none", head + `1,"x",null]}`, Snapshot{Wrong: 2}, ""},
		{"another version", `{"version":2,"instances":[]}`, Snapshot{}, "not of version 1"},
		{"no version", `{"instances":[]}`, Snapshot{}, "not of version 1"},
		{"no list", `{"version":1,"instances":{}}`, Snapshot{}, "without instances"},
		{"cut off", head + `{"activeDecodeBlocks":0.5`, Snapshot{}, "not JSON"},
		{"not JSON", `<html>`, Snapshot{}, "not JSON"},
		{"empty", ``, Snapshot{}, "not JSON"},
		{"as large as may be", head + strings.Repeat(" ", MostBytes-len(head)-2) + `]}`, Snapshot{}, ""},
		{"a byte larger", head + strings.Repeat(" ", MostBytes-len(head)-1) + `]}`, Snapshot{}, "larger than"},
		{"too large", head + strings.Repeat(" ", MostBytes) + `]}`, Snapshot{}, "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse([]byte(c.body))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("got %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

// Whatever an exporter says, what is kept is in range, and there is never more of it than was said.
func TestWhateverAnExporterForgesIsBounded(t *testing.T) {
	values := rapid.SampledFrom([]string{
		"0", "-0", "0.5", "1", "1.0000001", "2", "-1", "1e300", "-1e300", "1e-300", "1e999", "9007199254740993", "18446744073709551616", "null", "true",
		`"0.5"`, `"\n"`, "[]", "[0.5]", "{}", `{"activeDecodeBlocks":0.5}`,
	})
	names := rapid.SampledFrom([]string{"name", "activeDecodeBlocks", "activePrefillTokens", "ageSeconds", "running", "waiting", "gpus", "time", "version", "x"})
	gpuNames := rapid.SampledFrom([]string{"uuid", "memoryUsedBytes", "memoryTotalBytes", "ageSeconds"})
	object := func(t *rapid.T, names *rapid.Generator[string]) string {
		var members []string
		for range rapid.IntRange(0, 5).Draw(t, "members") {
			members = append(members, fmt.Sprintf("%q:%s", names.Draw(t, "name"), values.Draw(t, "value")))
		}
		return "{" + strings.Join(members, ",") + "}"
	}
	rapid.Check(t, func(t *rapid.T) {
		var instances []string
		for range rapid.IntRange(0, 5).Draw(t, "instances") {
			text := object(t, names)
			if rapid.Bool().Draw(t, "with GPUs") {
				text = `{"gpus":[` + object(t, gpuNames) + "," + object(t, gpuNames) + `],` + strings.TrimPrefix(strings.Replace(text, "{}", `{"x":0}`, 1), "{")
			}
			instances = append(instances, text)
		}
		s, err := Parse([]byte(`{"version":1,"instances":[` + strings.Join(instances, ",") + `]}`))
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Instances) != len(instances) {
			t.Fatalf("%d instances of %d", len(s.Instances), len(instances))
		}
		for _, x := range s.Instances {
			if !ranged(x) {
				t.Fatalf("%+v", x)
			}
		}
		b := NewMonitor(recordtest.NewMemory(), "n", 2*second)
		if err := b.Publish(start, s); err != nil {
			t.Fatal(err)
		}
		if g := b.Gauge(start + 1<<60); g.Age < 0 || g.Prefill < Absent || g.Decode > 1 || g.Memory > 1 {
			t.Fatalf("%+v", g)
		}
	})
}

// ranged says whether an instance is one that can be.
func ranged(x Instance) bool {
	share := func(n float64) bool { return n == Absent || n >= 0 && n <= 1 }
	return share(x.Decode) && share(x.Memory) && (x.Prefill == Absent || x.Prefill >= 0 && x.Prefill <= mostTokens) &&
		x.Running >= Absent && x.Running <= mostRequests && x.Waiting >= Absent && x.Waiting <= mostRequests && x.Age >= 0 && x.Age <= 1e18
}

func TestInstancesBeyondTheBoundAreLeftOut(t *testing.T) {
	body := `{"version":1,"instances":[` + strings.Repeat(`{"activeDecodeBlocks":0.5},`, MostInstances+9) + `{}]}`
	if got, err := Parse([]byte(body)); err != nil || len(got.Instances) != MostInstances || got.Ignored != 10 {
		t.Errorf("%d instances, %d ignored, %v", len(got.Instances), got.Ignored, err)
	}
}

// A fleet of a thousand, as the exporter tells of it, and all that the bound lets be read.
func BenchmarkParse(b *testing.B) {
	const instance = `{"name":"node-0123/vllm","gpus":[{"uuid":"GPU-00000000-0000-0000-0000-000000000123","memoryUsedBytes":70866960384,` +
		`"memoryTotalBytes":85899345920,"utilization":0.87,"throttled":false}],"activeDecodeBlocks":0.7123456,"activePrefillTokens":4321,` +
		`"running":17,"waiting":3,"ageSeconds":0.412}`
	document := func(n int) string {
		return `{"version":1,"time":"2026-01-01T00:00:00.123Z","instances":[` + strings.TrimSuffix(strings.Repeat(instance+",", n), ",") + `]}`
	}
	for name, text := range map[string]string{
		"1 instance": document(1), "1,000 instances": document(1000), "2 MiB": document((MostBytes - 100) / (len(instance) + 1)),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if s, err := Parse([]byte(text)); err != nil || s.Wrong > 0 {
					b.Fatal(err, s.Wrong)
				}
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"instances":[{"gpus":[{"memoryUsedBytes":1,"memoryTotalBytes":2}],"activeDecodeBlocks":0.5,"activePrefillTokens":3,"ageSeconds":1}]}`))
	f.Add([]byte(`{"instances":[],"instances":[[{}]],"version":1e0}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := Parse(body)
		if err != nil {
			return
		}
		for _, x := range s.Instances {
			if !ranged(x) {
				t.Fatalf("%+v", x)
			}
		}
		if got := decodeInstances(nil, encodeInstances(nil, s.Instances)); fmt.Sprint(got) != fmt.Sprint(s.Instances) && len(got) > 0 {
			t.Fatalf("%v came back as %v", s.Instances, got)
		}
	})
}

func rule(t *testing.T, onStale string) Rule {
	t.Helper()
	cfg, err := config.Parse([]byte(`{"upstreams":[{"name":"a","pressure":{"mode":"enforce","activeDecodeBlocks":0.8,"activePrefillTokens":1000,
		"gpuMemory":0.9,"ceilings":{"urgent":1,"high":0.9,"normal":0.8,"low":0.5},"onStale":"` + onStale + `"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return NewRule(&cfg.Upstreams[0].Pressure, &cfg.PressureSource, config.Enforce)
}

// reasons is what each priority is told, from LOW to URGENT.
func reasons(b *Monitor, now clock.Moment, r Rule) string {
	var all []string
	for p := config.Low; p <= config.Urgent; p++ {
		all = append(all, b.Judge(now, &r, p).Reason)
	}
	return strings.Join(all, ",")
}

func TestWhoIsRefused(t *testing.T) {
	engine := func(decode float64, prefill int64) Instance {
		return Instance{Decode: decode, Prefill: prefill, Memory: Absent}
	}
	for _, c := range []struct {
		name      string
		instances []Instance
		want      string
	}{
		{"nothing is known", nil, ",,,"},
		{"free", []Instance{engine(0.3, 0)}, ",,,"},
		{"at LOW's ceiling", []Instance{engine(0.4, 0)}, ",,,"},
		{"above it", []Instance{engine(0.41, 0)}, "ceiling,,,"},
		{"above NORMAL's", []Instance{engine(0.65, 0)}, "ceiling,ceiling,,"},
		{"above HIGH's", []Instance{engine(0.73, 0)}, "ceiling,ceiling,ceiling,"},
		{"busy", []Instance{engine(0.81, 0)}, "busy,busy,busy,busy"},
		{"by tokens being prefilled", []Instance{engine(0, 850)}, "ceiling,ceiling,,"},
		{"one of three is free", []Instance{engine(0.9, 0), engine(0.2, 9), engine(1, 0)}, ",,,"},
		{"the least busy counts", []Instance{engine(0.9, 0), engine(0.7, 0)}, "ceiling,ceiling,,"},
		{"memory has no ceilings", []Instance{{Decode: 0.1, Prefill: 0, Memory: 0.89}}, ",,,"},
		{"memory is full", []Instance{{Decode: 0.1, Prefill: 0, Memory: 0.91}}, "busy,busy,busy,busy"},
		{"a node without an engine is not asked", []Instance{engine(0.9, 0), {Decode: Absent, Prefill: Absent, Memory: 0.1}}, "busy,busy,busy,busy"},
		{"unless all are", []Instance{{Decode: Absent, Prefill: Absent, Memory: 0.1}}, ",,,"},
		{"an old one is not asked", []Instance{engine(0.9, 0), {Decode: 0.1, Prefill: 0, Memory: Absent, Age: 11 * second}}, "busy,busy,busy,busy"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := NewMonitor(recordtest.NewMemory(), "n", 2*second)
			if err := b.Publish(start, Snapshot{Instances: c.instances}); err != nil {
				t.Fatal(err)
			}
			if got := reasons(b, start, rule(t, "ignore")); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// The refusal tells of the least busy one, wherever in the list it is.
func TestTheLeastBusyInstanceIsTold(t *testing.T) {
	absent := Instance{Decode: Absent, Prefill: 5000, Memory: Absent}
	busy := func(decode float64) Instance { return Instance{Decode: decode, Prefill: 5000, Memory: Absent} }
	for _, c := range []struct {
		instances []Instance
		want      float64
	}{
		{[]Instance{busy(0.9), busy(0.85), busy(1)}, 0.85},
		{[]Instance{busy(0.85), busy(0.9)}, 0.85},
		{[]Instance{absent, busy(0.9), busy(1)}, 0.9},
		{[]Instance{busy(0.9), absent}, 0.9},
		{[]Instance{absent, absent}, Absent},
	} {
		b, r := NewMonitor(recordtest.NewMemory(), "n", 2*second), rule(t, "ignore")
		if err := b.Publish(start, Snapshot{Instances: c.instances}); err != nil {
			t.Fatal(err)
		}
		if v := b.Judge(start, &r, config.Urgent); v.Reason != gate.Busy || v.Measured != c.want || c.want != Absent && v.Threshold != 0.8 {
			t.Errorf("%v: %+v, want %v", c.instances, v, c.want)
		}
	}
}

func TestWhatCountsWhenNothingRecentIsKnown(t *testing.T) {
	for onStale, want := range map[string][3]string{ // never fetched, just fresh enough, too old
		"ignore": {",,,", "busy,busy,busy,busy", ",,,"},
		"hold":   {",,,", "busy,busy,busy,busy", "busy,busy,busy,busy"},
		"full":   {"stale,stale,stale,stale", "busy,busy,busy,busy", "stale,stale,stale,stale"},
	} {
		b, r := NewMonitor(recordtest.NewMemory(), "n", 2*second), rule(t, onStale)
		got := [3]string{reasons(b, start, r)}
		if err := b.Publish(start, Snapshot{Instances: []Instance{{Decode: 1, Prefill: 0, Memory: Absent, Age: second}}}); err != nil {
			t.Fatal(err)
		}
		got[1], got[2] = reasons(b, start+9*second, r), reasons(b, start+9*second+1, r)
		if got != want {
			t.Errorf("%s: got %v, want %v", onStale, got, want)
		}
	}
}

// What is held is held for ever, in workers that came later, too.
func TestHoldHasNoEnd(t *testing.T) {
	store := recordtest.NewMemory()
	b, r := NewMonitor(store, "n", 2*second), rule(t, "hold")
	if err := b.Publish(start, Snapshot{Instances: []Instance{{Decode: 1, Prefill: 0, Memory: Absent, Age: second}}}); err != nil {
		t.Fatal(err)
	}
	const want = "busy,busy,busy,busy"
	for _, after := range []clock.Moment{11 * second, 61 * second, 3601 * second, 25 * 3600 * second, 10 * 365 * 24 * 3600 * second} {
		later := NewMonitor(store, "n", 2*second)
		for _, board := range []*Monitor{b, later} {
			if _, err := board.Due(start + after); err != nil {
				t.Fatal(err)
			}
			if got := reasons(board, start+after, r); got != want {
				t.Errorf("after %d s: %s, want %s", after/second, got, want)
			}
		}
	}
}

// An engine that died when it was empty must not look free for ever: old numbers count only where there are no others.
func TestHoldPrefersWhatIsRecent(t *testing.T) {
	b, r := NewMonitor(recordtest.NewMemory(), "n", 2*second), rule(t, "hold")
	if err := b.Publish(start, Snapshot{Instances: []Instance{
		{Decode: 0.9, Prefill: 0, Memory: Absent}, {Decode: 0.1, Prefill: 0, Memory: Absent, Age: 5 * second},
	}}); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[clock.Moment]string{5 * second: ",,,", 6 * second: "busy,busy,busy,busy", 11 * second: ",,,"} {
		if got := reasons(b, start+after, r); got != want {
			t.Errorf("after %d s: %s, want %s", after/second, got, want)
		}
	}
}

func TestOneWorkerFetchesInAnInterval(t *testing.T) {
	store := recordtest.NewMemory()
	var boards []*Monitor
	for range 4 {
		boards = append(boards, NewMonitor(store, "n", 2*second))
	}
	fetches := map[int]int{}
	for now := start; now < start+20*second; now += second / 4 {
		for i, b := range boards {
			if i == 0 && now > start+5*second {
				continue // it has died
			}
			due, err := b.Due(clock.Moment(now))
			if err != nil {
				t.Fatal(err)
			}
			if due {
				fetches[int((now-start)/(2*second))]++
			}
		}
	}
	for interval := range 10 {
		if fetches[interval] != 1 {
			t.Errorf("interval %d: %d fetches", interval, fetches[interval])
		}
	}
}

func TestAllWorkersSeeWhatOneHasFetched(t *testing.T) {
	store := recordtest.NewMemory()
	one, other := NewMonitor(store, "n", 2*second), NewMonitor(store, "n", 2*second)
	if due, _ := one.Due(start); !due {
		t.Fatal("nobody is to fetch")
	}
	for round, decode := range []float64{0.9, 0.1} {
		if err := one.Publish(start, Snapshot{Instances: []Instance{{Decode: decode, Prefill: 0, Memory: 0.5}}}); err != nil {
			t.Fatal(err)
		}
		if due, err := other.Due(start + 1); due || err != nil {
			t.Fatalf("due %v, %v", due, err)
		}
		if got, want := reasons(other, start+1, rule(t, "ignore")), reasons(one, start+1, rule(t, "ignore")); got != want {
			t.Errorf("round %d: the other one says %s, want %s", round, got, want)
		}
		if g := other.Gauge(start + second); g.Decode != decode || g.Memory != 0.5 || g.Prefill != 0 || g.Age != second || g.Instances != 1 {
			t.Errorf("%+v", g)
		}
	}
}

func TestALostRaceForTheFetchIsNoFetch(t *testing.T) {
	store := recordtest.NewMemory()
	one, other := NewMonitor(store, "n", 2*second), NewMonitor(store, "n", 2*second)
	raced := false
	store.Conflict = func(string) {
		if !raced {
			raced = true
			if due, _ := other.Due(start); !due {
				t.Error("the other one is to fetch")
			}
		}
	}
	if due, err := one.Due(start); due || err != nil {
		t.Errorf("due %v, %v", due, err)
	}
}

type broken struct{ record.Store }

func (broken) Get(string) ([]byte, uint32, bool, error) { return nil, 0, false, errors.New("no store") }

func TestAStoreThatFailsIsReported(t *testing.T) {
	b := NewMonitor(broken{}, "n", second)
	if _, err := b.Due(start); err == nil {
		t.Error("Due says nothing")
	}
	if err := b.Publish(start, Snapshot{}); err == nil {
		t.Error("Publish says nothing")
	}
}

func TestDamagedRecordsAreBegunAnew(t *testing.T) {
	store := recordtest.NewMemory()
	for _, key := range []string{"n/p1/notice", "n/p1/content"} {
		if _, err := store.Put(key, []byte("garbage"), record.Create); err != nil {
			t.Fatal(err)
		}
	}
	b := NewMonitor(store, "n", 2*second)
	if due, err := b.Due(start); !due || err != nil {
		t.Fatalf("due %v, %v", due, err)
	}
	if err := b.Publish(start, Snapshot{Instances: []Instance{{Decode: 1, Memory: Absent}}}); err != nil {
		t.Fatal(err)
	}
	other := NewMonitor(store, "n", 2*second)
	if _, err := other.Due(start); err != nil || reasons(other, start, rule(t, "ignore")) != "busy,busy,busy,busy" {
		t.Errorf("%v", err)
	}
}

// To be judged costs a request no memory; neither does a worker's look for news of which there are none.
func TestJudgingAllocatesNothing(t *testing.T) {
	store := recordtest.NewMemory()
	store.InPlace = true
	b, r := NewMonitor(store, "ns", second), rule(t, "hold")
	if err := b.Publish(start, Snapshot{Instances: []Instance{{Decode: 0.7, Prefill: 10, Memory: 0.2}, {Decode: 0.9, Prefill: 10, Memory: 0.95}}}); err != nil {
		t.Fatal(err)
	}
	now := clock.Moment(start)
	judge := func() {
		now += second / 100
		if _, err := b.Due(now); err != nil {
			t.Fatal(err)
		}
		if b.Judge(now, &r, config.Urgent).Outcome.Refuses() || !b.Judge(now, &r, config.Low).Outcome.Refuses() {
			t.Fatal("judged in another way")
		}
	}
	judge()
	if n := testing.AllocsPerRun(300, judge); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever the workers' records hold: what is made of them is a measurement or none.
func FuzzDamagedRecord(f *testing.F) {
	f.Add(notice{1, start, start, 1}.encode(nil), encodeInstances(nil, []Instance{{0.5, 3, 0.25, 2, 1, time.Second}}), int64(second))
	f.Add(notice{2, 1, -1, MostInstances}.encode(nil), bytes.Repeat([]byte{0xff}, entrySize), int64(1))
	f.Add([]byte{1}, []byte{}, int64(0))
	f.Fuzz(func(t *testing.T, noticed, content []byte, ahead int64) {
		store := recordtest.NewMemory()
		for key, value := range map[string][]byte{"test/p1/notice": noticed, "test/p1/content": content} {
			if _, err := store.Put(key, value, record.Create); err != nil {
				t.Fatal(err)
			}
		}
		b := NewMonitor(store, "test", time.Second)
		now := clock.Moment(start)
		for range 3 {
			if _, err := b.Due(now); err != nil {
				t.Fatal(err)
			}
			for _, x := range b.instances {
				if !ranged(x) {
					t.Fatalf("%+v", x)
				}
			}
			g := b.Gauge(now)
			if share := func(n float64) bool { return n == Absent || n >= 0 && n <= 1 }; !share(g.Decode) || !share(g.Memory) || g.Prefill < Absent || g.Age < Absent {
				t.Fatalf("%+v", g)
			}
			for _, onStale := range []string{"ignore", "hold", "full"} {
				r := rule(t, onStale)
				for p := config.Low; p <= config.Urgent; p++ {
					b.Judge(now, &r, p)
				}
			}
			now = now.Add(time.Duration(ahead))
		}
	})
}
