package dispatch

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/retreat"
)

const (
	second      = 1_000_000_000 // of moments and durations alike
	millisecond = second / 1000
	minute      = 60 * second
	noon        = clock.Moment(1000 * second)
)

var longWaits = [Priorities]time.Duration{config.Low: 2 * second, config.Normal: minute, config.High: minute, config.Urgent: minute}

func perMinute(n int64) bucket.Rate {
	return bucket.Rate{Burst: n * bucket.Micro, Quantity: n * bucket.Micro, Window: minute}
}

// pair is two workers on one store.
func pair(s Settings) (a, b *Gate, store *recordtest.Memory) {
	store = recordtest.NewMemory()
	s.MaxWait = longWaits
	return New(s, store, "x", 1), New(s, store, "x", 2), store
}

func request(p config.Priority, subject uint64, tokens int64) *Ticket {
	return &Ticket{Priority: p, Subject: subject, Tokens: tokens}
}

// arrive lets a request come and wants an outcome.
func arrive(t *testing.T, g *Gate, now clock.Moment, x *Ticket, want gate.Outcome, reason string) Arrival {
	t.Helper()
	v := g.Arrive(now, x)
	if v.Outcome != want || v.Reason != reason || v.Err != nil {
		t.Fatalf("%+v, want outcome %d for the reason %q", v, want, reason)
	}
	if (v.Outcome == gate.Queued) != x.Waiting() || (v.Outcome == gate.Allowed || v.Outcome == gate.Shadowed) != x.InFlight() {
		t.Fatalf("%+v, but the ticket says waiting %v, in flight %v", v, x.Waiting(), x.InFlight())
	}
	return v
}

// dequeue serves a queue to its end.
func (g *Gate) dequeue(now clock.Moment, do func(*Ticket, gate.Verdict)) error {
	d := g.Dequeue(now)
	for d.Next() {
		do(d.Ticket, d.Verdict)
	}
	return d.Err()
}

// serve gives what Dequeue lets go, and what it refuses.
func serve(t *testing.T, g *Gate, now clock.Moment) (passed, refused []*Ticket) {
	t.Helper()
	err := g.dequeue(now, func(x *Ticket, v gate.Verdict) {
		if v.Outcome == gate.Allowed {
			passed = append(passed, x)
		} else {
			refused = append(refused, x)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return passed, refused
}

func finish(t *testing.T, g *Gate, now clock.Moment, x *Ticket, a Answer) {
	t.Helper()
	if err := g.Finish(now, x, a); err != nil {
		t.Fatal(err)
	}
}

var quiet = Answer{Judged: true, Requests: -1, Tokens: -1}

func TestSlots(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 2, QueueMax: 10})
	first, second, third := request(config.Normal, 1, 5), request(config.Normal, 2, 5), request(config.Normal, 3, 5)
	arrive(t, a, noon, first, gate.Allowed, "")
	arrive(t, b, noon, second, gate.Allowed, "")
	arrive(t, a, noon, third, gate.Queued, "")
	finish(t, b, noon, second, quiet)
	finish(t, b, noon, second, quiet) // once is enough
	if passed, _ := serve(t, a, noon); !slices.Equal(passed, []*Ticket{third}) {
		t.Errorf("passed %v", passed)
	}
	if v := a.Snapshot(noon); v.InFlight != 2 || a.Waiting() != 0 {
		t.Errorf("%+v", v)
	}
}

func TestReservedSlots(t *testing.T) {
	for _, c := range []struct {
		name     string
		inFlight []config.Priority
		next     config.Priority
		want     gate.Outcome
	}{
		{"normal leaves both lanes", []config.Priority{config.Normal}, config.Normal, gate.Queued},
		{"high leaves the urgent one", []config.Priority{config.Normal, config.High}, config.High, gate.Queued},
		{"high takes its own", []config.Priority{config.Normal}, config.High, gate.Allowed},
		{"urgent takes all", []config.Priority{config.Normal, config.High}, config.Urgent, gate.Allowed},
		{"a lane in use is not kept twice", []config.Priority{config.Urgent}, config.Normal, gate.Allowed},
	} {
		a, b, _ := pair(Settings{Slots: 3, ReservedUrgent: 1, ReservedHigh: 1, QueueMax: 10})
		for _, p := range c.inFlight {
			arrive(t, b, noon, request(p, 1, 1), gate.Allowed, "")
		}
		if v := a.Arrive(noon, request(c.next, 2, 1)); v.Outcome != c.want {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

func TestBudgetOfRequests(t *testing.T) {
	a, b, _ := pair(Settings{Requests: perMinute(2), QueueMax: 10})
	arrive(t, a, noon, request(config.Normal, 1, 1), gate.Allowed, "")
	arrive(t, b, noon, request(config.Normal, 1, 1), gate.Allowed, "")
	x := request(config.Normal, 1, 1)
	arrive(t, a, noon, x, gate.Queued, "")
	if passed, _ := serve(t, a, noon+30*second-1); len(passed) > 0 {
		t.Error("passed too early")
	}
	if passed, _ := serve(t, a, noon+30*second); len(passed) != 1 {
		t.Error("not passed in time")
	}
}

func TestBudgetOfTokens(t *testing.T) {
	a, b, _ := pair(Settings{Tokens: perMinute(100), QueueMax: 10})
	first, second := request(config.Normal, 1, 60), request(config.Normal, 1, 60)
	arrive(t, a, noon, first, gate.Allowed, "")
	arrive(t, b, noon, second, gate.Queued, "")
	finish(t, a, noon, first, Answer{Used: 40, Requests: -1, Tokens: -1})
	if passed, _ := serve(t, b, noon); len(passed) != 1 {
		t.Error("what was not used is not given back")
	}
	huge := request(config.Normal, 1, 1e9)
	arrive(t, a, noon, huge, gate.Queued, "")
	finish(t, b, noon, second, Answer{Used: 1, Requests: -1, Tokens: -1})
	if passed, _ := serve(t, a, noon+50*minute/60); len(passed) != 1 {
		t.Error("a request larger than the budget never goes")
	}
}

func TestShedWithoutAQueue(t *testing.T) {
	a, _, _ := pair(Settings{Slots: 10, QueueMax: 0})
	for i := range 8 {
		arrive(t, a, noon, request(config.Low, uint64(i), 1), gate.Allowed, "")
	}
	if v := arrive(t, a, noon, request(config.Low, 9, 1), gate.Rejected, gate.Shed); v.Wait < second || v.Wait > minute {
		t.Errorf("advice %d", v.Wait)
	}
	arrive(t, a, noon, request(config.Normal, 9, 1), gate.Allowed, "")
	arrive(t, a, noon, request(config.Normal, 9, 1), gate.Rejected, gate.Shed)
	arrive(t, a, noon, request(config.Urgent, 9, 1), gate.Allowed, "")
	arrive(t, a, noon, request(config.Urgent, 9, 1), gate.Rejected, gate.Shed)
}

func TestPriorityHoldsAcrossWorkers(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 1, QueueMax: 10})
	first, normal, high := request(config.Normal, 1, 1), request(config.Normal, 2, 1), request(config.High, 3, 1)
	arrive(t, a, noon, first, gate.Allowed, "")
	arrive(t, a, noon, normal, gate.Queued, "")
	arrive(t, b, noon, high, gate.Queued, "")
	finish(t, a, noon, first, quiet)
	if passed, _ := serve(t, a, noon+clock.Moment(fresh)); len(passed) > 0 {
		t.Error("a lower priority goes first")
	}
	if passed, _ := serve(t, a, noon+clock.Moment(fresh)+1); len(passed) != 1 {
		t.Error("a worker that stands still holds the others back")
	}
}

func TestALateComerOfHigherPriorityGoesFirst(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 1, QueueMax: 10})
	first := request(config.Normal, 1, 1)
	arrive(t, a, noon, first, gate.Allowed, "")
	arrive(t, b, noon, request(config.Normal, 2, 1), gate.Queued, "")
	finish(t, a, noon, first, quiet)
	arrive(t, a, noon, request(config.High, 3, 1), gate.Allowed, "")
}

func TestTurnsAreOfTokens(t *testing.T) {
	a, _, _ := pair(Settings{Slots: 1, QueueMax: 20})
	busy := request(config.Normal, 9, 1)
	arrive(t, a, noon, busy, gate.Allowed, "")
	names := map[*Ticket]string{}
	for range 3 {
		x := request(config.Normal, 1, 300)
		names[x] = "dear"
		arrive(t, a, noon, x, gate.Queued, "")
	}
	for range 4 {
		x := request(config.Normal, 2, 100)
		names[x] = "cheap"
		arrive(t, a, noon, x, gate.Queued, "")
	}
	var got []string
	for range 7 {
		finish(t, a, noon, busy, Answer{Used: busy.Tokens, Requests: -1, Tokens: -1})
		passed, _ := serve(t, a, noon)
		busy = passed[0]
		got = append(got, names[busy])
	}
	if want := []string{"dear", "cheap", "cheap", "cheap", "dear", "cheap", "dear"}; !slices.Equal(got, want) {
		t.Errorf("turns %v, want %v", got, want)
	}
}

// What finds the queue full goes on in the order of all, when slots and budget allow; and not without end.
func TestPastAFullQueueOneWaitsAllTheSame(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 1, QueueMax: 2, WhenFull: config.QueuePassthrough})
	busy := request(config.Normal, 9, 1)
	arrive(t, a, noon, busy, gate.Allowed, "")
	var all []*Ticket
	for i := range 2 + leastPast {
		x := request(config.Normal, uint64(i), 1)
		reason := ""
		if i >= 2 {
			reason = gate.PassedFull
		}
		arrive(t, []*Gate{a, b}[i%2], noon+clock.Moment(i), x, gate.Queued, reason)
		all = append(all, x)
	}
	arrive(t, a, noon, request(config.Urgent, 9, 1), gate.Rejected, gate.Full)
	arrive(t, b, noon, request(config.Low, 9, 1), gate.Rejected, gate.Full)
	finish(t, a, noon+200, busy, Answer{Used: 1, Requests: -1, Tokens: -1})
	passed, _ := serve(t, a, noon+200)
	if len(passed) != 1 || passed[0] != all[0] {
		t.Errorf("%d passed for one slot", len(passed))
	}
	a, _, _ = pair(Settings{Slots: 1, QueueMax: 1000, WhenFull: config.QueuePassthrough})
	if room := a.settings.Room(); room != 2000 {
		t.Errorf("room for %d", room)
	}
}

func TestABypassHoldsNobodyBack(t *testing.T) {
	a, _, _ := pair(Settings{Slots: 1, Requests: perMinute(1), QueueMax: 0, WhenFull: config.QueueBypass})
	arrive(t, a, noon, request(config.Urgent, 1, 1), gate.Allowed, "")
	for range 5 {
		arrive(t, a, noon, request(config.Low, 1, 1), gate.Allowed, gate.Bypassed)
	}
	if n := a.Snapshot(noon).InFlight; n != 6 {
		t.Errorf("%d are in flight, want all 6", n)
	}
}

func TestAWorkerDiesWithEverything(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 1, QueueMax: 1, Tokens: perMinute(100)})
	arrive(t, a, noon, request(config.Normal, 1, 100), gate.Allowed, "")
	arrive(t, a, noon, request(config.Normal, 1, 1), gate.Queued, "")
	arrive(t, b, noon+clock.Moment(alive), request(config.Normal, 2, 1), gate.Rejected, gate.Full)
	arrive(t, b, noon+clock.Moment(alive)+1, request(config.Normal, 2, 100), gate.Allowed, "")
}

func TestABeatKeepsAWorkerAlive(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 1, QueueMax: 1})
	x := request(config.Normal, 1, 1)
	arrive(t, a, noon, x, gate.Allowed, "")
	now := noon
	for now < noon+minute {
		if a.Period() != Heartbeat {
			t.Fatalf("period %d", a.Period())
		}
		now += clock.Moment(a.Period())
		serve(t, a, now)
	}
	finish(t, a, now, x, quiet)
	if a.Period() != 0 {
		t.Errorf("period %d with nothing to do", a.Period())
	}
	arrive(t, b, now, request(config.Normal, 2, 1), gate.Allowed, "")
}

// Somebody has to see what a dead worker had in flight end, or the gauges would show it for ever: who has just begun, and who knows of it.
func TestWhatADeadWorkerHadIsSeenToEnd(t *testing.T) {
	a, b, store := pair(Settings{Slots: 5, QueueMax: 1})
	arrive(t, a, noon, request(config.Normal, 1, 1), gate.Allowed, "")
	x := request(config.Normal, 1, 1)
	arrive(t, b, noon, x, gate.Allowed, "")
	finish(t, b, noon, x, quiet) // a is never heard of again
	late := New(b.settings, store, "x", 3)
	for _, g := range []*Gate{b, late} {
		now := noon
		for ; g.Period() > 0 && now < noon+minute; now += clock.Moment(g.Period()) {
			serve(t, g, now)
		}
		if v := g.Snapshot(now); v.InFlight != 0 || now <= noon+clock.Moment(alive) || now > noon+clock.Moment(alive)+clock.Moment(3*Heartbeat) {
			t.Errorf("after %d ns of ticks %d are in flight", now-noon, v.InFlight)
		}
	}
}

func TestLeave(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 1, QueueMax: 1})
	first, x := request(config.Normal, 1, 1), request(config.High, 1, 1)
	a.Leave(x) // it never came
	arrive(t, a, noon, first, gate.Allowed, "")
	arrive(t, a, noon, x, gate.Queued, "")
	a.Leave(x)
	a.Leave(first) // is in flight, and has to finish
	if x.Waiting() || !first.InFlight() || a.Waiting() != 0 || a.Period() == 0 {
		t.Errorf("waiting %v, in flight %v, %d wait", x.Waiting(), first.InFlight(), a.Waiting())
	}
	serve(t, a, noon)
	arrive(t, b, noon, request(config.Normal, 1, 1), gate.Queued, "")
}

func TestAnAnswerClosesAndLowers(t *testing.T) {
	a, b, _ := pair(Settings{Requests: perMinute(60), QueueMax: 10})
	x := request(config.Normal, 1, 1)
	arrive(t, a, noon, x, gate.Allowed, "")
	finish(t, a, noon, x, Answer{Judged: true, Closed: 5 * second, Requests: 0, Tokens: -1})
	y := request(config.Urgent, 1, 1)
	arrive(t, b, noon+4*second, y, gate.Queued, "")
	if passed, _ := serve(t, b, noon+5*second); len(passed) != 1 {
		t.Error("closed for too long")
	}
	for range 4 {
		arrive(t, b, noon+5*second, request(config.Urgent, 1, 1), gate.Allowed, "")
	}
	arrive(t, b, noon+5*second, request(config.Urgent, 1, 1), gate.Queued, "")
}

func TestRetreatLowersTheBudget(t *testing.T) {
	s := Settings{Requests: perMinute(40), QueueMax: 100, Retreats: true, Yields: true, Retreat: retreat.Settings{
		Window: minute, Every: 5 * second, RecoverWindow: 2 * minute, Threshold: 0.05, RecoverThreshold: 0.02, Factor: 0.75,
		MinSamples: 10, Floor: 125_000, Step: 50_000,
	}}
	a, b, _ := pair(s)
	for i := range 20 {
		g := []*Gate{a, b}[i%2]
		x := request(config.Normal, 1, 1)
		arrive(t, g, noon, x, gate.Allowed, "")
		finish(t, g, noon, x, Answer{Judged: true, Limited: true, Requests: -1, Tokens: -1})
	}
	arrive(t, a, noon+6*second, request(config.Normal, 1, 1), gate.Queued, "")
	if v := a.Snapshot(noon + 6*second); v.Phase != retreat.Retreating || !v.Alarm || v.Scale != 125_000 || v.Share != 1 {
		t.Errorf("%+v", v)
	}
}

func TestShadowHoldsNothingBack(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 1, QueueMax: 1, Shadow: true})
	first, second := request(config.Normal, 1, 1), request(config.Urgent, 1, 1)
	arrive(t, a, noon, first, gate.Allowed, "")
	arrive(t, a, noon, second, gate.Shadowed, gate.WouldWait)
	if v := a.Snapshot(noon); v.Waiting != [Priorities]int{} || v.InFlight != 2 {
		t.Errorf("what would wait is said to wait: %+v", v)
	}
	finish(t, a, noon, first, quiet)
	finish(t, a, noon, second, quiet)
	arrive(t, b, noon, request(config.Normal, 1, 1), gate.Allowed, "")
}

func TestADropWishIsNotGrantedTwice(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 1, QueueMax: 2, WhenFull: config.QueueDropLowest})
	arrive(t, a, noon, request(config.Normal, 1, 1), gate.Allowed, "")
	arrive(t, a, noon, request(config.Low, 2, 1), gate.Queued, "")
	low := request(config.Low, 3, 1)
	arrive(t, b, noon, low, gate.Queued, "")
	// Now a's is to go for b's next one, by a wish; and the one after that has b's own to take, not a's again.
	b.Leave(low)
	serve(t, b, noon)
	arrive(t, b, noon, request(config.Normal, 4, 1), gate.Queued, "")
	arrive(t, b, noon, request(config.Normal, 5, 1), gate.Queued, "")
	v := a.Arrive(noon, request(config.Normal, 6, 1))
	if v.Outcome != gate.Rejected || v.Reason != gate.Full {
		t.Errorf("%+v: the room of a request that has to go already was given away again", v)
	}
	if _, refused := serve(t, a, noon+second); len(refused) != 1 || a.Snapshot(noon+second).Waiting != [Priorities]int{config.Normal: 2} {
		t.Errorf("%d dropped, %+v", len(refused), a.Snapshot(noon+second))
	}
}

func TestTheStoreFails(t *testing.T) {
	failing := &failingStore{Memory: recordtest.NewMemory()}
	g := New(Settings{Slots: 1, QueueMax: 5, MaxWait: longWaits}, failing, "x", 1)
	failing.err = errors.New("out of order")
	x := request(config.Normal, 1, 1)
	if v := g.Arrive(noon, x); v.Outcome != gate.Allowed || !errors.Is(v.Err, failing.err) || g.Period() == 0 {
		t.Fatalf("%+v, period %d", v, g.Period())
	}
	if err := g.dequeue(noon, nil); !errors.Is(err, failing.err) {
		t.Errorf("Dequeue: %v", err)
	}
	failing.err = nil
	serve(t, g, noon) // says that it is in flight
	other := New(Settings{Slots: 1, QueueMax: 5, MaxWait: longWaits}, failing, "x", 2)
	arrive(t, other, noon, request(config.Normal, 1, 1), gate.Queued, "")
	failing.err = errors.New("again")
	if err := g.Finish(noon, x, quiet); !errors.Is(err, failing.err) {
		t.Errorf("Finish: %v", err)
	}
	failing.err = nil
	serve(t, g, noon)
	if passed, _ := serve(t, other, noon); len(passed) != 1 {
		t.Error("a slot is lost with a write")
	}
}

// failingStore is a store that fails when it is told to.
type failingStore struct {
	*recordtest.Memory
	err error
}

func (f *failingStore) Get(key string) ([]byte, uint32, bool, error) {
	if f.err != nil {
		return nil, 0, false, f.err
	}
	return f.Memory.Get(key)
}

func TestTooManyWriters(t *testing.T) {
	for _, c := range []struct {
		shadow bool
		want   gate.Outcome
	}{{false, gate.Queued}, {true, gate.Allowed}} {
		a, _, store := pair(Settings{Slots: 1, QueueMax: 5, Shadow: c.shadow})
		store.Conflict = func(key string) {
			value, version, found, _ := store.Get(key)
			if !found {
				version = record.Create
			}
			if _, err := store.Put(key, value, version); err != nil {
				t.Error(err)
			}
		}
		x := request(config.Normal, 1, 1)
		if v := a.Arrive(noon, x); v.Outcome != c.want {
			t.Errorf("shadow %v: %+v", c.shadow, v)
		}
		if err := a.dequeue(noon, nil); err != record.ErrContended {
			t.Errorf("Dequeue: %v", err)
		}
	}
}

// What comes, goes at once and ends allocates nothing; neither does a queue that is asked and has nothing to decide.
func TestARequestAllocatesNothing(t *testing.T) {
	a, _, store := pair(Settings{Slots: 2, Requests: perMinute(1e6), Tokens: perMinute(1e9), QueueMax: 10, Retreats: true})
	store.InPlace = true
	x, waiting, now := request(config.Normal, 1, 5), request(config.Normal, 2, 5), noon
	arrive(t, a, now, request(config.Normal, 3, 5), gate.Allowed, "")
	round := func() {
		now += second / 1000
		if v := a.Arrive(now, x); v.Outcome != gate.Allowed {
			t.Fatalf("%+v", v)
		}
		if err := a.Finish(now, x, quiet); err != nil {
			t.Fatal(err)
		}
		if d := a.Dequeue(now); d.Next() || d.Err() != nil {
			t.Fatalf("%+v, %v", d.Verdict, d.Err())
		}
	}
	round()
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
	arrive(t, a, now, request(config.Normal, 4, 5), gate.Allowed, "")
	arrive(t, a, now, waiting, gate.Queued, "")
	if n := testing.AllocsPerRun(200, func() {
		if d := a.Dequeue(now); d.Next() || d.Err() != nil {
			t.Fatalf("%+v, %v", d.Verdict, d.Err())
		}
	}); n != 0 {
		t.Errorf("%v allocations where one waits", n)
	}
	another := request(config.Normal, 5, 5)
	come := func() {
		if v := a.Arrive(now, another); v.Outcome != gate.Queued {
			t.Fatalf("%+v", v)
		}
		a.Leave(another)
	}
	come()
	if n := testing.AllocsPerRun(200, come); n != 0 {
		t.Errorf("%v allocations of one that comes to wait", n)
	}
}
