package admit

import (
	"fmt"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const word = `data: {"choices":[{"delta":{"content":"a"}}]}` + "\n\n"

// The filter state follows a stream's output: at once at first, then ten times a second, and behind its last piece with the next beat.
func TestTheFilterStateFollowsAStreamsOutput(t *testing.T) {
	h := newTotal(t)
	h.tick() // the beat of the start
	x := h.sent(askedStream, sseType)
	told := ""
	for range 25 { // pieces, 20 ms apart
		x.response(word, false)
		if p := x.last.Properties; len(p) > 0 {
			told += p[len(p)-1].Value + " "
		}
		h.now = h.now.Add(20 * time.Millisecond)
	}
	expect(t, "told by the stream's own pieces", told, "1 6 11 16 21 ")
	h.tick()
	expect(t, "told before a second has passed", len(h.told), 0)
	h.now = h.now.Add(beatPeriod - 500*time.Millisecond)
	h.tick()
	expect(t, "told by the beat", h.told[&x.Stream], 25)
	h.now = h.now.Add(beatPeriod)
	clear(h.told)
	h.tick()
	expect(t, "told again of the same", len(h.told), 0)
	expect(t, "streams to be told of", h.untold.count, 0)
	x.response(word, false)
	expect(t, "told of a piece behind a pause", x.properties["gen_ai.completion.tokens"], "26")
	x.response(word, false)
	x.done()
	expect(t, "told at the end", x.properties["gen_ai.completion.tokens"], "27")
	expect(t, "streams to be told of that have ended", h.untold.count, 0)
	h.idle()
}

// What ends between two beats isn't told of any more, however it ends.
func TestWhatHasEndedIsNotToldOf(t *testing.T) {
	for name, end := range map[string]func(h *host, x *exchange){
		"its client left":  func(_ *host, x *exchange) { x.done() },
		"it has ended":     func(_ *host, x *exchange) { x.response("data: [DONE]\n\n", true) },
		"the host lost it": func(h *host, x *exchange) { h.Gone(&x.Stream, h.now); x.did() },
		"a fault": func(h *host, x *exchange) {
			h.Fault(&x.Stream)
			h.drain(&x.Stream)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newTotal(t)
			x := h.sent(askedStream, sseType)
			x.response(word+word, false)
			x.response(word, false)
			expect(t, "to be told of", h.untold.count, 1)
			end(h, x)
			h.now = h.now.Add(beatPeriod)
			h.tick()
			expect(t, "told", fmt.Sprint(h.told, h.untold.count), "map[] 0")
		})
	}
}

// Where nobody wants to know, nothing is counted meanwhile.
func TestOutputThatNobodyWantsIsNotTold(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","publish":["gen_ai.total.tokens"],`+seedLimits+`}`, recordtest.NewMemory())
	x := h.sent(askedStream, sseType)
	x.response(word, false)
	x.response(word, false)
	h.now = h.now.Add(beatPeriod)
	h.tick()
	expect(t, "to be told of", h.untold.count, 0)
	expect(t, "told by the beat", len(h.told), 0)
	expect(t, "told", x.properties["gen_ai.completion.tokens"], "")
	x.done()
}

// The end of a request that was settled leaves nothing to be done, and says so; that of any other is settled by Done.
func TestTheEndOfWhatIsSettled(t *testing.T) {
	h := newTotal(t)
	x := h.sent(askedStream, sseType)
	x.response(word, false)
	expect(t, "settled while it runs", x.Settled(), false)
	x.response("data: [DONE]\n\n", true)
	expect(t, "settled at its end", x.Settled(), true)
	expect(t, "over, as one that was refused", x.Over(), true)
	h.LetGo(&x.Stream)
	h.idle()
	expect(t, "streams that are led by the rules", h.latest.streams, 0)
}

// Who uses most of a limit is noted where somebody may ask for it.
func TestWhoUsesMostIsNotedForWhoAsks(t *testing.T) {
	for admin, want := range map[string]uint32{"": 0, `"admin":{"path":"/spillway"},`: 1} {
		h := newHost(t, `{"requestHold":"stopIteration",`+admin+seedLimits+`}`, recordtest.NewMemory())
		for range firstBeats { // until then somebody may
			h.now += second
			h.tick()
		}
		x := h.ask("ann")
		x.answer(used(1, 76))
		var told uint32
		_ = h.limits.Tell(h.now, 1, func(int, []byte) error { told++; return nil })
		expect(t, "limits that have something to tell, with "+admin, told, want)
	}
}
