package admit

import (
	"strings"
	"testing"
)

// A host that does not deliver the bodies of held requests is found out: the timer lets them go, and after three of them
// nothing is held any more.
func TestABodyThatIsNotDelivered(t *testing.T) {
	h := newSeed(t, "stopIteration")
	for i := range 3 {
		x := h.start("alice", false)
		expect(t, "at the headers", x.last.Action, Hold)
		expect(t, "tick period", h.TickPeriod(), 250)
		h.now += guard - 1
		expect(t, "let go too early", len(h.tick()), 0)
		h.now++
		resumed := h.tick()
		if action, found := resumed[&x.Stream]; !found || action != Continue {
			t.Fatalf("not let go: %v", resumed)
		}
		expect(t, "reserved", h.balance("alice") < 300-int64(i)*76, true)
		expect(t, "the body that was kept back", x.body(chatBody, true).Action, Continue)
		expect(t, "errors", h.counts["errors body_not_delivered"], int64(i+1))
		x.answer(used(26, 76))
	}
	if len(h.notes) != 3 || !strings.Contains(h.notes[0], "allow_on_headers_stop_iteration") {
		t.Errorf("notes %q", h.notes)
	}
	x := h.start("bob", false)
	expect(t, "the fourth, at the headers", x.last.Action, Continue)
	expect(t, "decided", x.Decided(), true)
	x.body(chatBody, true)
	x.answer(used(26, 76))
	expect(t, "balance", h.balance("bob"), 224)
	expect(t, "counted", h.requests(), 4)
	h.idle()
}

func TestTheTimerRefusesWhatHasNoRoom(t *testing.T) {
	h := newSeed(t, "stopIteration")
	h.ask("alice").answer(used(26, 400))
	h.delivers = false // as in a worker that has seen nothing yet
	x := h.start("alice", false)
	h.now += guard
	if action := h.tick()[&x.Stream]; action != Answer {
		t.Errorf("action %d", action)
	}
	expect(t, "refused", x.Refused(), true)
	x.done()
	expect(t, "counted", h.requests(), 2)
	h.idle()
}

// A host that has delivered one body delivers all: a slow client is waited for as long as it takes.
func TestASlowClientIsWaitedFor(t *testing.T) {
	h := newSeed(t, "stopIteration")
	h.ask("alice").answer(used(26, 10))
	x := h.start("alice", false)
	h.now += 100 * guard
	expect(t, "let go", len(h.tick()), 0)
	expect(t, "held", x.body(chatBody[:5], false).Action, Hold)
	h.now += 100 * guard
	expect(t, "let go", len(h.tick()), 0)
	expect(t, "at the end", x.body(chatBody[5:], true).Action, Continue)
	x.answer(used(26, 10))
	h.idle()
}

// Before a host has delivered anything, a slow client looks like a host that delivers nothing, until its body comes. It
// is let go, but its limits hold all the same, and holding is not given up for it.
func TestASlowClientIsNoReasonToStopHolding(t *testing.T) {
	h := newHostOf(t, "stopIteration", `"limits":[{"name":"few","per":["user"],"match":{"models":["mock*"]},"unit":"requests","quantity":1,"window":"24h"}]`)
	for i := range 2 * giveUp {
		x := h.start("alice", false)
		expect(t, "at the headers", x.last.Action, Hold)
		h.now += guard
		if action, found := h.tick()[&x.Stream]; !found || action != Continue {
			t.Fatalf("not let go: %d, %v", action, found)
		}
		expect(t, "decided", x.Decided(), false)
		h.now += atOnce
		if i == 0 {
			expect(t, "the first", x.body(chatBody, true).Action, Continue)
			x.answer(used(26, 76))
			continue
		}
		expect(t, "the others", x.body(chatBody, true).Action, Answer)
		x.done()
	}
	expect(t, "errors", h.counts["errors body_not_delivered"], 0)
	expect(t, "counted", h.requests(), 2*giveUp)
	h.idle()
}

func TestAHeldRequestThatIsLeftIsCancelled(t *testing.T) {
	h := newSeed(t, "stopIteration")
	x := h.start("alice", false)
	x.done()
	h.now += guard
	expect(t, "let go", len(h.tick()), 0)
	expect(t, "cancelled", h.counts["requests CANCELLED none NORMAL other"], 1)
	expect(t, "balance", h.balance("alice"), 300)
	h.idle()
}

// What needs no body is not held: neither the limits nor what may have to be changed in it.
func TestRequestsAreHeldOnlyWhereTheBodyMatters(t *testing.T) {
	const untouched = `"usage":{"ensureStreamUsage":false},`
	embeddings := [][2]string{{":method", "POST"}, {":path", "/v1/embeddings"}, {"x-user-id", "alice"}}
	for _, limits := range []string{few, `"limits":[]`} {
		h := newHostOf(t, "stopIteration", untouched+limits)
		expect(t, limits, h.start("alice", false).last.Action, Continue)
		h = newHostOf(t, "stopIteration", limits)
		expect(t, limits+", streams", h.start("alice", false).last.Action, Hold)
		expect(t, limits+", embeddings", h.startWith(embeddings, false).last.Action, Continue)
	}
	h := newSeed(t, "stopIteration")
	expect(t, "no body", h.start("alice", true).last.Action, Continue)
}
