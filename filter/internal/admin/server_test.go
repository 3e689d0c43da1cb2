package admin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const start = clock.Moment(1000 * time.Second)

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return config.TokenHash + hex.EncodeToString(sum[:])
}

// served is what handlers of a test were called with.
type served struct{ calls []string }

func (s *served) handler(name string) Handler {
	return func(r *Request, a *Answer) {
		s.calls = append(s.calls, name+" "+strings.Join(r.Names, "|")+" "+string(r.Body)+" "+r.Query("q"))
		a.JSON(200, []byte(`{}`))
		if r.Method != "GET" {
			a.Change = name
		}
	}
}

func newServer(read config.AdminRead, tokens ...string) (*Server, *served) {
	var hashes []string
	for _, token := range tokens {
		hashes = append(hashes, hashOf(token))
	}
	s := &served{}
	return New(&config.Admin{Path: "/spillway", Tokens: hashes, Read: read}, []Route{
		{Method: "GET", Pattern: "/", Access: Open, Handle: s.handler("page")},
		{Method: "GET", Pattern: "/status", Handle: s.handler("status")},
		{Method: "GET", Pattern: "/limits/*", Handle: s.handler("limit")},
		{Method: "POST", Pattern: "/limits/*/subjects/**", Access: Changes, Body: true, Handle: s.handler("subject")},
		{Method: "PATCH", Pattern: "/overrides", Access: Changes, Body: true, Handle: s.handler("override")},
		{Method: "DELETE", Pattern: "/overrides", Access: Changes, Handle: s.handler("take back")},
	}), s
}

// ask is one request, with its body if it is wanted.
func ask(s *Server, now clock.Moment, r *Request) *Answer {
	a := &Answer{}
	body := r.Body
	r.Body = nil
	if s.Begin(now, r, a) {
		r.Body = body
		s.Finish(r, a)
	}
	return a
}

func TestWhatIsAnswered(t *testing.T) {
	const good = "Bearer right token"
	type request struct{ method, path, authorization, media, body, origin, site string }
	for _, test := range []struct {
		name   string
		read   config.AdminRead
		ask    request
		status int
		call   string // what comes to a handler; "": nothing
	}{
		{"a reader", config.ReadOpen, request{"GET", "/spillway/status", "", "", "", "", ""}, 200, "status   "},
		{"a query", config.ReadOpen, request{"GET", "/spillway/status?a=b&q=x%20y+z&q=2", "", "", "", "", ""}, 200, "status   x y z"},
		{"HEAD", config.ReadOpen, request{"HEAD", "/spillway/status", "", "", "", "", ""}, 200, "status   "},
		{"the page", config.ReadToken, request{"GET", "/spillway/", "", "", "", "", ""}, 200, "page   "},
		{"the page without its slash", config.ReadOpen, request{"GET", "/spillway", "", "", "", "", ""}, 308, ""},
		{"no token to read", config.ReadToken, request{"GET", "/spillway/status", "", "", "", "", ""}, 401, ""},
		{"another scheme", config.ReadToken, request{"GET", "/spillway/status", "Basic right token", "", "", "", ""}, 401, ""},
		{"a wrong token to read", config.ReadToken, request{"GET", "/spillway/status", "Bearer wrong", "", "", "", ""}, 403, ""},
		{"a token to read", config.ReadToken, request{"GET", "/spillway/status", good, "", "", "", ""}, 200, "status   "},
		{"the scheme in capitals", config.ReadToken, request{"GET", "/spillway/status", "BEARER  right token ", "", "", "", ""}, 200, "status   "},
		{"names", config.ReadOpen, request{"GET", "/spillway/limits/a%2fb", "", "", "", "", ""}, 200, "limit a/b  "},
		{"a change", config.ReadOpen, request{"POST", "/spillway/limits/u/subjects/%22%3E%3Cscript%3E", good, "application/json", "{}", "", ""}, 200, `subject u|"><script> {} `},
		{"a name with slashes", config.ReadOpen, request{"POST", "/spillway/limits/u/subjects/a/b/c", good, "application/json", "{}", "", ""}, 200, `subject u|a/b/c {} `},
		{"one that is escaped", config.ReadOpen, request{"POST", "/spillway/limits/u/subjects/a%2Fb", good, "application/json", "{}", "", ""}, 200, `subject u|a/b {} `},
		{"a name with nothing between slashes", config.ReadOpen, request{"POST", "/spillway/limits/u/subjects/a//b", good, "application/json", "{}", "", ""}, 404, ""},
		{"one that leads up", config.ReadOpen, request{"POST", "/spillway/limits/u/subjects/a/../b", good, "application/json", "{}", "", ""}, 404, ""},
		{"no name", config.ReadOpen, request{"POST", "/spillway/limits/u/subjects/", good, "application/json", "{}", "", ""}, 404, ""},
		{"with a charset", config.ReadOpen, request{"PATCH", "/spillway/overrides", good, "Application/JSON; charset=utf-8", "{}", "", ""}, 200, "override  {} "},
		{"without a token", config.ReadOpen, request{"PATCH", "/spillway/overrides", "", "application/json", "{}", "", ""}, 401, ""},
		{"a wrong token", config.ReadOpen, request{"PATCH", "/spillway/overrides", "Bearer right token2", "application/json", "{}", "", ""}, 403, ""},
		{"an empty token", config.ReadOpen, request{"PATCH", "/spillway/overrides", "Bearer ", "application/json", "{}", "", ""}, 403, ""},
		{"a form", config.ReadOpen, request{"PATCH", "/spillway/overrides", good, "text/plain", "{}", "", ""}, 415, ""},
		{"no type", config.ReadOpen, request{"PATCH", "/spillway/overrides", good, "", "{}", "", ""}, 415, ""},
		{"a change without a body", config.ReadOpen, request{"DELETE", "/spillway/overrides", good, "", "", "", ""}, 200, "take back   "},
		{"the same origin", config.ReadOpen, request{"DELETE", "/spillway/overrides", good, "", "", "http://proxy:10001", "same-origin"}, 200, "take back   "},
		{"another origin", config.ReadOpen, request{"DELETE", "/spillway/overrides", good, "", "", "http://evil", ""}, 403, ""},
		{"no origin that is one", config.ReadOpen, request{"DELETE", "/spillway/overrides", good, "", "", "null", ""}, 403, ""},
		{"another site", config.ReadOpen, request{"DELETE", "/spillway/overrides", good, "", "", "", "cross-site"}, 403, ""},
		{"a neighbour's site", config.ReadOpen, request{"DELETE", "/spillway/overrides", good, "", "", "", "same-site"}, 403, ""},
		{"nothing there", config.ReadOpen, request{"GET", "/spillway/nothing", "", "", "", "", ""}, 404, ""},
		{"more than a path", config.ReadOpen, request{"GET", "/spillway/status/", "", "", "", "", ""}, 404, ""},
		{"less than a path", config.ReadOpen, request{"GET", "/spillway/limits", "", "", "", "", ""}, 404, ""},
		{"a double slash", config.ReadOpen, request{"GET", "/spillway//status", "", "", "", "", ""}, 404, ""},
		{"dots", config.ReadOpen, request{"GET", "/spillway/x/../status", "", "", "", "", ""}, 404, ""},
		{"dots in escapes", config.ReadOpen, request{"GET", "/spillway/%2e%2E/status", "", "", "", "", ""}, 404, ""},
		{"out of it", config.ReadOpen, request{"POST", "/spillway/../v1/chat/completions", "", "", "", "", ""}, 404, ""},
		{"an escape that is none", config.ReadOpen, request{"GET", "/spillway/limits/%zz", "", "", "", "", ""}, 404, ""},
		{"an escape cut short", config.ReadOpen, request{"GET", "/spillway/limits/%2", "", "", "", "", ""}, 404, ""},
		{"a fragment", config.ReadOpen, request{"GET", "/spillway/status#a", "", "", "", "", ""}, 404, ""},
		{"a backslash", config.ReadOpen, request{"GET", `/spillway\status`, "", "", "", "", ""}, 0, ""},
		{"capitals", config.ReadOpen, request{"GET", "/spillway/Status", "", "", "", "", ""}, 404, ""},
		{"another method", config.ReadOpen, request{"PUT", "/spillway/overrides", good, "", "", "", ""}, 405, ""},
		{"a preflight", config.ReadOpen, request{"OPTIONS", "/spillway/overrides", "", "", "", "http://evil", ""}, 405, ""},
	} {
		s, calls := newServer(test.read, "right token", "other token")
		r := &Request{Method: test.ask.method, Path: test.ask.path, Authorization: test.ask.authorization, ContentType: test.ask.media, Body: []byte(test.ask.body),
			Authority: "proxy:10001", Origin: test.ask.origin, FetchSite: test.ask.site, Length: int64(len(test.ask.body)), Ended: test.ask.body == ""}
		if !s.Owns(r.Path) {
			if test.status != 0 {
				t.Errorf("%s: it isn't the surface's", test.name)
			}
			continue
		}
		a := ask(s, start, r)
		if got := strings.Join(calls.calls, ","); a.Status != test.status || got != test.call {
			t.Errorf("%s: got %d and %q, want %d and %q", test.name, a.Status, got, test.status, test.call)
		}
		checkAnswer(t, test.name, a)
	}
}

// checkAnswer checks what all answers have in common.
func checkAnswer(t *testing.T, name string, a *Answer) {
	t.Helper()
	headers := map[string]string{}
	for _, h := range a.Headers {
		headers[h[0]] = h[1]
	}
	if headers["x-content-type-options"] != "nosniff" || headers["cache-control"] != "no-store" || headers["content-type"] == "" {
		t.Errorf("%s: headers %v", name, a.Headers)
	}
	if a.Status >= 400 {
		var body struct {
			Errors []struct{ Path, Message string }
		}
		if err := json.Unmarshal(a.Body, &body); err != nil || len(body.Errors) == 0 || body.Errors[0].Message == "" {
			t.Errorf("%s: body %q (%v)", name, a.Body, err)
		}
		if a.Change != "" {
			t.Errorf("%s: status %d, and it says that it has changed %s", name, a.Status, a.Change)
		}
	}
	if (a.Status == 405) != (headers["allow"] != "") || (a.Status == 401) != (headers["www-authenticate"] != "") || (a.Status == 429) != (headers["retry-after"] != "") {
		t.Errorf("%s: status %d has the headers %v", name, a.Status, a.Headers)
	}
}

// Only what stands exactly at the path, or below it, is the surface's.
func TestOwns(t *testing.T) {
	s, _ := newServer(config.ReadOpen)
	for path, want := range map[string]bool{
		"/spillway": true, "/spillway/": true, "/spillway?a": true, "/spillway/a/b": true, "/spillway/../x": true,
		"/": false, "": false, "/spillwa": false, "/spillways": false, "/spillway%2fstatus": false, "/Spillway/status": false, "//spillway/status": false,
		"/x/../spillway/status": false, "/spillway;a/status": false, "/spillway#": false, "/%73pillway/status": false, "/v1/chat/completions": false,
	} {
		if s.Owns(path) != want {
			t.Errorf("%q is the surface's: %v", path, !want)
		}
	}
	if (*Server)(nil).Owns("/spillway") || New(&config.Admin{}, nil) != nil {
		t.Error("there is a surface without a path")
	}
}

func TestNothingCanBeChangedWithoutTokens(t *testing.T) {
	s, calls := newServer(config.ReadOpen)
	for _, authorization := range []string{"", "Bearer ", "Bearer x"} {
		a := ask(s, start, &Request{Method: "DELETE", Path: "/spillway/overrides", Authorization: authorization, Ended: true})
		if a.Status != 403 || len(calls.calls) > 0 {
			t.Errorf("%q: %d", authorization, a.Status)
		}
	}
}

// A wrong token is slowed down, a right one never is; two are good at once, and each says whose it is.
func TestTokens(t *testing.T) {
	s, _ := newServer(config.ReadOpen, "old", "new")
	change := func(now clock.Moment, token string) *Answer {
		return ask(s, now, &Request{Method: "DELETE", Path: "/spillway/overrides", Authorization: "Bearer " + token, Ended: true})
	}
	for range MostWrong {
		if a := change(start, "guess"); a.Status != 403 {
			t.Fatalf("a wrong token: %d", a.Status)
		}
	}
	a := change(start.Add(20*time.Second), "guess")
	if a.Status != 429 || a.Headers[len(a.Headers)-1] != [2]string{"retry-after", "40"} {
		t.Errorf("one too many: %d %v", a.Status, a.Headers)
	}
	for _, token := range []string{"old", "new"} {
		r := &Request{Method: "DELETE", Path: "/spillway/overrides", Authorization: "Bearer " + token, Ended: true}
		if a := ask(s, start.Add(20*time.Second), r); a.Status != 200 || r.Who != hashOf(token)[len(config.TokenHash):][:8] {
			t.Errorf("%s: %d, who %q", token, a.Status, r.Who)
		}
	}
	if a := change(start.Add(WrongPeriod), "guess"); a.Status != 403 {
		t.Errorf("a minute later: %d", a.Status)
	}
	if a := change(start.Add(-time.Hour), "guess"); a.Status != 403 {
		t.Errorf("after the clock was set back: %d", a.Status)
	}
	open := &Request{Method: "GET", Path: "/spillway/status", Authorization: "Bearer guess", Ended: true}
	if a := ask(s, start, open); a.Status != 200 || open.Who != "" {
		t.Errorf("a wrong token where none is needed: %d, who %q", a.Status, open.Who)
	}
}

func TestTooLarge(t *testing.T) {
	s, calls := newServer(config.ReadOpen, "t")
	a := ask(s, start, &Request{Method: "PATCH", Path: "/spillway/overrides", Authorization: "Bearer t", ContentType: "application/json", Length: MostBytes + 1})
	if a.Status != 413 || len(calls.calls) > 0 {
		t.Errorf("%d", a.Status)
	}
}

func TestTagged(t *testing.T) {
	for match, want := range map[string]int{"": 200, `"abc"`: 304, `W/"abc"`: 304, `"x", "abc"`: 304, "*": 304, `"abcd"`: 200} {
		a := &Answer{}
		a.Tagged(&Request{Match: match}, []byte(`{"a":1}`), `"abc"`)
		if a.Status != want || (a.Body == nil) != (want == 304) || a.Headers[len(a.Headers)-1] != [2]string{"etag", `"abc"`} {
			t.Errorf("%s: %d %q %v", match, a.Status, a.Body, a.Headers)
		}
	}
}

// What is open to everybody looks at no token: nobody learns there which one is right, and who has a wrong one (a probe's, before it was rotated)
// is answered all the same.
func TestOpenPlacesLookAtNoToken(t *testing.T) {
	s, _ := newServer(config.ReadToken, "right")
	for range 3 * MostWrong {
		for _, token := range []string{"", "Bearer wrong", "Bearer right"} {
			r := &Request{Method: "GET", Path: "/spillway/", Authorization: token, Length: -1, Ended: true}
			if a := ask(s, start, r); a.Status != 200 || r.Who != "" {
				t.Fatalf("%q: %d, taken for %q", token, a.Status, r.Who)
			}
		}
	}
	for _, want := range []int{403, 200} { // none of these was counted
		token := map[int]string{403: "Bearer wrong", 200: "Bearer right"}[want]
		if a := ask(s, start, &Request{Method: "GET", Path: "/spillway/status", Authorization: token, Length: -1, Ended: true}); a.Status != want {
			t.Errorf("%q: %d, want %d", token, a.Status, want)
		}
	}
}
