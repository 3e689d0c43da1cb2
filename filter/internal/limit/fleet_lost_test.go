package limit

import (
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// Redis loses all it has counted while a limit is used up: not much more than the limit is used, and not much less.
func TestRedisLosesItsDataUnderLoad(t *testing.T) {
	const quantity = 15_000
	least, most := int64(quantity), int64(0)
	for proxies := 1; proxies <= 4; proxies++ {
		for lost := range 12 {
			f := newFleet(t, proxies, 2, strings.Replace(fleetLimits, "300", strconv.Itoa(quantity), 1))
			for i := range 40 * 20 {
				if i == 20*(1+lost) {
					clear(f.service.counts)
				}
				f.ask(f.proxies[i%proxies].workers[i/proxies%2], "u", 50, 50, second)
				f.run(second / 20)
			}
			f.run(30 * second)
			for range 100 {
				f.ask(f.proxies[0].workers[0], "u", 50, 50, second)
				f.run(second / 2)
			}
			used := f.admitted[f.window()].used
			least, most = min(least, used), max(most, used)
		}
	}
	t.Logf("%d to %d are used of %d", least, most, quantity)
	if least < quantity || most > quantity*23/20 {
		t.Errorf("%d to %d are used of %d", least, most, quantity)
	}
}

// A service that says whatever it likes has no proxy grant itself more than it has asked for, and stops none for longer than the window.
func TestAServiceThatLies(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		f := newFleet(r, 2, 2, fleetLimits)
		f.run(clock.Moment(hour-int64(f.now)%hour) - 600*second)
		f.service.lie = func(told int64) int64 {
			switch rapid.IntRange(0, 4).Draw(r, "lie") {
			case 0:
				return 0
			case 1:
				return rapid.Int64Range(0, 1<<32-1).Draw(r, "count")
			case 2:
				return 1<<32 - 1
			}
			return told
		}
		for range 60 {
			f.ask(f.proxies[rapid.IntRange(0, 1).Draw(r, "proxy")].workers[0], "u", 10, 10, second/10)
			f.run(clock.Moment(rapid.IntRange(1, 9000).Draw(r, "milliseconds")) * second / 1000)
		}
		f.service.lie = nil
		f.run(700 * second)
		clear(f.refused)
		f.ask(f.proxies[0].workers[0], "u", 10, 10, second/10)
		f.run(second)
		if len(f.refused) > 0 {
			r.Fatalf("in the next window it is refused: %v", f.refused)
		}
	})
}
