package admit

import "github.com/spillway-proxy/spillway/filter/internal/limit"

// failed says that the upstream did not serve the request through a fault or shortage of its own.
func (s *Stream) failed() bool { return s.status >= 500 || s.status == 429 }

// finish settles an admitted request, once. complete says that the whole response has passed.
func (e *Engine) finish(s *Stream, now int64, complete bool) {
	if s.phase != stAdmitted {
		return
	}
	if !s.recorded { // the upstream never had it
		e.forsake(s, now, cancelled)
		return
	}
	s.phase = stFinished
	delete(e.reserving, s)
	used := e.settle(s, now, complete)
	e.measure(s, now, complete)
	s.answer.Used = used.Total
	s.answer.Judged, s.answer.Limited = s.responding && !s.local, s.status == 429 || s.failure == 429
	e.release(s, now, s.answer)
}

// settle charges what a request has used, and says what that is.
func (e *Engine) settle(s *Stream, now int64, complete bool) limit.Usage {
	s.at = now
	abandoned := !s.responding && s.reading // the upstream never had the whole request
	if abandoned || s.responding && s.failed() {
		e.report(s, e.limits.Refund(now, s.charges))
		return limit.Usage{}
	}
	if s.dialect == nil {
		e.report(s, e.limits.Settle(now, s.charges, s.model, limit.Usage{}))
		return limit.Usage{}
	}
	used, source := e.used(s, complete)
	if s.failed() { // the error came inside the stream, before any output
		e.report(s, e.limits.Refund(now, s.charges))
		return limit.Usage{}
	}
	e.report(s, e.limits.Settle(now, s.charges, s.model, used))
	e.publishUsage(s, used, source)
	e.publishTimes(s, now)
	return used
}
