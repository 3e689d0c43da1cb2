package envoytest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

const (
	clients = 64 // at once, over 4 workers of Envoy

	// Each limit applies to the requests that name it. The windows are long enough for nothing to leak back during a test.
	exactConfig = `{"limits": [
		{"name": "hundred", "per": ["user"], "unit": "requests", "quantity": 100, "window": "8760h", "admission": "strict",
			"match": {"headers": {"x-limit": "hundred"}}},
		{"name": "one", "per": ["user"], "unit": "requests", "quantity": 1, "window": "8760h", "admission": "strict",
			"match": {"headers": {"x-limit": "one"}}},
		{"name": "lenient", "per": ["user"], "unit": "completionTokens", "quantity": 1000, "window": "8760h", "admission": "lenient",
			"match": {"headers": {"x-limit": "lenient"}}},
		{"name": "strict", "per": ["user"], "unit": "completionTokens", "quantity": 1000, "window": "8760h", "admission": "strict",
			"match": {"headers": {"x-limit": "strict"}}}
	]}`
)

func TestLimitsAreExactOverFourWorkersAndManyClients(t *testing.T) {
	t.Parallel()
	g := start(t, harness.Options{Config: exactConfig, Concurrency: 4}, llmsim.Options{NoHistory: true})

	t.Run("of 400 requests exactly 100 pass a limit of 100", func(t *testing.T) {
		for round := range 4 {
			if got := g.crowd(t, 400, chatBody, user(fmt.Sprint("h", round), "x-limit", "hundred")); got != 100 {
				t.Errorf("round %d: %d passed, want 100", round, got)
			}
		}
	})
	t.Run("of 64 first requests of a new user exactly one passes a limit of 1", func(t *testing.T) {
		for round := range 50 {
			if got := g.crowd(t, clients, chatBody, user(fmt.Sprint("o", round), "x-limit", "one")); got != 1 {
				t.Errorf("round %d: %d passed, want 1", round, got)
			}
		}
	})
	t.Run("a strict limit of 1000 tokens passes 20 answers of 50 and no more", func(t *testing.T) {
		for round := range 3 {
			h := user(fmt.Sprint("s", round), "x-limit", "strict", "x-sim-ttft", "20ms")
			if got := g.crowd(t, 200, boundedTo50, h); got != 20 {
				t.Errorf("round %d: %d answers passed, want 20", round, got)
			}
		}
	})
	// Lenient admission passes a request while anything is left, so the last one may go over by what it uses.
	t.Run("a lenient limit of 1000 tokens whose requests state their bound is passed by one answer at most", func(t *testing.T) {
		for round := range 3 {
			h := user(fmt.Sprint("l", round), "x-limit", "lenient", "x-sim-ttft", "20ms")
			if got := g.crowd(t, 200, boundedTo50, h) * 50; got < 1000 || got > 1000+50 {
				t.Errorf("round %d: %d tokens passed, want 1000 to 1050", round, got)
			}
		}
	})
	// Here the reservations are ten times too small, for the worst that can happen.
	t.Run("a lenient limit of 1000 tokens is passed by one answer per request in flight at most", func(t *testing.T) {
		for round := range 3 {
			name := fmt.Sprint("w", round)
			for range 4 * 10 { // for each worker to have learned it
				wantStatus(t, g.chat(t, user(name+"-taught", "x-limit", "lenient", "x-sim-tokens", "5")), http.StatusOK)
			}
			h := user(name, "x-limit", "lenient", "x-sim-tokens", "50", "x-sim-ttft", "50ms")
			got := g.crowd(t, 200, chatBody, h) * 50
			if got > 1000+clients*50 {
				t.Errorf("round %d: %d tokens passed, want at most %d", round, got, 1000+clients*50)
			}
			t.Logf("round %d: %d tokens passed a limit of 1000", round, got)
		}
	})
}

const boundedTo50 = `{"model":"mock-llm","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}`

// crowd sends n equal requests from many clients that start at once, and counts those that pass. All others must have
// been refused by a limit.
func (g *gateway) crowd(t *testing.T, n int, body string, h headers) (passed int) {
	t.Helper()
	var sent, ok, other atomic.Int64
	var done sync.WaitGroup
	begin := make(chan struct{})
	for range min(clients, n) {
		done.Go(func() {
			<-begin
			for sent.Add(1) <= int64(n) {
				a, err := g.try(newRequest(t, http.MethodPost, g.URL+chatPath, h, strings.NewReader(body)))
				switch {
				case err == nil && a.status == http.StatusOK:
					ok.Add(1)
				case err != nil || a.status != http.StatusTooManyRequests || !strings.HasPrefix(a.header.Get("x-spillway-reason"), "limits/"):
					other.Add(1)
					t.Errorf("neither passed nor refused: %v, error %v", a, err)
				}
			}
		})
	}
	close(begin)
	done.Wait()
	if other.Load() > 0 {
		t.FailNow()
	}
	return int(ok.Load())
}
