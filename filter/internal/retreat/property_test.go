package retreat

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/sliding"
)

func someSettings(t *rapid.T) Settings {
	c := Settings{
		Window:        time.Duration(rapid.Int64Range(second, int64(time.Hour)).Draw(t, "window")),
		RecoverWindow: time.Duration(rapid.Int64Range(second, 24*int64(time.Hour)).Draw(t, "recover window")),
		Threshold:     rapid.Float64Range(0.001, 1).Draw(t, "threshold"),
		Factor:        rapid.Float64Range(0.001, 0.999).Draw(t, "factor"),
		MinSamples:    rapid.Int64Range(1, 30).Draw(t, "min samples"),
		Floor:         rapid.Int64Range(1, Whole).Draw(t, "floor"),
		Step:          rapid.Int64Range(1, Whole).Draw(t, "step"),
	}
	c.Every = time.Duration(rapid.Int64Range(second/10, int64(c.Window)).Draw(t, "every"))
	c.RecoverThreshold = c.Threshold * rapid.Float64Range(0, 0.99).Draw(t, "recover threshold")
	return c
}

// legal says whether one evaluation may lead from one state to another.
func legal(from, to *State, c *Settings) bool {
	down, up := to.Scale() <= from.Scale(), to.Scale() == min(from.Scale()+c.Step, Whole)
	switch [2]Phase{from.phase, to.phase} {
	case [2]Phase{Normal, Normal}:
		return to.lowered == 0
	case [2]Phase{Normal, Retreating}, [2]Phase{Recovering, Retreating}:
		return down
	case [2]Phase{Retreating, Retreating}:
		return down
	case [2]Phase{Retreating, Recovering}:
		return up && !to.alarm
	case [2]Phase{Recovering, Recovering}:
		return up || to.Scale() == from.Scale()
	case [2]Phase{Recovering, Normal}:
		return from.lowered == 0 && to.lowered == 0
	}
	return false
}

// worker is one of several that share a record: it reads it, works on a copy, and writes that if nobody else has.
type worker struct {
	skew    int64 // its clock was read that much earlier
	read    State
	version int
}

// record is where the workers keep the state, in bytes.
type record struct {
	value   []byte
	version int
}

func (r *record) load(t *rapid.T) State {
	s, ok := decoded(r.value)
	if !ok {
		t.Fatalf("a state that was written can't be read: %x", r.value)
	}
	return s
}

// Whatever workers do at once, and whoever loses the race: only legal transitions are ever written, the scale stays in its
// bounds, and two steps are at least Every apart.
func TestWorkersShareOneState(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := someSettings(t)
		shared := record{value: new(State).Append(nil)}
		workers := make([]worker, rapid.IntRange(1, 4).Draw(t, "workers"))
		for i := range workers {
			workers[i].read = shared.load(t)
			workers[i].skew = rapid.Int64Range(0, int64(c.Window/4)).Draw(t, "skew")
		}
		now := time.Duration(rapid.Int64Range(0, int64(24*365*time.Hour)).Draw(t, "start")) + 2*c.Window
		stepped := now - 2*c.Window
		limited := rapid.IntRange(0, 100).Draw(t, "percent limited")
		for range rapid.IntRange(1, 150).Draw(t, "operations") {
			now += time.Duration(rapid.Int64Range(0, int64(2*c.Every)).Draw(t, "pause"))
			w := &workers[rapid.IntRange(0, len(workers)-1).Draw(t, "worker")]
			at := now - time.Duration(w.skew)
			s := w.read
			changed := false
			operation := rapid.IntRange(0, 20).Draw(t, "operation")
			switch {
			case operation < 12:
				for range rapid.IntRange(1, 20).Draw(t, "answers") {
					s.Record(clock.Moment(at), &c, 1, rapid.IntRange(0, 99).Draw(t, "answer") < limited)
				}
			default:
				changed = s.Evaluate(clock.Moment(at), &c)
			}
			if w.version != shared.version { // somebody else was first: read again, decide again
				w.read, w.version = shared.load(t), shared.version
				continue
			}
			if s.Scale() < c.Floor || s.Scale() > Whole || !s.possible() {
				t.Fatalf("%+v is out of bounds", s)
			}
			if operation > 0 && !legal(&w.read, &s, &c) {
				t.Fatalf("from %+v to %+v", w.read, s)
			}
			if s.alarm && s.Scale() != c.Floor {
				t.Fatalf("%+v alarms above the floor", s)
			}
			if changed {
				if at-stepped < c.Every {
					t.Fatalf("a step %d after another, want %d", at-stepped, c.Every)
				}
				stepped = at
			}
			shared.value, shared.version = s.Append(nil), shared.version+1
			w.read, w.version = s, shared.version
		}
	})
}

// However a state was lowered: without further 429 it only rises, and is back at the base in time.
func TestRecoveryIsMonotone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := someSettings(t)
		c.Step = max(c.Step, Whole/100)
		c.Every = max(c.Every, c.Window/100, c.RecoverWindow/100) // so that it ends soon
		c.Window = max(c.Window, c.Every)
		s := State{phase: Retreating, lowered: uint32(rapid.Int64Range(0, Whole-c.Floor).Draw(t, "lowered"))}
		s.alarm = s.Scale() == c.Floor && rapid.Bool().Draw(t, "alarm")
		traffic := rapid.IntRange(0, 30).Draw(t, "answers an evaluation")
		var now clock.Moment
		deadline := 2*c.Window + c.RecoverWindow + c.Every*time.Duration((Whole/c.Step+5))
		for range rapid.IntRange(0, 40).Draw(t, "429") {
			s.Record(now, &c, 1, true)
		}
		s.Evaluate(clock.Moment(c.Every), &c)
		for now = clock.Moment(2 * c.Every); s.phase != Normal; now += clock.Moment(c.Every) {
			for range traffic {
				s.Record(now, &c, 1, false)
			}
			before := s
			s.Evaluate(now, &c)
			// What was refused before may still lower it for a window's length.
			if now > clock.Moment(c.Window+c.Every) && (s.Scale() < before.Scale() || s.phase == Retreating && before.phase != Retreating) {
				t.Fatalf("from %+v to %+v without a 429", before, s)
			}
			if now > clock.Moment(deadline) {
				t.Fatalf("not back after %v: %+v", time.Duration(now), s)
			}
		}
		if s.Scale() != Whole || s.Alarm() {
			t.Fatalf("%+v", s)
		}
	})
}

// The window's count is that of its last eleven twelfths, and of nothing older than itself.
func TestWindowCountsWhatItCovers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Settings{Window: time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "window"))}
		var s State
		var times []int64
		now := rapid.Int64Range(0, int64(time.Hour)).Draw(t, "start")
		for range rapid.IntRange(1, 100).Draw(t, "answers") {
			now += rapid.Int64Range(0, int64(c.Window/time.Duration(rapid.Int64Range(1, 50).Draw(t, "pace")))).Draw(t, "pause")
			s.Record(clock.Moment(now), &c, 1, true)
			times = append(times, now)
			var least, most int64
			for _, at := range times {
				if at > now-int64(c.Window)/sliding.Slots*(sliding.Slots-1) {
					least++
				}
				if at > now-max(int64(c.Window), sliding.Slots) {
					most++
				}
			}
			if _, samples := s.Share(clock.Moment(now), &c); samples < least || samples > most {
				t.Fatalf("%d answers, want %d to %d", samples, least, most)
			}
		}
	})
}

// A clock may do what it likes: nothing panics, and the scale stays in its bounds.
func TestClocksCantHarm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := someSettings(t)
		var s State
		for range rapid.IntRange(1, 60).Draw(t, "operations") {
			now := rapid.Int64().Draw(t, "now")
			for range rapid.IntRange(0, 20).Draw(t, "answers") {
				s.Record(clock.Moment(now), &c, 1, rapid.Bool().Draw(t, "limited"))
			}
			s.Evaluate(clock.Moment(now), &c)
			share, samples := s.Share(clock.Moment(rapid.Int64().Draw(t, "then")), &c)
			if s.Scale() < c.Floor || s.Scale() > Whole || share < 0 || share > 1 || samples < 0 || !s.possible() {
				t.Fatalf("%+v, share %v of %d", s, share, samples)
			}
		}
	})
}
