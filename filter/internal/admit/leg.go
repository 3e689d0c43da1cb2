package admit

import (
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
)

// Envoy can run its filters again for one request: after a redirect that it follows itself, or a route that was found late. Each run is
// a stream of ours, a leg of the request. All but the last end without a response, and at once, in the same event of the host's, the
// next one begins. What a leg has charged and taken is given back whole, and the next one is told what the first had changed.

// leg is what a leg leaves to the next.
type leg struct {
	caller   ident.Caller // whose request it was; by that the next one is known
	priority string       // the client's header, which has been taken out
	patience time.Duration
	fellBack bool // it was sent to the fallback route
	hiding   bool // its body was changed
	counted  bool // in the requests metric
}

// endedUnanswered says that it matters whether the stream, which has ended, was one leg of several.
func (s *Stream) endedUnanswered() bool {
	return !s.exchange.Answered() && s.phase > stNew && s.phase < stDone
}

// endLeg takes the end of a leg, in place of Gone: the request begins anew.
func (e *Engine) endLeg(s *Stream, now clock.Moment) {
	e.guard.holding.remove(s)
	c := s.caller // the stream's memory is used again, maybe by the next leg
	c.User, c.Tenant, c.Key = strings.Clone(c.User), strings.Clone(c.Tenant), strings.Clone(c.Key)
	e.endedLeg = &leg{c, strings.Clone(s.headers.Get(e.slots.priority)), s.patience, s.decision.Outcome == gate.FellBack, s.question.hides, s.counted}
	if s.ticket.Waiting() {
		s.upstream.queue.Leave(&s.ticket)
	}
	a := noAnswer
	a.Void = true
	e.release(s, now, a)
	e.leave(s, now)
	s.phase, s.upload.reads, s.counted = stDone, nothingOfIt, true
}

// resume finds out whether the request that begins is the next leg of one that has just ended, and takes over what that left.
func (e *Engine) resume(s *Stream, headers [][2]string) {
	l := e.endedLeg
	e.endedLeg = nil
	if l == nil || l.caller.User != s.caller.User || l.caller.Tenant != s.caller.Tenant || l.caller.Key != s.caller.Key {
		return
	}
	s.leg, s.counted, s.patience = l, l.counted, l.patience
	if name := e.cfg.Priority.Header; name != "" && l.priority != "" && s.headers.Get(e.slots.priority) == "" {
		e.picker.Pick(append(headers[:len(headers):len(headers)], [2]string{name, l.priority}), &s.headers)
		s.caller, _ = e.identity.Read(&s.headers)
	}
}
