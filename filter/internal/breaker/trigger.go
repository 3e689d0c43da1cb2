package breaker

import (
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// cause is what opened a breaker.
type cause uint8

// The causes.
const (
	never cause = iota
	tooManyErrors
	tooManySlow
	tooManyOfBoth // neither is enough by itself
	probeFailed
	probeSlow
)

// Trigger is when and why a breaker opened. The zero value is never.
type Trigger struct {
	At    clock.Moment
	cause cause
	Share float64       // of the window's requests; 0 for a probe
	Over  time.Duration // the window; 0 for a probe
}

// String is the reason as an operator reads it, such as 5xx_rate_85%_in_30s; "" if it never opened.
func (t Trigger) String() string { return string(t.Append(make([]byte, 0, 40))) }

// Append appends that.
func (t Trigger) Append(b []byte) []byte {
	switch t.cause {
	case tooManyErrors:
		return t.rate(append(b, "5xx_rate_"...))
	case tooManySlow:
		return t.rate(append(b, "slow_rate_"...))
	case tooManyOfBoth:
		return t.rate(append(b, "5xx_and_slow_rate_"...))
	case probeFailed:
		return append(b, "probe_failed"...)
	case probeSlow:
		return append(b, "probe_slow"...)
	default:
		return b
	}
}

// rate rounds the share down, so that it is never said to be more than it was.
func (t Trigger) rate(b []byte) []byte {
	b = strconv.AppendInt(b, int64(t.Share*100+1e-9), 10)
	b = append(b, "%_in_"...)
	b = strconv.AppendFloat(b, float64(t.Over)/1e9, 'f', -1, 64)
	return append(b, 's')
}
