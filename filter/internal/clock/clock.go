// Package clock has the type of a moment. Nothing here reads a clock: moments come in from the host.
package clock

import (
	"math"
	"time"
)

// Moment is a reading of the process's monotonic clock, in nanoseconds. The clock is one for all workers, begins anywhere, and never
// steps by itself; what is read from a record can still be of any time, before or after now.
type Moment int64

// Add is the moment that is so much later.
func (m Moment) Add(d time.Duration) Moment { return m + Moment(d) }

// Seconds is the moment in whole seconds.
func (m Moment) Seconds() int64 { return int64(m / Moment(time.Second)) }

// Sub is the time from another moment to this one, below zero if this one is the earlier. What doesn't fit is cut.
func (m Moment) Sub(from Moment) time.Duration {
	elapsed := m - from
	switch {
	case from < 0 && m >= 0 && elapsed < 0:
		return math.MaxInt64
	case from >= 0 && m < 0 && elapsed >= 0:
		return math.MinInt64
	}
	return time.Duration(elapsed)
}
