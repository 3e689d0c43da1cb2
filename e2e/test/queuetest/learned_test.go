package queuetest

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// A request waits no longer than it says that it can bear its first token to take; the others wait on.
func refuseInVain(t *testing.T, g *gateway) {
	const bears = 300 * time.Millisecond
	g.holds(t, `{"upstreams": [{"name": "vain", "concurrency": {"max": 1}, "queue": {"deadline": "slo"}}]}`, func(t *testing.T) {
		busy := g.occupy(t, ask{})
		patient := g.enqueue(t, ask{})
		hurried := g.send(t, ask{headers: []string{"x-slo-ttft-ms", "300"}})
		if strings.Contains(string(hurried.wait(t).body), "could not have its turn in time") { // the machine is so busy that this is seen when it comes
			wantRefused(t, hurried, http.StatusTooManyRequests, "queue/late", "could not have its turn in time.")
		} else if wantRefused(t, hurried, http.StatusTooManyRequests, "queue/late", "could not be answered any more within the time that it asks for."); hurried.took < bears {
			t.Errorf("it took %v, want %v and what the machine adds", hurried.took, bears)
		}
		if patient.over() {
			t.Errorf("the other did not wait on: %v", patient.answer)
		}
		busy.cancel()
		wantServed(t, patient)
		for _, r := range g.logs(t, hurried) {
			r.Want(t, map[string]string{"decision": "REJECTED", "gate": "queue", "reason": "late", "status": "429"})
		}
		g.wantUnseen(t, hurried)
		g.awaitIdle(t)
	})
}

// Slots that are learned are slots: over all workers no more are in flight.
func learnSlots(t *testing.T, g *gateway) {
	g.holds(t, `{"upstreams": [{"name": "learned", "concurrency": {"max": "auto", "limit": 3}}]}`, func(t *testing.T) {
		g.awaitMetric(t, 3, "spillway_slots") // eight are what it begins with, and three the limit
		var busy []*call
		for range 3 {
			busy = append(busy, g.occupy(t, ask{}))
		}
		var waiting []*call
		for range 4 {
			waiting = append(waiting, g.enqueue(t, ask{stream: true, sim: "tokens=3"}))
		}
		g.awaitMetric(t, 4, "spillway_queue_depth")
		g.awaitMetric(t, 3, "spillway_inflight")
		for _, c := range waiting {
			if c.over() || g.seen(c) {
				t.Errorf("%s did not wait", c.id)
			}
		}
		for _, c := range busy {
			c.cancel()
		}
		wantServed(t, waiting...)
		g.awaitIdle(t)
	})
}
