package dispatch

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/retreat"
)

// from is a request of a caller, with a key of its own or without.
func from(caller uint64, keyed bool) *Ticket {
	return &Ticket{Priority: config.Normal, Subject: caller, Tokens: 1, Caller: caller, Keyed: keyed}
}

// told lets a request go and be answered.
func told(t *testing.T, g *Gate, now clock.Moment, x *Ticket, a Answer) {
	t.Helper()
	arrive(t, g, now, x, gate.Allowed, "")
	a.Judged = true
	finish(t, g, now, x, a)
}

var silent = Answer{Requests: -1, Tokens: -1}

func shut(seconds int64) Answer {
	return Answer{Closed: time.Duration(seconds) * second, Requests: -1, Tokens: -1}
}

// What an upstream tells one caller holds for that one at once, in all workers, and for nobody else.
func TestAClosureIsTheCallersOwn(t *testing.T) {
	for _, keyed := range []bool{false, true} {
		a, b, _ := pair(Settings{Requests: perMinute(600), QueueMax: 10})
		told(t, a, noon, from(1, keyed), shut(60))
		own := from(1, keyed)
		arrive(t, b, noon+second, own, gate.Queued, "")
		for _, g := range []*Gate{a, b} { // behind the one that waits, too
			told(t, g, noon+second, from(2, keyed), silent)
			arrive(t, g, noon+second, from(3, !keyed), gate.Allowed, "")
		}
		if passed, _ := serve(t, b, noon+59*second); len(passed) != 0 {
			t.Error("it went before its time")
		}
		a.Leave(own) // the other worker's: nothing of it
		if passed, refused := serve(t, b, noon+60*second+1); len(passed)+len(refused) != 1 {
			t.Errorf("%d passed, %d refused when it may come back", len(passed), len(refused))
		}
	}
}

// Callers without keys share what stands behind the filter: two of them are believed, as far as both agree. A key is told of its own limit.
func TestClosuresOfSeveral(t *testing.T) {
	for _, test := range []struct {
		name         string
		keyed        bool
		first, later int64 // seconds
		want         int64 // for how long a stranger waits
	}{
		{"two without keys", false, 30, 60, 30},
		{"in another order", false, 60, 30, 30},
		{"two with keys", true, 60, 60, 0},
	} {
		a, b, _ := pair(Settings{Requests: perMinute(600), QueueMax: 10})
		told(t, a, noon, from(1, test.keyed), shut(test.first))
		told(t, b, noon, from(2, test.keyed), shut(test.later))
		stranger := from(3, test.keyed)
		if test.want == 0 {
			arrive(t, a, noon, stranger, gate.Allowed, "")
			continue
		}
		arrive(t, a, noon, stranger, gate.Queued, "")
		if passed, _ := serve(t, a, noon+clock.Moment(test.want*second)-1); len(passed) != 0 {
			t.Errorf("%s: it went too early", test.name)
		}
		if passed, _ := serve(t, a, noon+clock.Moment(test.want*second)); len(passed) != 1 {
			t.Errorf("%s: it didn't go", test.name)
		}
	}
}

// A closure that comes while requests of its caller wait in front of others keeps nobody up.
func TestAClosedCallerMakesWay(t *testing.T) {
	a, _, _ := pair(Settings{Requests: perMinute(600), Slots: 1, QueueMax: 10})
	first, behind, other := from(1, true), from(1, true), from(2, true)
	arrive(t, a, noon, first, gate.Allowed, "")
	arrive(t, a, noon, behind, gate.Queued, "")
	arrive(t, a, noon, other, gate.Queued, "")
	finish(t, a, noon, first, Answer{Judged: true, Closed: 20 * second, Requests: -1, Tokens: -1})
	if passed, _ := serve(t, a, noon); len(passed) != 1 || passed[0] != other {
		t.Fatalf("%v passed", passed)
	}
	finish(t, a, noon, other, silent)
	for now := noon; now < noon+20*second; now += second {
		if passed, _ := serve(t, a, now); len(passed) != 0 {
			t.Fatal("it went before its time")
		}
		told(t, a, now, from(3, true), silent)
	}
	if passed, _ := serve(t, a, noon+20*second); len(passed) != 1 || passed[0] != behind {
		t.Errorf("%v passed", passed)
	}
}

// Those that wait beside a full queue make room for who may go; they still wait no longer than their priority may.
func TestClosedCallersDontFillTheQueue(t *testing.T) {
	a, _, _ := pair(Settings{Requests: perMinute(600), Slots: 1, QueueMax: 3})
	told(t, a, noon, from(1, true), shut(60))
	busy := from(2, true)
	arrive(t, a, noon, busy, gate.Allowed, "")
	var mine []*Ticket
	for range 3 {
		mine = append(mine, from(1, true))
		arrive(t, a, noon, mine[len(mine)-1], gate.Queued, "")
	}
	arrive(t, a, noon, from(1, true), gate.Rejected, gate.Full)
	if v := arrive(t, a, noon, from(3, true), gate.Queued, ""); v.Dropped != mine[2] || v.Wait < 59*second {
		t.Errorf("%+v", v)
	}
	low := from(1, true)
	low.Priority = config.Low
	a.Leave(mine[1])
	arrive(t, a, noon+second, low, gate.Queued, "")
	if _, refused := serve(t, a, noon+4*second); len(refused) != 1 || refused[0] != low {
		t.Errorf("%v", refused)
	}
	if a.queue.parked != 1 || a.Waiting() != 2 {
		t.Errorf("%d of %d wait beside the queue", a.queue.parked, a.Waiting())
	}
}

// What is left of a limit: one that is alone speaks for all until another comes; two without keys do; one of several, or a key, doesn't.
func TestBalancesOfSeveral(t *testing.T) {
	left := func(n int64) Answer { return Answer{Requests: n, Tokens: -1} }
	passes := func(t *testing.T, g *Gate, now clock.Moment, caller uint64, keyed bool) (n int) {
		for ; n < 100; n++ {
			x := from(caller, keyed)
			if v := g.Arrive(now, x); v.Outcome != gate.Allowed {
				g.Leave(x)
				return n
			}
		}
		return n
	}
	for _, keyed := range []bool{false, true} {
		a, b, _ := pair(Settings{Requests: perMinute(60), QueueMax: 10})
		told(t, a, noon, from(1, keyed), left(5))
		if got := passes(t, b, noon, 1, keyed); got != 5 {
			t.Errorf("keyed %v: alone, %d pass, want 5", keyed, got)
		}
		if got := passes(t, b, noon, 2, keyed); got != 60-1-5 {
			t.Errorf("keyed %v: of a stranger %d pass, want what the budget has", keyed, got)
		}
	}
	for _, test := range []struct {
		name  string
		keyed bool
		want  int
	}{{"two without keys", false, 7}, {"two with keys", true, 57}} {
		a, b, _ := pair(Settings{Requests: perMinute(60), QueueMax: 10})
		told(t, a, noon, from(1, test.keyed), left(60))
		told(t, a, noon, from(2, test.keyed), left(7))
		told(t, b, noon, from(1, test.keyed), left(3))
		if got := passes(t, b, noon, 3, test.keyed); got != test.want { // of 60, less three
			t.Errorf("%s: %d pass, want %d", test.name, got, test.want)
		}
	}
}

// An answer that never came says nothing, least of all that nothing is left.
func TestNoAnswerIsNoHint(t *testing.T) {
	a, _, _ := pair(Settings{Requests: perMinute(60), QueueMax: 10})
	x := from(1, true)
	arrive(t, a, noon, x, gate.Allowed, "")
	finish(t, a, noon, x, Answer{})
	arrive(t, a, noon, from(1, true), gate.Allowed, "")
}

// Whoever is told what, and whoever leaves: no request is lost or let go in its caller's closure, and those beside the queue are counted.
func TestCallersCantHarmTheQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Settings{Requests: perMinute(6000), Slots: rapid.IntRange(0, 3).Draw(t, "slots"), QueueMax: rapid.IntRange(0, 8).Draw(t, "queue"),
			WhenFull: rapid.SampledFrom([]config.WhenFull{config.QueueReject, config.QueueDropLowest, config.QueuePassthrough}).Draw(t, "when full")}
		a, b, _ := pair(s)
		gates := []*Gate{a, b}
		now := noon
		open := map[*Ticket]*Gate{}
		ended := func(x *Ticket, v gate.Verdict) {
			if v.Outcome == gate.Rejected {
				delete(open, x)
			} else if now < gates[0].known.backoffFor(x) && now < gates[1].known.backoffFor(x) {
				t.Fatal("it went before its time")
			}
		}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now += rapid.SampledFrom([]clock.Moment{0, 10 * millisecond, second, 20 * second}).Draw(t, "pause")
			g := gates[rapid.IntRange(0, 1).Draw(t, "worker")]
			var some *Ticket
			for x, at := range open {
				if at == g && (some == nil || x.order < some.order) {
					some = x
				}
			}
			switch what := rapid.IntRange(0, 4).Draw(t, "what"); {
			case what < 2 || some == nil:
				x := from(rapid.Uint64Range(1, 12).Draw(t, "caller"), rapid.Bool().Draw(t, "keyed"))
				x.Priority = config.Priority(rapid.IntRange(0, Priorities-1).Draw(t, "priority"))
				v := g.Arrive(now, x)
				if v.Err != nil {
					t.Fatal(v.Err)
				}
				delete(open, v.Dropped)
				if v.Outcome != gate.Rejected {
					open[x] = g
				}
			case what == 2 && some.InFlight():
				delete(open, some)
				answer := Answer{Judged: rapid.Bool().Draw(t, "judged"), Requests: rapid.Int64Range(-1, 3).Draw(t, "left"), Tokens: -1,
					Closed: rapid.SampledFrom([]time.Duration{0, 5 * second, 3600 * second}).Draw(t, "closed")}
				if err := g.Finish(now, some, answer); err != nil {
					t.Fatal(err)
				}
			case what == 3 && some.Waiting():
				delete(open, some)
				g.Leave(some)
			default:
				if err := g.dequeue(now, ended); err != nil {
					t.Fatal(err)
				}
			}
			for _, g := range gates {
				waiting, parked := 0, 0
				for p := range g.queue.lanes {
					for x := g.queue.lanes[p].first; x != nil; x = x.next {
						if waiting++; x.line == nil {
							parked++
						}
					}
				}
				if waiting != g.queue.waiting || parked != g.queue.parked {
					t.Fatalf("%d wait, %d beside the queue; counted are %d and %d", waiting, parked, g.queue.waiting, g.queue.parked)
				}
				if len(g.known.callers) > mostCallers {
					t.Fatalf("%d callers", len(g.known.callers))
				}
			}
		}
		for range 200 { // in the end all are served, or refused
			now += second
			for x, g := range open {
				if x.InFlight() {
					delete(open, x)
					if err := g.Finish(now, x, quiet); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, g := range gates {
				if err := g.dequeue(now, ended); err != nil {
					t.Fatal(err)
				}
			}
		}
		if len(open) > 0 {
			t.Fatalf("%d requests are stuck", len(open))
		}
	})
}

// What the retreat has lowered on the word of one caller keeps no other one up, whatever the one has used of the budget, and is waiting for.
func TestTheRetreatOfOneKeepsNobodyUp(t *testing.T) {
	s := Settings{Requests: perMinute(600), QueueMax: 100, Retreats: true, Yields: true, Retreat: retreat.Settings{
		Window: time.Duration(minute), Every: 5 * second, RecoverWindow: time.Duration(minute), Threshold: 0.05, RecoverThreshold: 0.01, Factor: 0.75, MinSamples: 20,
		Floor: retreat.Whole / 30, Step: retreat.Whole / 50,
	}}
	for worker := range 2 {
		a, b, _ := pair(s)
		now := noon
		for a.Snapshot(now).Scale == retreat.Whole && now < noon+minute {
			now += second / 40
			if x := from(1, true); a.Arrive(now, x).Outcome == gate.Allowed {
				finish(t, a, now, x, Answer{Judged: true, Limited: true, Requests: -1, Tokens: -1})
			}
		}
		for range 20 {
			arrive(t, a, now, from(1, true), gate.Queued, "")
		}
		if n := a.Snapshot(now).Scale; n >= retreat.Whole/2 {
			t.Fatalf("alone it is believed: %d", n)
		}
		g := []*Gate{a, b}[worker]
		x := from(2, true)
		if g.Arrive(now, x).Outcome == gate.Queued {
			serve(t, a, now)
			serve(t, g, now)
		}
		if !x.InFlight() {
			t.Fatal("a stranger waits")
		}
		if n := a.Snapshot(now).Scale; n != retreat.Whole {
			t.Errorf("while there is another one the budget is %d", n)
		}
		// If it meets the same, it holds for both.
		finish(t, g, now, x, Answer{Judged: true, Limited: true, Requests: -1, Tokens: -1})
		if n := a.Snapshot(now).Scale; n >= retreat.Whole/2 {
			t.Errorf("after both were limited the budget is %d", n)
		}
	}
}

// What a request says it will use, and how slowly its answer is read, holds a budget of tokens from nobody for longer than if that had been
// used at once.
func TestWhatIsAskedForKeepsNobodyUp(t *testing.T) {
	for _, asked := range []int64{1000, 1e6, 1e12} {
		a, b, _ := pair(Settings{Tokens: perMinute(1000), QueueMax: 10})
		large := from(1, true)
		large.Tokens = asked
		arrive(t, a, noon, large, gate.Allowed, "")
		x := from(2, true)
		x.Tokens = 100
		arrive(t, b, noon, x, gate.Queued, "")
		now := noon
		for ; now < noon+minute && !x.InFlight(); now += second / 10 {
			serve(t, a, now)
			serve(t, b, now)
		}
		if waited := now - noon; waited < 6*second || waited > 8*second {
			t.Errorf("beside one that asks for %d a stranger has waited %d ms, want 6 s", asked, waited/millisecond)
		}
		finish(t, b, now, x, Answer{Judged: true, Used: 100, Requests: -1, Tokens: -1})
		if now += 2 * minute; a.flight.held(now, minute) != 0 {
			t.Errorf("%d are held after two windows", a.flight.held(now, minute))
		}
		serve(t, a, now)
		finish(t, a, now, large, Answer{Judged: true, Used: 600, Requests: -1, Tokens: -1})
		if used := a.known.tokens.Used / bucket.Micro; used != 600 || a.flight != (flight{}) {
			t.Errorf("%d are used, %+v", used, a.flight)
		}
	}
}

// A queue that one caller has filled in one worker has room for others in all workers.
func TestOneCallersQueueHasRoomInAllWorkers(t *testing.T) {
	for _, parked := range []bool{false, true} {
		a, b, _ := pair(Settings{Requests: perMinute(600), Slots: 1, QueueMax: 8})
		if parked {
			told(t, a, noon, from(1, true), shut(60))
		}
		busy := from(9, true)
		arrive(t, a, noon, busy, gate.Allowed, "")
		for range 8 {
			arrive(t, a, noon, from(1, true), gate.Queued, "")
		}
		for other := uint64(2); other < 5; other++ {
			arrive(t, b, noon, from(other, true), gate.Queued, "")
		}
		if _, refused := serve(t, a, noon); len(refused) != 3 {
			t.Errorf("parked %v: %d have made room, want 3", parked, len(refused))
		}
	}
	// Where each has one place nobody makes room.
	a, b, _ := pair(Settings{Requests: perMinute(600), Slots: 1, QueueMax: 8})
	arrive(t, a, noon, from(1, true), gate.Allowed, "")
	for one := uint64(2); one < 10; one++ {
		arrive(t, a, noon, from(one, true), gate.Queued, "")
	}
	arrive(t, b, noon, from(11, true), gate.Rejected, gate.Full)
	// Nor does anybody take a place of his own, by asking another worker.
	a, b, _ = pair(Settings{Requests: perMinute(600), Slots: 1, QueueMax: 8})
	arrive(t, a, noon, from(9, true), gate.Allowed, "")
	for range 8 {
		arrive(t, a, noon, from(1, true), gate.Queued, "")
	}
	arrive(t, b, noon, from(1, true), gate.Rejected, gate.Full)
}

// What a worker was asked for is asked for once, also if it writes before it makes room.
func TestRoomIsMadeOnce(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 1, QueueMax: 3})
	arrive(t, a, noon, from(9, true), gate.Allowed, "")
	arrive(t, a, noon, from(1, true), gate.Queued, "")
	arrive(t, a, noon, from(1, true), gate.Queued, "")
	last := from(2, true)
	arrive(t, a, noon, last, gate.Queued, "")
	arrive(t, b, noon, from(3, true), gate.Queued, "")
	for c := a.change(noon); a.read(&c); {
		a.write(&c)
	}
	arrive(t, b, noon, from(4, true), gate.Rejected, gate.Full)
	if _, refused := serve(t, a, noon); len(refused) != 1 || refused[0] == last {
		t.Errorf("%d made room", len(refused))
	}
}

// Whoever waits with one request doesn't make room for another's first, whichever workers they come to, and whenever those look: room
// that a worker was asked for isn't given to a request of its own as well. Nor is there ever more room than there is.
func TestWhoWaitsWithOneRequestKeepsItsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := recordtest.NewMemory()
		settings := Settings{Requests: perMinute(600), Slots: 1, QueueMax: rapid.IntRange(2, 12).Draw(t, "places"), MaxWait: longWaits}
		gates := make([]*Gate, rapid.IntRange(1, 4).Draw(t, "workers"))
		for i := range gates {
			gates[i] = New(settings, store, "x", uint64(i)+1)
		}
		worker := func() *Gate { return gates[rapid.IntRange(0, len(gates)-1).Draw(t, "worker")] }
		look := func(g *Gate) {
			err := g.dequeue(noon, func(x *Ticket, v gate.Verdict) {
				if x.Subject != 1 {
					t.Fatalf("%d's only request was refused: %s", x.Subject, v.Reason)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
		}

		gates[0].Arrive(noon, from(99, true))
		if rapid.Bool().Draw(t, "the upstream has told the one to stay away") {
			x := from(1, true)
			gates[0].Arrive(noon, x)
			_ = gates[0].Finish(noon, x, Answer{Judged: true, Closed: 60 * second, Requests: -1, Tokens: -1})
		}
		for range 3 * settings.QueueMax {
			worker().Arrive(noon, from(1, true))
		}
		for other := range uint64(settings.QueueMax) {
			worker().Arrive(noon, from(other+2, true))
			for range rapid.IntRange(0, 2).Draw(t, "looks") {
				look(worker())
			}
		}
		waiting := 0
		for _, g := range gates {
			look(g)
			waiting += g.queue.waiting
		}
		if waiting > settings.QueueMax {
			t.Fatalf("%d wait", waiting)
		}
	})
}
