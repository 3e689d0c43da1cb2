package admit

import (
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// owed is a request that made room for another, and whose answer waits for the next tick.
func owed(t fataler, hold string) (h *host, x *exchange) {
	t.Helper()
	h = newHostOf(t, hold, `"upstreams":[{"name":"llm","concurrency":{"max":1},"queue":{"max":1,"whenFull":"dropLowest"}}]`)
	h.chatOf("alice", "normal")
	x = h.chatOf("bob", "low")
	h.chatOf("carol", "urgent")
	if !x.Refused() || h.TickPeriod() != 1 {
		t.Fatalf("bob is refused: %v, and the tick comes in %d ms", x.Refused(), h.TickPeriod())
	}
	return h, x
}

func TestAnAnswerToAnotherWaitsForTheTick(t *testing.T) {
	h, x := owed(t, "stopIteration")
	expect(t, "a piece of its body", x.body("more", true).Action, Hold)
	expect(t, "its trailers", x.RequestTrailers().Action, Hold)
	got, answered := h.tick()[&x.Stream]
	expect(t, "is answered", answered && got == Answer, true)
	_, again := h.tick()[&x.Stream]
	expect(t, "again", again, false)
}

// An answer that comes too late is none: the host would break off what its client has got meanwhile.
func TestAnAnswerThatIsTooLateIsNotGiven(t *testing.T) {
	for name, end := range map[string]func(x *exchange){
		"its client left": func(x *exchange) { x.done() },
		"somebody else has answered": func(x *exchange) {
			expect(t, "that goes on", x.status("408", "text/plain", false).Action, Continue)
		},
		"somebody else has answered in full": func(x *exchange) { x.status("408", "text/plain", true) },
	} {
		for _, hold := range holds {
			h, x := owed(t, hold)
			end(x)
			_, answered := h.tick()[&x.Stream]
			expect(t, name+", "+hold+": is answered", answered, false)
			expect(t, name+", "+hold+": the tick", h.TickPeriod() > 1, true)
		}
	}
}

// A stream that the host doesn't know any more holds nothing, and nothing is done to it.
func TestAStreamThatIsGone(t *testing.T) {
	h := newHostOf(t, "stopIteration", oneSlot)
	first, second, third := h.chatOf("alice", "normal"), h.chatOf("bob", "normal"), h.chatOf("carol", "normal")
	h.Done(&first.Stream, h.now)
	for f := h.Next(); f != nil && f.Stream != &second.Stream; f = h.Next() {
	}
	h.Gone(&second.Stream, h.now)
	for f := h.Next(); f != nil; f = h.Next() {
		expect(t, "something is done to it", f.Stream == &second.Stream, false)
	}
	third.answer(used(9, 40))
	h.tick()
	expect(t, "in flight", h.gauges["inflight llm"], 0)
	h.idle()
}

// faulty is a store that panics when it is told to.
type faulty struct {
	record.Store
	after int // so many writes; 0: never
}

func (f *faulty) Put(key string, value []byte, version uint32) (bool, error) {
	if f.after--; f.after == 0 {
		panic("a fault")
	}
	return f.Store.Put(key, value, version)
}

// doneWithFault ends a stream, of whose event a fault makes an end.
func (h *host) doneWithFault(x *exchange) {
	defer func() {
		if recover() == nil {
			h.Errorf("no fault")
		}
		h.Fault(&x.Stream)
	}()
	x.done()
}

// What a fault has left of an event is not done in the next one: a request that has just been told to wait could not be told to go on.
func TestWhatAFaultLeavesIsForTheTick(t *testing.T) {
	store := &faulty{Store: recordtest.NewMemory()}
	h := newHost(t, `{"requestHold":"stopIteration",`+oneAtOnce+`,"upstreams":[{"name":"llm","concurrency":{"max":2},"queue":{"max":9}}]}`, store)
	first, second, third := h.chatOf("alice", "normal"), h.chatOf("bob", "normal"), h.chatOf("carol", "normal")
	for _, x := range []*exchange{first, second} {
		h.details, store.after = "internal_redirect", 2 // the slot is free, its place among those under way is not
		h.doneWithFault(x)
	}
	h.details = ""
	fourth := h.chatOf("dave", "low")
	expect(t, "waits", fourth.last.Action == Hold && fourth.Waiting(), true)
	expect(t, "so does the other one", third.Waiting(), true)
	went := h.tick()
	expect(t, "both go on", len(went), 2)
}

// A stream that a fault was met in passes untouched: its turn doesn't come any more, it makes room for nobody, and an answer that it was owed
// is not given.
func TestAFaultLeavesAStreamAlone(t *testing.T) {
	h := newHostOf(t, "stopIteration", `"upstreams":[{"name":"llm","concurrency":{"max":1},"queue":{"max":1,"whenFull":"dropLowest"}}]`)
	first, waits := h.chatOf("alice", "normal"), h.chatOf("bob", "low")
	h.Fault(&waits.Stream)
	another := h.chatOf("carol", "low")
	expect(t, "has its place in the queue", another.last.Action == Hold && another.Waiting(), true)
	first.done()
	expect(t, "goes on", another.Waiting(), false)
	expect(t, "something is done to it", len(h.tick()), 0)
	h, unanswered := owed(t, "stopIteration")
	h.Fault(&unanswered.Stream)
	expect(t, "is answered", len(h.tick()), 0)
	h = newHostOf(t, "stopIteration", seedLimits)
	held := h.start("alice", false)
	h.Fault(&held.Stream)
	h.now, h.holdsBack = h.now+2*second, true
	expect(t, "is let go", len(h.tick()), 0)
}

// A fault between a request's taking another one's room and the refusal of that one: it is refused by the tick, or has left by then.
func TestAFaultForgetsNobodyWhoMadeRoom(t *testing.T) {
	fault := func() (h *host, dropped *exchange) {
		store := &faulty{Store: recordtest.NewMemory()}
		h = newHost(t, `{"limits":[{"name":"r","unit":"requests","quantity":9,"window":"1h"}],
			"upstreams":[{"name":"llm","concurrency":{"max":1},"queue":{"max":1,"whenFull":"dropLowest"}}]}`, store)
		h.chatOf("alice", "normal")
		dropped = h.chatOf("bob", "low")
		defer func() {
			expect(t, "a fault", recover() != nil, true)
			h.Fault(h.current)
		}()
		store.after = 3 // charged, arrived, and not leased
		h.start("carol", true, priority("urgent"))
		return h, dropped
	}
	h, x := fault()
	got, answered := h.tick()[&x.Stream]
	expect(t, "is answered", answered && got == Answer && x.Refused(), true)
	h, x = fault()
	expect(t, "what is done to one that has left", x.done().Action, Continue)
	expect(t, "is answered", len(h.tick()), 0)
}

// A fault in another's event, after a request's turn has come there and before it was let go on: it keeps the place that it has, and takes no second.
func TestAFaultGivesNobodyTwoPlaces(t *testing.T) {
	store := &faulty{Store: recordtest.NewMemory()}
	h := newHost(t, `{"limits":[{"name":"r","unit":"requests","quantity":9,"window":"1h"}],`+oneSlot+`}`, store)
	first := h.chatOf("alice", "normal")
	x := h.start("bob", false)
	x.body(chatBody, true)
	store.after = 3 // the slot is free, and bob's, and his request isn't counted
	h.doneWithFault(first)
	expect(t, "has the place", x.ticket.InFlight() && x.phase == stQueued, true)
	expect(t, "goes on", x.body("", true).Action, Continue)
	x.answer(used(9, 9))
	h.tick()
	expect(t, "in flight", h.gauges["inflight llm"], 0)
}
