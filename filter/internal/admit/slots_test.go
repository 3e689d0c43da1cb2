package admit

import (
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const learnedSlots = `{"requestHold":"stopIteration","upstreams":[{"name":"x","concurrency":{"max":"auto"},"queue":{"max":99}}]}`

// streamed begins a stream.
func (h *host) streamed(user string) *exchange {
	x := h.start(user, false)
	x.body(plainStream, true)
	return x
}

// Slots are learned from what passes: from streams, from whole answers, and from clients that leave without a token. The status explains them.
func TestSlotsAreLearnedFromWhatPasses(t *testing.T) {
	why := func(h *host, listener *host) string {
		h.now += second
		h.tick()
		listener.now = h.now
		listener.tick()
		_, known := listener.get(t, "/spillway/status")
		queue := known["upstreams"].([]any)[0].(map[string]any)["queue"].(map[string]any)
		expect(t, "slots", queue["slots"].(float64), float64(h.gauges["slots x"]))
		return queue["why"].(string)
	}
	left := func(h *host, stream bool) { // it waits for a second, and leaves
		x := h.start("bob", false)
		if stream {
			x.body(plainStream, true)
		} else {
			x.body(`{"model":"mock","messages":[]}`, true)
		}
		h.now += second
		x.done()
	}
	for _, test := range []struct {
		name        string
		ask, leave  func(h *host)
		want, after string
	}{
		{
			"streams", func(h *host) { h.streamed("ann").stream(millisecond*100, millisecond) }, func(h *host) { left(h, true) },
			"ttft 100 ms is 1.0 times the best 100 ms", "ttft 1000 ms is 10.0 times the best 100 ms",
		},
		{
			"whole answers", func(h *host) { h.ask("ann").serve(millisecond*100, "200") }, func(h *host) { left(h, false) },
			"a whole answer took 100 ms with 1 in flight, and takes 100 ms with 1;", "8: a whole answer took 2",
		},
	} {
		store := recordtest.NewMemory()
		h := newHost(t, learnedSlots, store)
		h.Announce([]byte(learnedSlots))
		listener := newHost(t, `{"mode":"off",`+adminConfig("open")+`}`, store)
		expect(t, test.name+": at first", why(h, listener), "8: nothing is known yet")
		for range 20 {
			test.ask(h)
		}
		if got := why(h, listener); !strings.Contains(got, test.want) {
			t.Errorf("%s: %s", test.name, got)
		}
		for range 40 {
			test.leave(h)
		}
		if got := why(h, listener); !strings.Contains(got, test.after) {
			t.Errorf("%s, and then clients that leave: %s", test.name, got)
		}
	}
}

// What fails, and what is the client's mistake, tells nothing of slots.
func TestErrorsTeachNoSlots(t *testing.T) {
	h := newHost(t, learnedSlots, recordtest.NewMemory())
	for _, status := range []string{"500", "503", "429", "400"} {
		for range 20 {
			h.ask("ann").serve(millisecond*900, status)
		}
	}
	h.now += second
	h.tick()
	expect(t, "why", h.sites[0].queue.Snapshot(h.now).Why, "8: nothing is known yet")
}

// What the engines say counts, and is told, where the upstream has the pressure gate, in shadow mode too, and as long as it is recent.
func TestSlotsKnowWhatTheEnginesSay(t *testing.T) {
	const fetched = `{"version":1,"instances":[{"running":3,"waiting":2,"activeDecodeBlocks":0.5},{"running":1,"waiting":0,"activeDecodeBlocks":0.72}]}`
	for _, c := range []struct {
		name, pressure string
		later          int
		want           string
	}{
		{"in shadow mode", `,"pressure":{"mode":"shadow"}`, 2, "; the engines say that 2 wait, KV cache 61 % full"},
		{"enforced", `,"pressure":{"mode":"enforce"}`, 2, "; the engines say that 2 wait, KV cache 61 % full"},
		{"stale", `,"pressure":{"mode":"shadow"}`, 11, ""},
		{"without", `,"pressure":{"mode":"off"}`, 2, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, `{"requestHold":"stopIteration","upstreams":[{"name":"y","models":["other"],"pressure":{"mode":"shadow"}},{"name":"x","concurrency":{"max":"auto"}`+c.pressure+`}]}`, recordtest.NewMemory())
			h.tick()
			h.Fetched(h.now, 200, []byte(fetched))
			h.tick()
			for range 9 {
				h.streamed("ann").stream(millisecond*100, millisecond)
			}
			h.now = h.now.Add(time.Duration(c.later) * time.Second)
			h.tick()
			why := h.site("x").queue.Snapshot(h.now).Why
			if got := strings.Contains(why, "engines"); got != (c.want != "") || !strings.Contains(why, c.want) {
				t.Errorf("%q, want %q in it", why, c.want)
			}
		})
	}
}
