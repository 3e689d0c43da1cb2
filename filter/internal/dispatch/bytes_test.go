package dispatch

import (
	"slices"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"pgregory.net/rapid"
)

// body is a request of which so many bytes are kept back.
func body(p config.Priority, subject uint64, bytes int64) *Ticket {
	x := request(p, subject, 1)
	x.Bytes = bytes
	return x
}

// tight lets ten wait with 1,000 bytes: 50 each, and 500 for larger ones. Its one slot is in use.
func tight(t *testing.T, s Settings) (g, other *Gate) {
	s.Slots, s.QueueMax, s.MaxBytes = 1, 10, 1000
	g, other, _ = pair(s)
	arrive(t, g, noon, body(config.Normal, 99, 5000), gate.Allowed, "") // what doesn't wait is of no interest
	return g, other
}

// Large bodies wait as far as there is room in their half, small ones have their places all the same, whichever workers they come to.
func TestAQueueIsBoundedByBytes(t *testing.T) {
	g, other := tight(t, Settings{})
	arrive(t, g, noon, body(config.Normal, 1, 300), gate.Queued, "")
	if v := arrive(t, other, noon, body(config.Normal, 1, 201), gate.Rejected, gate.FullBytes); v.Wait < time.Second || v.Measured != 300 || v.Threshold != 500 {
		t.Errorf("%+v", v)
	}
	last := body(config.Normal, 1, 200)
	arrive(t, other, noon, last, gate.Queued, "")
	arrive(t, g, noon, body(config.Urgent, 2, 51), gate.Rejected, gate.FullBytes)
	for i := range 8 {
		arrive(t, []*Gate{g, other}[i%2], noon, body(config.Low, 3, 50), gate.Queued, "")
	}
	arrive(t, g, noon, body(config.Low, 3, 0), gate.Rejected, gate.Full)
	if s := g.Snapshot(noon); s.Bytes != 900 || s.MaxBytes != 1000 {
		t.Errorf("%d of %d bytes", s.Bytes, s.MaxBytes)
	}
	other.Leave(last)
	if _, refused := serve(t, other, noon); len(refused) > 0 {
		t.Error("refused")
	}
	if s := g.Snapshot(noon); s.Bytes != 700 {
		t.Errorf("%d bytes when one has left", s.Bytes)
	}
	arrive(t, g, noon, body(config.Normal, 1, 51), gate.Rejected, gate.FullBytes) // beside 700 there is no room in a half of 500
}

// What could never wait is told so; what needn't wait goes, however large; and 0 is no bound.
func TestABodyThatCanNotWait(t *testing.T) {
	g, _ := tight(t, Settings{})
	if v := arrive(t, g, noon, body(config.Normal, 1, 501), gate.Rejected, gate.TooLarge); v.Wait != gate.Never || v.Measured != 501 || v.Threshold != 500 {
		t.Errorf("%+v", v)
	}
	arrive(t, g, noon, body(config.Normal, 1, 500), gate.Queued, "")
	g, _ = tight(t, Settings{WhenFull: config.QueueBypass})
	arrive(t, g, noon, body(config.Normal, 1, 501), gate.Allowed, gate.Bypassed)
	g, _ = tight(t, Settings{Shadow: true})
	arrive(t, g, noon, body(config.Normal, 1, 501), gate.Shadowed, gate.TooLarge)
	g, _ = tight(t, Settings{})
	g.settings.MaxBytes = 0
	arrive(t, g, noon, body(config.Normal, 1, 1<<40), gate.Queued, "")
	g, _ = tight(t, Settings{})
	g.settings.QueueMax = 0
	arrive(t, g, noon, body(config.Normal, 1, 501), gate.Rejected, gate.Shed)
}

// Who asks not to wait isn't told of the queue's bytes, and goes past them where others do.
func TestBytesOfWhoDeclinesToWait(t *testing.T) {
	for when, want := range map[config.WhenFull]string{config.QueueReject: gate.NoWait, config.QueueBypass: gate.Bypassed} {
		g, _ := tight(t, Settings{WhenFull: when})
		x := body(config.Normal, 1, 501)
		x.Patience = -1
		if v := g.Arrive(noon, x); v.Reason != want {
			t.Errorf("%s: %+v", when, v)
		}
	}
}

// Past a full queue the bytes are bounded just so: by the places that there are then.
func TestBytesPastTheQueue(t *testing.T) {
	g, _ := tight(t, Settings{WhenFull: config.QueuePassthrough}) // 110 places of 4 bytes
	arrive(t, g, noon, body(config.Normal, 1, 497), gate.Queued, "")
	arrive(t, g, noon, body(config.Normal, 1, 5), gate.Rejected, gate.FullBytes)
	for i := range 109 {
		reason := ""
		if i >= 9 {
			reason = gate.PassedFull
		}
		arrive(t, g, noon, body(config.Normal, 1, 4), gate.Queued, reason)
	}
	arrive(t, g, noon, body(config.Normal, 1, 4), gate.Rejected, gate.Full)
}

// A large body takes the room of one beside the queue, of a lower priority's where the queue drops these, or of the newest of who has most bytes.
func TestWhoMakesRoomForBytes(t *testing.T) {
	for _, test := range []struct {
		name    string
		when    config.WhenFull
		waiting []*Ticket
		one     *Ticket
		dropped int // of those that wait; -1: it is refused
	}{
		{"of the subject with most", "", []*Ticket{body(config.Normal, 1, 200), body(config.Normal, 1, 200), body(config.Normal, 2, 60)}, body(config.Normal, 3, 150), 1},
		{"the newest that is large enough", "", []*Ticket{body(config.Normal, 1, 200), body(config.Normal, 1, 250), body(config.Normal, 1, 10)}, body(config.Normal, 3, 150), 1},
		{"not of one who has less", "", []*Ticket{body(config.Normal, 1, 240), body(config.Normal, 2, 240)}, body(config.Normal, 3, 240), -1},
		{"not of oneself", "", []*Ticket{body(config.Normal, 1, 240), body(config.Normal, 1, 240)}, body(config.Normal, 1, 60), -1},
		{"none is large enough", "", []*Ticket{body(config.Normal, 1, 160), body(config.Normal, 1, 160), body(config.Normal, 1, 160)}, body(config.Normal, 3, 200), -1},
		{"not of a lower priority", "", []*Ticket{body(config.Low, 1, 490)}, body(config.Urgent, 3, 60), -1},
		{"of a lower priority", config.QueueDropLowest, []*Ticket{body(config.Low, 1, 250), body(config.Normal, 1, 240)}, body(config.Urgent, 3, 60), 0},
		{"not of a higher one", config.QueueDropLowest, []*Ticket{body(config.High, 1, 490)}, body(config.Normal, 3, 60), -1},
	} {
		g, _ := tight(t, Settings{WhenFull: test.when})
		for _, x := range test.waiting {
			arrive(t, g, noon, x, gate.Queued, "")
		}
		v := g.Arrive(noon, test.one)
		if test.dropped < 0 {
			if v.Reason != gate.FullBytes || v.Dropped != nil {
				t.Errorf("%s: %+v", test.name, v)
			}
			continue
		}
		if v.Outcome != gate.Queued || v.Dropped != test.waiting[test.dropped] || v.Wait == 0 {
			t.Errorf("%s: %+v", test.name, v)
		}
		if s := g.Snapshot(noon); s.Bytes > 500 || s.Bytes != g.queue.bytes {
			t.Errorf("%s: %d bytes, %d here", test.name, s.Bytes, g.queue.bytes)
		}
	}
}

// Who isn't to come back yet makes room first.
func TestWhatWaitsBesideMakesRoomForBytes(t *testing.T) {
	g, _, _ := pair(Settings{Requests: perMinute(60), QueueMax: 10})
	told(t, g, noon, from(1, true), shut(60))
	for range 59 {
		told(t, g, noon, from(2, true), silent)
	}
	g.settings.MaxBytes = 1000
	idle, other := from(1, true), from(2, true)
	idle.Bytes, other.Bytes = 400, 400
	arrive(t, g, noon, idle, gate.Queued, "")
	if v := arrive(t, g, noon, other, gate.Queued, ""); v.Dropped != idle {
		t.Errorf("%+v", v)
	}
	if s := g.Snapshot(noon); s.Bytes != 400 || g.queue.parked != 0 {
		t.Errorf("%d bytes, %d beside", s.Bytes, g.queue.parked)
	}
}

// What a dead worker held back is nobody's after a while.
func TestADeadWorkersBytes(t *testing.T) {
	g, other := tight(t, Settings{})
	arrive(t, other, noon, body(config.Normal, 1, 480), gate.Queued, "")
	arrive(t, g, noon.Add(4*time.Second), body(config.Normal, 1, 60), gate.Rejected, gate.FullBytes)
	arrive(t, g, noon.Add(6*time.Second), body(config.Normal, 1, 60), gate.Queued, "")
}

// Nothing of a crowd that can't be counted waits but what has its place's share of bytes in any case.
func TestBytesInACrowd(t *testing.T) {
	g, other, store := pair(Settings{Slots: 1, QueueMax: 10, MaxBytes: 1000})
	store.Conflict = func(string) { _, _ = other.ResetRetreat(noon) }
	arrive(t, g, noon, body(config.Normal, 1, 50), gate.Queued, "")
	if v := g.Arrive(noon, body(config.Normal, 1, 51)); v.Outcome != gate.Allowed || v.Err == nil {
		t.Errorf("%+v", v)
	}
}

// However requests come, leave and are served, in whichever of two workers, and whatever dies: all together are never above the bound, but for
// one share for each that another worker was asked to let go, and what the record says is what waits.
func TestBytesAreNeverAboveTheirBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := Settings{
			Slots: 1, QueueMax: rapid.IntRange(1, 8).Draw(t, "places"), MaxBytes: rapid.Int64Range(1, 1000).Draw(t, "bytes"), MaxWait: longWaits,
			WhenFull: rapid.SampledFrom([]config.WhenFull{config.QueueReject, config.QueueDropLowest, config.QueuePassthrough, config.QueueBypass}).Draw(t, "when full"),
		}
		g, other, store := pair(s)
		gates, now := []*Gate{g, other}, noon
		owner := map[*Ticket]*Gate{}
		var all, flying []*Ticket
		share := s.MaxBytes / 2 / int64(s.Room())
		step := func(what string) {
			asked := int64(0)
			var known shared
			value, _, _, _ := store.Get(g.key)
			known.decode(value)
			for i := range known.workers {
				for _, n := range known.workers[i].drop {
					asked += int64(n)
				}
			}
			sum := int64(0)
			for _, x := range all {
				if x.Waiting() {
					sum += x.Bytes
				}
			}
			if sum != gates[0].queue.bytes+gates[1].queue.bytes {
				t.Fatalf("%s: %d bytes wait, %d and %d are counted", what, sum, gates[0].queue.bytes, gates[1].queue.bytes)
			}
			if sum > s.MaxBytes+asked*share {
				t.Fatalf("%s: %d bytes of %d, and %d are asked to go", what, sum, s.MaxBytes, asked)
			}
		}
		tick := func() {
			for _, g := range gates {
				if err := g.dequeue(now, func(x *Ticket, v gate.Verdict) {
					if v.Outcome == gate.Allowed {
						flying = append(flying, x)
					}
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1, 2:
				x := body(config.Priority(rapid.IntRange(0, 3).Draw(t, "priority")), rapid.Uint64Range(1, 3).Draw(t, "subject"),
					rapid.OneOf(rapid.Int64Range(0, share), rapid.Int64Range(0, s.MaxBytes), rapid.Just(int64(mostBytes))).Draw(t, "bytes"))
				g := rapid.SampledFrom(gates).Draw(t, "gate")
				all, owner[x] = append(all, x), g
				if v := g.Arrive(now, x); v.Outcome == gate.Allowed {
					flying = append(flying, x)
				}
			case 3:
				flying = finishFirst(t, now, flying, owner)
			case 4:
				if at := slices.IndexFunc(all, (*Ticket).Waiting); at >= 0 {
					owner[all[at]].Leave(all[at])
				}
			default:
				now += clock.Moment(rapid.IntRange(1, 50).Draw(t, "ticks") * 10 * millisecond)
				tick()
			}
			step("step")
		}
		for range 62 {
			now += second
			tick()
		}
		step("end")
		if s := g.Snapshot(now); s.Bytes != 0 || g.Waiting()+other.Waiting() > 0 {
			t.Fatalf("%d bytes are left, %d and %d wait", s.Bytes, g.Waiting(), other.Waiting())
		}
	})
}
