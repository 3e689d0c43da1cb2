package admit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// oneSlot is an upstream that takes one request at a time, and lets two wait.
const oneSlot = `"upstreams":[{"name":"llm","concurrency":{"max":1},"queue":{"max":2}}]`

// priority is the header that asks for one.
func priority(p string) [2]string { return [2]string{"x-priority", p} }

// chatOf sends a whole chat request of a user with a priority.
func (h *host) chatOf(user, rank string) *exchange {
	x := h.start(user, false, priority(rank))
	if !x.Refused() {
		x.body(chatBody, true)
	}
	return x
}

func TestWhatFindsNoSlotWaitsForOne(t *testing.T) {
	for _, hold := range []string{"stopIteration", "bufferFilter"} {
		t.Run(hold, func(t *testing.T) {
			h := newHostOf(t, hold, oneSlot)
			first := h.chatOf("alice", "normal")
			expect(t, "the first goes", first.last.Action, Continue)
			low, urgent := h.chatOf("bob", "low"), h.chatOf("carol", "urgent")
			expect(t, "the second waits", low.last.Action, Hold)
			expect(t, "so does the third", urgent.last.Action, Hold)
			expect(t, "the tick", h.TickPeriod(), 10)
			h.now += 300 * millisecond
			first.answer(used(9, 40))
			expect(t, "the urgent one goes", fmt.Sprint(h.others), fmt.Sprint(map[*Stream]string{&urgent.Stream: ""}))
			expect(t, "the other one waits", low.Waiting(), true)
			expect(t, "waited", h.counts["wait URGENT"], 300)
			urgent.answer(used(9, 40))
			expect(t, "the low one goes", low.Waiting(), false)
			low.answer(used(9, 40))
			h.tick()
			for _, decision := range []string{"ALLOWED none NORMAL", "QUEUED queue URGENT", "QUEUED queue LOW"} {
				expect(t, decision, h.counts["requests "+decision+" other"], 1)
			}
			for _, rank := range []string{"LOW", "NORMAL", "HIGH", "URGENT"} {
				expect(t, "depth", h.gauges["depth llm "+rank], 0)
			}
			expect(t, "in flight", h.gauges["inflight llm"], 0)
			h.idle()
		})
	}
}

func TestWhoDoesNotGetATurnIsToldSo(t *testing.T) {
	const limits = `"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":5,"window":"1h"}],`
	for _, c := range []struct {
		name, queue string
		ranks       []string // of the requests behind the one that has the slot
		after       int64    // time that passes then
		reasons     string   // by request: "" waits
		status      int      // of the last refusal
	}{
		{"the queue is full", `{"max":1}`, []string{"normal", "urgent"}, 0, "[ queue/full]", 503},
		{"nothing can wait", `{"max":0}`, []string{"low", "urgent"}, 0, "[queue/shed queue/shed]", 429},
		{"too long", `{"max":2}`, []string{"low", "normal"}, 2 * second, "[queue/timeout ]", 429},
		{"much too long", `{"max":2}`, []string{"low", "normal"}, 60 * second, "[queue/timeout queue/timeout]", 429},
		{"the newest of the lowest", `{"max":3,"whenFull":"dropLowest"}`, []string{"low", "low", "normal", "high"}, 0, "[ queue/dropped  ]", 503},
		{"none is lower", `{"max":1,"whenFull":"dropLowest"}`, []string{"normal", "normal"}, 0, "[ queue/full]", 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHostOf(t, "stopIteration", limits+strings.Replace(oneSlot, `{"max":2}`, c.queue, 1))
			h.chatOf("alice", "normal")
			var behind []*exchange
			for i, rank := range c.ranks {
				behind = append(behind, h.chatOf(fmt.Sprint("user", i), rank))
			}
			h.now += clock.Moment(c.after)
			h.tick()
			var reasons []string
			for i, x := range behind {
				reason := h.others[&x.Stream]
				if x.last.Action == Answer {
					reason = header(x.last.Reply.Headers, "x-spillway-reason")
				}
				reasons = append(reasons, reason)
				if reason != "" {
					expect(t, "is refused", x.Refused(), true)
					expect(t, "its request is given back", h.balance(fmt.Sprint("user", i)), 5)
					reply := x.Reply()
					expect(t, "status", reply.Status, c.status)
					if wait := header(reply.Headers, "retry-after"); wait == "" || len(wait) > 2 {
						t.Errorf("retry-after: %q", wait)
					}
				}
			}
			expect(t, "reasons", fmt.Sprint(reasons), c.reasons)
		})
	}
}

func TestAClientThatLeavesTheQueueLeavesNothing(t *testing.T) {
	h := newHostOf(t, "stopIteration", seedLimits+","+oneSlot)
	first, second := h.chatOf("alice", "normal"), h.chatOf("bob", "normal")
	second.done()
	expect(t, "cancelled", h.counts["requests CANCELLED none NORMAL other"], 1)
	expect(t, "nothing is charged", h.balance("bob"), 300)
	first.answer(used(9, 40))
	expect(t, "nobody is let go", len(h.others), 0)
	h.tick()
	h.idle()
}

func TestAClientThatLeavesInFlightFreesItsSlot(t *testing.T) {
	h := newHostOf(t, "stopIteration", oneSlot)
	first, second := h.chatOf("alice", "normal"), h.chatOf("bob", "normal")
	first.done()
	expect(t, "the next one goes", second.Waiting(), false)
	second.answer(used(9, 40))
	h.tick()
	h.idle()
}

// Something else than the upstream can answer while a request waits: a time limit of the proxy's.
// Nor does it say that nothing is left of the budget: that's for the upstream to say.
func TestAClientThatLeavesInFlightLeavesTheBudget(t *testing.T) {
	h := newHostOf(t, "stopIteration", `"upstreams":[{"name":"llm","budget":{"requests":60,"tokens":100000,"window":"1m"},"queue":{"max":0}}]`)
	h.chatOf("alice", "urgent").done()
	another := h.chatOf("bob", "urgent")
	expect(t, "there is room", another.Refused(), false)
	another.status("503", "text/plain", true)
	another.done()
	expect(t, "there is still room", h.chatOf("bob", "urgent").Refused(), false)
}

func TestAnAnswerToAWaitingRequestEndsItsWait(t *testing.T) {
	h := newHostOf(t, "stopIteration", seedLimits+","+oneSlot)
	first, second := h.chatOf("alice", "normal"), h.chatOf("bob", "normal")
	second.status("504", "text/plain", true)
	second.done()
	expect(t, "nothing is charged", h.balance("bob"), 300)
	first.answer(used(9, 40))
	expect(t, "nobody is let go", len(h.others), 0)
	h.tick()
	h.idle()
}

func TestTheUpstreamIsThatOfTheModel(t *testing.T) {
	const two = `"upstreams":[{"name":"free","models":["free*"]},{"name":"one","models":["mock"],"concurrency":{"max":1},"queue":{"max":0}}]`
	for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
		h := newHostOf(t, hold, two)
		send := func(model string) *exchange {
			x := h.start("alice", false)
			x.body(strings.Replace(chatBody, `"mock"`, `"`+model+`"`, 1), true)
			return x
		}
		expect(t, hold+": the first", send("mock").Refused(), false)
		expect(t, hold+": the second", send("mock").Refused(), true)
		for range 3 {
			expect(t, hold+": an upstream without a bound", send("free-7b").Refused(), false)
			expect(t, hold+": no upstream", send("other").Refused(), false)
		}
		x := h.startWith([][2]string{{":method", "GET"}, {":path", "/v1/models"}}, true)
		expect(t, hold+": no model at all", x.last.Action, Continue)
	}
}

func TestShadowHoldsNobodyBack(t *testing.T) {
	h := newHost(t, `{"mode":"shadow","requestHold":"stopIteration",`+oneSlot+`}`, recordtest.NewMemory())
	var all []*exchange
	for range 5 {
		all = append(all, h.chatOf("alice", "normal"))
		expect(t, "action", all[len(all)-1].last.Action, Continue)
	}
	expect(t, "would wait", h.counts["requests SHADOW queue NORMAL other"], 4)
	expect(t, "reason", all[4].properties["spillway.reason"], "would_wait")
	for _, x := range all {
		x.answer(used(9, 40))
	}
	h.tick()
	h.idle()
}

func TestTheUpstreamsOwnLimitsAreHeeded(t *testing.T) {
	const budget = `"upstreams":[{"name":"llm","budget":{"requests":60,"window":"1m"},"queue":{"max":0}}]`
	for _, c := range []struct {
		name    string
		status  string
		headers [][2]string
		wait    int64 // until requests go again
	}{
		{"seconds to wait", "429", [][2]string{{"retry-after", "7"}}, 7 * second},
		{"milliseconds to wait", "429", [][2]string{{"retry-after-ms", "1500"}}, 1500 * millisecond},
		{"no more than a minute is believed", "429", [][2]string{{"retry-after", "86400"}}, 60 * second},
		{"nothing is left", "200", [][2]string{{"x-ratelimit-remaining-requests", "0"}, {"x-ratelimit-reset-requests", "6s"}}, 6 * second},
		{"the same in minutes", "200", [][2]string{{"x-ratelimit-remaining-tokens", "0"}, {"x-ratelimit-reset-tokens", "0m8s"}}, 8 * second},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHostOf(t, "stopIteration", budget)
			x := h.chatOf("alice", "urgent")
			x.status(c.status, "application/json", false, c.headers...)
			x.response(used(9, 40), true)
			h.now += clock.Moment(c.wait - 1)
			expect(t, "too early", h.chatOf("alice", "urgent").Refused(), true)
			h.now++
			expect(t, "in time", h.chatOf("alice", "urgent").Refused(), false)
		})
	}
	h := newHostOf(t, "stopIteration", budget)
	x := h.chatOf("alice", "urgent")
	x.status("200", "application/json", false, [2]string{"x-ratelimit-remaining-requests", "2"})
	x.response(used(9, 40), true)
	refused := 0
	for range 5 {
		if h.chatOf("alice", "urgent").Refused() {
			refused++
		}
	}
	expect(t, "refused of 5, of which 2 are left", refused, 3)
}

// A 429 inside a stream that began as 200 counts as one.
func TestRetreatCountsWhatTheUpstreamSays(t *testing.T) {
	const retreats = `"upstreams":[{"name":"llm","budget":{"requests":40,"window":"1s"},"queue":{"max":0},
		"retreat":{"minSamples":4,"every":"1s","window":"10s"}}]`
	const hidden = "data: {\"error\":{\"message\":\"slow down\",\"code\":429}}\n\n"
	for name, answer := range map[string]func(x *exchange){
		"plain": func(x *exchange) { x.status("429", "application/json", true); x.done() },
		"hidden": func(x *exchange) {
			x.status("200", "text/event-stream", false)
			x.response(hidden, true)
			x.done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHostOf(t, "stopIteration", retreats)
			for range 10 {
				h.now += second
				x := h.chatOf("alice", "urgent")
				expect(t, "refused", x.Refused(), false)
				answer(x)
			}
			h.tick()
			expect(t, "retreats", h.gauges["retreat llm"], 1)
			expect(t, "requests a minute", h.gauges["rpm llm"] < 40*60/2, true)
			expect(t, "share in thousandths", h.gauges["share llm"], 1000)
		})
	}
}

// A request that has waited for so long that its reservation is due for renewal goes on in that very tick.
func TestTheTickThatRenewsAReservationLetsItGoOn(t *testing.T) {
	h := newHostOf(t, "stopIteration", `"limits":[{"name":"u","unit":"completionTokens","quantity":100000,"window":"1h"}],
		"upstreams":[{"name":"llm","budget":{"requests":1,"window":"15s"},"queue":{"max":2}}]`)
	h.chatOf("alice", "normal")
	waiting := h.chatOf("bob", "normal")
	h.now += 15 * second
	h.tick()
	expect(t, "it waits", waiting.Waiting(), false)
	if reason, told := h.others[&waiting.Stream]; !told || reason != "" {
		t.Errorf("it was not let go: %v", h.others)
	}
	expect(t, "counted", h.counts["requests QUEUED queue NORMAL other"], 1)
}
