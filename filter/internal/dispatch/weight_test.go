package dispatch

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

func heavy(p config.Priority, subject uint64, units int) *Ticket {
	return &Ticket{Priority: p, Subject: subject, Tokens: 1, Units: units, Spends: units}
}

func wantInFlight(t *testing.T, g *Gate, want int) {
	t.Helper()
	if v := g.Snapshot(noon); v.InFlight != want {
		t.Errorf("%d units are in flight, want %d", v.InFlight, want)
	}
}

func TestAWeightTakesAsManySlots(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 10, QueueMax: 10})
	first, second, light := heavy(config.Normal, 1, 8), heavy(config.Normal, 2, 8), heavy(config.Normal, 3, 1)
	arrive(t, a, noon, first, gate.Allowed, "")
	wantInFlight(t, b, 8)
	arrive(t, a, noon, second, gate.Queued, "")
	arrive(t, a, noon, light, gate.Queued, "") // there is room for it, and it isn't its turn
	urgent := heavy(config.Urgent, 4, 2)
	arrive(t, b, noon, urgent, gate.Allowed, "")
	wantInFlight(t, a, 10)
	finish(t, a, noon, first, quiet)
	if passed, _ := serve(t, a, noon); !slices.Equal(passed, []*Ticket{second}) {
		t.Errorf("%v go, want the heavy one that came first", passed)
	}
	wantInFlight(t, b, 10)
	finish(t, b, noon, urgent, quiet)
	if passed, _ := serve(t, a, noon); !slices.Equal(passed, []*Ticket{light}) {
		t.Errorf("%v go, want the light one", passed)
	}
}

func TestWhatIsHeavierThanAllGoesAlone(t *testing.T) {
	for p, want := range map[config.Priority]int{config.Normal: 5, config.High: 7, config.Urgent: 10} {
		a, b, _ := pair(Settings{Slots: 10, ReservedUrgent: 3, ReservedHigh: 2, QueueMax: 10})
		light, giant := heavy(config.Normal, 1, 1), heavy(p, 2, 100)
		arrive(t, a, noon, light, gate.Allowed, "")
		arrive(t, b, noon, giant, gate.Queued, "")
		finish(t, a, noon, light, quiet)
		if passed, _ := serve(t, b, noon); !slices.Equal(passed, []*Ticket{giant}) {
			t.Fatalf("%v go, want the giant", passed)
		}
		wantInFlight(t, a, want)
		finish(t, b, noon, giant, quiet)
		wantInFlight(t, a, 0)
	}
	a, _, _ := pair(Settings{Slots: 10, QueueMax: 0}) // nothing waits: LOW has 8 of 10
	arrive(t, a, noon, heavy(config.Low, 1, 100), gate.Allowed, "")
	wantInFlight(t, a, 8)
}

func TestAWeightIsGivenBackAsItWasTaken(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 10, QueueMax: 10})
	first, waits := heavy(config.Normal, 1, 8), heavy(config.Normal, 2, 8)
	arrive(t, a, noon, first, gate.Allowed, "")
	arrive(t, a, noon, waits, gate.Queued, "")
	for _, g := range []*Gate{a, b} {
		g.Change(Settings{Slots: 5, QueueMax: 10, MaxWait: longWaits})
	}
	wantInFlight(t, b, 8)
	finish(t, a, noon, first, quiet)
	wantInFlight(t, b, 0)
	if passed, _ := serve(t, a, noon); !slices.Equal(passed, []*Ticket{waits}) {
		t.Errorf("%v go", passed)
	}
	wantInFlight(t, b, 5)
	finish(t, a, noon, waits, quiet)
	wantInFlight(t, b, 0)
	dies := heavy(config.Normal, 1, 4)
	arrive(t, a, noon, dies, gate.Allowed, "")
	if v := b.Snapshot(noon.Add(alive + second)); v.InFlight != 0 { // the worker isn't heard of any more
		t.Errorf("%d units are in flight of a dead worker", v.InFlight)
	}
}

func TestAWeightInTheBudget(t *testing.T) {
	a, _, _ := pair(Settings{Requests: perMinute(10), QueueMax: 10})
	x := heavy(config.Normal, 1, 8)
	arrive(t, a, noon, x, gate.Allowed, "")
	if v := a.Snapshot(noon); v.Requests.Left != 2 {
		t.Errorf("%d are left, want 2", v.Requests.Left)
	}
	next := heavy(config.Normal, 1, 3)
	arrive(t, a, noon, next, gate.Queued, "")
	void := quiet
	void.Void = true
	finish(t, a, noon, x, void)
	if passed, _ := serve(t, a, noon); !slices.Equal(passed, []*Ticket{next}) {
		t.Errorf("%v go", passed)
	}
	giant := heavy(config.Normal, 1, 1000)
	arrive(t, a, noon, giant, gate.Queued, "")
	if passed, _ := serve(t, a, noon.Add(minute/2)); !slices.Equal(passed, []*Ticket{giant}) {
		t.Errorf("%v go of a full budget, want the giant", passed)
	}
	if v := a.Snapshot(noon.Add(minute / 2)); v.Requests.Left != 0 {
		t.Errorf("%d are left, want 0", v.Requests.Left)
	}
}

// Whatever comes, of whatever weight, in whichever worker: no more units are in flight than there are slots, what is known of them is what
// is in flight, and of one priority a request is passed by others only for as long as another worker's may be: a second here.
func TestWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		settings := Settings{Slots: rapid.IntRange(1, 20).Draw(t, "slots"), QueueMax: 50, MaxWait: longWaits}
		if settings.Slots > 2 && rapid.Bool().Draw(t, "reserves") {
			settings.ReservedUrgent, settings.ReservedHigh = 1, (settings.Slots-2)/2
		}
		store := recordtest.NewMemory()
		gates := []*Gate{New(settings, store, "x", 1), New(settings, store, "x", 2), New(settings, store, "x", 3)}
		now, units, waits := noon, 0, 0
		flying := []*Ticket{}
		goes := func(x *Ticket) {
			flying = append(flying, x)
			if units += int(x.units); units > settings.Slots {
				t.Fatalf("%d units are in flight, of %d slots", units, settings.Slots)
			}
		}
		ends := func(i int) {
			x := flying[i]
			flying = slices.Delete(flying, i, i+1)
			units -= int(x.units)
			if err := x.Owner.(*Gate).Finish(now, x, quiet); err != nil {
				t.Fatal(err)
			}
		}
		tick := func() {
			now = now.Add(20 * millisecond)
			for _, g := range gates {
				d := g.Dequeue(now)
				for d.Next() {
					if waits--; d.Verdict.Outcome == gate.Allowed {
						goes(d.Ticket)
					}
				}
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "events") {
			g := gates[rapid.IntRange(0, 2).Draw(t, "worker")]
			switch what := rapid.IntRange(0, 3).Draw(t, "what"); {
			case what == 0 && len(flying) > 0:
				ends(rapid.IntRange(0, len(flying)-1).Draw(t, "which"))
			case what == 1:
				tick()
			default:
				x := heavy(config.Priority(rapid.IntRange(0, 3).Draw(t, "priority")), rapid.Uint64Range(1, 4).Draw(t, "subject"), rapid.IntRange(0, 30).Draw(t, "units"))
				x.Owner = g
				switch g.Arrive(now, x).Outcome {
				case gate.Allowed:
					goes(x)
				case gate.Queued:
					waits++
				}
			}
			if v := gates[0].Snapshot(now); v.InFlight != units {
				t.Fatalf("%d units are known to be in flight, of %d", v.InFlight, units)
			}
		}
		for range 1000 {
			tick()
			if len(flying) > 0 {
				ends(0)
			}
		}
		if waits != 0 || units != 0 {
			t.Fatalf("%d wait and %d units are in flight in the end", waits, units)
		}
	})
}

// A heavy request isn't passed for ever by light ones of its priority, however many come in whichever worker: when what was in flight has
// ended, and the other workers have waited for it for long enough, it goes.
func TestLightOnesDontPassForEver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := recordtest.NewMemory()
		settings := Settings{Slots: rapid.IntRange(2, 16).Draw(t, "slots"), QueueMax: 1000, MaxWait: longWaits}
		gates := []*Gate{New(settings, store, "x", 1), New(settings, store, "x", 2)}
		const length = 100 * millisecond
		now, giant := noon, heavy(config.Normal, 99, 100)
		var flying []*Ticket
		goes := func(x *Ticket) { flying = append(flying, x) }
		for now < noon.Add(5*second) && !giant.InFlight() {
			now = now.Add(10 * millisecond)
			for len(flying) > 0 && now.Sub(flying[0].started) >= length {
				_ = flying[0].Owner.(*Gate).Finish(now, flying[0], quiet)
				flying = flying[1:]
			}
			for _, g := range gates {
				for range rapid.IntRange(0, settings.Slots/2).Draw(t, "come") {
					x := heavy(config.Normal, rapid.Uint64Range(1, 50).Draw(t, "subject"), 1)
					x.Owner = g
					if g.Arrive(now, x).Outcome == gate.Allowed {
						goes(x)
					}
				}
			}
			if now == noon.Add(second/2) {
				gates[0].Arrive(now, giant)
			}
			for _, g := range gates {
				d := g.Dequeue(now)
				for d.Next() {
					if d.Verdict.Outcome == gate.Allowed && d.Ticket != giant {
						goes(d.Ticket)
					}
				}
			}
		}
		if !giant.InFlight() {
			t.Fatalf("it has waited for %v", giant.Waited(now))
		}
	})
}
