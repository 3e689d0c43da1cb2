package limit

import (
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// net is what the service has counted, less what was given back, of all subjects.
func (s *service) net() (n int64) {
	for key, count := range s.counts {
		switch {
		case strings.Contains(key, "proxy"): // what it was told of each of them
		case strings.Contains(key, "given back"):
			n -= count
		default:
			n += count
		}
	}
	return n
}

// What lies idle in a proxy is given back, whole, and others can use it.
func TestAnIdleLeaseIsGivenBack(t *testing.T) {
	for _, proxies := range []int{1, 2, 8} {
		f := newFleet(t, proxies, 2, strings.Replace(fleetLimits, "300", "3000", 1))
		for _, p := range f.proxies {
			f.ask(p.workers[0], "u", 100, 10, second)
		}
		f.run(2 * second)
		if leased := f.service.net(); leased < int64(proxies)*20 {
			t.Fatalf("%d are leased", leased)
		}
		f.run(30 * second)
		expect(t, "leased by "+strconv.Itoa(proxies)+" that are idle", f.service.net(), int64(proxies)*10)
		calls, beats := f.calls, f.beats
		f.run(300 * second)
		expect(t, "calls for who is idle", f.calls, calls)
		if more := f.beats - beats; more < proxies*145 || more > proxies*150 {
			t.Errorf("%d calls in 300 s by %d proxies, to see whether anything is lost", more, proxies)
		}
		for n := 0; n < 1000 && f.refused["tokens_exceeded"] == 0; n++ {
			f.ask(f.proxies[0].workers[0], "u", 10, 10, second/100)
			f.run(second / 10)
		}
		expect(t, "used at last, by one of "+strconv.Itoa(proxies), f.admitted[f.window()].used, 3000)
	}
}

// A call that was counted, and whose answer nobody has heard, keeps nothing from the others, though nobody asks again.
func TestWhatACallWithoutAnAnswerHasAddedIsGivenBack(t *testing.T) {
	f := newFleet(t, 1, 2, fleetLimits)
	f.run(2 * second)
	f.lossy = true
	f.draw = func(string, int) int { return 2 } // its answer never comes
	f.ask(f.proxies[0].workers[0], "u", 100, 10, second)
	f.run(second / 2)
	f.lossy = false
	if f.service.net() == 0 {
		t.Fatal("nothing is counted")
	}
	f.run(60 * second)
	expect(t, "leased by nobody", f.service.net(), 0)
}

// A proxy to which a user comes seldom keeps nothing: of many proxies and a small limit all can be used, whoever is asked.
func TestSeldomUsersOfManyProxiesGetAllOfTheirLimit(t *testing.T) {
	f := newFleet(t, 12, 1, fleetLimits)
	for i := range 60 {
		f.ask(f.proxies[i*5%12].workers[0], "u", 5, 5, second/10)
		f.run(20 * second)
	}
	if len(f.refused) > 0 {
		t.Errorf("refused: %v", f.refused)
	}
	expect(t, "used", f.admitted[f.window()].used, 300)
}

// Who was refused since others had leased the rest is let pass soon after they have given it back.
func TestWhatIsGivenBackIsFoundByWhoWasRefused(t *testing.T) {
	f := newFleet(t, 2, 1, strings.Replace(fleetLimits, `"per":["user"],`, `"per":["user"],"admission":"strict",`, 1))
	f.ask(f.proxies[0].workers[0], "u", 290, 40, second)
	f.run(second / 2)
	f.ask(f.proxies[1].workers[0], "u", 40, 40, second/10)
	f.run(second)
	if f.refused["tokens_exceeded"] != 1 {
		t.Fatalf("refused: %v", f.refused)
	}
	since := f.now
	for f.admitted[f.window()].used < 80 && f.now < since+60*second {
		f.ask(f.proxies[1].workers[0], "u", 40, 40, second/10)
		f.run(second)
	}
	if took := f.now - since; took > 30*second {
		t.Errorf("it is refused for %d s", took/second)
	}
	if f.calls > 40 {
		t.Errorf("%d calls", f.calls)
	}
}

// A lease that somebody uses, however little, stays where it is; one of which a part is reserved, too.
func TestALeaseInUseIsNotGivenBack(t *testing.T) {
	f := newFleet(t, 1, 4, strings.Replace(fleetLimits, "300", "1000000", 1))
	f.ask(f.proxies[0].workers[0], "long", 10, 10, 200*second)
	for i := range 50 {
		f.ask(f.proxies[0].workers[i%4], "u", 1, 1, second/10)
		f.run(3 * second)
	}
	f.run(second)
	if calls := f.calls; calls > 20 {
		t.Errorf("%d calls for two users", calls)
	}
}

// Before an idle lease is given back it is looked at whether the count is still there: what was used of it is counted again, and nothing is given twice.
func TestAnIdleLeaseOfALostCountIsNotGivenTwice(t *testing.T) {
	f := newFleet(t, 3, 2, fleetLimits)
	for _, p := range f.proxies {
		f.ask(p.workers[0], "u", 30, 10, second)
	}
	f.run(2 * second)
	clear(f.service.counts)
	f.run(40 * second)
	expect(t, "leased by three that are idle", f.service.net(), 3*10)
}

// Idle or busy, whatever is lost, late or restarted: while Redis keeps its data no window passes more than the limit and what was in flight.
func TestNoFleetThatGivesBackPassesItsLimit(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		proxies, workers := rapid.IntRange(1, 4).Draw(r, "proxies"), rapid.IntRange(1, 3).Draw(r, "workers")
		f := newFleet(r, proxies, workers, fleetLimits)
		f.draw = func(label string, most int) int { return rapid.IntRange(0, most).Draw(r, label) }
		f.lossy = rapid.Bool().Draw(r, "lossy")
		f.service.offset = clock.Moment(rapid.Int64Range(0, hour).Draw(r, "the service's clock"))
		if toNext := hour - int64(f.now+f.service.offset)%hour; rapid.Bool().Draw(r, "at a window's end") {
			f.run(clock.Moment(max(toNext-60*second, 0)))
		}
		for range rapid.IntRange(1, 80).Draw(r, "steps") {
			p := f.proxies[f.draw("proxy", proxies-1)]
			switch f.draw("what happens", 9) {
			case 0:
				f.service.down = f.draw("down", 3) == 0
			case 1:
				if f.draw("restart", 5) == 0 {
					f.restart(p, workers)
				}
			case 2, 3:
				f.run(clock.Moment(f.draw("seconds", 25)) * second)
			default:
				for range 1 + f.draw("requests", 3) {
					f.ask(p.workers[f.draw("worker", workers-1)], "u", int64(1+f.draw("expected", 200)), int64(f.draw("use", 30)), clock.Moment(f.draw("takes", 3000))*second/1000)
				}
				f.run(clock.Moment(f.draw("milliseconds", 3000)) * second / 1000)
			}
		}
		f.run(60 * second)
		for window := range f.admitted {
			if beyond := f.beyond(window); beyond > 300 {
				r.Fatalf("in window %d %d were used beside what was in flight, want 300 at most", window, beyond)
			}
		}
	})
}
