package limit

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// A limit whose window or quantity is changed while it is used goes on at once, from one window to a longer one and back, and while a loss is made good, too: what it allows then can be used, and no more.
func TestAFleetsLimitIsChanged(t *testing.T) {
	for _, loses := range []bool{false, true} {
		f := newFleet(t, 2, 2, fleetLimits)
		f.run(4 * second)
		load := func(requests int) int64 {
			clear(f.byUser)
			for n := range requests {
				f.ask(f.proxies[n%2].workers[n/2%2], "u", 10, 10, second/100)
				f.run(second)
			}
			return f.byUser["u"]
		}
		load(10)
		day, more := strings.Replace(fleetLimits, "1h", "24h", 1), strings.Replace(fleetLimits, "300", "600", 1)
		for i, limits := range []string{day, fleetLimits, day, more} {
			if loses {
				clear(f.service.counts)
				f.run(3 * second)
			}
			f.configure(limits)
			if loses {
				f.run(settles)
			}
			f.run(clock.Moment(hour-int64(f.now)%hour) + 2*second)
			clear(f.refused)
			if used := load(3); used != 30 {
				t.Errorf("change %d, loss %v: %d of 30 are used, refused: %v", i, loses, used, f.refused)
			}
		}
		if used := 30 + load(120); used < 590 || used > 620 {
			t.Errorf("%d of 600 are used, loss %v", used, loses)
		}
	}
}
