package queuetest

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

func refuse(t *testing.T, g *gateway) {
	t.Run("full", func(t *testing.T) { refuseFull(t, g) })
	t.Run("timeout", func(t *testing.T) { refuseLate(t, g) })
	t.Run("dropped", func(t *testing.T) { dropLowest(t, g) })
	t.Run("passthrough", func(t *testing.T) { passFull(t, g) })
	t.Run("bypass", func(t *testing.T) { bypassFull(t, g) })
	t.Run("shed", func(t *testing.T) { shed(t, g) })
	t.Run("deadline", func(t *testing.T) { refuseInVain(t, g) })
	t.Run("patience", func(t *testing.T) { refuseImpatient(t, g) })
	t.Run("bytes", func(t *testing.T) { refuseBytes(t, g) })
	t.Run("learned slots", func(t *testing.T) { learnSlots(t, g) })
}

// At whatever worker they come, as many wait as may, and not one more.
func refuseFull(t *testing.T, g *gateway) {
	const room, more = 4, 8
	g.holds(t, fmt.Sprintf(`{"upstreams": [{"name": "full", "concurrency": {"max": 1}, "queue": {"max": %d}}]}`, room), func(t *testing.T) {
		refused := g.metric("spillway_requests_total", "decision", "REJECTED", "gate", "queue", "priority", "URGENT")
		busy := g.occupy(t, ask{})
		var waiting []*call
		for range room {
			waiting = append(waiting, g.enqueue(t, ask{user: "kim"}))
		}
		g.awaitMetric(t, room, "spillway_queue_depth")
		var late []*call
		for i := range more {
			late = append(late, g.send(t, ask{priority: "urgent", path: []string{chatPath, messagesPath}[i%2]}))
		}
		for _, c := range late {
			wantRefused(t, c, http.StatusServiceUnavailable, "queue/full", "The queue for upstream full is full.")
		}
		for _, r := range g.logs(t, late...) {
			r.Want(t, map[string]string{"decision": "REJECTED", "gate": "queue", "reason": "full", "priority": "URGENT", "status": "503"})
		}
		g.awaitMetric(t, refused+more, "spillway_requests_total", "decision", "REJECTED", "gate", "queue", "priority", "URGENT")
		busy.cancel()
		wantServed(t, waiting...)
		g.wantUnseen(t, append(late, waiting...)...)
		g.awaitIdle(t)
	})
}

func refuseLate(t *testing.T, g *gateway) {
	const wait = 300 * time.Millisecond
	g.holds(t, fmt.Sprintf(`{"upstreams": [{"name": "late", "concurrency": {"max": 1}, "queue": {"maxWait": {"low": "%v"}}}]}`, wait), func(t *testing.T) {
		busy := g.occupy(t, ask{})
		patient := g.enqueue(t, ask{priority: "normal"})
		var low []*call
		for _, path := range []string{chatPath, messagesPath, chatPath, messagesPath, chatPath} {
			low = append(low, g.send(t, ask{path: path, priority: "low"}))
		}
		for _, c := range low {
			wantRefused(t, c, http.StatusTooManyRequests, "queue/timeout", "ms for upstream late, as long as a request of priority LOW may.")
			if c.took < wait {
				t.Errorf("it took %v, want %v and what the machine adds", c.took, wait)
			}
		}
		if patient.over() {
			t.Errorf("a request of another priority did not wait on: %v", patient.answer)
		}
		busy.cancel()
		wantServed(t, patient)
		for _, r := range g.logs(t, low...) {
			r.Want(t, map[string]string{"decision": "REJECTED", "gate": "queue", "reason": "timeout", "priority": "LOW", "status": "429"})
		}
		g.wantUnseen(t, append(low, patient)...)
		g.awaitIdle(t)
	})
}

// A higher priority takes the place of the newest of the lowest, also if that waits in another worker.
func dropLowest(t *testing.T, g *gateway) {
	const room = 6
	g.configure(t, "stopIteration", fmt.Sprintf(`{"upstreams": [{"name": "drop", "concurrency": {"max": 1},
		"queue": {"max": %d, "whenFull": "dropLowest", "maxWait": {"low": "10m", "high": "10m"}}}]}`, room))
	busy := g.occupy(t, ask{})
	var low, high []*call
	for range room {
		low = append(low, g.enqueue(t, ask{priority: "low", user: "kim"}))
	}
	g.awaitMetric(t, room, "spillway_queue_depth")
	wantRefused(t, g.send(t, ask{priority: "low", user: "kim"}), http.StatusServiceUnavailable, "queue/full", "is full")
	for i := range room {
		high = append(high, g.send(t, ask{priority: "high", user: "lena"}))
		if g.workers == 1 { // the newest goes first
			wantRefused(t, low[room-1-i], http.StatusServiceUnavailable, "queue/dropped", "Made room for a request that goes before it, after waiting")
		}
	}
	for _, c := range low {
		wantRefused(t, c, http.StatusServiceUnavailable, "queue/dropped", "Made room for a request that goes before it, after waiting")
	}
	wantRefused(t, g.send(t, ask{priority: "high", user: "lena"}), http.StatusServiceUnavailable, "queue/full", "is full")
	busy.cancel()
	wantServed(t, high...)
	for _, r := range g.logs(t, low...) {
		r.Want(t, map[string]string{"decision": "REJECTED", "gate": "queue", "reason": "dropped", "priority": "LOW"})
	}
	g.wantUnseen(t, append(low, high...)...)
	g.awaitIdle(t)
}

// Past a full queue a request waits like any other, for slots and budget, as long as its priority may.
func passFull(t *testing.T, g *gateway) {
	g.configure(t, "stopIteration", `{"upstreams": [{"name": "pass", "concurrency": {"max": 1},
		"queue": {"max": 1, "whenFull": "passthrough", "maxWait": {"low": "300ms"}}}]}`)
	past := g.metric("spillway_passthrough_total", "upstream", "pass", "reason", "queue_full")
	busy := g.occupy(t, ask{})
	waiting := g.enqueue(t, ask{})
	g.awaitMetric(t, 1, "spillway_queue_depth")
	other := g.enqueue(t, ask{})
	low := g.send(t, ask{priority: "low"})
	wantRefused(t, low, http.StatusTooManyRequests, "queue/timeout", "upstream pass, as long as a request of priority LOW may.")
	if waiting.over() || other.over() {
		t.Errorf("a request went on whose slot is taken: %v, %v", waiting.answer, other.answer)
	}
	busy.cancel()
	wantServed(t, waiting, other)
	g.logs(t, other)[0].Want(t, map[string]string{"decision": "QUEUED", "gate": "queue", "reason": "queue_full"})
	g.wantUnseen(t, low)
	g.awaitMetric(t, past+2, "spillway_passthrough_total", "upstream", "pass", "reason", "queue_full")
	g.awaitIdle(t)
}

// A bypass is what it says, and counted.
func bypassFull(t *testing.T, g *gateway) {
	g.configure(t, "stopIteration", `{"upstreams": [{"name": "bypass", "concurrency": {"max": 1}, "queue": {"max": 1, "whenFull": "bypass"}}]}`)
	past := g.metric("spillway_passthrough_total", "upstream", "bypass", "reason", "bypassed")
	busy := g.occupy(t, ask{})
	waiting := g.enqueue(t, ask{})
	g.awaitMetric(t, 1, "spillway_queue_depth")
	for range 3 {
		c := g.do(t, ask{priority: "low"})
		wantServed(t, c)
		g.logs(t, c)[0].Want(t, map[string]string{"decision": "ALLOWED", "gate": "queue", "reason": "bypassed"})
	}
	if waiting.over() {
		t.Errorf("a request went on whose slot is taken: %v", waiting.answer)
	}
	g.awaitMetric(t, past+3, "spillway_passthrough_total", "upstream", "bypass", "reason", "bypassed")
	busy.cancel()
	wantServed(t, waiting)
	g.awaitIdle(t)
}

// Without a queue each priority has its share of the slots, so that low is shed first.
func shed(t *testing.T, g *gateway) {
	g.configure(t, "stopIteration", `{"upstreams": [{"name": "shed", "concurrency": {"max": 20}, "queue": {"max": 0}}]}`)
	var busy []*call
	for _, share := range []struct {
		priority string
		slots    int // that it and the lower ones may take
	}{{"low", 16}, {"normal", 18}, {"high", 19}, {"urgent", 20}} {
		for len(busy) < share.slots {
			busy = append(busy, g.occupy(t, ask{priority: share.priority}))
		}
		c := g.send(t, ask{priority: share.priority})
		wantRefused(t, c, http.StatusTooManyRequests, "queue/shed", "no room at upstream shed for a request of priority "+label(share.priority))
		g.logs(t, c)[0].Want(t, map[string]string{"decision": "REJECTED", "gate": "queue", "reason": "shed"})
		g.wantUnseen(t, c)
	}
	for _, c := range busy {
		c.cancel()
	}
	g.awaitIdle(t)
}
