package securitytest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// Nobody becomes somebody else by how he writes his headers: what he sends is charged to him, or refused.
func TestNobodyIsANewSubjectByHisHeaders(t *testing.T) {
	t.Parallel()
	g := start(t, harness.Options{Concurrency: 2, Config: `{}`}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if strings.Contains(name, "_") { // to WSGI servers it is the one with a hyphen
				t.Errorf("the server got the header %s", name)
			}
		}
		completes(76).ServeHTTP(w, r)
	}))
	const requests = `"unit":"requests","quantity":2,"window":"1h"`
	t.Run("a name with commas or with underscores for hyphens, where nothing depends on it", func(t *testing.T) {
		for _, header := range []string{"x-user-id: Doe, John", "x-tenant-id: ou=a,dc=b", "x_user_id: ann"} {
			if got := g.send(t, "POST", chatPath, hello, header); got.status != 200 {
				t.Errorf("%s: %d %s", header, got.status, got.body)
			}
		}
	})
	// evade sends what is within the limit, then with another trick each time what isn't.
	evade := func(t *testing.T, target string, honest []string, tricks ...[]string) {
		t.Helper()
		if got := statuses(3, func(int) answer { return g.send(t, "POST", target, hello, honest...) }); got != "200 200 429" {
			t.Fatalf("as it should be sent: got %s, want 200 200 429", got)
		}
		for _, trick := range tricks {
			for i := range 2 {
				var headers []string
				for _, header := range trick {
					headers = append(headers, strings.ReplaceAll(header, "JUNK", fmt.Sprintf("junk%d", i)))
				}
				to := target
				if path, found := strings.CutPrefix(headers[0], "path: "); found {
					to, headers = path, headers[1:]
				}
				if a := g.send(t, "POST", to, hello, headers...); a.status != 429 && a.status != 400 {
					t.Errorf("%q: got %d, want 429 or 400", headers, a.status)
				} else if a.status == 400 && !strings.HasPrefix(a.reason(), "identity/") {
					t.Errorf("%q: 400 for %q", headers, a.reason())
				}
			}
		}
	}

	g.configure(t, `{"limits":[{"name":"k","per":["key"],`+requests+`}]}`)
	for i, target := range []string{chatPath, "/v1/messages", "/v1beta/models/g:generateContent"} {
		t.Run("the key at "+target, func(t *testing.T) {
			k := fmt.Sprintf("k%d", i)
			evade(t, target, []string{"authorization: Bearer " + k},
				[]string{"authorization: Bearer\t" + k}, []string{"authorization: bearer   " + k}, []string{"authorization: " + k},
				[]string{"authorization: JUNK " + k}, []string{"authorization: Bearer Bearer " + k}, []string{"x-api-key: " + k},
				[]string{"authorization: Bearer", "x-api-key: " + k}, []string{"authorization: Bearer JUNK", "x-api-key: " + k},
				[]string{"authorization: JUNK", "x-goog-api-key: " + k}, []string{"x-api-key: JUNK", "authorization: Bearer " + k},
				[]string{"authorization: Bearer JUNK", "authorization: Bearer " + k}, []string{"authorization: Bearer JUNK, Bearer " + k},
				[]string{"authorization: Bearer " + k + " JUNK"}, []string{"x-api-key: JUNK", "x-api-key: " + k},
				[]string{"path: " + target + "?key=JUNK", "x-goog-api-key: " + k}, []string{"path: " + target + "?key=" + k},
				[]string{"path: " + target + "?key=JUNK&key=" + k},
				[]string{"x-litellm-api-key: Bearer " + k}, []string{"ocp-apim-subscription-key: " + k},
				[]string{"authorization: Bearer " + k, "x-litellm-api-key: JUNK"}, []string{"x_api_key: JUNK", "x-api-key: " + k},
			)
		})
	}
	t.Run("Gemini's callers have a quota each", func(t *testing.T) {
		for _, name := range []string{"g1", "g2"} {
			if got := statuses(3, func(int) answer {
				return g.send(t, "POST", "/v1beta/models/g:generateContent", hello, "x-goog-api-key: "+name)
			}); got != "200 200 429" {
				t.Errorf("%s: got %s", name, got)
			}
			if got := statuses(3, func(int) answer {
				return g.send(t, "POST", "/v1beta/models/g:generateContent?alt=sse&key=query-"+name, hello)
			}); got != "200 200 429" {
				t.Errorf("%s in the query: got %s", name, got)
			}
		}
	})

	g.configure(t, `{"limits":[{"name":"u","per":["user"],`+requests+`},{"name":"s","per":["header:x-session"],`+requests+`,"burst":2}]}`)
	t.Run("the user", func(t *testing.T) {
		evade(t, chatPath, []string{"x-user-id: ann", "x-session: a1"},
			[]string{"x-user-id: JUNK", "x-user-id: ann", "x-session: JUNK"}, []string{"x-user-id: JUNK, ann", "x-session: JUNK"},
			[]string{"X-USER-ID: ann", "x-session: JUNK"}, []string{"x-user-id:   ann", "x-session: JUNK"})
	})
	t.Run("a header that a limit is per", func(t *testing.T) {
		evade(t, chatPath, []string{"x-user-id: bob", "x-session: b"},
			[]string{"x-user-id: JUNK", "x-session: JUNK", "x-session: b"}, []string{"x-user-id: JUNK", "x-session: JUNK, b"}, []string{"x-user-id: JUNK-", "x-session:  b"})
	})

	g.configure(t, `{"limits":[{"name":"f","match":{"headers":{"x-tier":"free"}},`+requests+`}]}`)
	t.Run("a header that a limit matches", func(t *testing.T) {
		evade(t, chatPath, []string{"x-tier: free"}, []string{"x-tier: JUNK", "x-tier: free"}, []string{"x-tier: JUNK, free"})
	})
	g.configure(t, `{"limits":[{"name":"beta","match":{"headers":{"x-beta":"*"}},`+requests+`}]}`)
	t.Run("an absent header is matched by nothing", func(t *testing.T) {
		if got := statuses(4, func(int) answer { return g.send(t, "POST", chatPath, hello) }); got != "200 200 200 200" {
			t.Errorf("without the header: got %s", got)
		}
		if got := statuses(3, func(int) answer { return g.send(t, "POST", chatPath, hello, "x-beta: 1") }); got != "200 200 429" {
			t.Errorf("with it: got %s", got)
		}
	})
	t.Run("of several priorities the lowest counts", func(t *testing.T) {
		g.configure(t, `{"limits":[{"name":"low","match":{"priorities":["low"]},`+requests+`}]}`)
		evade(t, chatPath, []string{"x-priority: low"}, []string{"x-priority: urgent", "x-priority: low"}, []string{"x-priority: urgent, low"})
	})
}
