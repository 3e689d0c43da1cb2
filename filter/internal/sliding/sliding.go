// Package sliding has the time arithmetic that the gates share: windows that slide, and differences of moments that come from
// a clock which may have been set back.
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
	width := max(length/Slots, 1)
	elapsed := Since(w.Opened, now)
	if elapsed < -length {
		w.Opened = now
	}
	if elapsed < width {
		return
	}
	passed := elapsed / width
	if passed >= Slots {
		*w = Window[T]{Opened: now}
		return
	}
	copy(w.Slots[passed:], w.Slots[:])
	clear(w.Slots[:passed])
	w.Opened += passed * width
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
