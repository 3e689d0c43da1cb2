package queuetest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/harness"
	"github.com/spillway-proxy/spillway/e2e/llmsim"
)

func keepBudget(t *testing.T, g *gateway) {
	t.Run("requests", func(t *testing.T) { keepRequests(t, g) })
	t.Run("tokens", func(t *testing.T) { keepTokens(t, g) })
}

// crowd has so many clients ask one thing after another for a time, and gives what the server saw of them, and since when.
func (g *gateway) crowd(t *testing.T, clients int, duration time.Duration, a ask) (seen []llmsim.Request, began time.Time) {
	t.Helper()
	a.user = t.Name() // which is how the access log's ids begin
	began = time.Now()
	end := time.NewTimer(duration)
	defer end.Stop()
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range clients {
		all.Go(func() { g.insist(t, a, stop) })
	}
	<-end.C
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

// The n-th request may not come to the server before the budget has let n go; and nothing of the budget is left unused.
func keepRequests(t *testing.T, g *gateway) {
	const burst, rate, duration = 100, 50, 2500 * time.Millisecond
	g.configure(t, "stopIteration", `{"upstreams": [{"name": "requests", "budget": {"requests": 100, "window": "2s"}}]}`)
	seen, began := g.crowd(t, 64, duration, ask{})
	for i, r := range seen {
		if allowed := burst + rate*r.Time.Sub(began).Seconds(); float64(i+1) > allowed {
			t.Fatalf("%d requests came within %v, when %.1f were allowed", i+1, r.Time.Sub(began), allowed)
		}
	}
	if least := 0.9 * (burst + rate*duration.Seconds()); float64(len(seen)) < least {
		t.Errorf("%d requests came in %v, want %.0f and more", len(seen), duration, least)
	}
	t.Logf("%d requests in %v", len(seen), duration)
	g.awaitIdle(t)
}

func keepTokens(t *testing.T, g *gateway) {
	const burst, rate, duration = 10_000, 5_000, 3 * time.Second
	g.configure(t, "stopIteration", `{"upstreams": [{"name": "tokens", "budget": {"tokens": 10000, "window": "2s"}}]}`)
	wantServed(t, g.send(t, ask{sim: "tokens=50"})) // so that there is something to expect
	seen, began := g.crowd(t, 64, duration, ask{sim: "tokens=50 ttft=5ms"})
	used := 0
	for _, r := range seen {
		used += r.PromptTokens + r.Tokens
		// What runs was expected to use a little more or less than it does.
		if allowed := 1.05 * (burst + rate*r.Time.Sub(began).Seconds()); float64(used) > allowed {
			t.Fatalf("%d tokens went within %v, when %.0f were allowed", used, r.Time.Sub(began), allowed)
		}
	}
	if least := 0.85 * (burst + rate*duration.Seconds()); float64(used) < least {
		t.Errorf("%d tokens went in %v, want %.0f and more", used, duration, least)
	}
	t.Logf("%d tokens of %d requests in %v", used, len(seen), duration)
	g.awaitIdle(t)
}

func heedUpstream(t *testing.T, g *gateway) {
	configure := func(t *testing.T, name, budget string) {
		g.configure(t, "stopIteration", fmt.Sprintf(`{"upstreams": [{"name": %q, "budget": %s}]}`, name, budget))
	}
	t.Run("retry-after of a 429 stops all for as long", func(t *testing.T) {
		configure(t, "retry", `{"requests": 1000, "window": "1s"}`)
		told := g.do(t, ask{sim: "status=429 retry-after=2"})
		if told.status != http.StatusTooManyRequests || told.header.Get("x-spillway-reason") != "" {
			t.Fatalf("the server's 429 came as %v", told.answer)
		}
		wantHeldBack(t, g, 4, 1800*time.Millisecond)
	})
	t.Run("nothing remains until a reset", func(t *testing.T) {
		configure(t, "reset", `{"requests": 1000, "window": "1s"}`)
		wantServed(t, g.send(t, ask{headers: []string{
			"x-answer-x-ratelimit-remaining-requests", "0", "x-answer-x-ratelimit-reset-requests", "1s200ms"}}))
		wantHeldBack(t, g, 4, time.Second)
	})
	t.Run("what remains is all that goes", func(t *testing.T) {
		configure(t, "remaining", `{"requests": 20, "window": "40s"}`)
		wantServed(t, g.send(t, ask{headers: []string{"x-answer-anthropic-ratelimit-requests-remaining", "2"}}))
		wantAtOnce(t, g)
		wantAtOnce(t, g)
		wantHeldBack(t, g, 1, 500*time.Millisecond)
	})
	t.Run("what remains of tokens is all that goes", func(t *testing.T) {
		configure(t, "remaining-tokens", `{"tokens": 10000, "window": "10s"}`)
		wantServed(t, g.send(t, ask{headers: []string{"x-answer-x-ratelimit-remaining-tokens", "20"}}))
		wantHeldBack(t, g, 2, 30*time.Millisecond)
	})
}

// wantHeldBack sends n requests at once, which must wait for so long.
func wantHeldBack(t *testing.T, g *gateway, n int, least time.Duration) {
	t.Helper()
	calls := make([]*call, n)
	for i := range calls {
		calls[i] = g.send(t, ask{})
	}
	wantServed(t, calls...)
	for i, r := range g.logs(t, calls...) {
		wantRecord(t, r, map[string]string{"decision": "QUEUED", "gate": "queue"})
		if calls[i].took < least {
			t.Errorf("it went after %v, want %v", calls[i].took, least)
		}
	}
}

func wantAtOnce(t *testing.T, g *gateway) {
	t.Helper()
	c := g.send(t, ask{})
	wantServed(t, c)
	wantRecord(t, g.logs(t, c)[0], map[string]string{"decision": "ALLOWED", "gate": ""})
}
