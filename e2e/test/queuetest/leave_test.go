package queuetest

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

const leaveConfig = `{
	"limits": [{"name": "few", "per": ["user"], "unit": "requests", "quantity": 50, "window": "720h"}],
	"upstreams": [{"name": "leave", "concurrency": {"max": 1}}]
}`

func leave(t *testing.T, g *gateway) {
	g.holds(t, leaveConfig, func(t *testing.T) {
		t.Run("while waiting", func(t *testing.T) { leaveQueue(t, g) })
		t.Run("in flight", func(t *testing.T) { leaveFlight(t, g) })
		t.Run("many at once", func(t *testing.T) { leaveInCrowd(t, g) })
	})
}

// A client that leaves the queue makes room at once, was never here for the server, and pays nothing.
func leaveQueue(t *testing.T, g *gateway) {
	user := t.Name()
	busy := g.occupy(t, ask{user: user + "/busy"})
	var calls []*call
	for range 5 {
		calls = append(calls, g.enqueue(t, ask{user: user}))
	}
	active := g.active()
	gone := []*call{calls[0], calls[2], calls[4]}
	for _, c := range gone {
		c.cancel()
	}
	harness.Await(t, patience, "Envoy has let go of those who left", func() bool { return g.active() == active-uint64(len(gone)) })
	g.awaitMetric(t, 2, "spillway_queue_depth")
	for _, r := range g.logs(t, gone...) {
		r.Want(t, map[string]string{"decision": "CANCELLED", "gate": "", "reason": "", "status": "0"})
		if r.Text("queue_ms") == "" {
			t.Errorf("the access log doesn't say how long it waited: %v", r)
		}
	}
	busy.cancel()
	wantServed(t, calls[1], calls[3])
	g.wantUnseen(t, calls...)
	c := g.do(t, ask{user: user})
	if left := c.header.Get("x-ratelimit-remaining-requests"); left != "47" {
		t.Errorf("%s of 50 requests are left after 3 that were served and 3 that left, want 47", left)
	}
	g.awaitIdle(t)
}

// A client that leaves in flight frees its slot.
func leaveFlight(t *testing.T, g *gateway) {
	for _, a := range []ask{{sim: "hang=forever"}, {stream: true, sim: "tokens=1000 itl=50ms"}} {
		a.user = t.Name()
		running := g.send(t, a)
		g.awaitSeen(t, running)
		next := g.enqueue(t, ask{user: t.Name()})
		running.cancel()
		wantServed(t, next) // or it would wait for ever: the worker lives, and its slots with it
	}
	g.awaitIdle(t)
}

// However leaving and being served meet: who was not admitted is not seen, and all others are served.
func leaveInCrowd(t *testing.T, g *gateway) {
	const crowd = 60
	users := func(i int) string { return fmt.Sprint(t.Name(), i%10) }
	busy := g.occupy(t, ask{user: "busy" + t.Name()})
	before := g.active()
	var calls []*call
	for i := range crowd {
		calls = append(calls, g.send(t, ask{user: users(i), sim: "ttft=3ms", stream: i%3 == 0}))
	}
	harness.Await(t, patience, "all wait", func() bool { return g.active() == before+crowd })
	gone := slices.Clone(calls)
	rand.Shuffle(crowd, func(i, j int) { gone[i], gone[j] = gone[j], gone[i] })
	gone, stay := gone[:crowd/2], gone[crowd/2:]
	busy.cancel()
	for _, c := range gone {
		c.cancel()
		time.Sleep(time.Duration(rand.IntN(6)) * time.Millisecond) // so that some are being served just then
	}
	wantServed(t, stay...)
	g.wantUnseen(t, calls...)
	g.awaitIdle(t)
	if n := g.sim.Stats().MaxRunning; n > 1 && g.hold != harness.HoldNone {
		t.Logf("the server had %d requests at once", n) // the one that has left is a moment longer there than here
	}
	for i := range 10 {
		if c := g.do(t, ask{user: users(i)}); c.status != http.StatusOK {
			t.Errorf("after the crowd: %v", c.answer)
		}
	}
}

// Upstreams are told apart by the model, which is in the body. Where headers can't be held for that, the server sees the
// headers of a request that waits, or is refused, but never the body.
func byModel(t *testing.T, g *gateway) {
	const config = `{"models": {"aliases": {"nick": "one"}}, "upstreams": [
		{"name": "one", "models": ["one*"], "concurrency": {"max": 1}, "queue": {"maxWait": {"low": "300ms"}}},
		{"name": "two", "models": ["two*"], "concurrency": {"max": 1}, "queue": {"max": 0}}]}`
	g.holds(t, config, func(t *testing.T) {
		busyOne, busyTwo := g.occupy(t, ask{model: "one-a"}), g.occupy(t, ask{model: "two", path: embeddingsPath})
		wantServed(t, g.send(t, ask{model: "three"}))
		waiting := g.enqueue(t, ask{model: "nick/large", priority: "high"})
		late := g.send(t, ask{model: "one-b", priority: "low", stream: true})
		wantRefused(t, late, http.StatusTooManyRequests, "queue/timeout", "for upstream one, as long")
		full := g.send(t, ask{model: "two-b", path: messagesPath, priority: "urgent"})
		wantRefused(t, full, http.StatusTooManyRequests, "queue/shed", "at upstream two")
		if g.hold == harness.HoldNone {
			wantCutShort(t, g, late, full)
		} else {
			g.wantUnseen(t, late, full)
			if g.seen(waiting) {
				t.Error("the server saw a waiting request")
			}
		}
		busyOne.cancel()
		busyTwo.cancel()
		wantServed(t, waiting)
		g.awaitIdle(t)
	})
}

// wantCutShort checks that the server saw no bodies of calls.
func wantCutShort(t *testing.T, g *gateway, calls ...*call) {
	t.Helper()
	harness.Await(t, patience, "the server has let go of requests that were refused", func() bool {
		return !slices.ContainsFunc(g.sim.Requests(), func(r llmsim.Request) bool { return r.Outcome == llmsim.InFlight && isOf(r, calls) })
	})
	for _, r := range g.sim.Requests() {
		if isOf(r, calls) && (r.Outcome != llmsim.BodyAborted || r.BodyBytes > 0) {
			t.Errorf("the server saw %d bytes of the body of a refused request, which was %s there", r.BodyBytes, r.Outcome)
		}
	}
}

func isOf(r llmsim.Request, calls []*call) bool {
	return slices.ContainsFunc(calls, func(c *call) bool { return r.Headers["traceparent"] == c.id })
}
