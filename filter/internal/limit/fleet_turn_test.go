package limit

import (
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// The service counts for a window, and says then how long the next one lasts, where one ends in between: what it has counted is the last one's, and nothing of that is taken for the next one's.
func TestAnswersInWhichAWindowEnds(t *testing.T) {
	const users = 40
	f := newFleet(t, 2, 2, fleetLimits)
	f.service.slow = second / 20
	f.run(clock.Moment(hour-int64(f.now)%hour) - 30*second)
	ask := func(n, use int) {
		f.ask(f.proxies[n%2].workers[n/2%2], "u"+strconv.Itoa(n%users), int64(use), int64(use), second/100)
	}
	for n := range 10 * users {
		ask(n, 10)
		f.run(second / 20)
	}
	f.run(clock.Moment(hour-int64(f.now)%hour) - second/5)
	for n := range 10 * users {
		ask(n, 7)
		f.run(second / 1000)
	}
	clear(f.byUser)
	f.run(60 * second)
	for n := range 100 * users {
		ask(n+n/users, 5)
		f.run(second / 1000)
		if n%users == 0 {
			f.run(second)
		}
	}
	for user, used := range f.byUser {
		if used < 230 || used > 310 {
			t.Errorf("%s has used %d after the turn", user, used)
		}
	}
}

// Nor is anything taken for lost when a month of the service's ends, as what proxies count of themselves does then; and what is lost after that is noticed.
func TestNothingIsLostWhenAMonthEnds(t *testing.T) {
	const month = 720 * hour
	for _, slow := range []clock.Moment{0, second * 9 / 10} {
		f := newFleet(t, 2, 2, fleetLimits)
		f.service.slow, f.service.offset = slow, clock.Moment(month-int64(f.now)%month)-60*second
		for n := range 1200 {
			f.ask(f.proxies[n%2].workers[n/2%2], "u"+strconv.Itoa(n%7), 1, 1, second/100)
			f.run(second / 10)
		}
		lost := func() int { return strings.Count(strings.Join(f.why, "\n"), errLost) }
		expect(t, "answers that showed a loss", lost(), 0)
		clear(f.service.counts)
		f.run(3 * second)
		if lost() < 2 {
			t.Error("a loss in the next month isn't noticed")
		}
	}
}

// errLost is a part of what is said of a loss.
const errLost = "has lost what it had counted"
