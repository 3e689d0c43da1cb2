package latency

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// average is a time-weighted exponential moving average. A sample stands for the time since the one before: it enters with
// the weight 1-exp(-elapsed/timeConstant), and what was known keeps exp(-elapsed/timeConstant). The first sample is the
// average. While nothing is sampled it decays towards zero: what nobody measures any more can't keep a gate shut.
//
// The zero value has no samples. An average takes 16 bytes, and a sample constant time, however many there were.
type average struct {
	value float64 // nanoseconds, as it was at its last sample; 0: no samples
	at    clock.Moment
}

// longest is the most that a sample counts for: an hour.
const longest = time.Hour

// add takes a sample; one of 0 or less is none. One that comes at the very time of the one before has no
// weight, and neither has one that comes earlier (another worker wrote first). If the clock was set back by more than the
// time constant, the average goes on from there.
func (a *average) add(now clock.Moment, sample, timeConstant time.Duration) {
	if sample <= 0 {
		return
	}
	sample = min(sample, longest)
	if a.value == 0 {
		*a = average{value: float64(sample), at: now}
		return
	}
	elapsed := now.Sub(a.at)
	if elapsed < -timeConstant {
		a.at = now
	}
	if elapsed <= 0 {
		return
	}
	weight := -math.Expm1(-float64(elapsed) / float64(timeConstant))
	a.value += weight * (float64(sample) - a.value)
	a.at = now
}

// by is the average by now, in nanoseconds: decayed since its last sample. 0 is none.
func (a *average) by(now clock.Moment, timeConstant time.Duration) float64 {
	return a.value * math.Exp(-float64(max(now.Sub(a.at), 0))/float64(timeConstant))
}

// until is how long decay alone takes to bring the average down to a bound, which is in nanoseconds, rounded up to one: the time constant
// times ln(average/bound).
func (a *average) until(now clock.Moment, bound float64, timeConstant time.Duration) time.Duration {
	value := a.by(now, timeConstant)
	if value <= bound {
		return 0
	}
	if bound <= 0 {
		return math.MaxInt64
	}
	wait := math.Ceil(float64(timeConstant) * math.Log(value/bound))
	if wait >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(wait)
}
