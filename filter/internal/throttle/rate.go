package throttle

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const (
	blocks = 30

	// steep is how many times the share by which arrivals would have to fall to be at the threshold is refused of them, as long as that leaves
	// more than the baseline.
	steep = 5

	// matureRate is the part of the window that must be known before a rate can trip: a fifth.
	matureRate = 5
	// leastRate is the smoothed count of a step below which a rate never trips.
	leastRate = 2
	// mostCount bounds a step's count, so that sums stay exact.
	mostCount = int64(1e9)
)

// Rate is a limiter of what arrives: requests, or tokens. Its level is in units a second.
type Rate struct {
	window time.Duration // that it was measured with: another one begins anew
	opened clock.Moment  // when the present step began
	count  int64         // in the present step
	smooth float64
	began  clock.Moment  // when the newest block began
	blocks [blocks]block // the newest first
}

// block sums up steps.
type block struct {
	steps        uint32
	sum, squares float64
}

// step is the length of a step, and width that of a block.
func (c *qpsSettings) step() time.Duration {
	return min(max(c.window/300, time.Second/10), time.Second)
}
func (c *qpsSettings) width() time.Duration { return max(c.window/blocks, c.step()) }

// Observe implements limiter.
func (r *Rate) Observe(now clock.Moment, c *Settings, n int64) {
	r.advance(now, c)
	r.count = min(r.count+min(max(n, 0), mostCount), mostCount)
}

// advance closes the steps that are over.
func (r *Rate) advance(now clock.Moment, c *Settings) {
	step := c.qps.step()
	elapsed := now.Sub(r.opened)
	if r.window != c.qps.window || elapsed < -c.qps.window {
		*r = Rate{window: c.qps.window, opened: now, began: now}
		return
	}
	if elapsed < step {
		return
	}
	passed := int64(elapsed / step)
	learned := float64(r.count)
	if threshold, mature := r.threshold(c); mature {
		learned = min(learned, threshold)
	}
	r.smooth += weight * (float64(r.count) - r.smooth)
	r.learn(learned, 1)
	r.count = 0
	r.opened = r.opened.Add(step)
	r.rotate(c)
	if passed--; passed > 0 { // idle ones
		r.smooth *= math.Pow(1-weight, float64(passed))
		left := max(int64(r.began.Add(c.qps.width()).Sub(r.opened)/step), 0)
		r.learn(0, min(passed, left))
		r.opened = r.opened.Add(time.Duration(passed) * step)
		r.rotate(c)
	}
}

// learn takes steps of equal count into the newest block. It begins with the first that isn't empty.
func (r *Rate) learn(count float64, steps int64) {
	b := &r.blocks[0]
	if count == 0 && b.sum == 0 || steps <= 0 {
		return
	}
	b.steps += uint32(min(steps, int64(math.MaxUint32-b.steps)))
	b.sum += count
	b.squares += count * count
}

// rotate begins a new block if the newest is over.
func (r *Rate) rotate(c *Settings) {
	width := c.qps.width()
	passed := r.opened.Sub(r.began) / width
	switch {
	case passed <= 0:
		return
	case passed >= blocks:
		clear(r.blocks[:])
	default:
		copy(r.blocks[passed:], r.blocks[:])
		clear(r.blocks[:passed])
	}
	r.began = r.began.Add(passed * width)
}

// norm is the mean and the standard deviation of the counts of the window's steps, and how many there were. The newest block
// is left out until it is complete, so that a burst isn't measured by itself.
func (r *Rate) norm() (mean, deviation float64, steps int64) {
	var sum, squares float64
	for i := 1; i < blocks; i++ {
		b := &r.blocks[i]
		steps += int64(b.steps)
		sum += b.sum
		squares += b.squares
	}
	if steps == 0 {
		return 0, 0, 0
	}
	mean = sum / float64(steps)
	return mean, math.Sqrt(max(squares/float64(steps)-mean*mean, 0)), steps
}

// threshold is that of a step's count. mature says that enough is known for it to count.
func (r *Rate) threshold(c *Settings) (threshold float64, mature bool) {
	mean, deviation, steps := r.norm()
	return c.qps.factor * (mean + c.qps.sigmas*deviation), steps >= max(int64(c.qps.window/c.qps.step())/matureRate, 1)
}

// Level implements limiter. It knows of what was observed by then.
func (r *Rate) Level(_ clock.Moment, c *Settings) Level {
	threshold, mature := r.threshold(c)
	perSecond := float64(time.Second) / float64(c.qps.step())
	return newLevel(r.smooth*perSecond, threshold*perSecond, min(excess(r.smooth, threshold/c.qps.factor), steep*excess(r.smooth, threshold)), mature && r.smooth >= leastRate)
}

// calms is how long the average takes to come down if arrivals are at their mean from now on.
func (r *Rate) calms(c *Settings) time.Duration {
	threshold, _ := r.threshold(c)
	mean, _, _ := r.norm()
	target := max(clearAt*threshold, leastRate)
	if r.smooth <= target || target <= mean {
		return 0
	}
	return time.Duration(math.Ceil(math.Log((target-mean)/(r.smooth-mean))/math.Log(1-weight))) * c.qps.step()
}
