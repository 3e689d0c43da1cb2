package limit

import (
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// Redis loses all it has counted while a limit is used up, by proxies that use it up in twenty seconds, or within one: no more than the limit is used, and what was in flight, and no less.
func TestRedisLosesItsDataUnderLoad(t *testing.T) {
	const quantity, use = 15_000, 76
	least, most := int64(quantity), int64(0)
	for _, every := range []clock.Moment{second / 20, second / 200, second / 1000} {
		for proxies := 1; proxies <= 4; proxies++ {
			for at := int64(1000); at < quantity; at += 1000 {
				f := newFleet(t, proxies, 2, strings.Replace(fleetLimits, "300", strconv.Itoa(quantity), 1))
				n := int(at) + proxies
				next := func() {
					n = (n*1103515245 + 12345) & (1<<31 - 1)
					f.ask(f.proxies[n>>16%proxies].workers[n>>24&1], "u", use, use, 2*every)
					f.run(every)
				}
				for f.used() < at {
					next()
				}
				clear(f.service.counts)
				for range 200 {
					next()
				}
				f.run(2 * settles)
				for range 300 {
					f.ask(f.proxies[0].workers[0], "u", use, use, second/10)
					f.run(second / 4)
				}
				if f.beyond(f.window()) > quantity {
					t.Errorf("%d proxies, one request in %v, a loss at %d: %d are used", proxies, time.Duration(every), at, f.used())
				}
				least, most = min(least, f.used()), max(most, f.used())
			}
		}
	}
	t.Logf("%d to %d are used of %d", least, most, quantity)
	if least < quantity {
		t.Errorf("%d are used of %d", least, quantity)
	}
}

// While proxies add again what Redis has lost, and give themselves leases meanwhile, none gives itself more than what the fleet had left, as far as it knows; who is new is served.
func TestALossIsNoNewLimitForEachProxy(t *testing.T) {
	f := newFleet(t, 2, 2, fleetLimits)
	f.onDown = config.DownLocal
	for _, p := range f.proxies {
		f.restart(p, 2)
	}
	f.run(4 * second)
	load := func(user string, requests int) {
		for n := range requests {
			f.ask(f.proxies[n%2].workers[n/2%2], user, 10, 10, second/100)
			f.run(second / 20)
		}
	}
	load("heavy", 24)
	clear(f.service.counts)
	load("heavy", 100)
	load("new", 10)
	load("heavy", 200)
	if used := f.byUser["heavy"]; used < 280 || used > 360 {
		t.Errorf("%d are used of 300", used)
	}
	if used := f.byUser["new"]; used != 100 {
		t.Errorf("who is new has %d of 100", used)
	}
}

// Two services that count apart are asked in turn, by mistake: each answer shows a loss. Nothing is leased, they aren't overrun by calls, and when they count together all goes on.
func TestServicesThatCountApart(t *testing.T) {
	f := newFleet(t, 2, 2, fleetLimits)
	other, load := map[string]int64{}, func(n int) {
		f.ask(f.proxies[n%2].workers[n/2%2], "u"+strconv.Itoa(n%50), 1, 1, second/100)
		f.run(second / 10)
	}
	for n := range 600 {
		load(n)
		f.service.counts, other = other, f.service.counts
	}
	t.Logf("%d calls", f.calls+f.beats)
	if all := f.calls + f.beats; all > 60*4*5 {
		t.Errorf("%d calls in a minute", all)
	}
	f.run(settles)
	clear(f.refused)
	for n := range 100 {
		load(n)
	}
	if len(f.refused) > 0 {
		t.Errorf("refused: %v", f.refused)
	}
}

// settles is after how long what was lost is counted again, and leased again.
const settles = 9 * second

// used is what was admitted in the window under way.
func (f *fleetWorld) used() int64 {
	if w := f.admitted[f.window()]; w != nil {
		return w.used
	}
	return 0
}

// Whatever Redis loses, all of it or what it counted last, and however often: no window passes more than the limit and what was in flight, of none of its subjects. Calls and answers
// are lost, too, but not while the proxies add again what they have taken.
func TestNoLossHasAFleetPassItsLimit(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		proxies, workers := rapid.IntRange(1, 4).Draw(r, "proxies"), rapid.IntRange(1, 3).Draw(r, "workers")
		f := newFleet(r, proxies, workers, fleetLimits)
		f.draw = func(label string, most int) int { return rapid.IntRange(0, most).Draw(r, label) }
		lossy := rapid.Bool().Draw(r, "lossy")
		f.service.offset = clock.Moment(rapid.Int64Range(0, hour).Draw(r, "the service's clock"))
		if toNext := hour - int64(f.now+f.service.offset)%hour; rapid.Bool().Draw(r, "at a window's end") {
			f.run(clock.Moment(max(toNext-60*second, 0)))
		}
		f.run(4 * second) // who has never been told anything can't notice a loss
		f.lossy = lossy
		var kept map[string]int64
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			switch f.draw("what happens", 11) {
			case 0:
				f.service.down = f.draw("down", 2) == 0
			case 1:
				f.run(clock.Moment(f.draw("seconds", 25)) * second)
			case 2:
				kept = maps.Clone(f.service.counts)
			case 3, 4:
				f.lossy, f.service.down = false, false
				all := map[string]int64{}
				if f.draw("all of it", 1) == 0 {
					maps.Copy(all, kept)
					f.run(4 * second) // a call that is under way meanwhile, and not answered, can make up for one that is lost
				}
				f.service.counts, kept = all, maps.Clone(all)
				f.load(workers, 20)
				f.run(settles)
				f.lossy = lossy
			default:
				f.load(workers, 1+f.draw("requests", 5))
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

// Redis goes back to what it had counted some seconds ago, which is no more than the calls of a proxy can have added that were never answered: what that had given back is still there for
// the others, so that it isn't the proxy's own again.
func TestACopyOfLessThanWasAskedForInVain(t *testing.T) {
	f := newFleet(t, 2, 1, fleetLimits)
	load := func(proxy, requests int) {
		for range requests {
			f.ask(f.proxies[proxy].workers[0], "u", 100, 10, second/10)
			f.run(second)
		}
	}
	f.run(4 * second)
	f.service.down = true
	load(0, 10)
	f.service.down = false
	f.run(4 * second)
	load(0, 5)
	f.run(30 * second)
	kept := maps.Clone(f.service.counts)
	load(0, 3)
	f.service.counts = kept
	f.run(2 * settles)
	for range 60 {
		load(0, 1)
		load(1, 1)
	}
	if used := f.used(); used < 270 || f.beyond(f.window()) > 300 {
		t.Errorf("%d are used of 300", used)
	}
}

// load is some requests at some proxies.
func (f *fleetWorld) load(workers, requests int) {
	for range requests {
		p := f.proxies[f.draw("proxy", len(f.proxies)-1)]
		f.ask(p.workers[f.draw("worker", workers-1)], "u", int64(1+f.draw("expected", 200)), int64(f.draw("use", 30)), clock.Moment(f.draw("takes", 300))*second/1000)
		f.run(clock.Moment(f.draw("milliseconds", 100)) * second / 1000)
	}
}

// While the service doesn't answer each proxy may let pass the limit by itself, and once more by a clock of its own that is wrong; never more.
func TestProxiesOnTheirOwnPassTheLimitEach(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		proxies := rapid.IntRange(1, 3).Draw(r, "proxies")
		f := newFleet(r, proxies, 2, fleetLimits)
		f.draw = func(label string, most int) int { return rapid.IntRange(0, most).Draw(r, label) }
		f.clocks, f.onDown = 7200, config.DownLocal
		f.service.offset = clock.Moment(rapid.Int64Range(0, hour).Draw(r, "the service's clock"))
		for _, p := range f.proxies {
			f.restart(p, 2)
		}
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			f.service.down = f.draw("down", 3) > 0
			for range 1 + f.draw("requests", 9) {
				f.ask(f.proxies[f.draw("proxy", proxies-1)].workers[f.draw("worker", 1)], "u", int64(1+f.draw("expected", 80)), int64(f.draw("use", 80)), second)
			}
			f.run(clock.Moment(f.draw("seconds", 30)) * second)
		}
		f.run(30 * second)
		for window := range f.admitted {
			if beyond := f.beyond(window); beyond > 300*int64(1+2*proxies) {
				r.Fatalf("in window %d %d were used beside what was in flight by %d proxies", window, beyond, proxies)
			}
		}
	})
}

// Two configurations have a limit of one name, of different quantities: none passes more than its own allows, together with the other one. What counts something else, or in other
// windows, has other names.
func TestLimitsOfOneName(t *testing.T) {
	f := newFleet(t, 2, 1, fleetLimits)
	f.limits = strings.Replace(fleetLimits, "300", "600", 1)
	f.restart(f.proxies[1], 1)
	for range 100 {
		for _, p := range f.proxies {
			f.ask(p.workers[0], "u", 10, 10, second/10)
			f.run(second)
		}
	}
	if used := f.admitted[f.window()].used; used < 600 || used > 620 {
		t.Errorf("%d are used of 300 and 600", used)
	}
	seen := map[[16]byte]string{}
	for _, limit := range []string{fleetLimits, strings.Replace(fleetLimits, "1h", "24h", 1), strings.Replace(fleetLimits, "1h", "720h", 1), strings.Replace(fleetLimits, "completionTokens", "requests", 1),
		strings.Replace(fleetLimits, `"user"`, `"user","tenant"`, 1), fleetDollars} {
		f.limits = limit
		f.restart(f.proxies[0], 1)
		s := f.proxies[0].workers[0].Set
		name := s.nameOf(&s.limits[0], request("u"))
		if other := seen[name]; other != "" {
			t.Errorf("%s has the name of %s", limit, other)
		}
		seen[name] = limit
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
