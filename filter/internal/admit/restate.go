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

// restate has the proxy's own answer, in place of an upstream that it couldn't reach or that failed before it answered, or to a request that it
// doesn't take, be an error of the API that was asked, in place of the proxy's words, which no client reads. Its status stays. What follows is the
// body's: restateBody.
func (e *Engine) restate(s *Stream, end bool) {
	var reason, message string
	kind, code, asked, bodiless := "server_error", "service_unavailable", s.phase == stSent, false
	switch s.exchange.Origin { //nolint:exhaustive // the others' answers are their own
	case origin.Unreachable:
		reason, message = "upstream/unreachable", "The model server can't be reached."
	case origin.TimedOut:
		if reason, message = "upstream/timeout", "The model server took too long to answer."; !asked { // it was waiting for its turn
			reason, message, asked = "proxy/timeout", "The request waited longer than the proxy lets it.", s.exchange.Dialect != nil
		}
	case origin.Broken:
		reason, message = "upstream/broken", "The model server broke off before it answered."
	case origin.NoRoute:
		reason, message = "proxy/no_route", "The proxy has no route for this request."
		kind, code, bodiless = "invalid_request_error", "not_found", true
	case origin.FleetDown:
		reason, message, bodiless = "proxy/fleet_unavailable", "The limit that is over all gateways can't be asked.", true
	case origin.Unfinished:
		reason, message = "proxy/request_timeout", "The rest of the request didn't come in time."
		kind, code, asked = "invalid_request_error", "request_timeout", s.exchange.Dialect != nil
	case origin.TooLarge: // it may not have been sent yet
		reason, message = "proxy/too_large", "The request is larger than the proxy takes."
		kind, code, asked = "invalid_request_error", "request_too_large", s.exchange.Dialect != nil
	default:
		return
	}
	if !asked || e.cfg.Mode == config.Off {
		return
	}
	if end && bodiless { // it comes without a body, to which none can be added
		s.reply.Say(e.format(s), s.exchange.Status, reason, message, kind, code)
		s.action = isAnswered
		return
	}
	e.out.setResponseHeader(s, "x-spillway-reason", reason)
	if end { // as to HEAD
		return
	}
	s.restated = bodyOwed
	s.body = e.format(s).Append(s.body[:0], s.exchange.Status, message, kind, code)
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
