// Package sliding has what the gates share that look back: windows that slide with a clock which may have been set back, and waits
// that are spread.
package sliding

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// Slots is how many parts a Window has: it reaches back between eleven twelfths of its length and all of it.
const Slots = 12

// Window keeps a T for each part of the time that it covers. It is a value: it can be copied, and compared if T can.
type Window[T any] struct {
	Opened clock.Moment // when the newest slot begins
	Slots  [Slots]T     // the newest first
}

// Advance lets go of what is older than the window's length, at the time now. A clock that was set back by more
// than that is followed; one that was set back by less is waited for.
func (w *Window[T]) Advance(now clock.Moment, length time.Duration) {
	switch passed := Passed(&w.Opened, now, length, Slots); {
	case passed >= Slots:
		*w = Window[T]{Opened: w.Opened}
	case passed > 0:
		copy(w.Slots[passed:], w.Slots[:])
		clear(w.Slots[:passed])
	}
}

// Passed says how many parts of a time, cut into so many, have gone by since the newest was opened, and moves that on: to now, if all
// have. The clock is that of Advance.
func Passed(opened *clock.Moment, now clock.Moment, length time.Duration, parts int64) int64 {
	width := max(length/time.Duration(parts), 1)
	elapsed := now.Sub(*opened)
	if elapsed < -length {
		*opened = now
	}
	if elapsed < width {
		return 0
	}
	passed := int64(elapsed / width)
	if passed >= parts {
		*opened = now
		return parts
	}
	*opened = opened.Add(time.Duration(passed) * width)
	return passed
}

// Spread hands out parts of a time that are evenly distributed over any run of calls: what is told to come back comes back one
// after the other, and not all at the moment in which a gate opens. The parts are the fractions of the golden ratio's multiples
// (Knuth, The Art of Computer Programming, volume 3, section 6.4).
type Spread struct{ at float64 }

// Next is the next part of a time: from 0 to less than all of it.
func (s *Spread) Next(length time.Duration) time.Duration {
	if s.at += math.Phi - 1; s.at >= 1 {
		s.at--
	}
	return time.Duration(s.at * float64(length))
}
