package admit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// A caller is its key, whatever else it says of itself; without one its tenant and user.
func TestWhoACallerIs(t *testing.T) {
	t.Parallel()
	for _, configuration := range []string{`{}`, `{"identity":{"missing":"reject"}}`, `{"identity":{"missing":"nobody"}}`} {
		h := newHost(t, configuration, recordtest.NewMemory())
		who := func(headers ...[2]string) (uint64, bool) {
			return h.subject(&h.startWith(append(headers, [2]string{":method", "POST"}), true).Stream)
		}
		ann, keyed := who([2]string{"x-user-id", "ann"})
		expect(t, "a name is a key", keyed, false)
		bob, _ := who([2]string{"x-user-id", "bob"})
		elsewhere, _ := who([2]string{"x-user-id", "ann"}, [2]string{"x-tenant-id", "t"})
		nobody, keyed := who()
		expect(t, "nobody has a key", keyed, false)
		key, keyed := who([2]string{"x-api-key", "k"})
		expect(t, "a key", keyed, true)
		other, _ := who([2]string{"x-api-key", "l"})
		for i := range 5 { // made-up names make no other caller of it
			again, _ := who([2]string{"authorization", "Bearer k"}, [2]string{"x-user-id", fmt.Sprint(i)}, [2]string{"x-tenant-id", fmt.Sprint(i)})
			expect(t, "the same key", again, key)
		}
		seen := map[uint64]bool{}
		for _, subject := range []uint64{ann, bob, elsewhere, nobody, key, other} {
			expect(t, "is told apart", seen[subject] || subject == 0, false)
			seen[subject] = true
		}
	}
}

// An upstream's word to one key is for that key; to a name it is for the name, until another one hears it, too.
func TestHintsGoToTheirCaller(t *testing.T) {
	t.Parallel()
	shut := [2]string{"retry-after", "60"}
	for _, test := range []struct {
		name   string
		header string
		waits  bool
	}{{"keys", "x-api-key", false}, {"names", "x-user-id", true}} {
		h := timed(t, "stopIteration", `"budget":{"requests":100,"window":"60s"},"retreat":{"mode":"off"}`)
		ask := func(who string) *exchange {
			x := h.start("", false, [2]string{test.header, who})
			x.body(chatBody, true)
			return x
		}
		for _, who := range []string{"a", "b"} {
			x := ask(who)
			wantPassed(t, x)
			x.status("429", "text/plain", true, shut)
			x.done()
			expect(t, test.name+": the one that was told waits", ask(who).Waiting(), true)
		}
		expect(t, test.name+": a stranger waits", ask("c").Waiting(), test.waits)
	}
}

// In each gate a caller is told from the others.
func TestGatesTellCallersApart(t *testing.T) {
	t.Parallel()
	for gate, bad := range map[string]func(x *exchange){
		`"breaker":{"mode":"enforce","minRequests":4,"window":"10m"}`: func(x *exchange) { x.serve(1, "500") },
		`"latency":{"mode":"enforce"}`:                                func(x *exchange) { x.stream(20*second, millisecond) },
		`"latency":{"mode":"enforce","per":"global"}`:                 func(x *exchange) { x.stream(20*second, millisecond) },
		`"budget":{"requests":6000,"window":"60s"},"retreat":{"minSamples":5,"every":"1s","minRequests":1,"window":"10m"}`: func(x *exchange) {
			x.status("429", "text/plain", true)
			x.done()
		},
	} {
		h := timed(t, "none", gate)
		h.ask("good").stream(millisecond, millisecond)
		for i := range 40 {
			if x := h.ask("bad"); x.last.Action == Continue {
				bad(x)
			}
			h.now += second
			x := h.ask(fmt.Sprint("good", i%3))
			wantPassed(t, x)
			x.stream(millisecond, millisecond)
			h.tick()
		}
		if rpm, is := h.gauges["rpm up"]; is && strings.Contains(gate, "budget") && rpm != 6000 {
			t.Errorf("the rate is %d", rpm)
		}
	}
}

// Requests that a limit refuses are no arrivals for the throttle: they are no load.
func TestWhatALimitRefusesIsNoArrival(t *testing.T) {
	t.Parallel()
	h := newHost(t, `{"limits":[{"name":"l","unit":"requests","quantity":10,"window":"1h","per":["user"]}],
		"upstreams":[{"name":"up","throttle":{"mode":"enforce"}}]}`, recordtest.NewMemory())
	low := [2]string{"x-priority", "low"}
	for i := range 130 {
		for j := range 10 { // the load, over many users
			x := h.start(fmt.Sprint("user", i, "-", j), false, low)
			if x.body(chatBody, true); x.Refused() {
				t.Fatalf("after %d s: %s", i, header(x.last.Reply.Headers, "x-spillway-reason"))
			}
			x.stream(millisecond, 1)
		}
		for range 200 * (i / 100) { // and then one who is over his limit, and doesn't stop
			x := h.start("mallory", false)
			if x.body(chatBody, true); !x.Refused() {
				x.stream(0, 0)
			}
		}
		h.now += second
		h.tick()
	}
}
