package throttle

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/sliding"
)

// Thinner refuses an exact share of requests, without dice: what a request owes to the share is carried to the next ones
// until it is one whole request (error diffusion). Over any run of requests, what it refused differs from the sum of their
// shares by less than one. Each worker has its own, so over n workers by less than n; that is what it costs to have
// nothing to write for a request.
type Thinner struct {
	owed   float64
	spread sliding.Spread // of the advice: else all of LOW would come back at once, and trip it again
}

// refuse says whether the request is one of the share.
func (t *Thinner) refuse(share float64) bool {
	if t.owed += min(max(share, 0), 1); t.owed < 1 {
		return false
	}
	t.owed--
	return true
}

const (
	leastAdvice = time.Second
	mostAdvice  = 60 * time.Second
)

// Shed says whether a request of the priority is to be refused, and after how long it is worth trying again: LOW when
// the throttle recovers and some part of its shortest hold later, NORMAL after as many seconds as it takes tries on average to
// pass; from 1 s to 70 s.
func (r *Reading) Shed(p config.Priority, t *Thinner) (refuse bool, advice time.Duration) {
	switch {
	case !r.Tripped || p >= config.High:
		return false, 0
	case p == config.Low:
		return true, min(max(r.RecoversIn, leastAdvice), mostAdvice) + t.spread.Next(shortestHold)
	case !t.refuse(r.Severity):
		return false, 0
	}
	tries := float64(mostAdvice / time.Second)
	if r.Severity < 1 {
		tries = min(1/(1-r.Severity), tries)
	}
	return true, time.Duration(tries * float64(time.Second))
}
