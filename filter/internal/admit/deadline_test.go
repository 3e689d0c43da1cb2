package admit

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// With queue.deadline slo a request waits no longer than it says itself, though no latency gate is on; without, its word counts for nothing.
func TestAQueueThatKnowsDeadlines(t *testing.T) {
	for deadline, late := range map[string]bool{"slo": true, "maxWait": false, "none": false} {
		h := newHost(t, `{"requestHold":"stopIteration","upstreams":[{"name":"x","concurrency":{"max":1},"queue":{"deadline":"`+deadline+`"}}]}`, recordtest.NewMemory())
		runs := h.ask("ann")
		x := h.start("bob", false, [2]string{"x-slo-ttft-ms", "200"})
		x.body(chatBody, true)
		expect(t, deadline+": it waits", x.Waiting(), true)
		h.now += 190 * millisecond
		h.tick()
		expect(t, deadline+": in time", x.Waiting(), true)
		h.now += 20 * millisecond
		h.tick()
		expect(t, deadline+": refused", x.Refused(), late)
		if late {
			expect(t, "status", x.reply.Status, 429)
			expect(t, "reason", header(x.reply.Headers, "x-spillway-reason"), "queue/late")
			expect(t, "when to come back", header(x.reply.Headers, "retry-after") != "", true)
		}
		runs.answer(used(1, 1))
		if !late {
			x.answer(used(1, 1))
		} else {
			x.done()
		}
		h.tick()
		h.idle()
	}
}

// What the latency gate expects of a request is left to the upstream of what it can bear: it is refused when it can't be in time any more, not later.
func TestTheQueueLeavesTheUpstreamWhatIsExpected(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","upstreams":[{"name":"x","concurrency":{"max":1},"queue":{"deadline":"slo"},"latency":{"mode":"enforce","ttft":"5s"}}]}`, recordtest.NewMemory())
	for i := range 10 {
		h.streamed([]string{"ann", "bob", "cid"}[i%3]).stream(500*millisecond, millisecond)
	}
	runs := h.streamed("ann")
	x := h.start("bob", false, [2]string{"x-slo-ttft-ms", "900"})
	x.body(plainStream, true)
	expect(t, "it waits", x.Waiting(), true)
	if most := x.track.Most(); most < 400*time.Millisecond || most > 700*time.Millisecond {
		t.Fatalf("expected are %v, where all took 500 ms", most)
	}
	h.now = h.now.Add(900*time.Millisecond - x.track.Most() - 20*time.Millisecond)
	h.tick()
	expect(t, "it could still be in time", x.Waiting(), true)
	h.now += 30 * millisecond
	h.tick()
	expect(t, "refused", x.Refused(), true)
	expect(t, "reason", header(x.reply.Headers, "x-spillway-reason"), "queue/late")
	x.done()
	runs.stream(millisecond, millisecond)
	h.tick()
	h.idle()
}
