package dispatch

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"pgregory.net/rapid"
)

// impatient is a request that asks to wait no longer than that.
func impatient(p config.Priority, subject uint64, patience time.Duration) *Ticket {
	x := request(p, subject, 1)
	x.Patience = patience
	return x
}

// Who asks not to wait goes at once or is refused at once, whatever the queue does with others.
func TestWhoDeclinesToWait(t *testing.T) {
	full := func(when config.WhenFull) Settings { return Settings{Slots: 1, QueueMax: 2, WhenFull: when} }
	for _, test := range []struct {
		name     string
		settings Settings
		waiting  int
		outcome  gate.Outcome
		reason   string
	}{
		{"nobody waits", full(""), 0, gate.Rejected, gate.NoWait},
		{"one waits", full(""), 1, gate.Rejected, gate.NoWait},
		{"a full queue", full(""), 2, gate.Rejected, gate.NoWait},
		{"it would drop others", full(config.QueueDropLowest), 2, gate.Rejected, gate.NoWait},
		{"it would wait past the queue", full(config.QueuePassthrough), 2, gate.Rejected, gate.NoWait},
		{"it would go past the queue, which isn't full", full(config.QueueBypass), 1, gate.Rejected, gate.NoWait},
		{"it goes past the queue", full(config.QueueBypass), 2, gate.Allowed, gate.Bypassed},
		{"nothing can wait", Settings{Slots: 1}, 0, gate.Rejected, gate.Shed},
		{"in shadow mode", Settings{Slots: 1, QueueMax: 2, Shadow: true}, 0, gate.Shadowed, gate.NoWait},
	} {
		g, _, store := pair(test.settings)
		arrive(t, g, noon, impatient(config.Low, 1, -1), gate.Allowed, "")
		for i := range test.waiting {
			arrive(t, g, noon, request(config.Low, uint64(i), 1), gate.Queued, "")
		}
		_, before, _, _ := store.Get(g.key)
		v := arrive(t, g, noon, impatient(config.Urgent, 9, -1), test.outcome, test.reason)
		if v.Dropped != nil || g.Waiting() != test.waiting {
			t.Errorf("%s: dropped %v, %d wait", test.name, v.Dropped, g.Waiting())
		}
		if v.Outcome == gate.Rejected && (v.Wait < time.Second || v.Wait > longestAdvice) {
			t.Errorf("%s: told to come back after %v", test.name, v.Wait)
		}
		if _, after, _, _ := store.Get(g.key); v.Outcome == gate.Rejected && before != after {
			t.Errorf("%s: who hammers makes the others read again", test.name)
		}
	}
}

// One that asks not to wait goes before those that wait only if its turn is before theirs.
func TestWhoDeclinesToWaitKeepsTheOrder(t *testing.T) {
	g, other, _ := pair(Settings{Slots: 1, QueueMax: 10})
	first := request(config.Normal, 1, 1)
	arrive(t, g, noon, first, gate.Allowed, "")
	arrive(t, other, noon, request(config.Normal, 2, 1), gate.Queued, "")
	if err := g.Finish(noon, first, quiet); err != nil {
		t.Fatal(err)
	}
	arrive(t, g, noon, impatient(config.Low, 3, -1), gate.Rejected, gate.NoWait) // the slot is free, and another's
	arrive(t, g, noon, impatient(config.High, 3, -1), gate.Allowed, "")
}

// One whose own caller isn't to come back yet would wait beside the queue.
func TestBesideTheQueueTheSameHolds(t *testing.T) {
	g, _, _ := pair(Settings{Requests: perMinute(600), QueueMax: 10})
	told(t, g, noon, from(1, true), shut(20))
	declines, hurried := from(1, true), from(1, true)
	declines.Patience, hurried.Patience = -1, 300*time.Millisecond
	if v := arrive(t, g, noon, declines, gate.Rejected, gate.NoWait); v.Wait < 19*time.Second || v.Wait > 20*time.Second {
		t.Errorf("told to come back after %v", v.Wait)
	}
	arrive(t, g, noon, hurried, gate.Queued, "")
	if g.queue.parked != 1 {
		t.Error("it doesn't wait beside the queue")
	}
	wantEnd(t, g, noon, hurried, 300*time.Millisecond, gate.MaxWait)
}

// wantEnd has a gate served until a waiting request is refused.
func wantEnd(t *testing.T, g *Gate, now clock.Moment, of *Ticket, after time.Duration, reason string) {
	t.Helper()
	for waited := time.Duration(0); waited <= after+20*time.Millisecond; waited += 10 * time.Millisecond {
		var end *gate.Verdict
		if err := g.dequeue(now.Add(waited), func(x *Ticket, v gate.Verdict) {
			if x == of {
				end = &v
			}
		}); err != nil {
			t.Fatal(err)
		}
		if end == nil {
			continue
		}
		if waited < after || end.Outcome != gate.Rejected || end.Reason != reason || end.Waited < after {
			t.Errorf("after %v: %+v, want %s after %v", waited, end, reason, after)
		}
		return
	}
	t.Errorf("it waits on, want %s after %v", reason, after)
}

// The shortest of the times counts that a request may wait, and says why it goes.
func TestHowLongARequestMayWait(t *testing.T) {
	for _, test := range []struct {
		patience, bears time.Duration
		after           time.Duration
		reason          string
	}{
		{0, 0, time.Second, gate.Timeout},
		{100 * time.Millisecond, 0, 100 * time.Millisecond, gate.MaxWait},
		{100 * time.Millisecond, 200 * time.Millisecond, 100 * time.Millisecond, gate.MaxWait},
		{200 * time.Millisecond, 100 * time.Millisecond, 100 * time.Millisecond, gate.Late},
		{time.Second, 0, time.Second, gate.Timeout},
		{time.Hour, 0, time.Second, gate.Timeout},
		{1, 0, 0, gate.MaxWait},
	} {
		g, _, _ := pair(Settings{Slots: 1, QueueMax: 9})
		g.settings.MaxWait[config.Normal] = time.Second
		arrive(t, g, noon, request(config.Normal, 1, 1), gate.Allowed, "")
		x := impatient(config.Normal, 2, test.patience)
		x.Within = test.bears
		arrive(t, g, noon, x, gate.Queued, "")
		wantEnd(t, g, noon, x, test.after, test.reason)
	}
}

// A record that can't be written for the crowd of workers isn't waited for either.
func TestWhoDeclinesIsNotQueuedForACrowd(t *testing.T) {
	g, other, store := pair(Settings{Slots: 1, QueueMax: 10})
	crowd := func(string) {
		if _, err := other.ResetRetreat(noon); err != nil {
			t.Fatal(err)
		}
	}
	store.Conflict = crowd
	arrive(t, g, noon, impatient(config.Normal, 1, -1), gate.Rejected, gate.NoWait)
	arrive(t, g, noon, impatient(config.Normal, 1, time.Second), gate.Queued, "")
	g.settings.Shadow = true
	if v := g.Arrive(noon, impatient(config.Normal, 1, -1)); v.Outcome != gate.Allowed || v.Err == nil {
		t.Errorf("in shadow mode: %+v", v)
	}
}

// Whoever says what, in whichever of two workers: nobody waits longer than he may by a tick, who declines never waits, and nothing is left.
func TestPatienceHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Settings{
			Slots: rapid.IntRange(1, 3).Draw(t, "slots"), QueueMax: rapid.IntRange(1, 6).Draw(t, "room"),
			WhenFull: rapid.SampledFrom([]config.WhenFull{config.QueueReject, config.QueueDropLowest, config.QueuePassthrough, config.QueueBypass}).Draw(t, "when full"),
			Foresees: rapid.Bool().Draw(t, "foresees"),
		}
		for p := range s.MaxWait {
			s.MaxWait[p] = time.Duration(rapid.IntRange(1, 200).Draw(t, "wait")) * 10 * time.Millisecond
		}
		g, other, _ := pair(s)
		g.Change(s)
		other.Change(s)
		gates, now := []*Gate{g, other}, noon
		var flying, waiting []*Ticket
		owner := map[*Ticket]*Gate{}
		remove := func(from []*Ticket, x *Ticket) []*Ticket {
			for i := range from {
				if from[i] == x {
					return append(from[:i], from[i+1:]...)
				}
			}
			t.Fatalf("%p was not there", x)
			return nil
		}
		tick := func() {
			for _, g := range gates {
				if err := g.dequeue(now, func(x *Ticket, v gate.Verdict) {
					waiting = remove(waiting, x)
					if v.Outcome == gate.Allowed {
						flying = append(flying, x)
					}
				}); err != nil {
					t.Fatal(err)
				}
			}
			for _, x := range waiting {
				may := s.MaxWait[x.Priority]
				if x.Patience > 0 {
					may = min(may, x.Patience)
				}
				if x.Patience < 0 || x.Waited(now) > may {
					t.Fatalf("one waits for %v that may for %v, and asked for %v", x.Waited(now), may, x.Patience)
				}
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				x := impatient(config.Priority(rapid.IntRange(0, 3).Draw(t, "priority")), rapid.Uint64Range(1, 3).Draw(t, "subject"),
					rapid.SampledFrom([]time.Duration{0, -1, 1, 30 * time.Millisecond, 400 * time.Millisecond, time.Hour}).Draw(t, "patience"))
				g := rapid.SampledFrom(gates).Draw(t, "gate")
				owner[x] = g
				v := g.Arrive(now, x)
				if v.Dropped != nil {
					waiting = remove(waiting, v.Dropped)
				}
				switch v.Outcome {
				case gate.Allowed:
					flying = append(flying, x)
				case gate.Queued:
					waiting = append(waiting, x)
				}
			case 2:
				flying = finishFirst(t, now, flying, owner)
			case 3:
				if len(waiting) > 0 {
					x := rapid.SampledFrom(waiting).Draw(t, "leaves")
					waiting = remove(waiting, x)
					owner[x].Leave(x)
				}
			default:
				now += clock.Moment(rapid.IntRange(1, 50).Draw(t, "ticks") * 10 * millisecond)
				tick()
			}
		}
		for range 300 {
			now += 10 * millisecond
			tick()
		}
		if len(waiting) > 0 || g.queue.hurried != 0 || other.queue.hurried != 0 {
			t.Fatalf("%d wait, %d and %d hurried", len(waiting), g.queue.hurried, other.queue.hurried)
		}
	})
}

// finishFirst ends the request that has been in flight for longest, if any is, and gives the others.
func finishFirst(t *rapid.T, now clock.Moment, flying []*Ticket, owner map[*Ticket]*Gate) []*Ticket {
	if len(flying) == 0 {
		return nil
	}
	if err := owner[flying[0]].Finish(now, flying[0], quiet); err != nil {
		t.Fatal(err)
	}
	return flying[1:]
}
