package pagetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// ofEnvoy is a gateway with its admin surface on the same listener: a limit that one user soon meets, and a queue.
func ofEnvoy() string {
	sum := sha256.Sum256([]byte(token))
	return `{"admin": {"path": "/spillway", "tokens": ["sha256:` + hex.EncodeToString(sum[:]) + `"]},
		"limits": [{"name": "user-completion-tokens", "per": ["user"], "unit": "completionTokens", "quantity": 300, "window": "1h"}],
		"upstreams": [{"name": "vllm", "budget": {"requests": 6000}, "concurrency": {"max": 2}, "queue": {"max": 50},
			"latency": {"mode": "enforce", "ttft": "5s", "itl": "1s"}, "breaker": {"mode": "enforce"}}]}`
}

// load has some users ask until the test ends: ann more than she may.
func load(t *testing.T, e *harness.Envoy) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	const users = 6
	for i := range users {
		go func() {
			defer func() { done <- struct{}{} }()
			for n := 0; ctx.Err() == nil; n++ {
				ask(ctx, e, []string{"ann", fmt.Sprintf("user-%d-%d", i, n/3)}[min(i, 1)], []string{"high", "normal", "low"}[i%3])
				select { // that's load enough: the machine has more to do
				case <-ctx.Done():
				case <-time.After(50 * time.Millisecond):
				}
			}
		}()
	}
	t.Cleanup(func() {
		stop()
		for range users {
			<-done
		}
	})
}

// ask sends one request, and returns its status; 0 if there was no answer.
func ask(ctx context.Context, e *harness.Envoy, user, priority string) int {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.URL+"/v1/chat/completions",
		strings.NewReader(`{"model": "llama-3", "stream": true, "messages": [{"role": "user", "content": "hello"}]}`))
	if err != nil {
		return 0
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-User-Id", user)
	r.Header.Set("X-Priority", priority)
	response, err := e.Client.Do(r)
	if err != nil {
		return 0
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// gateway is an Envoy with four workers and a server behind it, and waits for a user to be answered with a status.
func gateway(t *testing.T) (e *harness.Envoy, answers func(user string, status int, otherwise string)) {
	t.Helper()
	sim := llmsim.New(llmsim.Options{Tokens: 76, TTFT: 20 * time.Millisecond, ITL: time.Millisecond})
	t.Cleanup(func() { _ = sim.Close() })
	e = harness.Start(t, harness.Options{Config: ofEnvoy(), Concurrency: 4, Upstream: harness.Serve(t, sim)})
	return e, func(user string, status int, otherwise string) {
		t.Helper()
		for deadline := time.Now().Add(patience); ask(t.Context(), e, user, "urgent") != status; {
			if time.Now().After(deadline) {
				t.Fatal(otherwise)
			}
		}
	}
}

func TestThePageThroughEnvoy(t *testing.T) {
	t.Parallel()
	e, answers := gateway(t)
	load(t, e)
	b := open(t, e.URL+"/spillway/", 1280, true)
	b.shows(" workers")
	b.until("history_.rate.at(-1) > 0", "requests are counted")
	b.until("history_.ttft.at(-1) > 0", "the time to the first token is known")
	b.until("history_.refused.some(Boolean)", "ann is refused")
	b.shows("llama-3 ttft")

	b.press("Drain")
	b.shows("Drain vllm?")
	b.press("Drain")
	b.enter("dialog input", token)
	b.press("Sign in")
	b.shows("drained")
	answers("bert", http.StatusServiceUnavailable, "bert is served though the upstream is drained")
	b.press("Resume")
	answers("bert", http.StatusOK, "bert isn't served though the upstream takes requests again")
	b.accessible("through Envoy")
}

func TestAThresholdAndABalanceAreChangedThroughEnvoy(t *testing.T) {
	t.Parallel()
	e, answers := gateway(t)
	answers("ann", http.StatusTooManyRequests, "ann is never refused")
	b := open(t, e.URL+"/spillway/#tuning", 1280, true)
	b.shows("Limit user-completion-tokens")
	eval[any](b, "document.querySelectorAll('details').forEach(d => { d.open = true; })")
	const quantity = `[id="f/limits/0/quantity"]`
	b.enter(quantity, "0")
	b.press("Apply 1")
	b.enter("dialog input", token)
	b.press("Sign in")
	b.until(`document.querySelector('[id="f/limits/0/quantity-doc"] .error')`, "the proxy's error stands at the field")
	b.enter(quantity, "1000000")
	b.press("Apply 1")
	b.shows("file: 300")
	answers("ann", http.StatusOK, "ann is refused though she may use a million")
	b.press("Reset limits user-completion-tokens quantity")
	b.until("!document.body.innerText.includes('file: 300')", "the file's value is in force")
	answers("ann", http.StatusTooManyRequests, "ann isn't refused any more")

	b.press("Subjects")
	b.enter("[name=subject]", "user=ann")
	b.press("Look up")
	b.until("document.querySelector('[aria-label=\"Balance of user=ann\"]')", "her balance is shown")
	b.press("Unblock user=ann")
	b.shows("user=ann may go on at once.")
	answers("ann", http.StatusOK, "ann is refused though she was unblocked")
	answers("ann", http.StatusTooManyRequests, "ann isn't refused any more")
	b.press("Grant more to user=ann")
	b.enter("dialog [name=grant]", "1000000")
	b.press("Grant")
	b.shows("Granted 1 M to user=ann for 1h.")
	answers("ann", http.StatusOK, "ann is refused though she was granted a million")
	b.accessible("through Envoy")
}

// What doesn't take gzip has the page, too.
func TestThePageIsServedToWhoTakesNoGzip(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Config: ofEnvoy()})
	want, headers := builtPage(t)
	for _, encoding := range []string{"", "gzip", "br, gzip;q=0.5", "gzip;q=0", "br"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.URL+"/spillway/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", encoding)
		response, err := (&http.Transport{DisableCompression: true}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if response.Header.Get("Content-Encoding") == "gzip" {
			if !strings.Contains(encoding, "gzip") || strings.Contains(encoding, "q=0") && !strings.Contains(encoding, "q=0.") {
				t.Errorf("gzip for %q", encoding)
			}
			body = []byte(unzip(t, body))
		}
		if string(body) != want {
			t.Errorf("%q: %d bytes, want the page's %d", encoding, len(body), len(want))
		}
		for name, value := range headers {
			if got := response.Header.Get(name); got != value {
				t.Errorf("%s: %q, want %q", name, got, value)
			}
		}
		if response.Header.Get("Vary") != "accept-encoding" {
			t.Errorf("vary: %q", response.Header.Get("Vary"))
		}
	}
}
