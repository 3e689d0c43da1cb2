package queuetest

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// fastRetreat is quick where the default is patient; 6000 a minute is its base.
const fastRetreat = `{"upstreams": [{"name": %q, "budget": {"requests": 100, "window": "1s"}, "retreat": {"mode": %q, "window": "2s",
	"every": "100ms", "minSamples": 5, "minRequests": 20, "recoverWindow": "1s", "recoverStep": 5}}]}`

func retreat(t *testing.T, g *gateway) {
	t.Run("a 429", func(t *testing.T) { retreatAndRecover(t, g, "hard", "status=429 retry-after=0") })
	t.Run("a 429 hidden in a stream", func(t *testing.T) { retreatAndRecover(t, g, "hidden", "") })
	t.Run("shadow", func(t *testing.T) { retreatInShadow(t, g) })
}

// hideErrors answers 200, and says in the stream what it should have said before.
func hideErrors(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = fmt.Fprint(w, `data: {"error":{"message":"too many","type":"requests","code":"rate_limit_exceeded"}}`+"\n\n")
}

func retreatAndRecover(t *testing.T, g *gateway, name, sim string) {
	const base = 6000
	g.configure(t, "stopIteration", fmt.Sprintf(fastRetreat, name, "enforce"))
	served(t, g, 10)
	g.awaitMetric(t, base, "spillway_effective_rpm", "upstream", name)
	g.awaitMetric(t, 0, "spillway_retreat_state", "upstream", name)

	var refusing atomic.Bool
	refusing.Store(true)
	if sim == "" {
		real := g.front.Handler
		g.front.replace(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if refusing.Load() {
				hideErrors(w, r)
			} else {
				real.ServeHTTP(w, r)
			}
		}))
	}
	ask := ask{sim: sim, stream: true}
	g.until(t, "the retreat began", func() bool {
		g.several(t, 10, ask)
		return g.metric("spillway_retreat_state", "upstream", name) == 1
	})
	g.until(t, "the rate is at its floor while most answers are 429", func() bool {
		g.several(t, 10, ask)
		// Together: the window of the share is short, and may be over where the machine is busy.
		share := g.metric("spillway_upstream_429_ratio", "upstream", name)
		return g.metric("spillway_effective_rpm", "upstream", name) == base/5 && share >= 200 && share <= 1000
	})
	refusing.Store(false)
	recovers(t, g, name)
	g.awaitMetric(t, base, "spillway_effective_rpm", "upstream", name)
	g.awaitMetric(t, 0, "spillway_upstream_429_ratio", "upstream", name)
}

// recovers waits for a recovery, which takes sixteen steps, one each 100 ms. A machine that is busy for so long has it over between two looks at it.
func recovers(t *testing.T, g *gateway, name string) {
	const least = time.Second
	seen, retreated := false, time.Now()
	g.until(t, "it has recovered", func() bool {
		served(t, g, 1)
		looked := time.Now()
		switch g.metric("spillway_retreat_state", "upstream", name) {
		case 0:
			if took := time.Since(retreated); !seen && took < least {
				t.Errorf("the rate was back within %v, without a recovery", took)
			}
			return true
		case 1:
			retreated = looked
		case 2:
			seen = true
		}
		return false
	})
}

func retreatInShadow(t *testing.T, g *gateway) {
	g.configure(t, "stopIteration", fmt.Sprintf(fastRetreat, "measured", "shadow"))
	g.until(t, "a retreat is measured", func() bool {
		g.several(t, 10, ask{sim: "status=429 retry-after=0"})
		return g.metric("spillway_retreat_state", "upstream", "measured") == 1
	})
}

// until repeats a step until it holds, at a pace that leaves the machine to others.
func (g *gateway) until(t *testing.T, what string, step func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !step(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting until %s", what)
		}
	}
}

// several sends n requests at once, and waits for their answers, whatever they are: a busy machine may be too slow to have as
// many samples in a window one by one.
func (g *gateway) several(t *testing.T, n int, a ask) {
	t.Helper()
	calls := make([]*call, n)
	for i := range calls {
		calls[i] = g.send(t, a)
	}
	for _, c := range calls {
		c.wait(t)
	}
}

func served(t *testing.T, g *gateway, n int) {
	t.Helper()
	for range n {
		wantServed(t, g.send(t, ask{}))
	}
}
