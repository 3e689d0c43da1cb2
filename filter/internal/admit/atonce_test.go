package admit

import (
	"fmt"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// crowd has many requests wait behind one.
func crowd(t *testing.T, n int) (h *host, first *exchange, waiting []*exchange) {
	t.Helper()
	h = newHost(t, `{"requestHold":"stopIteration","upstreams":[{"name":"u","concurrency":{"max":1},"queue":{"max":1000,"maxWait":{"normal":"10s"}}}]}`, recordtest.NewMemory())
	first = h.ask("eve")
	for i := range n {
		x := h.ask(fmt.Sprint("user", i))
		expect(t, "it waits", x.Waiting(), true)
		waiting = append(waiting, x)
	}
	return h, first, waiting
}

// The host does what is done for others one inside the other, and its stack is finite: however many are to be answered at one time, no more than
// some are between two ticks, and the next tick is soon.
func TestACrowdThatHasWaitedTooLongIsAnsweredBitByBit(t *testing.T) {
	const n = 10*mostAtOnce + 5
	h, first, waiting := crowd(t, n)
	h.now = h.now.Add(11 * time.Second)
	answered := 0
	for range 20 {
		answers := h.tick()
		if len(answers) > mostAtOnce {
			t.Fatalf("%d are answered in one tick", len(answers))
		}
		if answered += len(answers); answered < n {
			expect(t, "the next tick comes in a millisecond", h.TickPeriod(), 1)
		}
	}
	expect(t, "answered", answered, n)
	for _, x := range waiting {
		expect(t, "refused", x.Refused(), true)
		x.done()
	}
	first.answer(used(1, 1))
	h.tick()
	h.now = h.now.Add(2 * time.Second)
	h.tick()
	h.idle()
}

// Where an upstream is not to be had, whoever is let go on is answered at once, which makes room for the next one.
func TestAChainOfFailuresEndsBetweenTwoTicks(t *testing.T) {
	h, first, waiting := crowd(t, 5*mostAtOnce)
	h.tick() // a tick that has nothing to do
	first.done()
	failed := 0
	for range 10 {
		inARow := 0
		for again := true; again; { // as long as somebody has been let go on, and fails
			again = false
			for _, x := range waiting {
				if x.phase == stSent {
					again = true
					inARow++
					h.comes(origin.Unreachable)
					x.status("503", "text/plain", true)
					x.done()
				}
			}
		}
		if inARow > mostAtOnce+1 {
			t.Fatalf("%d one inside the other", inARow)
		}
		failed += inARow
		h.tick()
	}
	expect(t, "all have had their turn", failed, len(waiting))
}

// What other workers need the room of is refused bit by bit, too, and all of it: the queue holds no more than it may.
func TestTheRoomThatOtherWorkersNeedIsMadeBitByBit(t *testing.T) {
	const room, urgent = 3 * mostAtOnce, 2*mostAtOnce + 5
	store := recordtest.NewMemory()
	config := fmt.Sprintf(`{"requestHold":"stopIteration","upstreams":[{"name":"u","concurrency":{"max":1},"queue":{"max":%d,"whenFull":"dropLowest"}}]}`, room)
	h, other := newHost(t, config, store), newHost(t, config, store)
	other.Engine, _ = New(&other.cfg, &other.proxy, new(Worker), []byte("another worker's"))
	h.ask("eve")
	var low []*exchange
	for i := range room {
		low = append(low, h.chatOf(fmt.Sprint("user", i), "low"))
	}
	for i := range urgent {
		expect(t, "waits", other.chatOf(fmt.Sprint("urgent", i), "urgent").Waiting(), true)
	}
	for range 20 {
		h.now, other.now = h.now+millisecond, other.now+millisecond
		if n := len(h.tick()); n > mostAtOnce {
			t.Fatalf("%d are answered in one tick", n)
		}
		other.tick()
	}
	left := 0
	for _, x := range low {
		if x.Waiting() {
			left++
		}
	}
	expect(t, "still wait", left, room-urgent)
}
