package queuetest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

func keepBudget(t *testing.T, g *gateway) {
	t.Run("requests", func(t *testing.T) { keepRequests(t, g) })
	t.Run("tokens", func(t *testing.T) { keepTokens(t, g) })
}

// crowd has so many clients ask one thing after another until the server has seen enough of that, and gives what it saw, and
// since when. Nothing is said of how long it takes: what a budget lets go is never left unused, or it would not end.
func (g *gateway) crowd(t *testing.T, clients, enough int, a ask) (seen []llmsim.Request, began time.Time) {
	t.Helper()
	a.user = t.Name() // which is how the access log's ids begin
	before := g.sim.Stats().Received
	began = time.Now()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range clients {
		all.Go(func() { g.insist(t, a, stop) })
	}
	harness.Await(t, patience, fmt.Sprint("the server has seen ", enough, " requests"), func() bool { return g.sim.Stats().Received >= before+int64(enough) })
	close(stop)
	all.Wait()
	harness.Await(t, patience, "Envoy has let go of all", func() bool { return g.active() == 0 })
	for _, r := range g.sim.Requests() {
		if strings.HasPrefix(r.Headers["traceparent"], t.Name()+"-") {
			seen = append(seen, r)
		}
	}
	return seen, began
}

// The n-th request may not come to the server before the budget has let n go.
func keepRequests(t *testing.T, g *gateway) {
	const burst, rate, enough = 100, 50, 200
	g.configure(t, "stopIteration", `{"upstreams": [{"name": "requests", "budget": {"requests": 100, "window": "2s"}}]}`)
	seen, began := g.crowd(t, 64, enough, ask{})
	for i, r := range seen {
		if allowed := burst + rate*r.Time.Sub(began).Seconds(); float64(i+1) > allowed {
			t.Fatalf("%d requests came within %v, when %.1f were allowed", i+1, r.Time.Sub(began), allowed)
		}
	}
	t.Logf("%d requests in %v", len(seen), time.Since(began))
	g.awaitIdle(t)
}

func keepTokens(t *testing.T, g *gateway) {
	const burst, rate, enough = 10_000, 5_000, 350 // of some 60 tokens
	g.configure(t, "stopIteration", `{"upstreams": [{"name": "tokens", "budget": {"tokens": 10000, "window": "2s"}}]}`)
	wantServed(t, g.send(t, ask{sim: "tokens=50"})) // so that there is something to expect
	seen, began := g.crowd(t, 64, enough, ask{sim: "tokens=50 ttft=5ms"})
	used := 0
	for _, r := range seen {
		used += r.PromptTokens + r.Tokens
		// What runs was expected to use a little more or less than it does.
		if allowed := 1.05 * (burst + rate*r.Time.Sub(began).Seconds()); float64(used) > allowed {
			t.Fatalf("%d tokens went within %v, when %.0f were allowed", used, r.Time.Sub(began), allowed)
		}
	}
	if used < burst*3/2 {
		t.Errorf("%d tokens went, want more than the burst: else nothing was held back", used)
	}
	t.Logf("%d tokens of %d requests in %v", used, len(seen), time.Since(began))
	g.awaitIdle(t)
}

func heedUpstream(t *testing.T, g *gateway) {
	configure := func(t *testing.T, name, budget string) {
		g.configure(t, "stopIteration", fmt.Sprintf(`{"upstreams": [{"name": %q, "budget": %s}]}`, name, budget))
	}
	t.Run("retry-after of a 429 stops all for as long", func(t *testing.T) {
		configure(t, "retry", `{"requests": 1000, "window": "1s"}`)
		wantHeldBack(t, g, 4, 2*time.Second, func() *call {
			told := g.do(t, ask{sim: "status=429 retry-after=2"})
			if told.status != http.StatusTooManyRequests || told.header.Get("x-spillway-reason") != "" {
				t.Fatalf("the server's 429 came as %v", told.answer)
			}
			return told
		})
	})
	telling := func(t *testing.T, headers ...string) *call {
		told := g.send(t, ask{headers: headers})
		wantServed(t, told)
		return told
	}
	t.Run("nothing remains until a reset", func(t *testing.T) {
		configure(t, "reset", `{"requests": 1000, "window": "1s"}`)
		wantHeldBack(t, g, 4, 1200*time.Millisecond, func() *call {
			return telling(t, "x-answer-x-ratelimit-remaining-requests", "0", "x-answer-x-ratelimit-reset-requests", "1s200ms")
		})
	})
	t.Run("what remains is all that goes", func(t *testing.T) {
		configure(t, "remaining", `{"requests": 20, "window": "40s"}`)
		again := false
		wantHeldBack(t, g, 1, 1900*time.Millisecond, func() *call { // the budget lets one go in two seconds
			told := telling(t, "x-answer-anthropic-ratelimit-requests-remaining", "2")
			for range 2 {
				if again { // the budget is as low as the last time has left it
					wantServed(t, g.send(t, ask{}))
				} else {
					wantAtOnce(t, g)
				}
			}
			again = true
			return told
		})
	})
	t.Run("what remains of tokens is all that goes", func(t *testing.T) {
		configure(t, "remaining-tokens", `{"tokens": 10000, "window": "10s"}`)
		wantHeldBack(t, g, 2, 30*time.Millisecond, func() *call { return telling(t, "x-answer-x-ratelimit-remaining-tokens", "20") })
	})
}

// wantHeldBack tells of it, and sends n requests at once, until one of them comes in time to wait: on a busy machine all may come when it is
// over. None may ever be answered before so much time has passed since the call that told of it began: the filter has heard of it later, so
// this holds however slow the machine is.
func wantHeldBack(t *testing.T, g *gateway, n int, least time.Duration, tell func() *call) {
	t.Helper()
	g.until(t, "a request waits", func() bool { return heldBack(t, g, n, least, tell()) })
}

func heldBack(t *testing.T, g *gateway, n int, least time.Duration, told *call) (waited bool) {
	t.Helper()
	calls := make([]*call, n)
	for i := range calls {
		calls[i] = g.send(t, ask{})
	}
	wantServed(t, calls...)
	for i, r := range g.logs(t, calls...) {
		if after := calls[i].ended.Sub(told.began); after < least {
			t.Errorf("it went after %v, want %v: %v", after, least, r)
		}
		waited = waited || r.Text("decision") == "QUEUED" && r.Text("gate") == "queue"
	}
	return waited || t.Failed()
}

func wantAtOnce(t *testing.T, g *gateway) {
	t.Helper()
	c := g.send(t, ask{})
	wantServed(t, c)
	g.logs(t, c)[0].Want(t, map[string]string{"decision": "ALLOWED", "gate": ""})
}
