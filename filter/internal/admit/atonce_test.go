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
