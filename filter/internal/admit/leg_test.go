package admit

import (
	"testing"
)

// endLeg ends a request's leg, as the host does before it runs the filters again.
func (x *exchange) endLeg() {
	x.host.details = "internal_redirect"
	x.done()
	x.host.details = ""
}

// redirected ends a request's leg, and begins the next one, as the host does.
func (x *exchange) redirected(headers ...[2]string) *exchange {
	x.endLeg()
	return x.host.start("alice", false, headers...)
}

// A request that the host leads through the filters twice is charged and counted once, and its places are free in between.
func TestALegOfARequestIsGivenBack(t *testing.T) {
	for _, hold := range holds {
		h := newHostOf(t, hold, `"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":2,"window":"8760h"},
			{"name":"t","unit":"completionTokens","quantity":1000,"window":"8760h"}],
			"upstreams":[{"name":"llm","concurrency":{"max":1},"budget":{"requests":2,"tokens":1000,"window":"8760h"}}]`)
		x := h.ask("alice")
		for range 5 {
			x = x.redirected()
			if x.body(chatBody, true); x.last.Action != Continue {
				t.Fatalf("%s: a leg is not let go", hold)
			}
		}
		x.answer(used(9, 40))
		expect(t, hold+": requests", h.requests(), 1)
		expect(t, hold+": tokens", h.balance("bob"), 1000-40)
		y := h.ask("alice")
		expect(t, hold+": the second of two", y.last.Action, Continue)
		y.answer(used(9, 40))
		expect(t, hold+": requests", h.requests(), 2)
		expect(t, hold+": the third of two", h.ask("alice").Refused(), true)
		h.tick()
		h.idle()
	}
}

// What the first leg has taken out of a request, or put into it, is known in the next: it has the same priority, it is not refused for a
// breaker that it went around, and the event is hidden that it didn't ask for.
func TestALegKnowsWhatTheFirstHasChanged(t *testing.T) {
	h := newHostOf(t, "stopIteration", `"upstreams":[{"name":"llm","breaker":{"mode":"enforce","minRequests":1,"fallback":{"routeHeader":{"x-fallback":"1"}}}}]`)
	x := h.start("alice", false, priority("urgent"))
	x.body(streamBody, true)
	edited := x.last.Edit.Apply(nil, []byte(streamBody))
	x = x.redirected()
	expect(t, "priority", x.caller.Priority.String(), "URGENT")
	expect(t, "is not counted again", h.requests(), 1)
	x.body(string(edited), true)
	expect(t, "changed again", x.last.Edit.None(), true)
	expect(t, "hides", x.question.hides, true)
	x.status("500", "", true)
	x.done()
	x = h.ask("alice")
	expect(t, "falls back", x.last.Reroute, true)
	x = x.redirected([2]string{"x-fallback", "1"})
	x.body(chatBody, true)
	expect(t, "goes on", x.last.Action, Continue)
	expect(t, "decision", x.properties["spillway.decision"], "FALLBACK")
	x.answer(used(9, 40))
}

// What a leg has left is for the very next request, and only if that is the same caller's.
func TestALegIsNoBodyElses(t *testing.T) {
	h := newSeed(t, "stopIteration")
	leave := func() {
		x := h.start("alice", false, priority("urgent"))
		x.body(chatBody, true)
		x.endLeg()
	}
	for name, between := range map[string]func(){
		"another caller": func() { h.start("bob", false).done() },
		"a tick":         func() { h.tick() },
	} {
		leave()
		between()
		x := h.start("alice", false)
		expect(t, name, x.caller.Priority.String(), "NORMAL")
		expect(t, name+": counted", x.counted, false)
		x.done()
	}
	h.idle()
}
