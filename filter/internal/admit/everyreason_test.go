package admit

import (
	"fmt"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// What other tests of this package don't meet: see TestMain.
func TestReasonsOfRefusals(t *testing.T) {
	t.Parallel()
	low, high := [2]string{"x-priority", "low"}, [2]string{"x-priority", "high"}
	full := func(t *testing.T, blocks float64) *host {
		h := gatedHost(t, `"pressure":{"mode":"enforce"}`)
		h.tick()
		h.Fetched(h.now, 200, fmt.Appendf(nil, `{"version":1,"time":"2026-11-22T00:00:00Z","instances":[{"name":"a","activeDecodeBlocks":%g,"ageSeconds":0}]}`, blocks))
		return h
	}
	t.Run("pressure", func(t *testing.T) {
		t.Parallel()
		wantRefused(t, full(t, 0.95).try("m"), 503, "pressure/busy")
		some := full(t, 0.75)
		wantRefused(t, some.try("m", low), 429, "pressure/ceiling")
		wantPassed(t, some.try("m", high))
	})
	t.Run("latency", func(t *testing.T) {
		t.Parallel()
		h := gatedHost(t, `"latency":{"mode":"enforce"}`)
		h.try("m").stream(100*millisecond, 50*millisecond)
		wantRefused(t, h.try("m", [2]string{"x-slo-tpot-ms", "20"}), 429, "latency/slo_itl")
		wantPassed(t, h.try("m", [2]string{"x-slo-tpot-ms", "80"}))
	})
	for _, test := range []struct{ settings, reason string }{{`"mode":"enforce"`, "throttle/qps"}, {`"mode":"enforce","fusion":true`, "throttle/fused"}} {
		t.Run(test.reason, func(t *testing.T) {
			t.Parallel()
			h := gatedHost(t, `"throttle":{`+test.settings+`}`)
			for range 90 {
				h.try("m", high).stream(millisecond, 1)
				h.now += second
				h.tick()
			}
			x := h.try("m", low)
			for range 600 {
				if x = h.try("m", low); x.Refused() {
					break
				}
				x.stream(0, 0)
				h.now += 10 * millisecond
				h.tick()
			}
			wantRefused(t, x, 429, test.reason)
		})
	}
	t.Run("limits", func(t *testing.T) {
		t.Parallel()
		h := newHost(t, `{"limits":[{"name":"run","per":["user"],"unit":"totalTokens","quantity":200,"lifetime":true}]}`, recordtest.NewMemory())
		h.ask("ann").answer(used(100, 150))
		expect(t, "a session that is over", header(h.ask("ann").last.Reply.Headers, "x-spillway-reason"), "limits/lifetime_spent")

		store := recordtest.NewMemory()
		h = newHost(t, `{"limits":[{"name":"l","per":["user"],"unit":"requests","quantity":200,"window":"1h"}]}`, store)
		h.ask("ann").answer(used(1, 1))
		store.Conflict = func(key string) { // another worker was first, each time
			if value, version, found, _ := store.Get(key); found {
				_, _ = store.Put(key, value, version)
			}
		}
		wantRefused(t, h.ask("ann"), 429, "limits/contended")
	})
	t.Run("identity", func(t *testing.T) {
		t.Parallel()
		h := newHost(t, `{"limits":[{"name":"l","per":["key"],"unit":"requests","quantity":200,"window":"1h"}]}`, recordtest.NewMemory())
		x := h.start("", true, [2]string{"authorization", "Bearer a"}, [2]string{"x-api-key", "b"})
		expect(t, "two keys", header(x.last.Reply.Headers, "x-spillway-reason"), "identity/conflicting_keys")
	})
}
