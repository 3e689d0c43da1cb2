package admit

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// A request that its headers alone refuse is answered when its body has come, unread, if that is short and on its way: a proxy that answers
// earlier has to close the client's HTTP/1.1 connection, since nobody knows where in it the next request would begin. The next one then
// costs a connection, and a TLS handshake, which is more than all else of a refusal. The request is refused all the same: it has left all gates, is counted and on record,
// and holds nothing but its place in memory. Who takes his time is answered after drainTime, body or not.
const (
	mostDrained = 64 << 10 // bytes
	drainTime   = 200 * time.Millisecond
)

// drain makes an answer wait that was given to a request's headers, if its body is worth waiting for.
func (e *Engine) drain(s *Stream, now clock.Moment) {
	announced := s.exchange.Length > 0 && s.exchange.Length <= mostDrained && s.headers.Get(e.slots.expect) == ""
	if announced && e.holds(now) {
		s.action, s.drains, s.upload.look = isHeld, true, now.Add(drainTime)
		e.draining.add(s)
	}
}

// Drains says that the stream's answer waits for more of its body than what has come so far: a piece that isn't the last brings nothing about, and the
// last one is for Drained.
func (s *Stream) Drains() bool { return s.drains }

// Over says that nothing that the host shows of the response from here on brings anything about: the stream was refused, and has its answer, or all of the response has
// passed but its end. So most callbacks of a refusal run next to no code.
func (s *Stream) Over() bool { return s.restated == asItIs && s.Settled() }

// Settled says that nothing is left to be done for the stream, refused or not, but that it ends (LetGo), which needs no time.
func (s *Stream) Settled() bool {
	return s.ended() && !s.drains && !s.owed && !s.fault && s.admin == nil && !s.sets[inLeaving].member
}

// LetGo takes the end of a stream that is settled.
func (e *Engine) LetGo(s *Stream) { e.letGo(s) }

// Drained takes a piece of the body of a request whose answer waits for its end. It needs no time, and nothing else comes of it.
func (e *Engine) Drained(s *Stream, end bool) {
	if !end {
		e.out.add(Pause, s)
		return
	}
	e.forget(s)
	e.out.add(Answer, s)
}

// endDrains owes those an answer who take their time.
func (e *Engine) endDrains(now clock.Moment) {
	for s, next := e.draining.first, (*Stream)(nil); s != nil; s = next {
		next = e.draining.after(s)
		if now >= s.upload.look {
			e.forget(s)
			e.owed, s.owed = append(e.owed, s), true
		}
	}
}
