// Package sliding has the time arithmetic that the gates share: windows that slide, differences of moments that come from a clock
// which may have been set back, and waits that are spread.
package sliding

import "math"

// Slots is how many parts a Window has: it reaches back between eleven twelfths of its length and all of it.
const Slots = 12

// Window keeps a T for each part of the time that it covers. It is a value: it can be copied, and compared if T can.
type Window[T any] struct {
	Opened int64    // when the newest slot begins, in nanoseconds
	Slots  [Slots]T // the newest first
}

// Advance lets go of what is older than the window's length, in nanoseconds, at the time now. A clock that was set back by more
// than that is followed; one that was set back by less is waited for.
func (w *Window[T]) Advance(now, length int64) {
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
func Passed(opened *int64, now, length, parts int64) int64 {
	width := max(length/parts, 1)
	elapsed := Since(*opened, now)
	if elapsed < -length {
		*opened = now
	}
	if elapsed < width {
		return 0
	}
	passed := elapsed / width
	if passed >= parts {
		*opened = now
		return parts
	}
	*opened += passed * width
	return passed
}

// Spread hands out parts of a time that are evenly distributed over any run of calls: what is told to come back comes back one
// after the other, and not all at the moment in which a gate opens. The parts are the fractions of the golden ratio's multiples
// (Knuth, The Art of Computer Programming, volume 3, section 6.4).
type Spread struct{ at float64 }

// Next is the next part of a time: from 0 to less than all of it.
func (s *Spread) Next(length int64) int64 {
	if s.at += math.Phi - 1; s.at >= 1 {
		s.at--
	}
	return int64(s.at * float64(length))
}

// Since is the time from one moment to another, below zero if it is earlier; what doesn't fit is cut.
func Since(from, to int64) int64 {
	elapsed := to - from
	switch {
	case from < 0 && to >= 0 && elapsed < 0:
		return math.MaxInt64
	case from >= 0 && to < 0 && elapsed >= 0:
		return math.MinInt64
	}
	return elapsed
}
