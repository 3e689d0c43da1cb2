package admit

import (
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
)

// foreign says that the response is not the upstream's, nor the proxy's for want of one: it says nothing of the upstream.
func (s *Stream) foreign() bool { return s.origin == origin.Elsewhere }

// failed says that the upstream did not serve the request through a fault or shortage of its own.
func (s *Stream) failed() bool { return s.status >= 500 || s.status == 429 }

// finish settles an admitted request, once. complete says that the whole response has passed.
func (e *Engine) finish(s *Stream, now int64, complete bool) {
	switch s.phase {
	case stQueued: // the upstream never had it
		e.forsake(s, now, gate.Cancelled)
		return
	case stSent:
	default:
		return
	}
	s.phase, s.at = stDone, now
	e.learnLabel(s, now)
	e.count(s)
	s.ending = ending{complete: complete, spared: s.spared()}
	source := "" // it is not published
	if !s.ending.spared {
		s.ending.used, source = e.spent(s, now, complete)
	}
	if source != "" {
		e.publishUsage(s, s.ending.used, source)
		e.publishTimes(s, now)
	}
	e.finishAll(s, now)
}

// spent is what a request has used, and how that is known; "": it is not to be published.
func (e *Engine) spent(s *Stream, now int64, complete bool) (used limit.Usage, source string) {
	switch {
	case s.dialect == nil:
	case s.origin == origin.TimedOut:
		e.estimate(s)
		used, source = limit.Usage{Prompt: s.estimate.Prompt, Completion: e.wasted(s, now)}, estimated
		used.Total = used.Prompt + used.Completion
	case s.responding() && s.failed():
	default:
		if used, source = e.used(s, complete); s.failed() { // the error came inside the stream, before any output
			used, source = limit.Usage{}, ""
		} else if !complete && source == counted && used.Completion == 0 && s.status < 400 {
			if used.Completion = e.wasted(s, now); used.Completion > 0 {
				used.Total, source = used.Total+used.Completion, estimated
			}
		}
	}
	return used, source
}

// spared says that the upstream never had the request.
func (s *Stream) spared() bool {
	return s.responding() && s.origin.Spares()
}

// wasted is the output of a request of which none came back: its client left before a stream's first output, or the proxy's
// patience ended. Of what doesn't stream it is what was expected. Of a stream it is known that none came in the time that it had, and it is
// what may have been worked on in that time.
func (e *Engine) wasted(s *Stream, now int64) int64 {
	const perSecond = 50 // tokens, of a server that is not slow
	e.estimate(s)
	if s.stream || s.asked.Stream {
		return min(s.estimate.Output, max(now-s.sent, 0)/(second/perSecond))
	}
	return s.estimate.Output
}
