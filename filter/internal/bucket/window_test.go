package bucket

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const minute = 60 // seconds

// minutely is a rate with windows of a minute, as it is at a second of the wall clock, which is so far ahead of the process's.
func minutely(second, ahead int64) Rate {
	begin := second / minute * minute
	return Rate{Burst: 3 * Micro, Quantity: 3 * Micro, Window: time.Minute, Now: &Window{
		Begin: uint32(begin), End: uint32(begin + minute), After: uint32(begin + 2*minute), Ends: clock.Moment((begin + minute - ahead) * int64(time.Second)),
	}}
}

// windowed is a bucket, and the clocks that it is looked at by.
type windowed struct {
	State
	now, ahead int64 // seconds
}

func (w *windowed) look() Rate {
	rate := minutely(w.now+w.ahead, w.ahead)
	w.Leak(clock.Moment(w.now*int64(time.Second)), rate)
	return rate
}

// admits uses one unit, if there is one.
func (w *windowed) admits() bool {
	rate := w.look()
	if w.Wait(Micro, rate) > 0 {
		return false
	}
	w.Use(Micro)
	return true
}

func TestAQuantityComesBackWhenAWindowBegins(t *testing.T) {
	w := windowed{now: 1000, ahead: 6000} // a second of a window that began 40 seconds ago
	for range 3 {
		if !w.admits() {
			t.Fatal("refused")
		}
	}
	w.Use(2 * Micro) // a settlement that was larger than what was reserved
	rate := w.look()
	if wait := w.Wait(Micro, rate); w.admits() || wait != 20*time.Second || w.Balance(rate) != -2*Micro || w.Ends(rate) != 20*time.Second {
		t.Errorf("wait %v, ends %v, balance %d", wait, w.Ends(rate), w.Balance(rate))
	}
	if w.now += 19; w.admits() {
		t.Error("it comes back before the window's end")
	}
	if w.now++; !w.admits() || w.Balance(w.look()) != 2*Micro {
		t.Errorf("debt is carried into the next window: %+v", w.State)
	}
	if w.Wait(4*Micro, rate) < 1<<62 {
		t.Error("what is larger than the quantity fits one day")
	}
}

// A reservation holds beyond the boundary, and the one who made it is charged where he ends.
func TestReservationsHoldBeyondABoundary(t *testing.T) {
	w := windowed{now: 1000, ahead: 6019}
	w.look()
	w.Reserve(2)
	w.now += 5
	if rate := w.look(); w.Balance(rate) != 1*Micro {
		t.Errorf("balance %d", w.Balance(rate))
	}
	w.Release(2, 0)
	w.Use(2 * Micro)
	if rate := w.look(); w.Balance(rate) != 1*Micro || w.Full() {
		t.Errorf("balance %d", w.Balance(rate))
	}
}

// Whatever the clock is set to, and whichever worker looks, no window's quantity is given twice, as long as the clock doesn't come from farther ahead than the
// next window.
func TestNoWindowGivesItsQuantityTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w, given := windowed{now: 1000, ahead: 100_000}, map[uint32]int{}
		latest := w.now + w.ahead
		w.look()
		for range rapid.IntRange(1, 200).Draw(t, "looks") {
			w.now += rapid.Int64Range(0, 20).Draw(t, "time")
			if step := rapid.SampledFrom([]int64{0, 0, 0, 1, -1, 30, -30, -50, 59, 200}).Draw(t, "step"); step != 0 {
				w.ahead += step
				w.now += int64(Settling / time.Second)
			}
			oldest := latest/minute*minute - minute // within the window before that of the latest time
			w.ahead = max(w.ahead, oldest-w.now)
			latest = max(latest, w.now+w.ahead)
			before := w.Window
			if w.admits() {
				given[w.Window]++
			}
			if given[w.Window] > 3 {
				t.Fatalf("%d of 3 in the window at %d", given[w.Window], w.Window)
			}
			if w.Window < before || int64(w.Window) != latest/minute*minute {
				t.Fatalf("at %d, the latest being %d, the bucket is in the window at %d, after that at %d", w.now+w.ahead, latest, w.Window, before)
			}
		}
	})
}

// However wrong the clock was, when it has been right for two windows all is as if it always had been.
func TestAWrongClockLocksNobodyOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := windowed{now: 1000, ahead: 100_000}
		for range rapid.IntRange(1, 20).Draw(t, "looks") {
			w.now += rapid.Int64Range(0, 100).Draw(t, "time")
			w.ahead = rapid.Int64Range(0, 4_000_000_000).Draw(t, "clock")
			w.admits()
		}
		w.ahead = 100_000
		end := (w.now+w.ahead)/minute*minute + 2*minute
		for w.now+w.ahead < end {
			if w.admits(); w.Ends(w.look()) > 2*time.Minute {
				t.Fatalf("the window ends in %v", w.Ends(w.look()))
			}
			w.now += 7
		}
		w.now = end - w.ahead
		for i := range 3 {
			if !w.admits() {
				t.Fatalf("refused at %d of 3: %+v", i, w.State)
			}
		}
		if w.admits() {
			t.Fatal("a fourth passes")
		}
	})
}

// What was used stays used when a configuration makes windows of what flowed in, or the reverse.
func TestARefillThatChangesKeepsWhatWasUsed(t *testing.T) {
	s := State{Used: 2 * Micro, At: clock.Moment(time.Second)}
	s.Leak(clock.Moment(time.Minute), minutely(100_060, 100_000))
	if s.Used != 2*Micro || s.Window != 100_020 {
		t.Errorf("%+v", s)
	}
	s.Leak(clock.Moment(2*time.Minute), seed)
	if s.Used != 2*Micro || s.Window != 0 || s.At != clock.Moment(2*time.Minute) {
		t.Errorf("%+v", s)
	}
}

// Another window takes what was used in the part of it that has passed, and what was used in one that began a little earlier; none of what was used long before it.
func TestAWindowThatChanges(t *testing.T) {
	day := Rate{Burst: 3 * Micro, Quantity: 3 * Micro, Now: &Window{Begin: 86400, End: 2 * 86400, After: 3 * 86400}}
	s := State{Used: Micro, Window: 90_000}
	if s.Leak(1, day); s.Used != Micro || s.Window != 90_000 {
		t.Errorf("an hour's use doesn't count for its day: %+v", s)
	}
	s = State{Used: Micro, Window: 86400}
	if s.Leak(clock.Moment(Settling), minutely(90_000, 0)); s.Used != 0 || s.Window != 90_000 {
		t.Errorf("a day's use counts for one of its minutes: %+v", s)
	}
	const november, december = 1_793_491_200, 1_796_083_200 // of 2026, in UTC
	moved := func(hours int) Rate {
		west := uint32(hours * 3600)
		return Rate{Burst: 3 * Micro, Quantity: 3 * Micro, Now: &Window{Begin: november + west, End: december + west, After: december + 31*86400 + west}}
	}
	s = State{Used: Micro, Window: november}
	latest := uint32(november)
	for _, hours := range []int{8, 12, -14, 5} { // -14 begins earlier than 12, and so the bucket stays in that one
		latest = max(latest, uint32(november+hours*3600))
		if s.Leak(1, moved(hours)); s.Used != Micro || s.Window != latest {
			t.Errorf("a month that is moved by %d hours gives its quantity again: %+v", hours, s)
		}
	}
	next := moved(5)
	next.Now = &Window{Begin: december + 5*3600, End: december + 31*86400, After: december + 62*86400}
	if s.Leak(1, next); s.Used != 0 || s.Window != december+5*3600 {
		t.Errorf("the next month has what was used in the one before it: %+v", s)
	}
}

// While workers come to know that the clock was set, be it by how much it may, one after the other, a window's quantity is given once more at the most.
func TestWorkersThatDisagreeAboutTheTimeGiveNothingTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		step := rapid.OneOf(rapid.Int64Range(-200, 200), rapid.Int64Range(-100_000, 100_000)).Draw(t, "step")
		w, given := windowed{now: 1000, ahead: 200_000}, 0
		for w.admits() {
			given++
		}
		w.now += rapid.Int64Range(0, 5).Draw(t, "idle")
		for range rapid.IntRange(1, 50).Draw(t, "looks") {
			w.ahead = rapid.SampledFrom([]int64{200_000, 200_000 + step}).Draw(t, "worker")
			for w.admits() {
				given++
			}
		}
		if given > 2*3 {
			t.Fatalf("%d of 3 were given", given)
		}
	})
}
