package admit

import (
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// ResponseHeaders takes a response's headers; end says that no body follows.
func (e *Engine) ResponseHeaders(s *Stream, now clock.Moment, end bool) {
	e.begin(s)
	e.responseHeaders(s, now, end)
	e.end(s, now)
}

func (e *Engine) responseHeaders(s *Stream, now clock.Moment, end bool) {
	if s.phase == stDone || !s.begun() {
		e.forget(s) // it has an answer, and two would break each other off
		return      // an answer of ours, or of the proxy itself to a request that we never saw
	}
	headers := e.host.Headers()
	e.picker.Pick(headers, &s.response)
	status, _ := strconv.Atoi(s.response.Get(e.slots.status))
	s.exchange.Status = max(status, 1) // even one that is none is a response's
	s.exchange.Origin = e.originOf(s)
	if e.answeredByFleet(s, now) {
		return
	}
	if s.phase != stSent {
		if e.answeredEarly(s, now); s.Refused() {
			return
		}
	}
	events := strings.HasPrefix(strings.ToLower(s.response.Get(e.slots.contentType)), "text/event-stream")
	s.exchange.Begin(!end && identityCoding(s.response.Get(e.slots.encoding)), events)
	e.hide(s, events)
	e.judged(s)
	if s.foreign() {
		e.adviseRetry(s)
	}
	if s.ticket.InFlight() && !s.foreign() && !e.fromAnotherFilter(s, headers) {
		s.answer = e.hints.read(&s.response, s.exchange.Status)
	}
	e.restate(s, end)
	if s.nearly {
		e.tellNearly(s)
	}
	if !s.exchange.Failed() && e.cfg.RateLimitHeaders == config.RateLimitsAll {
		e.tellHeadroom(s, now)
	}
	if end {
		e.finish(s, now, true)
	}
}

// tellHeadroom tells the client what its limits have left.
func (e *Engine) tellHeadroom(s *Stream, now clock.Moment) {
	how := e.howTold(s, now)
	e.pairs, e.text = reply.AppendHeadroom(e.pairs[:0], e.text[:0], &how, &s.requests, &s.tokens)
	for i := range e.pairs {
		e.out.setResponseHeader(s, e.pairs[i][0], e.pairs[i][1])
	}
}

// howTold is how the client is told of limits.
func (e *Engine) howTold(s *Stream, now clock.Moment) (how reply.Told) {
	if how.Style = e.cfg.RateLimitStyle; how.Style != config.RateLimitsDialect || s.exchange.Dialect == nil {
		return how
	}
	if how.Anthropic = s.exchange.Dialect.Errors.Anthropic; how.Anthropic {
		if !e.worker.wall.Known() {
			e.readWall(now)
		}
		how.Second = e.worker.wall.Second(now)
	}
	return how
}

// hide finds out whether the usage that the client didn't ask for has to be taken out of the answer: its length changes then.
// What has a length and another type is no stream, and keeps it. Of what has neither, the first bytes tell.
func (e *Engine) hide(s *Stream, events bool) {
	length := s.response.Get(e.slots.length)
	if s.question.hides = s.question.hides && s.exchange.Readable && (events || length == ""); s.question.hides && length != "" {
		e.out.setResponseHeader(s, "content-length", "")
	}
}

// ResponseBody takes the next piece of a response's body, which is of that size, and says whether anything has come of it: of most pieces of a
// stream nothing has, and there is no need to ask Next, or TickPeriod.
func (e *Engine) ResponseBody(s *Stream, now clock.Moment, size int, end bool) (news bool) {
	var piece []byte
	if !end && s.mayFlow(size) {
		if piece = e.host.Piece(0, size); s.flows(now, piece) {
			return e.flowed(s, now)
		}
	}
	e.begin(s)
	e.responseBody(s, now, size, end, piece)
	e.end(s, now)
	return true
}

// responseBody takes the next piece of a response's body; piece is nil where the host hasn't been asked for it yet.
func (e *Engine) responseBody(s *Stream, now clock.Moment, size int, end bool, piece []byte) {
	if s.restated != asItIs {
		if e.restateBody(s); end {
			e.finish(s, now, true)
		}
		return
	}
	if s.phase == stDone {
		return
	}
	s.pace.received(now, size)
	if s.farewell == tookLeave || s.farewell == leaves && !end {
		e.takeLeave(s, now, size)
	} else {
		e.readBody(s, now, size, end, piece)
	}
	if end || s.answered() {
		e.finish(s, now, s.farewell != tookLeave)
	}
}

// answered says of a response that it is one document, that this is whole, and as long as was announced: what is left to come is its end, which the host tells in
// an event of its own.
func (s *Stream) answered() bool {
	x := &s.exchange
	return x.Readable && !x.Stream && s.farewell == stays && !s.question.hides && !s.question.onTrial && x.Reader.Whole() &&
		s.response.Get(s.rules.slots.length) != "" && s.pace.bytes == contentLength(s.response.Get(s.rules.slots.length))
}

// readBody reads the next piece, and changes it where something has to be hidden.
func (e *Engine) readBody(s *Stream, now clock.Moment, size int, end bool, piece []byte) {
	if size > 0 && len(piece) == 0 && s.readingResponse() && (s.question.hides || s.question.onTrial) {
		piece = e.host.Piece(0, size)
	}
	if s.readingResponse() {
		switch {
		case s.question.hides:
			var changed bool
			if s.body, changed = s.exchange.Reader.Hide(piece, end); changed {
				e.out.add(ReplaceResponse, s)
			}
		case s.question.onTrial:
			s.exchange.Reader.Write(piece)
		default:
			e.readResponse(s, size, piece)
		}
		e.progress(s, now, end)
	}
	if s.question.onTrial {
		e.learnRefusal(s, now, piece, end)
	}
}

// readResponse reads what an event has brought, part by part; the first one may have been asked for.
func (e *Engine) readResponse(s *Stream, size int, piece []byte) {
	for from := 0; from < size; piece = nil {
		if len(piece) == 0 {
			piece = e.part(from, size)
		}
		if len(piece) == 0 {
			break
		}
		s.exchange.Reader.Write(piece)
		from += len(piece)
	}
}

// readingResponse says whether the response's body is of interest.
func (s *Stream) readingResponse() bool {
	return s.exchange.Readable && s.phase == stSent && (s.exchange.Reader.Wanting() || s.question.onTrial)
}

// ResponseTrailers takes the end of a response whose body is followed by trailers.
func (e *Engine) ResponseTrailers(s *Stream, now clock.Moment) {
	e.begin(s)
	e.finish(s, now, s.farewell != tookLeave)
	e.end(s, now)
}

// Done takes the end of the stream, however it came. It may be a stream's only event.
func (e *Engine) Done(s *Stream, now clock.Moment) {
	e.begin(s)
	if s.phase == stSent && s.tracked && s.exchange.Answered() {
		flags, _ := e.host.Attribute(ResponseFlags)
		s.torn = origin.Torn(flags)
	}
	if s.endedUnanswered() {
		if details, _ := e.host.Attribute(CodeDetails); origin.BeginsAnew(details) {
			e.endLeg(s, now)
		}
	}
	e.done(s, now)
	e.end(s, now)
	e.letGo(s)
}

// Gone takes the end of a stream of which the host knows nothing any more.
func (e *Engine) Gone(s *Stream, now clock.Moment) {
	e.begin(s)
	e.done(s, now)
	e.end(s, now)
	e.letGo(s)
	e.out.drop(s)
}

func (e *Engine) done(s *Stream, now clock.Moment) {
	e.forget(s)
	if s.admin != nil {
		e.endAdmin(s)
	}
	if s.fault && s.phase == stDone { // the fault may have come before all gates were told of the end
		e.leave(s, now)
	}
	if !s.begun() || s.ended() {
		return
	}
	e.guard.holding.remove(s)
	if s.phase == stNew || s.phase == stHolding {
		s.phase, s.decision = stDone, gate.Verdict{Outcome: gate.Cancelled}
		if s.fault {
			s.decision.Outcome = gate.Faulted
		}
	}
	e.finish(s, now, false)
	e.count(s)
}

// originOf says who made a response, as far as it matters.
func (e *Engine) originOf(s *Stream) origin.Origin {
	status := s.response.Get(e.slots.status)
	if origin.Counts(status) || origin.Wordless(status, s.response.Get(e.slots.contentType)) {
		return e.origin(status)
	}
	return origin.Upstream
}

// origin says who made the response of the status whose event is being handled.
func (e *Engine) origin(status string) origin.Origin {
	details, known := e.host.Attribute(CodeDetails)
	if !known {
		return origin.Upstream // not this host's way to tell
	}
	return origin.Of(status, details)
}

// fromAnotherFilter says that what a response tells of limits is another filter's word.
func (e *Engine) fromAnotherFilter(s *Stream, headers [][2]string) bool {
	return s.exchange.Origin == origin.Upstream && origin.MentionsLimits(headers) && e.origin(s.response.Get(e.slots.status)) == origin.Elsewhere
}
