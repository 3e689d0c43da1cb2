package admintest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// any sends a chat request on a connection of its own: to any worker.
func (p *proxy) any(t *testing.T, headers ...string) answer {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return ask(t, client, http.MethodPost, p.URL+chatPath, `{"model":"llama-3","messages":[{"role":"user","content":"hi"}]}`, append(headers, "content-type: application/json")...)
}

// change changes something by the surface, and must succeed.
func (p *proxy) change(t *testing.T, path string) string {
	t.Helper()
	a := ask(t, p.Client, http.MethodPost, p.Surface+"/spillway"+path, "", bearer)
	if a.status != http.StatusOK {
		t.Errorf("%s: %d %s", path, a.status, a.body)
	}
	return a.body
}

// Who runs, and who waits, when an upstream is drained and let in again, again and again, is served all the same.
func TestDrainLosesNobody(t *testing.T) {
	t.Parallel()
	forWorkers(t, func(t *testing.T, workers int) {
		p := start(t, workers, `"upstreams": [{"name": "llm", "concurrency": {"max": 2}, "queue": {"max": 100}}]`)
		var all sync.WaitGroup
		for range 12 {
			all.Go(func() {
				if a := p.any(t, "x-sim-ttft: 300ms"); a.status != http.StatusOK {
					t.Errorf("%d %v %s", a.status, a.header, a.body)
				}
			})
		}
		harness.Await(t, harness.Patience, "two run, ten wait", func() bool {
			s := p.status(t)
			return at(s, "upstreams", 0, "queue", "inFlight") == 2.0 && at(s, "upstreams", 0, "queue", "value") == 10.0 || p.sim.Stats().Completed >= 8
		})
		for range 3 {
			p.change(t, "/upstreams/llm/drain")
			p.change(t, "/upstreams/llm/resume")
		}
		p.change(t, "/upstreams/llm/drain")
		all.Wait()
		p.change(t, "/upstreams/llm/resume")
		harness.Await(t, harness.Patience, "a new one passes", func() bool { return p.any(t).status == http.StatusOK })
	})
}

// tokensOf is an admin surface that anybody may read.
func tokensOf(tokens ...string) string {
	hashes := make([]string, len(tokens))
	for i, token := range tokens {
		hashes[i] = fmt.Sprintf("%q", hashOf(token))
	}
	return `"admin": {"path": "/spillway", "tokens": [` + strings.Join(hashes, ",") + `]}`
}

// Tokens are rotated while there is traffic, of users and of admins: none of it is lost, and no token is good for longer than the configuration says.
func TestRotation(t *testing.T) {
	t.Parallel()
	forWorkers(t, func(t *testing.T, workers int) {
		sim, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{})
		config := func(tokens ...string) string {
			return `{` + tokensOf(tokens...) + `,"upstreams":[{"name":"llm","concurrency":{"max":64}}]}`
		}
		g := &steered{Envoy: harness.Start(t, harness.Options{Upstream: address, Concurrency: workers, Config: config("old"), DrainTime: time.Minute})}
		good := func(token string) bool {
			status, _ := g.send(t, http.MethodPatch, "/spillway/overrides", `{"statusCode":{"limits":430}}`, http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}})
			if status != http.StatusOK && status != http.StatusForbidden && status != http.StatusTooManyRequests { // which is a wrong one too many
				t.Errorf("%s is answered %d", token, status)
			}
			return status == http.StatusOK
		}
		end := make(chan struct{})
		var all sync.WaitGroup
		sent := make([]int64, 4)
		for i := range sent {
			all.Go(func() {
				for {
					select {
					case <-end:
						return
					default:
					}
					if status := g.chat(t, "ann"); status != http.StatusOK {
						t.Errorf("status %d", status)
					}
					sent[i]++
				}
			})
		}
		for _, step := range []struct {
			tokens []string
			want   map[string]bool
		}{{[]string{"old"}, map[string]bool{"old": true, "new": false}}, {[]string{"old", "new"}, map[string]bool{"old": true, "new": true}}, {[]string{"new"}, map[string]bool{"old": false, "new": true}}} {
			if err := g.Reconfigure(config(step.tokens...)); err != nil {
				t.Fatal(err)
			}
			harness.Await(t, harness.Patience, fmt.Sprint("every worker goes by ", step.tokens), func() bool {
				for range 4 * workers {
					for token, want := range step.want {
						if good(token) != want {
							return false
						}
					}
				}
				return true
			})
		}
		close(end)
		all.Wait()
		total := int64(0)
		for _, n := range sent {
			total += n
		}
		if n := sim.Stats().Received; n != total || n == 0 {
			t.Errorf("%d requests were sent, the upstream has seen %d", total, n)
		}
	})
}

// Another site's page can do nothing, even with the token; and it isn't told that it might.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	p := start(t, 1, governed)
	for _, url := range []string{p.URL, p.Surface} {
		host := strings.TrimPrefix(url, "http://")
		for headers, want := range map[string]int{
			"origin: https://evil.example": 403, "origin: null": 403, "origin: " + url + ".evil.example": 403, "origin: http://evil.example/" + host: 403, "sec-fetch-site: cross-site": 403,
			"sec-fetch-site: same-site": 403, "origin: " + url: 200, "sec-fetch-site: same-origin": 200, "sec-fetch-site: none": 200,
			"content-type: text/plain": 415, "content-type: application/x-www-form-urlencoded": 415, "content-type: multipart/form-data; boundary=application/json": 415, "content-type: ": 415,
		} {
			all := []string{bearer, "content-type: application/json", headers}
			if a := ask(t, p.Client, http.MethodPatch, url+"/spillway/overrides", "{}", all...); a.status != want {
				t.Errorf("PATCH with %q: %d %s, want %d", headers, a.status, a.body, want)
			}
			if want != 403 {
				continue
			}
			if a := ask(t, p.Client, http.MethodPost, url+"/spillway/upstreams/llm/drain", "", all...); a.status != want {
				t.Errorf("drain with %q: %d %s, want %d", headers, a.status, a.body, want)
			}
		}
		a := ask(t, p.Client, http.MethodOptions, url+"/spillway/overrides", "", "origin: https://evil.example", "access-control-request-method: PATCH", "access-control-request-headers: authorization")
		if a.status != http.StatusMethodNotAllowed || a.header.Get("access-control-allow-origin") != "" {
			t.Errorf("preflight: %d %v", a.status, a.header)
		}
	}
	if a := p.any(t); a.status != http.StatusOK {
		t.Errorf("drained: %d %s", a.status, a.body)
	}
}

// Who only reads learns no token, no hash of one, and no key; who may not read learns nothing. What users call themselves is text.
func TestWhatReadersLearn(t *testing.T) {
	t.Parallel()
	p := start(t, 1, `"limits": [{"name": "k", "per": ["key"], "unit": "requests", "quantity": 3, "window": "1h"}, {"name": "u", "per": ["user"], "unit": "requests", "quantity": 1, "window": "1h"}],
		"upstreams": [{"name": "llm", "breaker": {"mode": "enforce"}}]`)
	const name, escaped = `"><script>alert(1)</script>`, "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E"
	for range 3 {
		p.any(t, "authorization: Bearer sk-secret", "x-user-id: "+name)
	}
	if a := ask(t, p.Client, http.MethodPost, p.Surface+"/spillway/limits/k/subjects/sk-secret", `{"grant": 1, "for": "1h"}`, bearer, "content-type: application/json"); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	for _, path := range []string{"/", "/healthz", "/readyz", "/status", "/config", "/config?overrides", "/subjects?limit=k", "/subjects?limit=u", "/decisions?last=100", "/limits/u?subject=" + escaped, "/limits/none?subject=" + escaped} {
		a := ask(t, p.Client, http.MethodGet, p.URL+"/spillway"+path, "")
		for _, secret := range []string{"sk-secret", strings.TrimPrefix(hashOf(oldToken), "sha256:"), strings.TrimPrefix(hashOf(newToken), "sha256:")[:8], oldToken, newToken} {
			if strings.Contains(a.body, secret) {
				t.Errorf("%s tells %q: %s", path, secret, a.body)
			}
		}
		if path != "/" && strings.ContainsAny(a.body, "<>") {
			t.Errorf("%s is markup: %s", path, a.body)
		}
		open := path == "/" || path == "/healthz" || path == "/readyz"
		if a = ask(t, p.Client, http.MethodGet, p.Surface+"/spillway"+path, ""); (a.status == http.StatusUnauthorized) == open && a.status != http.StatusNotFound || path != "/" && strings.Contains(a.body, "llm") {
			t.Errorf("%s tells everybody: %d %s", path, a.status, a.body)
		}
	}
	if logs := p.Logs(); strings.Contains(logs, "sk-secret") || strings.Contains(logs, newToken) || !strings.Contains(logs, "/limits/k/subjects/***") {
		t.Error("a secret is logged")
	}
	path := p.Surface + "/spillway/limits/u/subjects/" + escaped
	if a := ask(t, p.Client, http.MethodPost, path, `{"reset": true}`, bearer, "content-type: application/json"); a.status != http.StatusOK || !strings.Contains(a.body, `"remaining":1`) || strings.Contains(a.body, "<") {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := p.any(t, "x-user-id: "+name); a.status != http.StatusOK {
		t.Errorf("who was reset: %d %s", a.status, a.body)
	}
}

// A change is answered however Envoy is set up to hold requests; where no body is ever shown, it is told so. Never does it reach the upstream.
func TestHolds(t *testing.T) {
	t.Parallel()
	for hold, want := range map[harness.Hold]int{harness.HoldStopIteration: 200, harness.HoldBufferFilter: 200, harness.HoldNone: 408} {
		t.Run(string(hold), func(t *testing.T) {
			t.Parallel()
			sim, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{})
			g := &steered{Envoy: harness.Start(t, harness.Options{Hold: hold, Upstream: address, Edit: readLate, Config: `{` + tokensOf(steeringToken) + `,"upstreams":[{"name":"llm"}]}`})}
			if status, answer := g.admin(t, http.MethodPatch, "/overrides", `{"statusCode":{"limits":430}}`); status != want || want == 408 && !strings.Contains(answer, "allow_on_headers_stop_iteration") {
				t.Errorf("%d %s", status, answer)
			}
			if want == 200 {
				if status, answer := g.admin(t, http.MethodPatch, "/overrides", strings.Repeat("x", 10<<20)); status != http.StatusRequestEntityTooLarge {
					t.Errorf("10 MB: %d %.200s", status, answer)
				}
				g.chunked(t)
			}
			if status, answer := g.admin(t, http.MethodPost, "/upstreams/llm/drain", ""); status != http.StatusOK {
				t.Errorf("what has no body: %d %s", status, answer)
			}
			if n := sim.Stats().Received; n != 0 {
				t.Errorf("the upstream has seen %d requests", n)
			}
		})
	}
}
