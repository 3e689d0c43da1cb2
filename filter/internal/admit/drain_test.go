package admit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
)

const oneRequest = `"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":1,"window":"1h"}]`

// announced is the header that announces a body.
func announced(n int) [2]string { return [2]string{"content-length", fmt.Sprint(n)} }

// refusedAtHeaders is a request that its headers alone refuse.
func refusedAtHeaders(t *testing.T, hold string, more ...[2]string) (*host, *exchange) {
	t.Helper()
	h := newHostOf(t, hold, oneRequest)
	h.ask("alice").answer(used(9, 40))
	h.read = 0
	return h, h.start("alice", false, more...)
}

func TestARefusalAtTheHeadersWaitsForAShortBodyAndDoesNotReadIt(t *testing.T) {
	h, x := refusedAtHeaders(t, "stopIteration", announced(len(chatBody)))
	expect(t, "at the headers", x.last.Action, Hold)
	expect(t, "on record", x.properties["spillway.reason"], "requests_exceeded")
	expect(t, "at a piece", x.body(chatBody[:10], false).Action, Hold)
	expect(t, "at the last one", x.body(chatBody[10:], false).Action, Hold) // the host hasn't seen the end
	expect(t, "at the end", x.body("", true).Action, Answer)
	expect(t, "read", h.read, 0)
	x.done()
	expect(t, "counted", h.counts["requests REJECTED limits NORMAL other r"], 1)
	h.idle()

	_, x = refusedAtHeaders(t, "stopIteration", announced(len(chatBody)))
	x.body(chatBody, false)
	expect(t, "at trailers", x.RequestTrailers().Action, Answer)
}

// What comes of a refused request once it has its answer, and what comes of its body before, needs no look at it: the binding asks for that.
func TestARefusedRequestIsOverOnceItHasItsAnswer(t *testing.T) {
	h, x := refusedAtHeaders(t, "stopIteration", announced(len(chatBody)))
	state := func(when string, drains, over bool) {
		t.Helper()
		expect(t, when+", drains", x.Drains(), drains)
		expect(t, when+", over", x.Over(), over)
	}
	state("at the headers", true, false)
	x.body(chatBody[:10], false)
	state("at a piece", true, false)
	x.body(chatBody[10:], true)
	state("at the end", false, true)
	rules := x.rules
	expect(t, "led by the rules", rules.streams, 1)
	h.LetGo(&x.Stream)
	h.LetGo(&x.Stream) // a second time is nothing
	expect(t, "let go", rules.streams, 0)
	h.idle()

	h, x = refusedAtHeaders(t, "stopIteration", announced(1000))
	h.now += clock.Moment(drainTime)
	h.tick()
	state("answered by a tick", false, true)

	h, x = refusedAtHeaders(t, "stopIteration", announced(len(chatBody)))
	h.Fault(&x.Stream)
	state("after a fault", false, false) // what it holds is still to be given back

	h = newHostOf(t, "stopIteration", oneRequest)
	x = h.ask("alice")
	state("one that passes", false, false)
	x.answer(used(9, 40))
	state("its end", false, true)
}

func TestARefusalDoesNotWaitForABodyThatIsNotWorthIt(t *testing.T) {
	for name, c := range map[string]struct {
		hold string
		more [][2]string
	}{
		"of unknown length":       {"stopIteration", nil},
		"that is long":            {"stopIteration", [][2]string{announced(mostDrained + 1)}},
		"that the client keeps":   {"stopIteration", [][2]string{announced(10), {"expect", "100-continue"}}},
		"where nothing is held":   {"none", [][2]string{announced(10)}},
		"that a filter may hold":  {"bufferFilter", [][2]string{announced(10)}},
		"that is nothing":         {"stopIteration", [][2]string{announced(0)}},
		"of a length that is not": {"stopIteration", [][2]string{{"content-length", "-1"}}},
	} {
		h, x := refusedAtHeaders(t, c.hold, c.more...)
		expect(t, "a body "+name, x.last.Action, Answer)
		x.done()
		h.idle()
	}
}

func TestWhoTakesHisTimeIsAnsweredBeforeHisBodyHasCome(t *testing.T) {
	h, x := refusedAtHeaders(t, "stopIteration", announced(1000))
	x.body(chatBody[:10], false)
	h.now += clock.Moment(drainTime) - 1
	expect(t, "before", len(h.tick()), 0)
	expect(t, "the tick", h.TickPeriod() > 0 && h.TickPeriod() <= 50, true)
	h.now++
	expect(t, "then", h.tick()[&x.Stream], Answer)
	expect(t, "what comes then", x.body(strings.Repeat(" ", 990), true).Action, Continue)
	x.done()
	expect(t, "nothing more", len(h.tick()), 0)
	h.idle()
}

func TestAnAnswerThatWaitsIsNotGivenToWhoHasLeftOrHasAnother(t *testing.T) {
	for name, end := range map[string]func(*host, *exchange){
		"left": func(_ *host, x *exchange) { x.done() },
		"another": func(h *host, x *exchange) {
			h.comes(origin.Elsewhere)
			x.status("408", "", true)
		},
	} {
		h, x := refusedAtHeaders(t, "stopIteration", announced(1000))
		end(h, x)
		h.now += clock.Moment(drainTime)
		expect(t, name, len(h.tick()), 0)
		x.done()
		expect(t, name+", draining", h.draining.count, 0)
		h.idle()
	}
}
