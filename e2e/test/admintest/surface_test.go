// Package admintest asks the admin surface through the real Envoy.
package admintest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

const (
	oldToken = "the token of last month"
	newToken = "the token of this month"
)

func hashOf(token string) string { return fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(token))) }

func admin(read string) string {
	return fmt.Sprintf(`"admin": {"path": "/spillway", "read": %q, "tokens": [%q, %q]}`, read, hashOf(oldToken), hashOf(newToken))
}

// proxy is an Envoy with a server behind it, whose admin surface stands on a listener of its own and on the gateway.
type proxy struct {
	*harness.Envoy
	sim *llmsim.Server
}

func start(t *testing.T, workers int, gateway string) *proxy {
	t.Helper()
	sim, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{Models: []string{"llama-3"}, Tokens: 76})
	return &proxy{harness.Start(t, harness.Options{Config: `{` + admin("open") + `,` + gateway + `}`, Surface: `{"mode": "off", ` + admin("token") + `}`,
		Upstream: address, Concurrency: workers}), sim}
}

// answer is what came of a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends one request, with "name: value" headers.
func ask(t *testing.T, client *http.Client, method, url, body string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

const bearer = "authorization: Bearer " + newToken

// chat asks the gateway, as a user.
func (p *proxy) chat(t *testing.T, user string) answer {
	t.Helper()
	return ask(t, p.Client, http.MethodPost, p.URL+"/v1/chat/completions", `{"model":"llama-3","messages":[{"role":"user","content":"hi"}]}`,
		"content-type: application/json", "x-user-id: "+user)
}

// status is what the surface on the listener says.
func (p *proxy) status(t *testing.T) (status map[string]any) {
	t.Helper()
	a := ask(t, p.Client, http.MethodGet, p.Surface+"/spillway/status", "", bearer)
	if a.status != http.StatusOK {
		t.Fatalf("status: %d %s", a.status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &status); err != nil {
		t.Fatalf("status: %q: %v", a.body, err)
	}
	return status
}

// at looks something up in what was decoded: at(status, "upstreams", 0, "queue", "value").
func at(value any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			object, _ := value.(map[string]any)
			value = object[step]
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				return nil
			}
			value = list[step]
		}
	}
	return value
}

const governed = `"limits": [{"name": "user-completion-tokens", "per": ["user"], "unit": "completionTokens", "quantity": 300, "window": "8760h"}],
	"upstreams": [{"name": "llm", "budget": {"requests": 1000, "window": "8760h"}, "concurrency": {"max": 8}, "breaker": {"mode": "enforce"}, "latency": {"mode": "shadow"}}]`

func forWorkers(t *testing.T, test func(t *testing.T, workers int)) {
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprint(workers), func(t *testing.T) {
			t.Parallel()
			test(t, workers)
		})
	}
}

// What the surface says is so of all workers, whichever is asked, on its own listener as on the gateway; and asking is no traffic.
func TestStatus(t *testing.T) {
	t.Parallel()
	forWorkers(t, func(t *testing.T, workers int) {
		p := start(t, workers, governed)
		harness.Await(t, harness.Patience, "all workers have reported", func() bool { return at(p.status(t), "workers") == float64(workers) })
		for range 5 {
			p.chat(t, "ann")
		}
		harness.Await(t, harness.Patience, "all requests are told", func() bool {
			s := p.status(t)
			return at(s, "requests", "ALLOWED") == 4.0 && at(s, "requests", "REJECTED") == 1.0 && at(s, "tokens", "completion") == 304.0
		})
		s := p.status(t)
		for _, want := range []struct {
			of   any
			path []any
		}{{"enforce", []any{"mode"}}, {"user-completion-tokens", []any{"limits", 0, "name"}}, {300.0, []any{"limits", 0, "quantity"}},
			{996.0, []any{"upstreams", 0, "budget", "requestsLeft"}}, {8.0, []any{"upstreams", 0, "queue", "slots"}}, {"CLOSED", []any{"upstreams", 0, "breaker", "state"}},
			{"OFF", []any{"upstreams", 0, "throttle", "state"}}, {nil, []any{"pressure", "ageSeconds"}}} {
			if got := at(s, want.path...); got != want.of {
				t.Errorf("%v is %v, want %v", want.path, got, want.of)
			}
		}
		for _, url := range []string{p.Surface, p.URL} {
			for path, status := range map[string]int{"/spillway/healthz": 200, "/spillway/readyz": 200, "/spillway/": 200, "/spillway/nothing": 404, "/spillway/status/": 404} {
				if a := ask(t, p.Client, http.MethodGet, url+path, ""); a.status != status {
					t.Errorf("%s: %d %s", path, a.status, a.body)
				}
			}
			if a := ask(t, p.Client, http.MethodPost, url+"/spillway/status", "{}", bearer, "content-type: application/json"); a.status != 405 || a.header.Get("allow") != "GET, HEAD" {
				t.Errorf("POST status: %d %v", a.status, a.header)
			}
		}
		if received := p.sim.Stats().Received; received != 4 {
			t.Errorf("the server has seen %d requests, want 4", received)
		}
		if counted := p.Sum("spillway_requests_total"); counted != 5 {
			t.Errorf("%v requests are counted, want 5", counted)
		}
	})
}

// Who has what was asked for already isn't sent it again.
func TestNotModified(t *testing.T) {
	t.Parallel()
	p := start(t, 1, governed)
	harness.Await(t, harness.Patience, "304 within a second", func() bool {
		first := ask(t, p.Client, http.MethodGet, p.URL+"/spillway/status", "")
		again := ask(t, p.Client, http.MethodGet, p.URL+"/spillway/status", "", "if-none-match: "+first.header.Get("etag"))
		return again.status == http.StatusNotModified && again.body == "" && again.header.Get("etag") == first.header.Get("etag")
	})
}

// Reading takes a token where the configuration says so; of two that are good either is.
func TestTokens(t *testing.T) {
	t.Parallel()
	p := start(t, 1, governed)
	for authorization, want := range map[string]int{"": 401, "Bearer nonsense": 403, "Bearer " + oldToken: 200, "Bearer " + newToken: 200, "Basic " + newToken: 401} {
		if a := ask(t, p.Client, http.MethodGet, p.Surface+"/spillway/status", "", "authorization: "+authorization); a.status != want {
			t.Errorf("%q: %d, want %d", authorization, a.status, want)
		}
	}
	harness.Await(t, harness.Patience, "a dozen wrong ones within a minute are too many", func() bool { // a busy machine may take longer for a dozen
		for range 12 {
			ask(t, p.Client, http.MethodGet, p.Surface+"/spillway/status", "", "authorization: Bearer guess")
		}
		a := ask(t, p.Client, http.MethodGet, p.Surface+"/spillway/status", "", "authorization: Bearer guess")
		return a.status == 429 && a.header.Get("retry-after") != ""
	})
	p.status(t) // a right one passes all the same
}

// HTTP/2 is the same.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	p := start(t, 1, governed)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for _, url := range []string{p.Surface, p.URL} {
		if a := ask(t, client, http.MethodGet, url+"/spillway/status", "", bearer); a.status != 200 || !strings.HasPrefix(a.body, `{"version":`) {
			t.Errorf("%d %s", a.status, a.body)
		}
		if a := ask(t, client, http.MethodPost, url+"/spillway/status", strings.Repeat("x", 10<<20), bearer, "content-type: application/json"); a.status != 405 {
			t.Errorf("10 MB to what takes none: %d", a.status)
		}
	}
}

// An upstream is drained in all workers at once, and what runs goes on; nothing of it needs the gateway's own listener.
func TestDrain(t *testing.T) {
	t.Parallel()
	forWorkers(t, func(t *testing.T, workers int) {
		p := start(t, workers, governed)
		harness.Await(t, harness.Patience, "all workers have reported", func() bool { return at(p.status(t), "workers") == float64(workers) })
		runs := make(chan answer)
		go func() {
			runs <- ask(t, p.Client, http.MethodPost, p.URL+"/v1/chat/completions", `{"model":"llama-3","messages":[{"role":"user","content":"hi"}]}`,
				"content-type: application/json", "x-user-id: bob", "x-sim-ttft: 3s")
		}()
		harness.Await(t, harness.Patience, "it runs", func() bool { return p.sim.Stats().Received == 1 })
		if a := ask(t, p.Client, http.MethodPost, p.Surface+"/spillway/upstreams/llm/drain", ""); a.status != http.StatusUnauthorized {
			t.Errorf("drain without a token: %d", a.status)
		}
		if a := ask(t, p.Client, http.MethodPost, p.Surface+"/spillway/upstreams/llm/drain", "", bearer); a.status != http.StatusOK {
			t.Fatalf("drain: %d %s", a.status, a.body)
		}
		began := time.Now()
		refused := 0
		harness.Await(t, harness.Patience, "every worker refuses", func() bool {
			transport := &http.Transport{DisableKeepAlives: true} // another worker may have it
			a := ask(t, &http.Client{Transport: transport}, http.MethodPost, p.URL+"/v1/chat/completions", `{"model":"llama-3","messages":[{"role":"user","content":"hi"}]}`,
				"content-type: application/json", fmt.Sprint("x-user-id: ", time.Now()))
			if refused++; a.status != http.StatusServiceUnavailable {
				refused = 0
			} else if a.header.Get("x-spillway-reason") != "queue/drained" || a.header.Get("retry-after") == "" {
				t.Fatalf("refused by %v", a.header)
			}
			return refused >= 8*workers
		})
		t.Logf("after %v all refuse", time.Since(began))
		if a := <-runs; a.status != http.StatusOK {
			t.Errorf("what ran was answered %d", a.status)
		}
		ask(t, p.Client, http.MethodPost, p.Surface+"/spillway/upstreams/llm/resume", "", bearer)
		harness.Await(t, harness.Patience, "requests pass again", func() bool { return p.chat(t, "carol").status == http.StatusOK })
	})
}

// The commands of the page about it do what it says.
func TestCommandsOfThePage(t *testing.T) {
	t.Parallel()
	p := start(t, 1, governed)
	text, err := os.ReadFile(harness.InRepository(t, "docs/admin.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) == 0 {
		t.Fatal("there are no commands")
	}
	for _, block := range blocks {
		script := strings.ReplaceAll(block[1], "http://127.0.0.1:10001", p.URL) // where reading is open, as on the listener of the page
		ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
		command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
		command.Env = append(os.Environ(), "TOKEN="+newToken)
		out, err := command.CombinedOutput()
		cancel()
		if err != nil || !allJSON(out) || strings.Contains(string(out), `"errors"`) {
			t.Errorf("%s\ngave %s (%v)", script, out, err)
		}
	}
}

// allJSON says that a text is one JSON text behind the other.
func allJSON(text []byte) bool {
	d := json.NewDecoder(bytes.NewReader(text))
	for {
		var value any
		if err := d.Decode(&value); err != nil {
			return err == io.EOF
		}
	}
}
