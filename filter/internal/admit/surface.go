package admit

import (
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/admin"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/page"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
	"github.com/spillway-proxy/spillway/filter/internal/roster"
)

// A request to the admin surface (package admin) is one from its headers on: it comes to no gate, belongs to no caller, is neither counted nor
// published, and never reaches the upstream. Its headers and its body are kept back until it is answered, whatever requestHold says; only where
// Envoy's buffer filter follows, that one keeps the headers. A host that never shows the body of held headers is told by the time.

// uploadTime is how long an admin request's body may take.
const uploadTime = 10 * time.Second

// surface is the admin surface of an engine.
type surface struct {
	server    *admin.Server // nil: it has none
	uploading streamSet     // their bodies are to come
	idle      []*adminCall  // of requests that have ended: their memory is used again
	now       clock.Moment  // of the request that is being handled
	status    admin.Status
	text      []byte // of the status, as it was at the moment at
	tag       string
	at        clock.Moment
	workers   []roster.Revision // which overrides they go by, at that moment
	lists     []list
	view      *Engine // of the gateway whose admin surface this is; nil: there is none yet
	viewOf    uint32  // the version of its configuration
}

// surfaceSlots are the headers that it looks at.
type surfaceSlots struct {
	authority, authorization, origin, site, match, encoding ident.Slot
}

// mostIdle bounds the memory kept for requests to come.
const mostIdle = 256

// call gives the memory of an admin request.
func (x *surface) call() (c *adminCall) {
	n := len(x.idle)
	if n == 0 {
		return &adminCall{}
	}
	c, x.idle = x.idle[n-1], x.idle[:n-1]
	*c = adminCall{request: admin.Request{Names: c.request.Names[:0]}, answer: admin.Answer{Headers: c.answer.Headers[:0]}}
	return c
}

// adminCall is an admin request.
type adminCall struct {
	request  admin.Request
	answer   admin.Answer
	answered bool
	until    clock.Moment // its body must have come
}

// newSurface makes the admin surface, if the configuration has one.
func (e *Engine) newSurface() {
	x := &e.surface
	x.server, x.uploading = admin.New(&e.cfg.Admin, e.endpoints()), streamSet{in: inUploading}
}

func newSurfaceSlots(p *ident.Picker) surfaceSlots {
	return surfaceSlots{authority: p.Want(":authority"), authorization: p.Want("authorization"), origin: p.Want("origin"), site: p.Want("sec-fetch-site"),
		match: p.Want("if-none-match"), encoding: p.Want("accept-encoding")}
}

// adminHeaders takes the headers of a request to the surface. It is kept out of the way of all other requests.
//
//go:noinline
func (e *Engine) adminHeaders(s *Stream, now clock.Moment, path string, end bool) {
	h, x := &s.headers, &e.surface
	s.phase, s.counted = stDone, true
	s.exchange.Length = contentLength(h.Get(e.slots.length))
	s.admin = x.call()
	s.admin.until = now.Add(uploadTime)
	r := &s.admin.request
	r.Method, r.Path = h.Get(e.slots.method), path
	r.Authority, r.Authorization, r.ContentType = h.Get(e.admins.authority), h.Get(e.admins.authorization), h.Get(e.slots.contentType)
	r.Origin, r.FetchSite, r.Match, r.Encoding = h.Get(e.admins.origin), h.Get(e.admins.site), h.Get(e.admins.match), h.Get(e.admins.encoding)
	r.Length, r.Ended = s.exchange.Length, end
	x.now = now
	if !x.server.Begin(now, &s.admin.request, &s.admin.answer) {
		e.adminAnswered(s)
		return
	}
	x.uploading.add(s)
	if e.cfg.RequestHold != config.HoldBufferFilter {
		s.action = isHeld
	}
}

// adminBody takes a piece of its body, and answers it when that is complete.
func (e *Engine) adminBody(s *Stream, now clock.Moment, size int, end bool) {
	c := s.admin
	if s.action = isHeld; c.answered {
		return
	}
	if len(c.request.Body)+size > admin.MostBytes {
		c.answer.TooLarge()
		e.adminAnswered(s)
		return
	}
	for from := 0; from < size; {
		piece := e.part(from, size)
		if len(piece) == 0 {
			c.answer.Error(500, "", "the body can't be read from the host")
			e.adminAnswered(s)
			return
		}
		c.request.Body = append(c.request.Body, piece...)
		from += len(piece)
	}
	if end {
		e.surface.now = now
		e.surface.server.Finish(&c.request, &c.answer)
		e.adminAnswered(s)
	}
}

// adminAnswered makes the answer the stream's.
func (e *Engine) adminAnswered(s *Stream) {
	c := s.admin
	e.surface.uploading.remove(s)
	if c.answer.Change != "" {
		e.out.info("admin " + c.request.Who + ": " + c.request.Method + " " + c.request.Path + ": " + c.answer.Change)
	}
	c.answered, c.request.Body = true, nil
	s.reply = reply.Reply{Status: c.answer.Status, Headers: c.answer.Headers, Body: c.answer.Body}
	s.action = isAnswered
}

// endAdmin ends a request to the surface. Its answer, which may be large, is not kept.
func (e *Engine) endAdmin(s *Stream) {
	x := &e.surface
	x.uploading.remove(s)
	if len(x.idle) < mostIdle {
		x.idle = append(x.idle, s.admin)
	}
	s.admin, s.reply = nil, reply.Reply{}
}

// endUploads owes those an answer whose bodies don't come.
func (e *Engine) endUploads(now clock.Moment) {
	for s, next := e.surface.uploading.first, (*Stream)(nil); s != nil; s = next {
		next = e.surface.uploading.after(s)
		if c := s.admin; now >= c.until {
			c.answer.Error(408, "", "the body has not come within "+uploadTime.String()+
				". Where none ever does, Envoy's Wasm configuration lacks allow_on_headers_stop_iteration: true")
			e.adminAnswered(s)
			e.owed, s.owed = append(e.owed, s), true
		}
	}
}

// faultAdmin owes an answer to a request to the surface whose event came to no end: it must not pass untouched, as others do.
func (e *Engine) faultAdmin(s *Stream) {
	s.admin.answer.Error(500, "", "a fault of the filter")
	s.admin.answer.Change = ""
	e.adminAnswered(s)
	e.owed, s.owed = append(e.owed, s), true
}

// Kept says that the request must not go on, whatever has become of its event: it is the admin surface's.
func (s *Stream) Kept() bool { return s.admin != nil }

// endpoints are the surface's routes.
func (e *Engine) endpoints() []admin.Route {
	return append([]admin.Route{
		{Method: "GET", Pattern: "/", Access: admin.Open, Handle: e.showPage},
		{Method: "GET", Pattern: "/healthz", Access: admin.Open, Handle: e.showHealth},
		{Method: "GET", Pattern: "/readyz", Access: admin.Open, Handle: e.showReadiness},
		{Method: "GET", Pattern: "/status", Access: admin.Reads, Handle: e.showStatus},
		{Method: "GET", Pattern: "/subjects", Access: admin.Reads, Handle: e.showSubjects},
		{Method: "GET", Pattern: "/decisions", Access: admin.Reads, Handle: e.showDecisions},
		{Method: "GET", Pattern: "/config", Access: admin.Reads, Handle: e.showConfig},
		{Method: "PATCH", Pattern: "/overrides", Access: admin.Changes, Body: true, Handle: e.patchOverrides},
		{Method: "DELETE", Pattern: "/overrides", Access: admin.Changes, Handle: e.deleteOverrides},
		{Method: "GET", Pattern: "/limits/*", Access: admin.Reads, Handle: e.showLimit},
		{Method: "POST", Pattern: "/limits/*/subjects/**", Access: admin.Changes, Body: true, Handle: e.changeSubject},
	}, e.upstreamEndpoints()...)
}

// showPage answers with the dashboard.
func (e *Engine) showPage(r *admin.Request, a *admin.Answer) {
	if page.TakesGzip(r.Encoding) {
		a.Page(page.Gzip, page.Policy)
		a.Header("content-encoding", "gzip")
	} else {
		a.Page(page.HTML(), page.Policy)
	}
	a.Header("vary", "accept-encoding")
}

// showHealth says that the filter answers.
func (e *Engine) showHealth(_ *admin.Request, a *admin.Answer) {
	e.refreshStatus()
	a.JSON(200, e.surface.status.Health(nil, nil, false))
}

// showReadiness says whether more can be sent here, and if not, why.
func (e *Engine) showReadiness(_ *admin.Request, a *admin.Answer) {
	e.refreshStatus()
	against := e.surface.status.Reasons()
	code := 200
	if len(against) > 0 {
		code = 503
	}
	a.JSON(code, e.surface.status.Health(nil, against, e.surface.server.OpenToAll()))
}

// showStatus says how everything stands.
func (e *Engine) showStatus(r *admin.Request, a *admin.Answer) {
	e.refreshStatus()
	a.Tagged(r, e.surface.text, e.surface.tag)
}

// statusPeriod is how long a status serves all who ask.
const statusPeriod = time.Second

// refreshStatus brings the status up to date, once in statusPeriod.
func (e *Engine) refreshStatus() {
	x := &e.surface
	if age := x.now.Sub(x.at); x.text != nil && age >= 0 && age < statusPeriod {
		return
	}
	x.at = x.now
	e.look(x.now, &x.status)
	x.text = x.status.Append(nil)
	x.tag = tagOf(x.text)
}

// tagOf is an entity tag.
func tagOf(text []byte) string { return `"` + strconv.FormatUint(fnv(text), 16) + `"` }

// fnv is a hash of a text that nobody chooses with ill intent (FNV-1a, 64 bits).
func fnv(text []byte) uint64 {
	hash := uint64(14695981039346656037)
	for _, c := range text {
		hash = (hash ^ uint64(c)) * 1099511628211
	}
	return hash
}

// worstState is the first of the states that one of the views has.
func worstState(views []admin.View, states ...string) (worst admin.View) {
	for _, state := range states {
		for i := range views {
			if views[i].State == state {
				return views[i]
			}
		}
	}
	return admin.View{Value: admin.Absent, Threshold: admin.Absent, State: states[len(states)-1]}
}

var outcomes = [...]gate.Outcome{gate.Allowed, gate.Queued, gate.Shadowed, gate.Rejected, gate.Open, gate.HalfOpen, gate.FellBack, gate.Cancelled, gate.Faulted}
