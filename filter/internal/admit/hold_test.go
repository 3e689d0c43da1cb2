package admit

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// A host that does not deliver the bodies of held requests is found out: the timer lets them go, and after three of them
// nothing is held any more.
func TestABodyThatIsNotDelivered(t *testing.T) {
	h := newSeed(t, "stopIteration")
	h.holdsBack = true
	for i := range 3 {
		x := h.start("alice", false)
		expect(t, "at the headers", x.last.Action, Hold)
		expect(t, "tick period", h.TickPeriod(), 250)
		h.now += clock.Moment(guardTime - 1)
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
	h.now++
	h.holdsBack = true
	x := h.start("alice", false)
	h.now += clock.Moment(guardTime)
	if action := h.tick()[&x.Stream]; action != Answer {
		t.Errorf("action %d", action)
	}
	expect(t, "refused", x.Refused(), true)
	x.done()
	expect(t, "counted", h.requests(), 2)
	h.idle()
}

// A client is waited for as long as it takes, however many are slow, whatever the host has shown before.
func TestSlowClientsAreWaitedFor(t *testing.T) {
	h := newHostOf(t, "stopIteration", `"limits":[{"name":"few","per":["user"],"match":{"models":["mock*"]},"unit":"requests","quantity":1,"window":"24h"}]`)
	var slow []*exchange
	for range 60 {
		slow = append(slow, h.start("alice", false))
	}
	h.now += clock.Moment(100 * guardTime)
	expect(t, "let go", len(h.tick()), 0)
	for i, x := range slow {
		expect(t, "held", x.body(chatBody[:5], false).Action, Hold)
		h.now += clock.Moment(100 * guardTime)
		expect(t, "let go", len(h.tick()), 0)
		if x.body(chatBody[5:], true); i > 0 {
			expect(t, "at the end", x.last.Action, Answer)
			x.done()
			continue
		}
		x.answer(used(26, 10))
	}
	expect(t, "errors", h.counts["errors body_not_delivered"], 0)
	expect(t, "still held", h.start("alice", false).last.Action, Hold)
}

// A host that was set right is noticed: one request in a while is held all the same.
func TestHoldingBeginsAgain(t *testing.T) {
	h := newSeed(t, "stopIteration")
	h.holdsBack = true
	spoil := func() {
		t.Helper()
		x := h.start("bob", false)
		expect(t, "at the headers", x.last.Action, Hold)
		h.now += clock.Moment(guardTime)
		expect(t, "let go", len(h.tick()), 1)
		x.body(chatBody, true)
		x.answer(used(26, 1))
	}
	for range giveUp {
		spoil()
	}
	h.now += clock.Moment(retryTime - guardTime - 1)
	expect(t, "before its time", h.start("bob", false).last.Action, Continue)
	h.now++
	spoil()
	expect(t, "one at a time", h.start("bob", false).last.Action, Continue)
	h.now += clock.Moment(retryTime)
	h.holdsBack = false
	probe := h.start("bob", false)
	expect(t, "held again", probe.last.Action, Hold)
	expect(t, "the others are not", h.start("bob", false).last.Action, Continue)
	probe.body(chatBody, true)
	expect(t, "all are", h.start("bob", false).last.Action, Hold)
}

// A body on its way through other filters is no sign against the host, once those of later requests have come through.
func TestAHostThatHasShownALaterBodyIsNotBlamed(t *testing.T) {
	h := newSeed(t, "stopIteration")
	h.holdsBack = true
	x := h.start("alice", false)
	h.now++
	h.ask("bob").answer(used(26, 10))
	h.now += clock.Moment(100 * guardTime)
	expect(t, "let go", len(h.tick()), 0)
	expect(t, "held", x.body(chatBody[:5], false).Action, Hold)
}

func TestAHeldRequestThatIsLeftIsCancelled(t *testing.T) {
	h := newSeed(t, "stopIteration")
	x := h.start("alice", false)
	x.done()
	h.now += clock.Moment(guardTime)
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
