package admit

import (
	"github.com/spillway-proxy/spillway/filter/internal/limit"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// failed says that the upstream did not serve the request through a fault or shortage of its own.
func (s *Stream) failed() bool { return s.status >= 500 || s.status == 429 }

// finish settles an admitted request, once. complete says that the whole response has passed.
func (e *Engine) finish(s *Stream, now int64, complete bool) {
	if s.phase != stAdmitted {
		return
	}
	if !s.recorded { // the upstream never had it
		e.forsake(s, now, gate.Cancelled)
		return
	}
	s.phase = stFinished
	delete(e.reserving, s)
	e.learnLabel(s, now)
	e.count(s)
	used := e.settle(s, now, complete)
	e.measure(s, now, complete)
	s.answer.Used = used.Total
	s.answer.Judged, s.answer.Limited = s.responding && !s.foreign(), s.status == 429 || s.failure == 429
	e.release(s, now, s.answer)
}

// settle charges what a request has used, and says what that is.
func (e *Engine) settle(s *Stream, now int64, complete bool) limit.Usage {
	s.at = now
	if s.spared() {
		e.report(s, e.limits.Refund(now, s.charges))
		return limit.Usage{}
	}
	var used limit.Usage
	var source string // "": it is not published
	switch {
	case s.dialect == nil:
	case s.origin == TimedOut:
		used, source = e.wasted(s, now)
	case s.responding && s.failed():
	default:
		if used, source = e.used(s, complete); s.failed() { // the error came inside the stream, before any output
			used, source = limit.Usage{}, ""
		} else if !complete && source == counted && used.Completion == 0 && s.status < 400 {
			used, source = e.wasted(s, now)
		}
	}
	e.report(s, e.limits.Settle(now, s.charges, s.model, used, s.status))
	if source != "" {
		e.publishUsage(s, used, source)
		e.publishTimes(s, now)
	}
	return used
}

// spared says that the upstream never had the request.
func (s *Stream) spared() bool {
	return s.responding && (s.origin == Unreachable || s.origin == Elsewhere)
}

// wasted is what a request has used of which nothing came back: its client left before a stream's first output, or the proxy's
// patience ended. The upstream worked on its prompt, and then, of what doesn't stream, on what is expected of the output. Of a
// stream it is known that no output came in the time that it had, and counts what it may have worked on in that time.
func (e *Engine) wasted(s *Stream, now int64) (limit.Usage, string) {
	const perSecond = 50 // tokens, of a server that is not slow
	e.estimate(s)
	u, source := limit.Usage{Prompt: s.estimate.Prompt, Completion: s.estimate.Output}, estimated
	if s.stream || s.asked.Stream {
		u.Completion = min(u.Completion, max(now-s.sent, 0)/(second/perSecond))
		if u.Completion == 0 {
			source = counted
		}
	}
	u.Total = u.Prompt + u.Completion
	return u, source
}
