package admin

import (
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// MostBytes is the largest body that is read: no larger patch is good for anything, and many may come at once.
const MostBytes = config.MostOverrides

// Server is the surface of one configuration in one worker.
type Server struct {
	path   string
	read   config.AdminRead
	guard  guard
	routes []Route
	parts  []string // of the path that is being looked up
}

// New gives the surface; nil if it is off.
func New(c *config.Admin, routes []Route) *Server {
	if c.Path == "" {
		return nil
	}
	return &Server{path: c.Path, read: c.Read, guard: newGuard(c.Tokens), routes: routes}
}

// Owns says that a request with that path is the surface's, and nobody else's.
func (s *Server) Owns(path string) bool {
	if s == nil || !strings.HasPrefix(path, s.path) {
		return false
	}
	rest := path[len(s.path):]
	return rest == "" || rest[0] == '/' || rest[0] == '?'
}

// Begin answers a request by its headers, or says that its body is wanted: then Finish answers it.
func (s *Server) Begin(now clock.Moment, r *Request, a *Answer) (wants bool) {
	a.Status = 0
	path, query, _ := strings.Cut(r.Path[len(s.path):], "?")
	r.query = query
	switch {
	case path == "":
		a.redirect(s.path + "/")
		return false
	case !s.find(path, r, a) || !s.admits(now, r, a) || !r.route.sound(r, a):
		return false
	case r.route.Body && !r.Ended:
		return true
	}
	s.handle(r, a)
	return false
}

// Finish answers a request whose body has come.
func (s *Server) Finish(r *Request, a *Answer) { s.handle(r, a) }

func (s *Server) handle(r *Request, a *Answer) {
	r.route.Handle(r, a)
	if a.Status == 0 {
		a.Error(500, "", "nothing was answered")
	}
}

// find finds the route.
func (s *Server) find(path string, r *Request, a *Answer) bool {
	list, plain := segments(path, s.parts[:0])
	if s.parts = list; !plain {
		a.Error(404, "", "there is nothing at this path")
		return false
	}
	allow := ""
	for i := range s.routes {
		route := &s.routes[i]
		names, is := route.matches(list, r.Names[:0])
		switch {
		case !is:
		case route.serves(r.Method):
			r.route, r.Names = route, names
			return true
		default:
			allow = also(allow, route.Method)
		}
	}
	if allow == "" {
		a.Error(404, "", "there is nothing at this path")
		return false
	}
	a.Error(405, "", "want "+allow)
	a.Header("allow", allow)
	return false
}

func also(list, method string) string {
	if method == "GET" {
		method = "GET, HEAD"
	}
	if list == "" {
		return method
	}
	return list + ", " + method
}

// admits says whether who asks may, and answers if not.
func (s *Server) admits(now clock.Moment, r *Request, a *Answer) bool {
	if r.route.Access == Open { // to whoever has a wrong token as well, who doesn't learn here that it is one
		r.Who = ""
		return true
	}
	given, good, who := s.guard.look(r.Authorization)
	r.Who = who
	needs := r.route.Access == Changes || r.route.Access == Reads && s.read == config.ReadToken
	switch {
	case r.route.Access == Changes && r.crossSite():
		a.Error(403, "", "another site's page may change nothing here")
		return false
	case !needs || good:
		return true
	case len(s.guard.hashes) == 0:
		a.Error(403, "", "nothing can be changed: the configuration has no admin.tokens")
	case !given:
		a.Error(401, "", "want a token: authorization: Bearer <token>")
		a.Header("www-authenticate", `Bearer realm="spillway"`)
	default:
		s.refuse(now, a)
	}
	return false
}

// refuse answers a wrong token.
func (s *Server) refuse(now clock.Moment, a *Answer) {
	wait := s.guard.refuse(now)
	if wait == 0 {
		a.Error(403, "", "this is no token of admin.tokens")
		return
	}
	a.Error(429, "", "too many wrong tokens")
	a.Header("retry-after", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
}

// OpenToAll says that nothing of what can be read is kept from anybody.
func (s *Server) OpenToAll() bool { return s.read == config.ReadOpen }

// crossSite says that a page of another origin makes the browser ask.
func (r *Request) crossSite() bool {
	if r.FetchSite != "" && r.FetchSite != "same-origin" && r.FetchSite != "none" {
		return true
	}
	if r.Origin == "" {
		return false
	}
	_, host, is := strings.Cut(r.Origin, "://")
	return !is || !strings.EqualFold(host, r.Authority)
}

// sound says whether a request's body can be read, as far as its headers tell.
func (route *Route) sound(r *Request, a *Answer) bool {
	media, _, _ := strings.Cut(r.ContentType, ";")
	switch {
	case !route.Body || r.Ended:
		return true
	case r.Length > MostBytes:
		a.TooLarge()
		return false
	case !isJSON(strings.TrimSpace(media), route.Method):
		a.Error(415, "", "want content-type: application/json")
		return false
	}
	return true
}

// isJSON says that a body of the media type is JSON. No form that a page sends has either, without its browser asking first (crossSite).
func isJSON(media, method string) bool {
	return strings.EqualFold(media, "application/json") || method == "PATCH" && strings.EqualFold(media, "application/merge-patch+json")
}

// TooLarge answers a request whose body is larger than MostBytes.
func (a *Answer) TooLarge() { a.Error(413, "", "want at most "+strconv.Itoa(MostBytes)+" bytes") }

// policy is what a browser may do with an answer of the surface: nothing but what it brings itself.
const policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// begin begins an answer.
func (a *Answer) begin(status int, media string) {
	a.Status = status
	a.Headers = append(a.Headers[:0], [2]string{"content-type", media}, [2]string{"cache-control", "no-store"}, [2]string{"x-content-type-options", "nosniff"})
}

// Header adds a header.
func (a *Answer) Header(name, value string) { a.Headers = append(a.Headers, [2]string{name, value}) }

// JSON answers with a JSON text.
func (a *Answer) JSON(status int, body []byte) {
	a.begin(status, "application/json")
	a.Header("content-security-policy", policy)
	a.Body = body
}

// Page answers with a page that brings all that it needs. policy is what the browser lets it do.
func (a *Answer) Page(body []byte, policy string) {
	a.begin(200, "text/html; charset=utf-8")
	a.Header("content-security-policy", policy)
	a.Header("referrer-policy", "no-referrer")
	a.Body = body
}

// Tagged answers with a JSON text that has a tag, unless who asks has that one already.
func (a *Answer) Tagged(r *Request, body []byte, tag string) {
	if r.Match != "" && (r.Match == "*" || strings.Contains(r.Match, tag)) {
		a.JSON(304, nil)
	} else {
		a.JSON(200, body)
	}
	a.Header("etag", tag)
}

func (a *Answer) redirect(to string) {
	a.begin(308, "text/plain")
	a.Header("location", to)
	a.Body = nil
}

// Fault is one thing that is wrong with a request.
type Fault struct {
	Path, Message string // Path is where in the body, or in the configuration; "": the request itself
}

// Error answers with one thing that is wrong.
func (a *Answer) Error(status int, path, message string) { a.Errors(status, Fault{path, message}) }

// Errors answers with all that is wrong.
func (a *Answer) Errors(status int, faults ...Fault) {
	var j JSON
	j.Object()
	j.Key("errors")
	j.Array()
	for i := range faults {
		j.Object()
		j.Member("path", faults[i].Path)
		j.Member("message", faults[i].Message)
		j.EndObject()
	}
	j.EndArray()
	j.EndObject()
	a.JSON(status, j.Bytes())
}
