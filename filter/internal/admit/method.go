package admit

import (
	"strings"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// Which requests are governed by what their paths say. Methods alone don't tell: some servers read lower-case ones, some look at
// no method at all, some are told another one by a header. What makes a server work is a body.

// methodSlots are the headers that say more of a request's method.
type methodSlots struct {
	upgrade, connection, origin, asked ident.Slot
	overrides                          [3]ident.Slot
}

func newMethodSlots(p *ident.Picker) methodSlots {
	return methodSlots{
		upgrade: p.Want("upgrade"), connection: p.Want("connection"),
		origin: p.Want("origin"), asked: p.Want("access-control-request-method"),
		overrides: [3]ident.Slot{p.Want("x-http-method-override"), p.Want("x-http-method"), p.Want("x-method-override")},
	}
}

// governed says that a request may make the server work as its path says: it has a body, or a method that goes with one. A
// request that asks for another protocol, such as a websocket, is none of these; what it will send is not a body.
func (e *Engine) governed(s *Stream, end bool) bool {
	if s.method == "POST" { // as nearly all are
		return true
	}
	switch strings.ToUpper(s.method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "CONNECT", "DELETE":
		return !end && !e.upgrades(s)
	}
	return true
}

func (e *Engine) upgrades(s *Stream) bool {
	return s.headers.Get(e.methods.upgrade) != "" && strings.Contains(strings.ToLower(s.headers.Get(e.methods.connection)), "upgrade")
}

// bare says that a request is what its method says and no more: it has no body, and no header that calls it something else.
func (e *Engine) bare(s *Stream, end bool) bool {
	for _, slot := range e.methods.overrides {
		if s.headers.Get(slot) != "" {
			return false
		}
	}
	return end
}

// preflight says that a browser asks whether it may send a request (https://fetch.spec.whatwg.org/#cors-preflight-fetch). It can't
// send headers of the page's choice with it, so nobody's name, and must not be kept waiting.
func (e *Engine) preflight(s *Stream, end bool) bool {
	return s.method == "OPTIONS" && s.headers.Get(e.methods.asked) != "" && s.headers.Get(e.methods.origin) != "" && e.bare(s, end)
}

// excused says that a request passes in spite of what is wrong with its identity: a preflight, and what monitors and clients ask
// before they have one.
func (e *Engine) excused(s *Stream, r *ident.Refusal, path string, end bool) bool {
	if s.preflight {
		return true
	}
	return r.Missing && e.cfg.Identity.Probes == config.ProbesPass && (s.method == "GET" || s.method == "HEAD") &&
		(s.operation == usage.OperationModels || healthCheck(path)) && e.bare(s, end)
}

// healthCheck says that a path is one of those at which servers tell how they are.
func healthCheck(path string) bool {
	path, _, _ = strings.Cut(path, "?")
	switch strings.TrimSuffix(path[strings.LastIndexByte(strings.TrimSuffix(path, "/"), '/')+1:], "/") {
	case "health", "healthz", "healthcheck", "live", "livez", "liveness", "ready", "readyz", "readiness", "startup", "startupz", "ping", "version", "metrics":
		return true
	}
	return false
}
