package queuetest

import (
	"net/http"
	"strings"
	"testing"
)

// At whatever workers they come, large bodies wait as far as there is room for their bytes, and no further; what is small waits all the same.
func refuseBytes(t *testing.T, g *gateway) {
	const large = 700_000
	g.holds(t, `{"upstreams": [{"name": "bytes", "concurrency": {"max": 1}, "queue": {"max": 20, "maxBytes": 3000000}}]}`, func(t *testing.T) {
		busy := g.occupy(t, ask{})
		waiting := []*call{g.enqueue(t, ask{user: "kim", more: large}), g.enqueue(t, ask{user: "kim", more: large})}
		g.awaitMetric(t, 2, "spillway_queue_depth")
		if n := g.metric("spillway_queue_bytes"); n < 2*large || n > 2*large+1000 {
			t.Errorf("%v bytes wait, want twice %d", n, large)
		}
		var refused []*call
		for range 8 {
			refused = append(refused, g.send(t, ask{user: "kim", more: large}))
		}
		for _, c := range refused {
			wantRefused(t, c, http.StatusServiceUnavailable, "queue/full_bytes", "The queue for upstream bytes is full: too many bytes wait there for a body of this size.")
		}
		for range 4 {
			waiting = append(waiting, g.enqueue(t, ask{user: "lena", more: 10_000}))
		}
		busy.cancel()
		wantServed(t, waiting...)
		g.awaitMetric(t, 0, "spillway_queue_bytes")
		for _, r := range g.logs(t, refused...) {
			r.Want(t, map[string]string{"decision": "REJECTED", "gate": "queue", "reason": "full_bytes", "status": "503"})
		}
		g.wantUnseen(t, refused...)
		g.awaitIdle(t)
	})
	t.Run("one that can't wait", func(t *testing.T) {
		g.configure(t, "stopIteration", `{"upstreams": [{"name": "bytes", "concurrency": {"max": 1}, "queue": {"max": 20, "maxBytes": 1000000}}]}`)
		busy := g.occupy(t, ask{more: large}) // it needn't wait
		c := g.send(t, ask{more: large})
		c.wait(t)
		if c.status != http.StatusRequestEntityTooLarge || c.header.Get("x-spillway-reason") != "queue/request_too_large" || c.header.Get("x-should-retry") != "false" ||
			!strings.Contains(string(c.body), "where bodies of up to 500000 can. Send less.") {
			t.Errorf("%v", c.answer)
		}
		busy.cancel()
		g.awaitIdle(t)
	})
}
