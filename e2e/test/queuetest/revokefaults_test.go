package queuetest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// What can go wrong while low streams are ended for urgent requests: another configuration comes, or a worker dies.

// revoking is the configuration of an upstream with two slots, which takes low streams for urgent requests, or doesn't.
func revoking(name string, revoke bool) string {
	return fmt.Sprintf(`[{"name": %q, "models": ["llama"], "concurrency": {"max": 2}, "queue": {"revoke": %v, "maxWait": {"low": "10m"}}}],
		"priority": {"trust": [{}]}, %s`, name, revoke, surface)
}

// lows fills both slots with low streams of a client.
func (g *gateway) lows(t *testing.T, client *http.Client) (low []*call) {
	for range 2 {
		low = append(low, g.sendWith(t, client, ask{priority: "low", stream: true, sim: endless}))
		g.awaitSeen(t, low[len(low)-1])
	}
	return low
}

// ended is how many streams of an upstream were ended by the metrics.
func (g *gateway) ended(upstream string) float64 {
	return g.metric("spillway_revoked_total", "upstream", upstream)
}

// wantEnded wants metrics and status to say that so many streams were ended.
func (g *gateway) wantEnded(t *testing.T, upstream string, n int) {
	t.Helper()
	g.awaitMetric(t, float64(n), "spillway_revoked_total", "upstream", upstream)
	var is struct {
		Upstreams []struct {
			Name  string
			Queue struct {
				Revoked     *int
				LastTrigger *struct{ Reason string }
			}
		}
	}
	harness.Await(t, patience, fmt.Sprint("the status says that ", n, " streams were ended"), func() bool {
		if err := json.Unmarshal([]byte(g.admin(t, http.MethodGet, "status", "")), &is); err != nil || len(is.Upstreams) != 1 || is.Upstreams[0].Name != upstream {
			return false
		}
		q := is.Upstreams[0].Queue
		return q.Revoked != nil && *q.Revoked == n && (n == 0) == (q.LastTrigger == nil) && (n == 0 || q.LastTrigger.Reason == "revoked")
	})
}

// wantSlots wants both slots to be free, whoever asks.
func (g *gateway) wantSlots(t *testing.T, running ...*call) {
	t.Helper()
	for _, c := range running {
		c.cancel()
		<-c.done
	}
	g.awaitIdle(t)
	again := []*call{g.occupy(t, ask{}), g.occupy(t, ask{})}
	for _, c := range again {
		c.cancel()
	}
	g.awaitIdle(t)
}

// A stream that began under one configuration is ended for a request of the next one, as long as that wants it, too.
func revokeAcross(t *testing.T, g *gateway) {
	g.reconfigured(t, "100011", revoking("across", true))
	low := g.lows(t, g.Client)
	g.reconfigured(t, "100012", revoking("across", true))
	wantServed(t, g.send(t, ask{priority: "urgent"}))
	g.wantEnded(t, "across", 1)
	if harness.Await(t, patience, "one has ended", func() bool { return low[0].over() || low[1].over() }); low[1].over() {
		low[0], low[1] = low[1], low[0]
	}
	told := g.metric("spillway_revoked_total", "upstream", "across", "status", "told") == 1 // else no piece came in time
	if body := string(low[0].wait(t).body); low[0].err == nil || strings.HasSuffix(body, endedForUrgent) != told || low[1].over() {
		t.Errorf("of two streams one saw %v, and the other one has ended: %v", low[0].answer, low[1].over())
	}
	r := g.logs(t, low[0])[0]
	if r.Want(t, map[string]string{"reason": "revoked"}); r.Text("completion_tokens") == "" || r.Text("completion_tokens") == "0" {
		t.Errorf("it was charged %s tokens", r.Text("completion_tokens"))
	}
	g.reconfigured(t, "100013", revoking("across", false))
	low[0] = g.send(t, ask{priority: "low", stream: true, sim: endless})
	g.awaitSeen(t, low[0])
	urgent := g.enqueue(t, ask{priority: "urgent"})
	g.awaitMetric(t, 1, "spillway_queue_depth", "upstream", "across")
	low[0].cancel()
	wantServed(t, urgent)
	g.wantEnded(t, "across", 1)
	g.wantSlots(t, low[1])
}

// apart gives two clients that each keep to a worker, and not to the same one.
func (g *gateway) apart(t *testing.T) (one, other *http.Client) {
	t.Helper()
	taken := func() map[string]uint64 {
		all := map[string]uint64{}
		for name, n := range g.Stats("listener.") {
			if _, worker, is := strings.Cut(name, ".worker_"); is && strings.HasSuffix(worker, ".downstream_cx_total") {
				all[worker] += n
			}
		}
		return all
	}
	first := ""
	for {
		before := taken()
		client := oneConnection(t, g)
		var in []string
		for worker, n := range taken() {
			if n > before[worker] {
				in = append(in, worker)
			}
		}
		switch {
		case len(in) != 1: // somebody else has connected
		case one == nil:
			one, first = client, in[0]
		case in[0] != first:
			return one, client
		}
	}
}

// die has the VM of a client's worker die.
func (g *gateway) die(t *testing.T, client *http.Client) {
	t.Helper()
	if c := g.sendWith(t, client, ask{model: "ungoverned", headers: []string{"x-spillway-trap", "die"}}).wait(t); c.status != http.StatusServiceUnavailable {
		t.Fatalf("the VM did not die: %v, %v", c.answer, c.err)
	}
}

// The worker dies whose low streams were to end: nobody can end them any more, and the urgent requests have their slots when it counts as dead.
func lowsDie(t *testing.T, g *gateway) {
	g.reconfigured(t, "100014", revoking("lows-die", true))
	one, other := g.apart(t)
	low := g.lows(t, one)
	reloads := g.Stats(vmReloads)[vmReloads]
	g.die(t, one)
	wantServed(t, g.sendWith(t, other, ask{priority: "urgent"}), g.sendWith(t, other, ask{priority: "urgent"}))
	awaitRevival(t, g, reloads)
	g.wantEnded(t, "lows-die", 0)
	g.wantSlots(t, low...)
}

// The worker dies whose urgent requests wait: no more streams end than there were of these, and what is left of them goes on.
func urgentDies(t *testing.T, g *gateway) {
	g.reconfigured(t, "100015", revoking("urgent-dies", true))
	one, other := g.apart(t)
	low := g.lows(t, one)
	reloads := g.Stats(vmReloads)[vmReloads]
	urgent := g.sendWith(t, other, ask{priority: "urgent", sim: "hang=forever"}) // it waits for a slot, has one, or hasn't come yet
	g.die(t, other)
	urgent.cancel()
	awaitRevival(t, g, reloads)
	g.awaitMetric(t, 0, "spillway_queue_depth", "upstream", "urgent-dies")
	var ended float64
	harness.Await(t, patience, "whose stream was ended knows it", func() bool {
		ended = g.ended("urgent-dies")
		return (low[0].over() || low[1].over()) == (ended > 0)
	})
	if ended > 1 || low[0].over() && low[1].over() {
		t.Errorf("%v streams were ended for one request", ended)
	}
	wantServed(t, g.send(t, ask{priority: "urgent"}), g.send(t, ask{priority: "urgent"}), g.send(t, ask{priority: "urgent"}))
	g.wantSlots(t, low...)
	if ended = g.ended("urgent-dies"); ended > 4 {
		t.Errorf("%v streams were ended for four requests", ended)
	}
	g.awaitMetric(t, 0, "spillway_errors_total")
}
