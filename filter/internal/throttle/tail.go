package throttle

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const (
	history = 30

	leastAnswers  = 10 // in a period; with less it is extended
	matureTail    = 6  // periods that must be known before the factor counts
	longestPeriod = 6  // periods after which one with too few answers ends all the same
)

// Tail is a limiter of how long answers take: by the 99th percentile of each period. Its level is in nanoseconds.
type Tail struct {
	opened  clock.Moment // when the present period began
	present histogram
	newest  float64 // P99 of the last period; 0: not known
	smooth  float64
	slow    uint32 // periods in a row whose P99 was above the greatest allowed
	known   uint32 // how many there are in past
	past    [history]float64
}

// Observe implements limiter.
func (t *Tail) Observe(now clock.Moment, c *Settings, duration time.Duration) {
	t.advance(now, c)
	t.present.add(duration)
}

// merge takes in many answers at once.
func (t *Tail) merge(now clock.Moment, c *Settings, answers *histogram) {
	t.advance(now, c)
	t.present.merge(answers)
}

// advance ends the period if it is over.
func (t *Tail) advance(now clock.Moment, c *Settings) {
	elapsed := now.Sub(t.opened)
	switch {
	case elapsed < -longestPeriod*c.p99.period:
		*t = Tail{opened: now}
	case elapsed < c.p99.period:
	case t.present.total >= leastAnswers:
		t.end(c)
		t.opened = now
	case elapsed >= longestPeriod*c.p99.period:
		t.newest, t.smooth, t.slow = 0, 0, 0
		t.present, t.opened = histogram{}, now
	}
}

// end judges a period.
func (t *Tail) end(c *Settings) {
	p99 := float64(t.present.quantile(0.99))
	t.present = histogram{}
	t.newest = p99
	if t.smooth == 0 {
		t.smooth = p99
	}
	t.smooth += weight * (p99 - t.smooth)
	if p99 > float64(c.p99.max) {
		t.slow = min(t.slow+1, 1<<30)
	} else {
		t.slow = 0
	}
	learned := p99
	if threshold, mature := t.threshold(c); mature {
		learned = min(learned, threshold)
	}
	copy(t.past[1:], t.past[:])
	t.past[0] = learned
	t.known = min(t.known+1, history)
}

// tailDeviations is how many standard deviations above its mean a P99 belongs to what is normal: of few answers it is the worst, which is chance.
const tailDeviations = 3

// threshold is the factor times the mean of the history, or the mean and the deviations that belong to it, if that is more. mature says that
// enough is known for it to count.
func (t *Tail) threshold(c *Settings) (threshold float64, mature bool) {
	sum, squares, n := 0.0, 0.0, float64(max(t.known, 1))
	for _, p99 := range t.past[:t.known] {
		sum += p99
	}
	mean := sum / n
	for _, p99 := range t.past[:t.known] {
		squares += (p99 - mean) * (p99 - mean)
	}
	return max(c.p99.factor*mean, mean+tailDeviations*math.Sqrt(squares/n)), t.known >= matureTail
}

// slower says that an answer took longer than what trips it.
func (t *Tail) slower(c *Settings, duration time.Duration) bool {
	threshold, mature := t.threshold(c)
	return duration > c.p99.max || mature && float64(duration) > threshold
}

// Level implements limiter: of the two rules it is the one that is nearer to tripping, in proportion.
func (t *Tail) Level(now clock.Moment, c *Settings) Level {
	if t.newest == 0 {
		return Level{}
	}
	newest := t.newest
	if now.Sub(t.opened) >= c.p99.period { // too few answers to tell, but not to acquit, if most are quick: else what was refused would keep it tripped
		newest = min(newest, float64(t.present.quantile(0.5)))
	}
	if t.present.total >= leastAnswers { // what was slow may be over long before the period is
		newest = min(newest, float64(t.present.quantile(0.9)))
	}
	lasting := min(t.smooth, newest) // the average stays above the threshold for many periods after what was
	threshold, mature := t.threshold(c)
	learned := newLevel(lasting, threshold, severity(lasting, threshold), mature)
	fixed := newLevel(newest, float64(c.p99.max), severity(newest, float64(c.p99.max)), true)
	if t.slow < c.p99.periods { // it stirs, but does not trip
		fixed.Over, fixed.severity = false, 0
	}
	switch {
	case learned.Over != fixed.Over:
		if learned.Over {
			return learned
		}
		return fixed
	case !mature || fixed.Value*learned.Threshold > learned.Value*fixed.Threshold:
		fixed.stirs = fixed.stirs || learned.stirs
		return fixed
	}
	learned.stirs = learned.stirs || fixed.stirs
	return learned
}

// severity is half of the share by which a P99 would have to fall: how long answers take says less of how many are too many than arrivals do.
func severity(p99, threshold float64) float64 { return max(excess(p99, threshold)/2, 0) }

// calms is how long the present period lasts.
func (t *Tail) calms(now clock.Moment, c *Settings) time.Duration {
	return min(max(c.p99.period-now.Sub(t.opened), 1), c.p99.period)
}

// staleMemory is how long a measurement of the memory counts.
const staleMemory = 10 * time.Second

// Memory is a limiter of what fills up. Its level is the share in use.
type Memory struct {
	share float64
	at    clock.Moment
}

// Observe implements limiter.
func (m *Memory) Observe(now clock.Moment, _ *Settings, share float64) {
	if share > 0 {
		*m = Memory{share: min(share, 1), at: now}
	}
}

// Level implements limiter. What is old is not known.
func (m *Memory) Level(now clock.Moment, c *Settings) Level {
	if age := now.Sub(m.at); m.share == 0 || age > staleMemory || age < -staleMemory {
		return Level{}
	}
	return newLevel(m.share, c.gpuMemory, (m.share-c.gpuMemory)/max(1-c.gpuMemory, 0.01), true)
}
