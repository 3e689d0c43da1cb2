package admit

import (
	"time"

	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// A low stream that the queue ends for an urgent request (package dispatch, revoke.go) has its status and some of its output with the client, so it can't be refused any
// more. The host has no way to end a response in good order, but a piece of it can be changed while it passes. So the next piece of the stream
// is replaced by an error in an event of its own, as its dialect has it, behind the end of an event that is under way; what comes after that is kept from the client; and
// with the next tick, when that has gone out, the stream is broken off. Clients that know the API take the error, and see no more. Where no piece comes
// in which an event ends, within mostFarewell, the stream is broken off without.
//
//	stays → leaves (the queue has said so) → took leave (the error has gone out) → broken off
//	                                      └──────────────────────────────────────┘ (no piece came)
//
// Whatever ends the stream meanwhile (it is complete, its client or its server is gone) ends it as ever, and it isn't counted as revoked unless it was told.
// It is settled as one that was broken off: what has passed is charged. What was put in the place of a piece isn't read, nor what is kept back.

// farewell is how far the end of a stream has come that is ended for an urgent request.
type farewell uint8

const (
	stays farewell = iota
	leaves
	tookLeave
)

// mostFarewell is how long a piece of the stream is waited for.
const mostFarewell = 100 * time.Millisecond

// yields tells the queue of a stream whose first output has passed, if it can be ended: it comes as server-sent events, whose sum nobody has announced.
func (e *Engine) yields(s *Stream) {
	if s.exchange.Reader.Events() && !s.foreign() && s.exchange.Status < 300 && (s.question.hides || s.response.Get(e.slots.length) == "") {
		s.upstream.queue.Streams(&s.ticket)
	}
}

// revoke begins to end a stream.
func (e *Engine) revoke(s *Stream, now clock.Moment) {
	if s.phase == stSent && s.farewell == stays {
		s.farewell, s.farewellBy = leaves, now.Add(mostFarewell)
		e.leaving.add(s)
	}
}

// takeLeave takes a piece of a stream that is being ended, and puts the error into it as soon as that can be.
func (e *Engine) takeLeave(s *Stream, now clock.Moment, size int) {
	s.body = s.body[:0]
	if s.farewell == leaves {
		var piece []byte
		if size > 0 {
			piece = e.host.Piece(0, size)
		}
		out, whole := s.exchange.Reader.Until(piece, s.question.hides)
		if e.progress(s, now, false); !whole {
			return
		}
		s.body = append(s.body, out...)
		format := s.exchange.Dialect.Errors
		if format.Anthropic {
			s.body = append(s.body, "event: error\n"...)
		}
		s.body = append(s.body, "data: "...)
		s.body = format.Append(s.body, 503, "This stream was ended to make room for an urgent request. Please try again later.", "server_error", "service_unavailable")
		s.body = append(s.body, "\n\n"...)
		s.farewell = tookLeave
		e.revoked(s, now, "told")
	}
	e.out.add(ReplaceResponse, s)
}

// endLeaving breaks those streams off that have been told, or have waited for long enough.
func (e *Engine) endLeaving(now clock.Moment) {
	for s, next := e.leaving.first, (*Stream)(nil); s != nil && e.turns > 0; s = next {
		next = e.leaving.after(s)
		if s.farewell != tookLeave && now < s.farewellBy {
			continue
		}
		e.leaving.remove(s)
		if s.farewell != tookLeave {
			e.revoked(s, now, "cut")
		}
		e.turns--
		e.out.add(BreakOff, s)
	}
}

// revoked records that a stream was ended.
func (e *Engine) revoked(s *Stream, now clock.Moment, how string) {
	defer e.use(e.use(s.rules))
	s.answer.Revoked = true
	outcome := s.decision.Outcome
	s.decision = gate.Because(outcome, gate.Queue, gate.Revoked)
	e.out.set(s, filterstate.Gate, gate.Queue)
	e.out.set(s, filterstate.Reason, gate.Revoked)
	e.out.count(metric.Revoked(s.upstream.name, how), 1)
	e.enter(s, now)
}

// leavingPeriod is how often it is looked after those streams.
func (e *Engine) leavingPeriod() time.Duration {
	if e.leaving.count > 0 {
		return time.Millisecond
	}
	return 0
}
