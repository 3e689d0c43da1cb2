package health

import (
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
)

// What the package's comment says a request costs at the store, once its model is known.
func TestStoreCalls(t *testing.T) {
	global := upstream()
	global.Latency.Per, global.Throttle.Mode = "global", config.Off
	perModel := upstream()
	perModel.Throttle.Mode = config.Off
	for _, test := range []struct {
		name       string
		upstream   *config.Upstream
		admission  [2]int // gets and puts
		end        [2]int
		firstToken [2]int
	}{
		{"breaker", only(gate.Breaker), [2]int{1, 0}, [2]int{1, 1}, [2]int{0, 0}},
		{"latency", only(gate.Latency), [2]int{1, 0}, [2]int{1, 1}, [2]int{1, 1}},
		{"throttle", only(gate.Throttle), [2]int{0, 0}, [2]int{0, 0}, [2]int{0, 0}},
		{"breaker and latency", perModel, [2]int{1, 0}, [2]int{1, 1}, [2]int{1, 1}},
		{"all", upstream(), [2]int{1, 0}, [2]int{1, 1}, [2]int{1, 1}},
		{"breaker, and latency of all models", global, [2]int{2, 0}, [2]int{2, 2}, [2]int{1, 1}},
	} {
		store := newStore()
		g := workers(test.upstream, store, 1)[0]
		serve(t, g, noon, chat("a"), quick)
		now := noon + second
		g.Throttle(now, chat("a")) // which merges, so that the next 250 ms have nothing to merge
		for range 20 {
			now += 10 * millisecond
			store.counted()
			r := chat("a")
			judge(t, g, now, r)
			if gets, puts := store.counted(); [2]int{gets, puts} != test.admission {
				t.Errorf("%s: %d gets and %d puts at admission", test.name, gets, puts)
			}
			if err := g.Observe(now+1, r, latency.Sample{TTFT: millisecond}); err != nil {
				t.Fatal(err)
			}
			if gets, puts := store.counted(); [2]int{gets, puts} != test.firstToken {
				t.Errorf("%s: %d gets and %d puts at the first token", test.name, gets, puts)
			}
			if err := g.Finish(now+millisecond, r, quick); err != nil {
				t.Fatal(err)
			}
			if gets, puts := store.counted(); [2]int{gets, puts} != test.end {
				t.Errorf("%s: %d gets and %d puts at the end", test.name, gets, puts)
			}
		}
	}
	store := newStore()
	g := workers(upstream(), store, 1)[0]
	for i := range int64(2000) {
		serve(t, g, noon+clock.Moment(i*5*millisecond), chat("a"), quick)
	}
	if gets, puts := store.counted(); gets > 2*2000+60 || puts > 2000+60 {
		t.Errorf("%d gets and %d puts of 2000 requests in ten seconds", gets, puts)
	}
}

// A model that found no place costs a look at the names in 250 ms, and else nothing.
func TestStoreCallsOfModelsWithoutAPlace(t *testing.T) {
	store := newStore()
	g := workers(only(gate.Breaker), store, 1)[0]
	for i := range places {
		serve(t, g, noon, chat(string(rune('A'+i))), quick)
	}
	serve(t, g, noon+second, chat("none"), quick)
	store.counted()
	for i := range int64(100) {
		serve(t, g, noon+second+clock.Moment(i*millisecond), chat("none"), Outcome{Result: Succeeded})
	}
	if gets, puts := store.counted(); gets > 1 || puts != 0 {
		t.Errorf("%d gets and %d puts of 100 requests", gets, puts)
	}
}

func TestNothingIsAllocated(t *testing.T) {
	g := workers(upstream(), newStore(), 1)[0]
	now := noon
	r := new(Request)
	refused := 0
	round := func(o Outcome, p config.Priority) {
		*r = Request{Model: "llama-3-70b", Priority: p, TTFT: 5 * second, Memory: 0.8}
		for _, v := range [...]gate.Verdict{g.Breaker(now, r), g.Latency(now, r), g.Throttle(now, r)} {
			if v.Err != nil {
				t.Fatal(v.Err)
			}
			if v.Outcome.Refuses() {
				refused++
				if g.Cancel(now, r) != nil {
					t.Fatal("can't be cancelled")
				}
			}
		}
		if g.Finish(now, r, o) != nil || g.Tick(now) != nil {
			t.Fatal("can't be finished")
		}
		now += 100 * millisecond
	}
	for range 50 {
		round(quick, config.Low)
	}
	if n := testing.AllocsPerRun(1000, func() { round(quick, config.Low) }); n != 0 || refused == 0 {
		t.Errorf("%v allocations, %d refused", n, refused)
	}
}

func benchmark(b *testing.B, u *config.Upstream) {
	g := New(NewSettings(u, config.Enforce), newStore(), "x/a1/up", 1)
	r := new(Request)
	b.ReportAllocs()
	for now := noon; b.Loop(); now += millisecond {
		*r = Request{Model: "llama-3-70b", Priority: config.Normal}
		if g.Breaker(now, r).Outcome.Refuses() || g.Latency(now, r).Outcome.Refuses() || g.Throttle(now, r).Outcome.Refuses() {
			b.Fatal("refused")
		}
		if err := g.Finish(now, r, quick); err != nil {
			b.Fatal(err)
		}
	}
}

// One request, from its admission to its end, at 1000 a second.
func BenchmarkRequest(b *testing.B) {
	for _, which := range []string{gate.Breaker, gate.Latency, gate.Throttle} {
		b.Run(which, func(b *testing.B) { benchmark(b, only(which)) })
	}
	b.Run("all", func(b *testing.B) { benchmark(b, upstream()) })
	off := upstream()
	off.Breaker.Mode, off.Latency.Mode, off.Throttle.Mode = config.Off, config.Off, config.Off
	b.Run("off", func(b *testing.B) { benchmark(b, off) })
}
