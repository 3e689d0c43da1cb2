package admit

import (
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/account"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/health"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const (
	tenRequests = `"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":10,"window":"8760h"},
		{"name":"all","unit":"requests","quantity":1000,"window":"8760h"}]`
	andOneSlot = `,"upstreams":[{"name":"u","concurrency":{"max":1}}]`
)

// A request that has not reached the upstream when its worker dies is not lost to its subject; one that has is counted.
func TestADeadWorkerKeepsNoRequests(t *testing.T) {
	for _, test := range []struct {
		name, hold, more string
		begin            func(h *host)
		sent             int64
	}{
		{"waiting for its turn", "stopIteration", andOneSlot, func(h *host) { h.say("bob", chatBody); h.say("ann", chatBody) }, 0},
		{"waiting for its turn, unheld", "none", andOneSlot, func(h *host) { h.say("bob", chatBody); h.say("ann", chatBody) }, 0},
		{"kept until its body is complete", "stopIteration", "", func(h *host) { h.start("ann", false).body(chatBody[:9], false) }, 0},
		{"kept by the buffer filter", "bufferFilter", "", func(h *host) { h.start("ann", false).body(chatBody[:9], false) }, 0},
		{"kept, then waiting", "stopIteration", andOneSlot, func(h *host) { h.say("bob", chatBody); h.start("ann", false).body(chatBody, true) }, 0},
		{"its body is on its way, nothing held", "none", "", func(h *host) { h.start("ann", false).body(chatBody[:9], false) }, 0},
		{"sent", "stopIteration", "", func(h *host) { h.say("ann", chatBody) }, 1},
		{"sent through its upstream's gate", "stopIteration", andOneSlot, func(h *host) { h.say("ann", chatBody) }, 1},
		{"sent, nothing held", "none", "", func(h *host) { h.say("ann", chatBody) }, 1},
		{"sent when its turn came", "stopIteration", andOneSlot, func(h *host) {
			first := h.say("bob", chatBody)
			h.say("ann", chatBody)
			first.answer(used(1, 1))
		}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, `{"requestHold":"`+test.hold+`",`+tenRequests+test.more+`}`, recordtest.NewMemory())
			test.begin(h)
			expect(t, "while it lives", h.balance("ann"), 9)
			for range 10 { // it may wait for long
				h.now += clock.Moment(leasePeriod / 2)
				h.tick()
			}
			expect(t, "while it lives, later", h.balance("ann"), 9)
			h.now += clock.Moment(2 * leasePeriod) // the worker is dead
			expect(t, "when its worker is dead", h.balance("ann"), 10-test.sent)
		})
	}
}

// What is leased is given back, or counted, once, however it goes on.
func TestALeasedRequestIsCountedOnce(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(first, second *exchange)
		left int64
	}{
		"it leaves":                   {func(_, second *exchange) { second.done() }, 10},
		"its turn comes":              {func(first, second *exchange) { first.answer(used(1, 1)); second.answer(used(1, 1)) }, 9},
		"its turn comes and it fails": {func(first, second *exchange) { first.done(); second.status("500", "", true) }, 9},
		"nobody is to be had": {func(first, second *exchange) {
			first.done()
			second.host.comes(origin.Unreachable)
			second.status("503", "", true)
		}, 10},
	} {
		h := newHost(t, `{"requestHold":"stopIteration",`+tenRequests+andOneSlot+`}`, recordtest.NewMemory())
		first, second := h.say("bob", chatBody), h.say("ann", chatBody)
		expect(t, name+": waits", second.Waiting(), true)
		test.end(first, second)
		second.done()
		first.done()
		expect(t, name, h.balance("ann"), test.left)
		h.tick()
		h.idle()
	}
}

// writes counts what is written.
type writes struct {
	*recordtest.Memory
	n int
}

func (w *writes) Put(key string, value []byte, version uint32) (bool, error) {
	w.n++
	return w.Memory.Put(key, value, version)
}

// Where a request is sent in the event in which it was admitted, its requests cost one change of their page.
func TestWhatIsSentAtOnceIsNotLeased(t *testing.T) {
	const limits = `"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":10,"window":"1h"}]`
	for name, test := range map[string]struct {
		hold, body string
		want       int
	}{
		"a request without a body": {"stopIteration", "", 1},
		"nothing is held":          {"none", chatBody, 2},
		"kept for its body":        {"stopIteration", chatBody, 2},
	} {
		store := &writes{Memory: recordtest.NewMemory()}
		h := newHost(t, `{"requestHold":"`+test.hold+`",`+limits+`}`, store)
		store.n = 0
		x := h.start("ann", test.body == "")
		if test.body != "" {
			x.body(test.body, true)
		}
		x.answer(used(1, 1))
		expect(t, name, store.n, test.want)
	}
}

// What the proxy answers in the upstream's place says of the upstream what it did.
func TestWhatAnOriginSaysOfTheUpstream(t *testing.T) {
	for who, want := range map[origin.Origin]health.Result{
		origin.Upstream: health.Failed, origin.TimedOut: health.Failed, origin.Broken: health.Failed,
		origin.Unreachable: health.Failed, origin.Elsewhere: health.Neither,
	} {
		s := Stream{course: course{pace: pace{uploaded: 1}}}
		s.exchange.Origin = who
		if got := s.result(second, &account.Settlement{Complete: true, Status: 504}); got != want {
			t.Errorf("origin %d: %v, want %v", who, got, want)
		}
	}
}
