package admit

import (
	"strconv"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
)

// restated says how far an answer of the proxy's own is restated.
type restated uint8

const (
	asItIs restated = iota
	bodyOwed
	bodyGiven
)

// restate has the proxy's own answer, in place of an upstream that it couldn't reach or that failed before it answered, be an error of the API
// that was asked, in place of the proxy's words, which no client reads. Its status stays. What follows is the body's: restateBody.
func (e *Engine) restate(s *Stream, end bool) {
	var reason, message string
	switch s.exchange.Origin { //nolint:exhaustive // the others' answers are their own
	case origin.Unreachable:
		reason, message = "upstream/unreachable", "The model server can't be reached."
	case origin.TimedOut:
		reason, message = "upstream/timeout", "The model server took too long to answer."
	case origin.Broken:
		reason, message = "upstream/broken", "The model server broke off before it answered."
	default:
		return
	}
	if s.phase != stSent || e.cfg.Mode == config.Off {
		return
	}
	e.out.setResponseHeader(s, "x-spillway-reason", reason)
	if end { // as to HEAD
		return
	}
	s.restated = bodyOwed
	s.body = e.format(s).Append(s.body[:0], s.exchange.Status, message, "server_error", "service_unavailable")
	e.text = strconv.AppendInt(e.text[:0], int64(len(s.body)), 10)
	e.out.setResponseHeader(s, "content-type", "application/json")
	e.out.setResponseHeader(s, "content-length", inplace.String(e.text))
}

// restateBody puts the error in the place of the first piece of the proxy's words, and nothing in that of others.
func (e *Engine) restateBody(s *Stream) {
	if s.restated == bodyGiven {
		s.body = s.body[:0]
	}
	s.restated = bodyGiven
	e.out.add(ReplaceResponse, s)
}
