package limit

import (
	"fmt"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const minutes = clock.Moment(time.Minute)

// hourlyTokens is a limit of so many tokens an hour.
func hourlyTokens(quantity int) string {
	return fmt.Sprintf(`[{"name":"t","per":["user"],"unit":"totalTokens","quantity":%d,"window":"1h"}]`, quantity)
}

// stands wants ann to stand so at a moment; she is full again within five seconds of when she should be.
func (w *world) stands(t *testing.T, what string, now clock.Moment, used, remaining int64, full time.Duration) {
	t.Helper()
	v, err := w.Look(now, w.named(t, "t", "ann"))
	if late := v.Full - full; err != nil || v.Used != used || v.Remaining != remaining || late < 0 || late > 5*time.Second {
		t.Errorf("%s: %+v, %v; want %d used, %d left, full after %v", what, v, err, used, remaining, full)
	}
}

// A quantity is lowered, and raised again, while much of it is used: that counts from the first moment on, nobody pays for it for longer than it would have
// taken before, and nothing is forgotten or counted twice. The page that it stands in is written for others meanwhile.
func TestAQuantityIsLowered(t *testing.T) {
	w, ann := newWorld(t, hourlyTokens(1000)), request("ann")
	w.settle(t, start, w.admit(t, start, ann), 100, 700)
	less, little := w.again(t, hourlyTokens(500)), w.again(t, hourlyTokens(10))
	w.stands(t, "before", start, 800, 200, 48*time.Minute)
	less.stands(t, "lowered", start, 800, -300, 48*time.Minute)
	little.stands(t, "lowered by much", start, 800, -790, 48*time.Minute)
	v := less.Admit(start, ann, nil)
	if !v.Outcome.Refuses() || v.Wait < 18*time.Minute || v.Wait > 19*time.Minute || v.Reset < 48*time.Minute || v.Reset > 49*time.Minute { // until 500 are used, of 800 in 48 minutes
		t.Errorf("refused with %+v", v.Verdict)
	}
	if x := less.Admit(start.Add(v.Wait)-1, ann, nil); !x.Outcome.Refuses() {
		t.Error("passes earlier than it was told")
	}
	for i := range 70 { // half an hour later, others' in the same page among them
		less.settle(t, start+30*minutes, less.admit(t, start+30*minutes, request(fmt.Sprint("other", i))), 1, 1)
	}
	little.stands(t, "after half an hour", start+30*minutes, 301, -291, 18*time.Minute)
	w.stands(t, "raised again", start+30*minutes, 300, 700, 18*time.Minute)
	less.settle(t, start+30*minutes, less.admit(t, start+30*minutes, ann), 10, 90) // at 500 an hour, 12 minutes' worth
	less.stands(t, "more was used", start+30*minutes, 401, 99, 30*time.Minute)
	less.stands(t, "when all is back", start+61*minutes, 0, 500, 0)
}

// What runs while a quantity is lowered has been let through by the one before: whatever it comes to flows away as it would have.
func TestWhatRunsWhileAQuantityIsLowered(t *testing.T) {
	w, ann := newWorld(t, hourlyTokens(1000)), request("ann")
	charges := w.admit(t, start, ann)
	little := w.again(t, hourlyTokens(10))
	little.Adopt(charges)
	little.stands(t, "while it runs", start, 0, -20, 108*time.Second)
	little.settle(t, start, charges, 100, 700)
	little.stands(t, "when it has ended", start, 800, -790, 48*time.Minute)
	w.stands(t, "raised again", start, 800, 200, 48*time.Minute)
}

// A limit that is the fleet's from now on, or isn't any more, begins anew: what is leased and what is used have nothing in common.
func TestALimitBecomesTheFleets(t *testing.T) {
	w := newWorld(t, hourlyTokens(1000))
	own, _ := w.Subject("t", "ann")
	w.Set, w.picker = worker(t, `{"fleet":{"cluster":"ratelimit"},"limits":[{"name":"t","per":["user"],"unit":"totalTokens","quantity":1000,"window":"hour","scope":"fleet"}]}`, w.store)
	if fleet, _ := w.Subject("t", "ann"); fleet.limit.salt == own.limit.salt {
		t.Error("they share their buckets")
	}
}
