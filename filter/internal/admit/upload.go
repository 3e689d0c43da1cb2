package admit

import (
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// A client decides how long its request takes to arrive, so what others wait for isn't taken before a request is complete: a slot,
// a share of an upstream's budget, a place in its queue, a breaker's probe. Until then it has the memory of what is kept
// back of it, at most usage.maxRequestBytes where that is up to us. A longer body flows, but for its end: the last piece, if its
// length was announced, else the end alone. An upstream that answers without having seen the end gets the request counted then (answeredEarly).

// upload is how far a request's body has come, and what becomes of it.
type upload struct {
	open     bool // it is not complete: the request has no place at its upstream yet
	reads    part // what is of interest of what comes
	holdable bool // the headers can be held
	passes   bool // the headers have gone on: the route can't be changed any more, and the upstream may answer
	unsized  bool // they went on without the body's length
	received int64
	kept     int64        // of what was received, that hasn't gone on
	look     clock.Moment // when it will be looked at whether the host keeps the body back
}

// part is what of a body is read.
type part uint8

const (
	nothingOfIt part = iota
	itsModel         // what the request was decided by is known; the rest is only looked through for another model
	allOfIt          // the request is decided by it
)

// scheduleDecision decides now, or when the body is there, and says what becomes of the headers: these are what tells whether the body may be changed;
// none: it may not.
func (e *Engine) scheduleDecision(s *Stream, now clock.Moment, headers [][2]string) {
	var timing limit.Timing
	if s.exchange.Dialect != nil {
		e.resolveModel(s)
		timing = e.limits.Timing(s.facts(s.exchange.Asked.Route != ""))
		s.estimated = timing >= limit.Estimated
		s.modelMatters = timing == limit.AtBody || e.upstreamNeedsModel(s) || e.wantsModel(s)
	}
	if !s.upload.open {
		e.decide(s, now)
		e.proceed(s, now)
		return
	}
	waits, plain := e.expects(s)
	if waits && (!plain || e.cfg.RequestHold == config.HoldBufferFilter) && e.cfg.Mode == config.Enforce {
		e.refuseExpectation(s, now)
		return
	}
	s.upload.holdable = e.holds(now) && !waits && !e.upgrades(s)
	if e.needsBody(s, timing) {
		s.phase = stHolding
	} else {
		s.leased = true // it goes on when its body is complete
		e.decide(s, now)
	}
	if s.Refused() {
		return
	}
	s.question.wanted = len(headers) > 0 && e.asks(s, headers)
	if e.keeps(s) {
		e.hold(s, now)
	}
	s.upload.passes = s.action == goesOn // the host takes no change of the headers from here on, even if another filter keeps them
}

// expects says that the client sends no body before it has been told to go on, and whether it says so in the usual way. Envoy tells it,
// and takes the header out, unless proxy_100_continue is set; then the headers have to go on. The same holds for a change of protocol.
func (e *Engine) expects(s *Stream) (waits, plain bool) {
	const word = "100-continue"
	if !s.headers.Has(e.slots.expect) {
		return false, false
	}
	value, repeated := s.headers.Get(e.slots.expect), s.headers.Repeated(e.slots.expect)
	for rest, more := value, value != ""; more; {
		var each string
		each, rest, more = strings.Cut(rest, ",")
		waits = waits || strings.EqualFold(strings.TrimSpace(each), word)
	}
	return waits || repeated, strings.EqualFold(value, word) && !repeated
}

// refuseExpectation answers a client that would wait for ever: Envoy's buffer filter waits for the body, and Envoy doesn't know the word in a
// list. To such an answer a client sends the request again without it (RFC 9110, section 10.1.1).
func (e *Engine) refuseExpectation(s *Stream, now clock.Moment) {
	s.upload.open = false
	v := unfit(gate.Request, gate.Expectation, "The header expect can't be met here. Send the request without it.")
	e.refuse(s, now, &v)
}

// needsBody says that a request is decided by its body: by as much of it as is read, or, for a gate that wants all of it, when it is complete.
func (e *Engine) needsBody(s *Stream, timing limit.Timing) bool {
	return e.needsWhole || s.upload.reads == allOfIt && (s.modelMatters || timing == limit.Estimated && e.canHold(s))
}

// canHold says that nothing of the request comes to the upstream before it is decided.
func (e *Engine) canHold(s *Stream) bool {
	return s.upload.holdable || e.cfg.RequestHold == config.HoldBufferFilter
}

// keeps says that the pieces of the body that come are kept back: until enough of it is read (take), or until it is complete.
func (e *Engine) keeps(s *Stream) bool {
	if s.upload.reads == allOfIt && (s.phase == stHolding || s.question.wanted) {
		return true
	}
	return (s.phase == stHolding && e.needsWhole || s.upstream != nil && s.upstream.queue != nil) && e.fits(s)
}

// fits says that the body is not known to be longer than what can be kept back: the proxy would refuse what doesn't fit its buffer.
// Envoy's buffer filter keeps all that we don't, in the same buffer, and measures it a second time if the end alone is kept back.
func (e *Engine) fits(s *Stream) bool {
	return e.cfg.RequestHold == config.HoldBufferFilter || max(s.exchange.Length, s.upload.received) <= int64(e.cfg.Usage.MaxRequestBytes)
}

// hold keeps the headers until the body is complete, if the host can. If not, and the body may be changed, its length must
// not be announced.
func (e *Engine) hold(s *Stream, now clock.Moment) {
	switch {
	case s.upload.holdable:
		s.action = isHeld
		e.guard.hold(s, now)
	case s.question.wanted && s.exchange.Length >= 0:
		e.out.setRequestHeader(s, "content-length", "")
		s.upload.unsized = true
	}
}

// RequestBody takes the next piece of a request's body, which is of that size.
func (e *Engine) RequestBody(s *Stream, now clock.Moment, size int, end bool) {
	if s.drains {
		e.Drained(s, end)
		return
	}
	e.begin(s)
	switch {
	case s.owed:
		s.action = isHeld
	case s.admin != nil:
		e.adminBody(s, now, size, end)
	default:
		e.requestBody(s, now, size, end)
		if s.action == isAnswered && !end && s.allCame() {
			e.drain(s, now)
		}
	}
	e.end(s, now)
}

// allCame says that as much of the body has come as was announced. Its end the host tells in an event of its own, which brings nothing.
func (s *Stream) allCame() bool {
	return s.exchange.Length >= 0 && s.upload.received >= s.exchange.Length
}

// endsHere says that the request goes on when all of its body has come, before its end is told: some servers don't wait for the end of what they have. What is
// kept back goes on then if it can still be refused at its end, as an answer before that would cost the client's connection (drain.go).
func (e *Engine) endsHere(s *Stream) bool {
	return s.allCame() && (s.upload.holdable && s.exchange.Length <= mostDrained || !e.keeps(s))
}

// Uploaded says that all of the request has come and gone on: the end of its body brings nothing about.
func (s *Stream) Uploaded() bool {
	return s.phase == stSent && !s.follows() && !s.drains && !s.owed && !s.fault
}

func (e *Engine) requestBody(s *Stream, now clock.Moment, size int, end bool) {
	if end {
		s.uploaded(now)
	}
	if s.Decided() && !s.follows() && !s.Waiting() {
		return
	}
	e.guard.delivered(s)
	s.upload.received += int64(size)
	s.upload.kept += int64(size)
	e.take(s, size)
	switch {
	case !s.upload.open:
	case end || e.endsHere(s):
		e.bodyEnded(s, now)
		e.edit(s, now)
	case s.phase == stHolding && s.upload.reads != allOfIt && !e.needsWhole:
		e.decide(s, now)
	}
	if s.upload.open && s.action == goesOn && e.keeps(s) {
		s.action = isHeld
	}
	e.goOn(s, now)
	if s.action == goesOn && e.cfg.RequestHold != config.HoldBufferFilter {
		s.upload.kept = 0
	}
}

// RequestTrailers takes the end of a request whose body is followed by trailers. It can't be changed any more.
func (e *Engine) RequestTrailers(s *Stream, now clock.Moment) {
	if s.drains {
		e.Drained(s, true)
		return
	}
	e.begin(s)
	switch {
	case s.owed:
		s.action = isHeld
	case s.admin != nil:
		e.adminBody(s, now, 0, true)
	default:
		e.requestTrailers(s, now)
	}
	e.end(s, now)
}

func (e *Engine) requestTrailers(s *Stream, now clock.Moment) {
	s.uploaded(now)
	e.guard.delivered(s)
	if s.upload.open {
		s.question.wanted = false
		e.bodyEnded(s, now)
	}
	e.goOn(s, now)
}

// goOn lets what has come of the request go on, if nothing is against it.
func (e *Engine) goOn(s *Stream, now clock.Moment) {
	if s.upload.reads == itsModel && s.phase != stHolding && e.checkRest(s, now, !s.upload.open) {
		return
	}
	if s.action == goesOn {
		e.proceed(s, now)
		s.upload.passes = s.upload.passes || s.action == goesOn
	}
}

// bodyEnded takes note that the body is complete.
func (e *Engine) bodyEnded(s *Stream, now clock.Moment) {
	s.upload.open = false
	s.uploaded(now)
	if s.upload.reads == allOfIt || s.upload.reads == itsModel && s.phase == stHolding {
		s.upload.reads = nothingOfIt
		s.exchange.Asked = s.request.Close()
	}
	if s.phase == stHolding {
		e.decide(s, now)
	} else if s.upload.reads != itsModel {
		e.setModel(s)
	}
}

// answeredEarly takes note of a response to a request that is not complete, or was not let go: the proxy's own, or that of an
// upstream which didn't wait for the end. The latter works: it needs a place like any other, or is stopped.
func (e *Engine) answeredEarly(s *Stream, now clock.Moment) {
	e.guard.holding.remove(s)
	refused := s.exchange.Status >= 400
	if !s.upload.passes || s.phase != stQueued && (refused || s.phase != stHolding) || s.Waiting() {
		e.out.count(metric.Uncharged("answered_early"), 1)
		e.abandon(s, now, gate.Allowed)
		return
	}
	if s.upload.reads == allOfIt {
		s.exchange.Asked = s.request.Cut()
	}
	s.upload.open, s.upload.reads = false, nothingOfIt
	switch {
	case refused:
		e.send(s, now)
		return
	case s.phase == stHolding:
		e.decide(s, now)
	}
	if !s.Refused() {
		e.proceed(s, now)
	}
	if s.ticket.Waiting() {
		v := gate.Because(gate.Rejected, gate.Queue, gate.Shed)
		v.Wait = time.Second
		e.refuse(s, now, &v)
	}
}
