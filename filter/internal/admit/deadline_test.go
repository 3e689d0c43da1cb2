package admit

import (
	"testing"

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
