package queuetest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

func rank(priority string) int {
	return slices.Index([]string{"LOW", "NORMAL", "HIGH", "URGENT"}, label(priority))
}

// label is a priority as metrics and the access log have it. Nobody's wish is normal.
func label(priority string) string {
	if priority == "" {
		return "NORMAL"
	}
	return strings.ToUpper(priority)
}

func serveInOrder(t *testing.T, g *gateway) {
	g.holds(t, `{"upstreams": [{"name": "order", "concurrency": {"max": 1}, "queue": {"maxWait": {"low": "10m", "normal": "10m", "high": "10m", "urgent": "10m"}}}]}`, func(t *testing.T) {
		queued := g.metric("spillway_requests_total", "decision", "QUEUED", "gate", "queue")
		waits := g.Sum("spillway_queue_wait_milliseconds_count", "priority", "HIGH")
		busy := g.occupy(t, ask{user: "first"})
		var calls []*call
		for range 3 {
			for _, p := range []string{"low", "", "High", "urgent", "LOW", "normal", "HIGH", "Urgent"} {
				calls = append(calls, g.enqueue(t, ask{user: "kim", priority: p, stream: p == "High"}))
			}
		}
		for _, p := range []string{"LOW", "NORMAL", "HIGH", "URGENT"} {
			g.awaitMetric(t, 6, "spillway_queue_depth", "priority", p)
		}
		g.awaitMetric(t, 1, "spillway_inflight")
		if depth, inFlight := g.Sum("spillway_queue_depth", "priority", "LOW"), g.Sum("spillway_inflight"); depth != 6 || inFlight != 1 {
			t.Errorf("Prometheus gets %v that wait and %v in flight, want 6 and 1", depth, inFlight)
		}
		if seen := g.order(calls); len(seen) > 0 {
			t.Fatalf("%d requests came to a server whose only slot is taken", len(seen))
		}
		busy.cancel()
		wantServed(t, calls...)
		wantOrder(t, g, calls)
		for i, r := range g.logs(t, calls...) {
			r.Want(t, map[string]string{"decision": "QUEUED", "gate": "queue", "reason": "", "priority": label(calls[i].priority)})
			if ms, err := strconv.Atoi(r.Text("queue_ms")); err != nil || ms < 1 || float64(ms) > calls[i].took.Seconds()*1000+1 {
				t.Errorf("queue_ms is %q of a request that took %v", r.Text("queue_ms"), calls[i].took)
			}
		}
		g.awaitMetric(t, queued+float64(len(calls)), "spillway_requests_total", "decision", "QUEUED", "gate", "queue")
		harness.Await(t, patience, "the histogram has all waits", func() bool {
			return g.Sum("spillway_queue_wait_milliseconds_count", "priority", "HIGH") == waits+6
		})
		g.awaitIdle(t)
		if c := g.do(t, ask{user: "kim", priority: "no such priority"}); c.status != http.StatusOK {
			t.Errorf("an unknown priority: %v", c.answer)
		}
	})
}

// wantOrder checks that calls were served by priority; and with one worker, inside a priority by arrival. Several don't
// wait for each other for the difference of a request.
func wantOrder(t *testing.T, g *gateway, calls []*call) {
	t.Helper()
	want := slices.Clone(calls)
	slices.SortStableFunc(want, func(a, b *call) int { return rank(b.priority) - rank(a.priority) })
	got := g.order(calls)
	if len(got) != len(want) {
		t.Fatalf("the server saw %d requests, want %d", len(got), len(want))
	}
	for i := range got {
		passed := slices.Index(want, got[i]) - i
		if label(got[i].priority) != label(want[i].priority) || g.workers == 1 && passed != 0 {
			t.Errorf("served as number %d: the one of priority %q that was to be number %d", i, got[i].priority, i+passed)
		}
	}
}
