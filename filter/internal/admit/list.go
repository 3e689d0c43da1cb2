package admit

import (
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
)

// gatekeeper leads requests through one gate. It keeps nothing of a request, and nothing of an upstream: that stands in the stream and in the
// upstream, in memory that is used again, so that to ask allocates nothing. A new gate is one of these, and a place in newGates' list.
type gatekeeper interface {
	// ask writes what the gate says of a request into v, which is empty. Of its own, such as a record that can't be used, it takes note itself.
	ask(e *Engine, s *Stream, now int64, v *gate.Verdict)
	// leave ends a request that the gate may have been asked for, and that goes no further: another gate has refused it, or its client left.
	leave(e *Engine, s *Stream, now int64)
	// observe takes the moment of a stream's first output: in an overload it is the earliest sign.
	observe(e *Engine, s *Stream, now int64)
	// finish takes the end of a request that was sent, of which is known by now what it used.
	finish(e *Engine, s *Stream, now int64, end *ending)
}

// ending is how a request ended that was sent.
type ending struct {
	complete bool        // the whole response has passed
	spared   bool        // the upstream never had the request
	used     limit.Usage // what is charged
}

// listGates makes the list of gates, in the order in which a request comes to them: those that are on. Of an upstream's the breaker is first,
// since what it keeps away is no business of the others; the limits come after all that can refuse without charging; the queue is
// last, since what waits there has passed everything else, and is asked when all of the request has come (proceed).
func (e *Engine) listGates() {
	add := func(on bool, g gatekeeper) {
		if on {
			e.gates = append(e.gates, g)
		}
	}
	add(e.adapts, breakerGate{})
	add(e.board != nil, pressureGate{})
	add(e.adapts, latencyGate{})
	add(e.adapts, throttleGate{})
	add(e.limits.Any(), limitsGate{})
	e.decisive = len(e.gates)
	add(e.governs, queueGate{})
}

// passes asks the gates that a request comes to when it is decided, or when it is complete, and says whether it goes on. What one of them says
// against it is done here: it is refused, sent elsewhere, kept waiting, or takes note of what a gate in shadow mode would have done.
func (e *Engine) passes(s *Stream, now int64, complete bool) bool {
	gates := e.gates[:e.decisive]
	if complete {
		gates = e.gates[e.decisive:]
	}
	for _, g := range gates {
		v := &s.verdict
		*v = gate.Verdict{}
		switch g.ask(e, s, now, v); {
		case v.Outcome == gate.Queued:
			s.step.Action = Hold
			return false
		case !v.Outcome.Refuses():
			s.note(v)
		case !e.fallBack(s, now, v):
			e.refuse(s, now, v)
			return false
		}
	}
	return true
}

// leave ends what the gates know of a request that goes no further.
func (e *Engine) leave(s *Stream, now int64) {
	for _, g := range e.gates {
		g.leave(e, s, now)
	}
}

// inert is what a gate does that wants to know no more of a request than that it came.
type inert struct{}

func (inert) leave(*Engine, *Stream, int64)           {}
func (inert) observe(*Engine, *Stream, int64)         {}
func (inert) finish(*Engine, *Stream, int64, *ending) {}

// learning is what breaker, latency gate and throttle have in common: what they let pass is part of what they measure, all three at once.
type learning struct{ inert }

func (learning) leave(e *Engine, s *Stream, now int64)               { e.unsent(s, now) }
func (learning) finish(e *Engine, s *Stream, now int64, end *ending) { e.measure(s, now, end.complete) }

type (
	breakerGate  struct{ learning }
	pressureGate struct{ inert }
	latencyGate  struct{ learning }
	throttleGate struct{ learning }
	limitsGate   struct{ inert }
	queueGate    struct{ inert }
)

func (breakerGate) ask(e *Engine, s *Stream, now int64, v *gate.Verdict) {
	if s.measured {
		*v = s.upstream.adaptive.Breaker(now, &s.asks)
		e.gateError(s, v.Err)
	}
}

func (pressureGate) ask(e *Engine, s *Stream, now int64, v *gate.Verdict) {
	if u := s.upstream; u != nil && u.pressure != nil {
		*v = e.board.Judge(now, u.pressure, s.caller.Priority)
	}
}

func (latencyGate) ask(e *Engine, s *Stream, now int64, v *gate.Verdict) {
	if s.measured {
		*v = s.upstream.adaptive.Latency(now, &s.asks)
		e.gateError(s, v.Err)
		if v.Warning {
			s.step.count(Warnings, 1, gate.Latency, s.upstream.name)
		}
	}
}

func (latencyGate) observe(e *Engine, s *Stream, now int64) { e.observe(s, now) }

func (throttleGate) ask(e *Engine, s *Stream, now int64, v *gate.Verdict) {
	if s.measured {
		*v = s.upstream.adaptive.Throttle(now, &s.asks)
		e.gateError(s, v.Err)
	}
}

func (limitsGate) ask(e *Engine, s *Stream, now int64, v *gate.Verdict) {
	if s.preflight {
		return
	}
	made := e.limits.Admit(now, e.measured(s), s.charges[:0])
	s.charges, s.requests, s.tokens, s.guessed = made.Charges, made.Requests, made.Tokens, s.hashes
	if len(s.charges) > 0 {
		e.reserving[s] = struct{}{}
	}
	e.report(s, limit.Outcome{Evicted: made.Evicted, Err: made.Err})
	if made.Err != nil {
		s.step.count(Uncharged, 1, "store")
	}
	if *v = made.Verdict; v.Outcome.Refuses() && s.measured {
		s.upstream.adaptive.Uncount()
	}
}

func (limitsGate) leave(e *Engine, s *Stream, now int64) { e.giveBack(s, now) }

func (limitsGate) finish(e *Engine, s *Stream, now int64, end *ending) {
	delete(e.reserving, s)
	if end.spared {
		e.report(s, e.limits.Refund(now, s.charges))
	} else {
		e.report(s, e.limits.Settle(now, s.charges, s.model, end.used, s.status))
	}
}

func (queueGate) ask(e *Engine, s *Stream, now int64, v *gate.Verdict) {
	if s.upstream != nil && s.upstream.gate != nil {
		e.arrive(s, now, v)
	}
}

func (queueGate) leave(e *Engine, s *Stream, now int64) {
	if s.ticket.Waiting() {
		s.upstream.gate.Leave(&s.ticket)
		e.waited(s, s.ticket.Waited(now))
	}
	e.release(s, now, unanswered)
}

func (queueGate) finish(e *Engine, s *Stream, now int64, end *ending) {
	s.answer.Used = end.used.Total
	s.answer.Judged, s.answer.Limited = s.responding() && !s.foreign(), s.status == 429 || s.failure == 429
	e.release(s, now, s.answer)
}
