package admit

import (
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
)

const oneAtOnce = `"limits":[{"name":"a","per":["user"],"unit":"inflight","quantity":1}]`

// under is ann's request, and maybe one of bob's that is in its way.
type under struct {
	*exchange
	bob *exchange
}

func asks(h *host) under { return under{h.ask("ann"), nil} }

func asksBehindBob(h *host) under {
	bob := h.ask("bob")
	return under{h.ask("ann"), bob}
}

func lists(h *host) under {
	return under{h.startWith([][2]string{{":method", "GET"}, {":path", "/v1/models"}, {"x-user-id", "ann"}}, true), nil}
}

// asksTwice is sent elsewhere by its first server, and led through the filters again.
func asksTwice(h *host) under {
	h.ask("ann").endLeg()
	return asks(h)
}

func (x under) leaves() { x.done() }

func (x under) streams() {
	x.status("200", "text/event-stream", false)
	x.response(textEvent, false)
}

// fails ends it with an answer that somebody else than the upstream gives.
func (x under) fails(from origin.Origin, status string) {
	x.host.comes(from)
	x.status(status, "", true)
}

// However a request ends, and whatever it was doing until then, its place is taken as long as that, and free at once.
func TestAPlaceIsTakenUntilTheRequestEnds(t *testing.T) {
	for _, test := range []struct {
		name, more string
		begin      func(h *host) under
		end        func(x under)
	}{
		{"answered", "", asks, func(x under) { x.answer(used(9, 9)) }},
		{"answered at the headers", "", asks, func(x under) { x.status("204", "", true) }},
		{"answered with trailers", "", asks, func(x under) { x.streams(); x.ResponseTrailers() }},
		{"an error", "", asks, func(x under) { x.status("500", "", true) }},
		{"left before its answer", "", asks, under.leaves},
		{"left in its answer", "", asks, func(x under) { x.streams(); x.leaves() }},
		{"left while it waits", andOneSlot, asksBehindBob, under.leaves},
		{"its turn comes", andOneSlot, asksBehindBob, func(x under) { x.bob.answer(used(9, 9)); x.answer(used(9, 9)) }},
		{"it has waited for too long", andOneSlot, asksBehindBob, func(x under) { x.host.now += 61 * second; x.host.tick() }},
		{"reset", "", asks, func(x under) { x.fails(origin.Broken, "503") }},
		{"a timeout of the route", "", asks, func(x under) { x.fails(origin.TimedOut, "504") }},
		{"no upstream", "", asks, func(x under) { x.fails(origin.Unreachable, "503") }},
		{"another filter's answer", "", asks, func(x under) { x.fails(origin.Elsewhere, "429") }},
		{"without tokens", "", lists, func(x under) { x.status("200", "", false); x.response("[]", true) }},
		{"without tokens, left", "", lists, under.leaves},
		{"its second leg is answered", "", asksTwice, func(x under) { x.answer(used(9, 9)) }},
		{"a fault", "", asks, func(x under) { x.host.Fault(&x.Stream); x.leaves() }},
		{"a fault while it waits", andOneSlot, asksBehindBob, func(x under) { x.host.Fault(&x.Stream); x.leaves() }},
		{"a fault as it ends", andOneSlot, asks, func(x under) { x.phase, x.counted = stDone, true; x.host.Fault(&x.Stream); x.leaves() }},
	} {
		for _, hold := range holds {
			t.Run(test.name+", "+hold, func(t *testing.T) {
				h := newHostOf(t, hold, oneAtOnce+test.more)
				x := test.begin(h)
				for range 5 { // a place is a lease
					h.now += clock.Moment(leasePeriod / 2)
					h.tick()
				}
				expect(t, "while it is under way", refusedFor(h.ask("ann")), "limits/inflight_exceeded")
				test.end(x)
				if x.bob != nil {
					x.bob.done()
				}
				y := h.ask("ann")
				expect(t, "when it has ended", y.last.Action, Continue)
				y.answer(used(9, 9))
				x.done()
				h.tick()
				h.idle()
			})
		}
	}
}

// A client that hangs up in its upload frees its place, if it had one already: where the request was decided at its headers.
func TestAnUploadThatIsBrokenOffFreesItsPlace(t *testing.T) {
	for _, hold := range holds {
		h := newHostOf(t, hold, oneAtOnce)
		x := h.start("ann", false)
		x.body(chatBody[:9], false)
		expect(t, hold+": while it uploads", refusedFor(h.ask("ann")), "limits/inflight_exceeded")
		x.done()
		h.ask("ann").answer(used(9, 9))
		h.tick()
		h.idle()
	}
}

// What a later gate refuses gives its place back, and a redirect takes no second one.
func TestARefusalLaterOnFreesThePlace(t *testing.T) {
	h := newHostOf(t, "stopIteration", oneAtOnce+`,"upstreams":[{"name":"u","concurrency":{"max":1},"queue":{"max":0}}]`)
	bob := h.ask("bob")
	for range 3 {
		expect(t, "refused by", refusedFor(h.ask("ann")), "queue/shed")
	}
	bob.answer(used(9, 9))
	x := h.ask("ann")
	expect(t, "goes on", x.last.Action, Continue)
	x.done()
	h.tick()
	h.idle()
}

// A refusal says when to come back, and nothing by which clients pace themselves: how many requests there may be in a time.
func TestARefusalOfOneTooMany(t *testing.T) {
	h := newHostOf(t, "stopIteration", oneAtOnce)
	x := h.ask("ann")
	y := h.ask("ann")
	for name, want := range map[string]string{
		"retry-after": "1", "retry-after-ms": "1000", "x-should-retry": "", "x-ratelimit-limit-requests": "", "x-ratelimit-remaining-requests": "",
	} {
		expect(t, name, header(y.last.Reply.Headers, name), want)
	}
	expect(t, "status", y.last.Reply.Status, 429)
	for name, want := range map[string]string{
		"spillway.decision": "REJECTED", "spillway.gate": "limits", "spillway.reason": "inflight_exceeded", "spillway.limit": "a",
		"spillway.measured": "1", "spillway.threshold": "1", "spillway.retryable": "true",
	} {
		expect(t, name, y.properties[name], want)
	}
	step := x.status("200", "application/json", false)
	expect(t, "headers of the answer", len(step.Headers), 0)
	h = newHostOf(t, "stopIteration", `"limits":[{"name":"a","per":["user"],"unit":"inflight","quantity":1,"mode":"shadow"}]`)
	h.ask("ann")
	y = h.ask("ann")
	expect(t, "in shadow mode", y.last.Action, Continue)
	expect(t, "in shadow mode", y.properties["spillway.decision"], "SHADOW")
	expect(t, "in shadow mode", y.properties["spillway.reason"], "inflight_exceeded")
}
