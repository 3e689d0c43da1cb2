package dispatch

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// begin lets requests of a priority start in a worker, one a millisecond, whose streams begin at once.
func begin(t *testing.T, g *Gate, p config.Priority, units ...int) (all []*Ticket) {
	t.Helper()
	for i, n := range units {
		x := heavy(p, uint64(i), n)
		arrive(t, g, noon.Add(-second+clock.Moment(i*millisecond).Sub(0)), x, gate.Allowed, "")
		g.Streams(x)
		all = append(all, x)
	}
	serve(t, g, noon.Add(-second/2)) // tells the others of them
	return all
}

// wantEnds wants these streams of a worker's to end at its next tick, and nothing else of it.
func wantEnds(t *testing.T, g *Gate, now clock.Moment, want ...*Ticket) {
	t.Helper()
	var got []*Ticket
	if err := g.dequeue(now, func(x *Ticket, v gate.Verdict) {
		if v.Outcome != gate.Rejected || v.Reason != gate.Revoked || !x.InFlight() {
			t.Errorf("%+v", v)
		}
		got = append(got, x)
	}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d streams end, want %d: %v, want %v", len(got), len(want), got, want)
	}
}

func TestTheYoungestStreamEndsForAnUrgentRequest(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 3, QueueMax: 10, Revokes: true})
	low := begin(t, a, config.Low, 1, 1, 1)
	wantEnds(t, a, noon)
	high := request(config.High, 1, 5)
	arrive(t, a, noon, high, gate.Queued, "")
	wantEnds(t, a, noon.Add(10*millisecond)) // for HIGH nobody ends
	urgent := request(config.Urgent, 1, 5)
	arrive(t, a, noon, urgent, gate.Queued, "")
	wantEnds(t, a, noon.Add(20*millisecond), low[2])
	for i := range 20 {
		wantEnds(t, a, noon.Add(clock.Moment((30+i*10)*millisecond).Sub(0))) // once
	}
	wantInFlight(t, a, 3) // it has its slot until it has ended
	ended := quiet
	ended.Revoked = true
	finish(t, a, noon.Add(second/2), low[2], ended)
	finish(t, a, noon.Add(second/2), low[2], ended)
	if passed, _ := serve(t, a, noon.Add(second/2)); !slices.Equal(passed, []*Ticket{urgent}) {
		t.Errorf("%v go", passed)
	}
	wantInFlight(t, a, 3)
	wantEnds(t, a, noon.Add(second))
	if v := b.Snapshot(noon.Add(second)); v.Revoked != 1 || v.RevokedAt != noon.Add(second/2) {
		t.Errorf("another worker knows of %d, the latest at %d", v.Revoked, v.RevokedAt)
	}
}

func TestAStreamEndsInAnotherWorker(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 3, QueueMax: 10, Revokes: true})
	low := begin(t, a, config.Low, 1, 1, 1)
	if a.Period() != 10*millisecond {
		t.Errorf("it looks every %v", a.Period())
	}
	first, second := request(config.Urgent, 1, 5), request(config.Urgent, 2, 5)
	arrive(t, b, noon, first, gate.Queued, "")
	arrive(t, b, noon, second, gate.Queued, "")
	wantEnds(t, b, noon.Add(10*millisecond))
	wantEnds(t, a, noon.Add(11*millisecond), low[2], low[1])
	wantEnds(t, a, noon.Add(12*millisecond))
	b.Leave(second)
	wantEnds(t, b, noon.Add(20*millisecond))
	finish(t, a, noon.Add(30*millisecond), low[1], quiet)
	if passed, _ := serve(t, b, noon.Add(30*millisecond)); !slices.Equal(passed, []*Ticket{first}) {
		t.Errorf("%v go", passed)
	}
	third := request(config.Urgent, 1, 5)
	arrive(t, b, noon.Add(40*millisecond), third, gate.Queued, "")
	wantEnds(t, b, noon.Add(50*millisecond))
	wantEnds(t, a, noon.Add(51*millisecond)) // what was to end for the second is there for the third
}

func TestNobodyEndsInVain(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings Settings
		low      []int // units of low streams
		others   []int // of normal ones
		urgent   []int
		want     int
		prepare  func(a *Gate)
	}{
		{"enough", Settings{Slots: 10}, []int{1, 1, 1, 1, 1}, []int{5}, []int{5}, 5, nil},
		{"too heavy", Settings{Slots: 10}, []int{1, 1, 1, 1}, []int{6}, []int{5}, 0, nil},
		{"as heavy as all that there is", Settings{Slots: 4}, []int{1, 1, 1, 1}, nil, []int{100}, 4, nil},
		{"one of two", Settings{Slots: 4}, []int{1}, []int{3}, []int{1, 1}, 1, nil},
		{"a heavy stream", Settings{Slots: 10}, []int{8, 2}, nil, []int{1, 1}, 1, nil},
		{"some is free", Settings{Slots: 10}, []int{1, 1, 1}, []int{5}, []int{4}, 2, nil},
		{"off", Settings{Slots: 2}, []int{1, 1}, nil, []int{1}, 0, func(a *Gate) { a.Change(Settings{Slots: 2, QueueMax: 10, MaxWait: longWaits}) }},
		{"fewer slots than in flight", Settings{Slots: 4}, []int{1, 1, 1, 1}, nil, []int{1}, 0, func(a *Gate) { a.Change(Settings{Slots: 3, QueueMax: 10, MaxWait: longWaits, Revokes: true}) }},
		{"the budget is used up", Settings{Slots: 3, Requests: perMinute(3)}, []int{1, 1, 1}, nil, []int{1}, 0, nil},
		{"some is left", Settings{Slots: 3, Requests: perMinute(5)}, []int{1, 1, 1}, nil, []int{1, 1, 1}, 2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.settings.QueueMax, c.settings.Revokes = 10, true
			a, _, _ := pair(c.settings)
			begin(t, a, config.Low, c.low...)
			begin(t, a, config.Normal, c.others...)
			if c.prepare != nil {
				c.prepare(a)
			}
			for i, n := range c.urgent {
				arrive(t, a, noon, heavy(config.Urgent, uint64(i), n), gate.Queued, "")
			}
			ended := 0
			for i := range 10 {
				_ = a.dequeue(noon.Add(clock.Moment((i+1)*10*millisecond).Sub(0)), func(_ *Ticket, v gate.Verdict) {
					if v.Reason == gate.Revoked {
						ended++
					}
				})
			}
			if ended != c.want {
				t.Errorf("%d streams end, want %d", ended, c.want)
			}
		})
	}
}

func TestADeadWorkersClaimCountsNoMore(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 1, QueueMax: 10, Revokes: true})
	low := begin(t, a, config.Low, 1)
	arrive(t, b, noon, request(config.Urgent, 1, 5), gate.Queued, "")
	serve(t, b, noon.Add(10*millisecond))
	wantEnds(t, a, noon.Add(second))
	serve(t, b, noon.Add(second)) // it lives after all
	wantEnds(t, a, noon.Add(second), low[0])
}

// Whatever comes, in whichever worker: no more units are in flight than there are slots; a stream is ended only while an urgent request waits, never
// twice, and for all that ever waited no more are ended than these could take; and each frees its slot once.
func TestRevocations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		settings := Settings{Slots: rapid.IntRange(1, 12).Draw(t, "slots"), QueueMax: 50, MaxWait: longWaits, Revokes: true}
		store := recordtest.NewMemory()
		gates := []*Gate{New(settings, store, "x", 1), New(settings, store, "x", 2), New(settings, store, "x", 3)}
		now, units, wanted, ended := noon, 0, 0, 0
		var flying, waiting, ending []*Ticket
		goes := func(x *Ticket) {
			flying = append(flying, x)
			if units += int(x.units); units > settings.Slots {
				t.Fatalf("%d units are in flight, of %d slots", units, settings.Slots)
			}
		}
		ends := func(x *Ticket) {
			i := slices.Index(flying, x)
			flying = slices.Delete(flying, i, i+1)
			units -= int(x.units)
			for range 2 {
				if err := x.Owner.(*Gate).Finish(now, x, quiet); err != nil {
					t.Fatal(err)
				}
			}
		}
		tick := func(g *Gate) {
			d := g.Dequeue(now)
			for d.Next() {
				x := d.Ticket
				if d.Verdict.Reason == gate.Revoked {
					if ended++; x.Owner != g || x.Priority != config.Low || slices.Contains(ending, x) || !slices.ContainsFunc(waiting, func(x *Ticket) bool { return x.Priority == config.Urgent }) {
						t.Fatalf("a stream of %v ends while %d wait", x.Priority, len(waiting))
					}
					ending = append(ending, x)
					continue
				}
				i := slices.Index(waiting, x)
				waiting = slices.Delete(waiting, i, i+1)
				if d.Verdict.Outcome == gate.Allowed {
					goes(x)
				}
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "events") {
			now = now.Add(millisecond)
			g := gates[rapid.IntRange(0, 2).Draw(t, "worker")]
			switch what := rapid.IntRange(0, 6).Draw(t, "what"); {
			case what == 0 && len(flying) > 0:
				ends(flying[rapid.IntRange(0, len(flying)-1).Draw(t, "which")])
			case what == 1:
				tick(g)
			case what == 2:
				for _, x := range flying {
					x.Owner.(*Gate).Streams(x)
				}
			case what == 3 && len(waiting) > 0:
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "who leaves")
				left := waiting[i].Owner.(*Gate)
				left.Leave(waiting[i])
				waiting = slices.Delete(waiting, i, i+1)
				tick(left) // tells it
			default:
				x := heavy([]config.Priority{config.Low, config.Low, config.High, config.Urgent}[rapid.IntRange(0, 3).Draw(t, "priority")], rapid.Uint64Range(1, 4).Draw(t, "subject"),
					rapid.SampledFrom([]int{1, 1, 1, 2, 5}).Draw(t, "units"))
				x.Owner = g
				switch g.Arrive(now, x).Outcome {
				case gate.Allowed:
					goes(x)
				case gate.Queued:
					waiting = append(waiting, x)
					if x.Priority == config.Urgent {
						wanted += min(x.Units, settings.Slots)
					}
				}
			}
			if ended > wanted {
				t.Fatalf("%d streams were ended for urgent requests of %d units", ended, wanted)
			}
			if v := gates[0].Snapshot(now); v.InFlight != units {
				t.Fatalf("%d units are known to be in flight, of %d", v.InFlight, units)
			}
		}
		for range 1000 {
			now = now.Add(20 * millisecond)
			for _, g := range gates {
				tick(g)
			}
			if len(flying) > 0 {
				ends(flying[0])
			}
		}
		for _, g := range gates {
			if g.revocable != 0 || g.ending != 0 || len(g.streams) != 0 {
				t.Fatalf("%d units can be ended, and %d are being, in the end", g.revocable, g.ending)
			}
		}
		if len(waiting) != 0 || units != 0 {
			t.Fatalf("%d wait and %d units are in flight in the end", len(waiting), units)
		}
	})
}
