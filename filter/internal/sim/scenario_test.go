package sim

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/retreat"
)

func run(t *testing.T, s Scene) *World {
	t.Helper()
	w := New(s)
	if err := w.Run(); err != nil {
		t.Error(err)
	}
	return w
}

func only(p config.Priority) (mix [dispatch.Priorities]float64) {
	mix[p] = 1
	return mix
}

func seconds(ns int64) float64 { return float64(ns) / float64(second) }

// TestOverload: four times what 8 slots can do, in all priorities, through 4 workers.
func TestOverload(t *testing.T) {
	for _, service := range []int64{second, 200 * millisecond, 100 * millisecond} {
		s := Scene{
			Seed: 1, Workers: 4, Length: 150 * second,
			Settings: dispatch.Settings{Slots: 8, QueueMax: 500, WhenFull: config.QueueDropLowest, MaxWait: waits},
			Upstream: Upstream{Service: service, Uneven: true},
		}
		rate := 4 * 8 / seconds(service)
		for i := range 10 {
			s.Sources = append(s.Sources, Source{
				Subject: uint64(i + 1), Rate: rate / 10, Tokens: 1000, Uneven: true, Misjudge: 0.5,
				Mix: [...]float64{config.Low: 60, config.Normal: 25, config.High: 10, config.Urgent: 5},
			})
		}
		w := run(t, s)
		t.Logf("answers take %.1f s: goodput %.1f %%, %d of %d started, refused by priority %v, %v",
			seconds(service), 100*w.Goodput(), w.Started, w.Arrived, w.RefusedOf, w.Refused)
		for p := config.Urgent; ; p-- {
			v := w.Waits[p]
			t.Logf("  %-6s %5d started, waited p50 %.3f s, p99 %.3f s", p, len(v), seconds(Quantile(v, 0.5)), seconds(Quantile(v, 0.99)))
			if p == config.Low {
				break
			}
		}
		least := 0.95
		if service < 200*millisecond {
			least = 0.94 // a slot that another worker's request takes is empty for half a tick
		}
		if w.Goodput() < least {
			t.Errorf("goodput %.3f", w.Goodput())
		}
	}
}

var lowered = retreat.Settings{
	Window: time.Duration(minute), Every: time.Duration(5 * second), RecoverWindow: time.Duration(2 * minute), Threshold: 0.05, RecoverThreshold: 0.02, Factor: 0.75,
	MinSamples: 10, Floor: 125_000, Step: 50_000,
}

// hour is a budget of 40 requests a minute toward an upstream that allows 30 for an hour, and then all. Clients want 60.
func hour(retreats bool) *World {
	s := Scene{
		Seed: 1, Workers: 2, Length: 72 * minute,
		Settings: dispatch.Settings{
			Requests: rate(40, 10, minute), QueueMax: 50, MaxWait: waits,
			Retreat: lowered, Retreats: true, Yields: retreats,
		},
		Sources: []Source{{Rate: 1, Tokens: 1, Mix: only(config.Normal)}},
		Upstream: Upstream{Service: 300 * millisecond, Burst: 5, Allowed: func(now int64) float64 {
			if now < 60*minute {
				return 30.0 / 60
			}
			return 1e6
		}},
	}
	return New(s)
}

func TestRetreat(t *testing.T) {
	for _, retreats := range []bool{false, true} {
		w := hour(retreats)
		if !retreats {
			w.Scene.Length = 20 * minute
		}
		var limited, started, atBase int
		perMinute := [72]int{}
		w.OnStart = func(at int64, over bool) {
			if at < min(w.Scene.Length, 60*minute) && at >= 10*minute {
				started++
				if over {
					limited++
				}
			}
			if at < 72*minute {
				perMinute[at/minute]++
			}
		}
		if err := w.Run(); err != nil {
			t.Error(err)
		}
		settled := float64(started) * float64(minute) / float64(min(w.Scene.Length, 60*minute)-10*minute)
		share := float64(limited) / float64(started)
		for m := 60; m < 72 && atBase == 0; m++ {
			if perMinute[m] >= 40 {
				atBase = m - 60 + 1
			}
		}
		t.Logf("retreat %v: %.1f requests a minute, %.1f %% answered 429, base reached again after %d minutes; %v",
			retreats, settled, 100*share, atBase, perMinute)
		if retreats && (settled < 27 || settled > 33 || share > 0.10 || atBase == 0 || atBase > 8) {
			t.Errorf("retreat settles at %.1f with %.3f of 429, and is back after %d minutes", settled, share, atBase)
		}
	}
}

// TestAnswersOfManyWorkers: the retreat is measured and recovers through several workers that lose races for the record.
func TestAnswersOfManyWorkers(t *testing.T) {
	w := hour(true)
	w.Scene.Faults.Conflicts = 0.3
	w.Scene.Length = 10 * minute
	low := int64(retreat.Whole)
	w.OnStart = func(int64, bool) { low = min(low, w.workers[0].gate.Snapshot(clock.Moment(w.now)).Scale) }
	if err := w.Run(); err != nil {
		t.Error(err)
	}
	if low == retreat.Whole || low < lowered.Floor {
		t.Errorf("lowest scale %d", low)
	}
}

// TestCrash: a worker that holds all slots and has a full queue dies.
func TestCrash(t *testing.T) {
	worst := int64(0)
	for seed := range uint64(20) {
		s := Scene{
			Seed: seed, Workers: 2, Length: 60 * second,
			Settings: dispatch.Settings{Slots: 8, QueueMax: 500, MaxWait: waits}, Upstream: Upstream{Service: 100 * second},
			Sources: []Source{{Subject: 1, Rate: 100, Tokens: 1, Mix: only(config.Normal), Workers: []int{0}}},
		}
		w := New(s)
		for w.now < start+10*second+int64(seed)*77*millisecond {
			e := w.agenda.next()
			w.advance(e.at)
			w.happen(e)
		}
		died := w.now
		w.kill(0)
		var used int64
		w.OnStart = func(at int64, _ bool) { used = at + start - died }
		for used == 0 && len(w.Wrong) == 0 {
			e := w.agenda.next()
			w.advance(e.at)
			w.happen(e)
		}
		if len(w.Wrong) > 0 {
			t.Fatal(w.Wrong)
		}
		worst = max(worst, used)
	}
	t.Logf("slots of a dead worker were used again after at most %.2f s", seconds(worst))
	if worst > alive+int64(dispatch.Heartbeat) {
		t.Errorf("after %.2f s", seconds(worst))
	}
}
