package health

import (
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
)

func by(subject uint64) *Request {
	r := chat("m")
	r.Subject = subject
	return r
}

// Each gate tells callers apart: what one of them meets refuses none of the others, in any worker.
func TestOneCallerClosesNoGateForOthers(t *testing.T) {
	slow := ending{Outcome{Result: Succeeded, Stream: true, Duration: 20 * second}, 20 * second}
	slowITL := ending{Outcome{Result: Succeeded, Stream: true, Duration: second / 10, ITL: second}, 0}
	for name, bad := range map[string]ending{gate.Breaker: {Outcome{Result: Failed}, 0}, gate.Latency: slow, "itl": slowITL, gate.Throttle: slow} {
		which := name
		if name == "itl" {
			which = gate.Latency
		}
		for _, global := range []config.LatencyScope{config.LatencyPerModel, config.LatencyGlobal} {
			u := only(which)
			u.Latency.Per = global
			gates := workers(u, newStore(), 2)
			now := noon
			serve(t, gates[1], now, by(8), quick)
			now += second
			for _, g := range gates { // until each worker has heard of the other's
				if err := g.Tick(now); err != nil {
					t.Fatal(err)
				}
				serve(t, g, now, by(9), quick)
			}
			for i := range 600 {
				now += second / 5
				if v := judge(t, gates[0], now, by(7)); !v.Outcome.Refuses() {
					if err := bad.finish(gates[0], now, by7(gates[0], now)); err != nil {
						t.Fatal(err)
					}
				}
				if i%3 == 0 {
					r := by(uint64(8 + i%2))
					r.Priority = 0 // low, which is refused first
					if v := serve(t, gates[1], now, r, quick); v.Outcome.Refuses() {
						t.Fatalf("%s, per %s: after %d: %+v", name, global, i, v.Reason)
					}
				}
			}
		}
	}
}

// by7 is a request of caller 7 that was admitted.
func by7(g *Gates, now clock.Moment) *Request {
	r := by(7)
	g.Breaker(now, r)
	return r
}

// Alone a caller closes a gate for itself; a stranger passes, and is asked nothing by its own bounds either.
func TestAStrangerPassesWhatOneHasClosed(t *testing.T) {
	u := only(gate.Latency)
	g := workers(u, newStore(), 1)[0]
	slow := by(7)
	if err := g.Observe(noon, slow, latency.Sample{TTFT: 20 * second}); err != nil {
		t.Fatal(err)
	}
	if v := g.Latency(noon, by(7)); !v.Outcome.Refuses() {
		t.Errorf("it passes itself: %+v", v)
	}
	stranger := by(8)
	stranger.TTFT = second
	if v := g.Latency(noon, stranger); v.Outcome.Refuses() || v.Warning {
		t.Errorf("a stranger: %+v", v)
	}
	b := workers(only(gate.Breaker), newStore(), 1)[0]
	for range 25 {
		serve(t, b, noon, by(7), Outcome{Result: Failed})
	}
	if v := b.Breaker(noon, by(7)); !v.Outcome.Refuses() {
		t.Errorf("it passes itself: %+v", v)
	}
	if v := serve(t, b, noon, by(8), quick); v.Outcome.Refuses() {
		t.Errorf("a stranger: %+v", v)
	}
}

// What several meet refuses all, also those who come later.
func TestSeveralCallersCloseGatesForAll(t *testing.T) {
	slow := ending{Outcome{Result: Succeeded, Stream: true, Duration: 20 * second}, 20 * second}
	for which, bad := range map[string]ending{gate.Breaker: {Outcome{Result: Failed}, 0}, gate.Latency: slow, gate.Throttle: slow} {
		for _, per := range []config.LatencyScope{config.LatencyPerModel, config.LatencyGlobal} {
			u := only(which)
			u.Latency.Per = per
			gates := workers(u, newStore(), 2)
			now := noon
			refused := false
			for i := range 600 {
				now += second / 5
				if v := judge(t, gates[i%2], now, by(uint64(7+i%3))); !v.Outcome.Refuses() {
					r := by(uint64(7 + i%3))
					gates[i%2].Breaker(now, r)
					if err := bad.finish(gates[i%2], now, r); err != nil {
						t.Fatal(err)
					}
				}
				r := by(100)
				r.Priority = 0
				v := judge(t, gates[0], now, r)
				refused = refused || v.Outcome.Refuses()
				if !v.Outcome.Refuses() {
					if err := gates[0].Cancel(now, r); err != nil {
						t.Fatal(err)
					}
				}
			}
			if !refused {
				t.Errorf("%s, per %s: a stranger passes", which, per)
			}
		}
	}
}
