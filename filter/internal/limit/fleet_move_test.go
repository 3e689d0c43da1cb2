package limit

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// Who has used what was lost, and comes to another proxy then, whatever was asked for just when that was noticed: it is added again before others may lease.
func TestUsersThatMoveAfterALoss(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		workers := rapid.IntRange(1, 3).Draw(r, "workers")
		f := newFleet(r, 2, workers, fleetLimits)
		f.draw = func(label string, most int) int { return rapid.IntRange(0, most).Draw(r, label) }
		f.latency = clock.Moment(1+f.draw("latency", 400)) * second / 1000
		load := func(p *proxy, requests int) {
			for range requests {
				f.ask(p.workers[f.draw("worker", workers-1)], "u"+strconv.Itoa(f.draw("user", 2)), 10, 10, second/100)
				f.run(clock.Moment(f.draw("milliseconds", 150)) * second / 1000)
			}
		}
		f.run(4 * second)
		load(f.proxies[0], 70)
		clear(f.service.counts)
		load(f.proxies[0], 1+f.draw("requests", 20))
		f.run(settles + 2*second)
		for range 120 {
			for i := range 3 {
				f.ask(f.proxies[1].workers[0], "u"+strconv.Itoa(i), 10, 10, second/100)
			}
			f.run(second / 2)
		}
		for user, n := range f.byUser {
			if n > 300+50 {
				r.Fatalf("%s used %d", user, n)
			}
		}
	})
}
