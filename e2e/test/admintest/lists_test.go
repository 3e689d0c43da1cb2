package admintest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// get is what the surface on the listener answers, decoded.
func (p *proxy) get(t *testing.T, path string) (text string, value map[string]any) {
	t.Helper()
	a := ask(t, p.Client, http.MethodGet, p.Surface+"/spillway/"+path, "", bearer)
	if err := json.Unmarshal([]byte(a.body), &value); err != nil || a.status != http.StatusOK {
		t.Fatalf("%s: %d %q: %v", path, a.status, a.body, err)
	}
	return a.body, value
}

// from sends a chat on a connection of its own, which any worker may have.
func (p *proxy) from(t *testing.T, user string, headers ...string) answer {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return ask(t, client, http.MethodPost, p.URL+"/v1/chat/completions", `{"model":"llama-3","messages":[{"role":"user","content":"hi"}]}`,
		append([]string{"content-type: application/json", "x-user-id: " + user}, headers...)...)
}

const listed = `"limits": [{"name": "tokens", "per": ["user"], "unit": "completionTokens", "quantity": 1000000, "window": "1h"},
	{"name": "keys", "per": ["key"], "unit": "requests", "quantity": 1000000, "window": "1h"},
	{"name": "free", "per": ["user"], "match": {"headers": {"x-plan": "free"}}, "unit": "requests", "quantity": 3, "window": "1h"}]`

// Who uses most stands first, who is refused is told with the reason, and so is what was refused last, of all workers, in the order of time. Names are
// text and nothing else, and keys aren't shown.
func TestWhoIsThrottled(t *testing.T) {
	t.Parallel()
	forWorkers(t, func(t *testing.T, workers int) {
		for began := time.Now(); !areListed(t, workers); {
			if time.Since(began) > harness.Patience {
				t.Fatal("the lists never had all")
			}
		}
	})
}

// soon waits for what workers tell once a second.
func soon(condition func() bool) bool { return harness.Comes(time.Minute, condition) }

// areListed says whether the lists had all of a new proxy. They have what comes while somebody wants to know, and for ten seconds after that, which a busy machine
// may take longer for.
func areListed(t *testing.T, workers int) bool {
	p := start(t, workers, listed)
	defer p.Stop()
	harness.Await(t, harness.Patience, "all workers have reported", func() bool { return at(p.status(t), "workers") == float64(workers) })
	defer harness.KeepAsking(func() { p.status(t) })()
	var load sync.WaitGroup
	for i := range 8 {
		load.Go(func() {
			for range 5 {
				p.from(t, "user-42", "x-api-key: sk-secret-of-42")
				p.from(t, fmt.Sprint("user-", i))
			}
		})
	}
	const evil = `"><script>alert(1)</script>`
	for range 10 {
		p.from(t, evil, "x-plan: free")
	}
	load.Wait()
	if !soon(func() bool {
		_, list := p.get(t, "subjects?limit=tokens")
		all := at(list, "subjects", 0, "subject") == "user=user-42" && at(list, "subjects", 0, "used") == 40*76.0
		for i := 1; i <= 8; i++ {
			all = all && at(list, "subjects", i, "used") == 5*76.0
		}
		return all
	}) || !soon(func() bool {
		_, list := p.get(t, "subjects?limit=free")
		return at(list, "mostRefused", 0, "refused") == 7.0
	}) {
		return false
	}
	text, list := p.get(t, "subjects?limit=tokens&top=3")
	for _, want := range []struct {
		of   any
		path []any
	}{{3040.0, []any{"subjects", 0, "usedAtMost"}}, {380.0, []any{"subjects", 1, "used"}}, {380.0, []any{"subjects", 2, "used"}}, {nil, []any{"subjects", 3}}, {0.0, []any{"usedError"}}} {
		if got := at(list, want.path...); got != want.of {
			t.Errorf("%v is %v, want %v: %s", want.path, got, want.of, text)
		}
	}
	if told, _ := list["workers"].(float64); workers > 1 && told < 2 {
		t.Errorf("%v workers had requests", told)
	}
	text, list = p.get(t, "subjects?limit=free")
	if at(list, "mostRefused", 0, "subject") != "user="+evil || at(list, "mostRefused", 0, "refused") != 7.0 ||
		at(list, "mostRefused", 0, "lastRefusal", "reason") != "requests_exceeded" || strings.ContainsAny(text, "<>") {
		t.Errorf("refused: %s", text)
	}
	if text, _ = p.get(t, "subjects?limit=keys"); strings.Contains(text, "secret") || !strings.Contains(text, `"key=h:`) {
		t.Errorf("keys: %s", text)
	}
	return theLast(t, p)
}

// theLast has twenty users refused, one after the other, and looks whether that is told.
func theLast(t *testing.T, p *proxy) bool {
	var want []string
	for i := range 20 {
		user := fmt.Sprint("late-", i)
		for range 4 {
			p.from(t, user, "x-plan: free", "x-priority: high")
		}
		want = append(want, "user="+user)
	}
	slices.Reverse(want)
	var got []string
	told := soon(func() bool {
		_, list := p.get(t, "decisions?last=20")
		got = got[:0]
		for i := range 20 {
			subject, _ := at(list, "decisions", i, "subject").(string)
			got = append(got, subject)
			for key, value := range map[string]any{"decision": "REJECTED", "gate": "limits", "reason": "requests_exceeded", "limit": "free", "model": "llama-3",
				"priority": "HIGH", "retryable": true} {
				if is := at(list, "decisions", i, key); subject == want[0] && is != value {
					t.Fatalf("%s is %v, want %v", key, is, value)
				}
			}
		}
		return slices.Equal(got, want)
	})
	if text, list := p.get(t, "decisions"); told && (at(list, "decisions", 26) == nil || at(list, "decisions", 27) != nil) {
		t.Errorf("want 27: %s", text)
	}
	return told
}
