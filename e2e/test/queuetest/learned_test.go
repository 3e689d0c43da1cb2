package queuetest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
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

// Three quarters of the server's slots go, while more is asked than it can do, and come back: the slots follow, and no request fails. An answer takes
// two seconds, so that what the machine adds is little beside it; where it has learned that as usual all the same, it is tried anew. That there are more
// again isn't awaited, since a busy machine looks like a queue; `build/bench -slots=halves` shows it.
func followCapacity(t *testing.T, g *gateway) {
	const most, few, tries = 12, 3, 5
	t.Cleanup(func() { g.sim.SetSlots(0) })
	for try := range tries {
		if g.follows(t, fmt.Sprint("shrinks", try), most, few) {
			return
		}
	}
	t.Errorf("%d times there were more slots than the server has", tries)
}

// follows says whether there are hardly more slots than the server has some time after most of these have gone.
func (g *gateway) follows(t *testing.T, upstream string, most, few int) bool {
	t.Helper()
	g.sim.SetSlots(most)
	g.configure(t, "stopIteration", `{"upstreams": [{"name": "`+upstream+`", "concurrency": {"max": "auto", "limit": 64}, "queue": {"max": 200, "maxWait": {"normal": "30m"}}}]}`)
	before := g.sim.Stats().Completed
	stop := make(chan struct{})
	var asking sync.WaitGroup
	defer asking.Wait()
	defer g.sim.SetSlots(most)
	defer close(stop)
	for i := range 2 * most {
		asking.Go(func() {
			g.insist(t, ask{stream: true, sim: "ttft=2s tokens=2 itl=50ms", user: strconv.Itoa(i % 9)}, stop)
		})
	}
	harness.Await(t, patience, "answers come, of all that it has slots for", func() bool { return g.sim.Stats().Completed-before >= 16 })
	g.sim.SetSlots(few)
	return harness.Comes(patience/6, func() bool {
		slots := int(g.metric("spillway_slots", "upstream", upstream))
		return slots > 0 && slots <= few+2
	})
}

// In shadow mode nothing waits for learned slots, and the gauge says how many there would be.
func learnInShadow(t *testing.T, g *gateway) {
	g.configure(t, "stopIteration", `{"mode": "shadow", "upstreams": [{"name": "watched", "concurrency": {"max": "auto", "limit": 3}}]}`)
	var busy []*call
	for range 5 {
		busy = append(busy, g.occupy(t, ask{}))
	}
	g.awaitMetric(t, 3, "spillway_slots", "upstream", "watched")
	g.awaitMetric(t, 5, "spillway_inflight", "upstream", "watched")
	c := g.do(t, ask{})
	wantServed(t, c)
	g.logs(t, c)[0].Want(t, map[string]string{"decision": "SHADOW", "gate": "queue", "reason": "would_wait", "queue_ms": ""})
	for _, c := range busy {
		c.cancel()
	}
	g.awaitIdle(t)
}

// What was learned survives a new configuration: by it as many are in flight, where it begins with eight else.
func keepLearned(t *testing.T, g *gateway) {
	const upstreams = `[{"name": "kept", "models": ["llama"], "concurrency": {"max": "auto"}}]`
	g.reconfigured(t, "100011", upstreams)
	for range 3 {
		g.together(t, 4, ask{stream: true, sim: "ttft=10ms tokens=2"})
	}
	slots := func() int { return int(g.metric("spillway_slots", "upstream", "kept")) }
	harness.Await(t, patience, "the slots are fewer, since what took milliseconds takes seconds", func() bool {
		g.together(t, 8, ask{stream: true, sim: "ttft=2s tokens=2"})
		return slots() < 8
	})
	g.awaitIdle(t)
	learned := slots()
	g.reconfigured(t, "100012", upstreams)
	var busy []*call
	for range learned {
		busy = append(busy, g.occupy(t, ask{}))
	}
	waits := []*call{g.enqueue(t, ask{}), g.enqueue(t, ask{})}
	g.awaitMetric(t, 2, "spillway_queue_depth", "upstream", "kept")
	g.awaitMetric(t, float64(learned), "spillway_inflight", "upstream", "kept")
	for _, c := range waits {
		if g.seen(c) {
			t.Errorf("%s did not wait for one of %d slots", c.id, learned)
		}
		c.cancel()
	}
	for _, c := range busy {
		c.cancel()
	}
	g.awaitIdle(t)
}
