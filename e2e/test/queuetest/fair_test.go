package queuetest

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
)

const fairConfig = `{"upstreams": [{"name": %q, "concurrency": {"max": 4}, "queue": {"max": 2000, "maxWait": {"normal": "10m"}}}]}`

func shareFairly(t *testing.T, g *gateway) {
	t.Run("equal requests", func(t *testing.T) { shareBetween(t, g, "equal", 50) })
	t.Run("larger requests", func(t *testing.T) { shareBetween(t, g, "larger", 200) })
}

// One user has ten times as much waiting as each of nine others, maybe of larger requests: while all have something waiting,
// all get the same. Jain's index of what each got is 1 if it is equal, and 1/n if one gets everything. All of it waits before
// the first one goes, so it does not matter how quick server and clients are.
func shareBetween(t *testing.T, g *gateway, name string, tokens int) {
	const others, each, times, judged = 9, 20, 10, 100
	g.configure(t, "stopIteration", fmt.Sprintf(fairConfig, name))
	heavy := ask{user: name + "heavy", sim: fmt.Sprintf("tokens=%d ttft=10ms", tokens)}
	light := func(i int) ask { return ask{user: fmt.Sprint(name, "light", i), sim: "tokens=50 ttft=10ms"} }
	g.together(t, 8*g.workers, heavy) // so that each worker knows how much it asks for
	for i := range others {
		g.together(t, 2*g.workers, light(i))
	}
	g.sim.Reset()
	var busy []*call
	for range 4 {
		busy = append(busy, g.occupy(t, ask{user: "busy", priority: "urgent"}))
	}
	var calls []*call
	for range each * times {
		calls = append(calls, g.send(t, heavy))
	}
	for i := range others {
		for range each {
			calls = append(calls, g.send(t, light(i)))
		}
	}
	g.awaitMetric(t, float64(len(calls)), "spillway_queue_depth")
	for _, c := range busy {
		c.cancel()
	}
	wantServed(t, calls...)
	got := map[string]float64{}
	for _, r := range g.sim.Requests()[len(busy):][:judged] {
		got[r.Headers["x-user-id"]] += float64(r.PromptTokens + r.Tokens)
	}
	wantEqual(t, got, others+1)
	g.awaitIdle(t)
}

func wantEqual(t *testing.T, got map[string]float64, users int) {
	t.Helper()
	var sum, squares float64
	for _, tokens := range got {
		sum += tokens
		squares += tokens * tokens
	}
	index := sum * sum / float64(users) / squares
	t.Logf("Jain's index is %.3f: %v", index, got)
	if index < 0.95 {
		t.Errorf("Jain's index is %.3f, want 0.95", index)
	}
}

// together sends n requests at once, and waits for all.
func (g *gateway) together(t *testing.T, n int, a ask) {
	t.Helper()
	calls := make([]*call, n)
	for i := range calls {
		calls[i] = g.send(t, a)
	}
	wantServed(t, calls...)
}

// insist asks for the same again and again.
func (g *gateway) insist(t *testing.T, a ask, stop <-chan struct{}) {
	for {
		c := g.send(t, a)
		select {
		case <-c.done:
		case <-stop:
			c.cancel()
			<-c.done
			return
		}
		if c.err != nil || c.status != http.StatusOK {
			t.Errorf("%v, %v", c.answer, c.err)
			return
		}
	}
}

// In shadow mode all is measured and nothing waits.
func shadow(t *testing.T, g *gateway) {
	g.configure(t, "stopIteration", `{"mode": "shadow", "upstreams": [
		{"name": "shadow", "models": ["llama"], "concurrency": {"max": 1}, "queue": {"maxWait": {"low": "100ms"}}},
		{"name": "shed", "concurrency": {"max": 1}, "queue": {"max": 0}}]}`)
	for model, reason := range map[string]string{"llama": "would_wait", "other": "shed"} {
		busy := g.occupy(t, ask{model: model})
		for i := range 4 {
			c := g.do(t, ask{model: model, priority: []string{"low", "urgent"}[i%2]})
			wantServed(t, c)
			r := g.logs(t, c)[0]
			r.Want(t, map[string]string{"decision": "SHADOW", "gate": "queue", "reason": reason, "queue_ms": ""})
		}
		g.awaitMetric(t, 0, "spillway_queue_depth")
		g.awaitMetric(t, 1, "spillway_inflight")
		busy.cancel()
		g.awaitIdle(t)
		c := g.do(t, ask{model: model})
		g.logs(t, c)[0].Want(t, map[string]string{"decision": "ALLOWED", "gate": "", "status": strconv.Itoa(c.status)})
	}
}

// Of what a request asks, of bytes and of weights, too, shadow mode tells what would come of it; a stream is ended for nobody.
func shadowMore(t *testing.T, g *gateway) {
	g.configure(t, "stopIteration", `{"mode": "shadow", "priority": {"trust": [{}]}, "upstreams": [{"name": "shadow-more", "concurrency": {"max": 10, "weights": [{"models": ["giant"], "units": 8}]},
		"queue": {"maxBytes": 1000000, "revoke": true}}]}`)
	low := g.send(t, ask{model: "giant", priority: "low", stream: true, sim: endless})
	g.awaitSeen(t, low)
	for _, row := range []struct {
		ask
		decision, reason string
	}{
		{ask{}, "ALLOWED", ""}, // 9 of 10 units
		{ask{model: "giant"}, "SHADOW", "would_wait"},
		{ask{model: "giant", priority: "urgent"}, "SHADOW", "would_wait"},
		{ask{model: "giant", headers: []string{"x-spillway-max-wait", "5s"}}, "SHADOW", "would_wait"},
		{ask{model: "giant", headers: []string{"x-spillway-max-wait", "0"}}, "SHADOW", "no_wait"},
		{ask{model: "giant", headers: []string{"x-spillway-queue", "no"}}, "SHADOW", "no_wait"},
		{ask{model: "giant", headers: []string{"x-spillway-max-wait", "soon"}}, "SHADOW", "unreadable_wait"},
		{ask{model: "giant", more: 700_000}, "SHADOW", "request_too_large"},
	} {
		g.awaitMetric(t, 8, "spillway_inflight")
		c := g.do(t, row.ask)
		wantServed(t, c)
		g.logs(t, c)[0].Want(t, map[string]string{"decision": row.decision, "reason": row.reason, "queue_ms": ""})
	}
	g.awaitMetric(t, 0, "spillway_queue_depth")
	g.awaitMetric(t, 0, "spillway_revoked_total", "upstream", "shadow-more")
	if low.over() {
		t.Errorf("the stream has ended: %v", low.answer)
	}
	low.cancel()
	g.awaitIdle(t)
}
