package throttle

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/sliding"
)

// Thinner refuses an exact share of requests, without dice: what a request owes to the share is carried to the next ones
// until it is one whole request (error diffusion). Over any run of requests, what it refused differs from the sum of their
// shares by less than one. Each worker has its own, so over n workers by less than n; that is what it costs to have
// nothing to write for a request.
type Thinner struct {
	owed   [config.Urgent + 1]float64
	spread sliding.Spread // of the advice: else all that was refused would come back at once, and trip it again
}

// refuse says whether the request is one of the share.
func (t *Thinner) refuse(p config.Priority, share float64) bool {
	owed := &t.owed[p]
	if *owed += min(max(share, 0), 1); *owed < 1 {
		return false
	}
	*owed--
	return true
}

// Pace is how long answers took of late, as one worker has seen: a moving average, of weight a quarter for the newest.
type Pace struct {
	took time.Duration
	at   clock.Moment // of the newest
}

// Add takes in how long an answer took.
func (p *Pace) Add(now clock.Moment, c *Settings, duration time.Duration) {
	if duration = min(duration, longest); p.stale(now, c) {
		p.took = duration
	}
	p.took += (duration - p.took) / 4
	p.at = now
}

// stale says that no answer came for half a period, so that nothing is known of those that are to come.
func (p *Pace) stale(now clock.Moment, c *Settings) bool {
	age := now.Sub(p.at)
	return p.took == 0 || age < 0 || age > c.p99.period/2
}

// Nearness is how long answers take of late, as a share of what trips the P99. It says false while too few are known.
func (s *State) Nearness(now clock.Moment, c *Settings, p *Pace) (nearness float64, known bool) {
	threshold, mature := s.tail.threshold(c)
	if threshold = min(threshold, float64(c.p99.max)); !mature || threshold <= 0 || p.stale(now, c) {
		return 0, false
	}
	return float64(p.took) / threshold, true
}

// Full says that so large a share of the GPUs' memory is in use that it trips. What is expected of a request's first token says nothing of that.
func (c *Settings) Full(memory float64) bool { return memory > c.gpuMemory }

const (
	leastAdvice = time.Second
	mostAdvice  = 60 * time.Second
)

// Shed says whether a request of the priority is to be refused, and after how long it is worth trying again: after as many seconds as it takes
// tries on average to pass, or, if none passes, when the throttle recovers and up to as long again; from 1 s to two minutes.
// risk is how much of its priority's share it bears, from 0 to 1.
func (r *Reading) Shed(p config.Priority, risk float64, t *Thinner) (refuse bool, advice time.Duration) {
	if p >= config.High {
		return false, 0
	}
	share := r.Shares[p] * risk
	switch {
	case share == 0 || !t.refuse(p, share):
		return false, 0
	case share == 1:
		recovers := min(max(r.RecoversIn, leastAdvice), mostAdvice)
		return true, recovers + t.spread.Next(recovers)
	}
	return true, time.Duration(min(1/(1-share), float64(mostAdvice/time.Second)) * float64(time.Second))
}
