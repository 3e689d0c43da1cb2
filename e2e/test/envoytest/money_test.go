package envoytest

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// An answer of 50 tokens costs a thousandth of a dollar; each limit is for the requests that name it.
const moneyConfig = `{"requestHold": "stopIteration", "admin": {"path": "/spillway"},
	"prices": [{"models": ["mock-llm"], "prompt": 0, "completion": 20}, {"models": ["free"], "prompt": 0}], "unpriced": "%s",
	"limits": [
		{"name": "strict", "per": ["user"], "unit": "usd", "quantity": 0.02, "window": "month", "admission": "strict", "match": {"headers": {"x-limit": "strict"}}},
		{"name": "watched", "per": ["user"], "unit": "usd", "quantity": 0.002, "window": "month", "mode": "shadow", "match": {"headers": {"x-limit": "watched"}}},
		{"name": "window", "per": ["user"], "unit": "usd", "quantity": 0.004, "window": "2s", "refill": "window", "admission": "strict", "match": {"headers": {"x-limit": "window"}}}]}`

const streamOf50 = `{"model":"mock-llm","max_tokens":50,"stream":true,"messages":[{"role":"user","content":"hello"}]}`

func TestBudgetsOfDollars(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(strconv.Itoa(workers)+" workers", func(t *testing.T) {
			t.Parallel()
			harness.AwaitDay(t) // no month ends meanwhile
			g := start(t, harness.Options{Concurrency: workers, Config: fmt.Sprintf(moneyConfig, "reject")}, llmsim.Options{NoHistory: true, Tokens: 50})
			spent := func(limit string) float64 { return g.Sum("spillway_spend_nanodollars_total", "limit", limit) }
			for round, body := range []string{boundedTo50, streamOf50} {
				name := fmt.Sprint("s", round)
				before := spent("strict")
				if got := g.crowd(t, 100, body, user(name, "x-limit", "strict", "x-sim-ttft", "20ms")); got != 20 {
					t.Errorf("%d answers of a thousandth of a dollar pass a limit of 0.02", got)
				}
				harness.Await(t, patience, "20 answers are counted, to the billionth of a dollar", func() bool { return spent("strict")-before == 20_000_000 })
				if a := g.do(t, newRequest(t, http.MethodGet, g.URL+"/spillway/limits/strict?subject="+name, nil, nil)); !strings.Contains(string(a.body), `"quantity":0.02,"burst":0.02,"used":0.02,"reserved":0,"remaining":0,`) {
					t.Errorf("%v", a)
				}
				refused := g.post(t, chatPath, body, user(name, "x-limit", "strict"))
				wantStatus(t, refused, http.StatusTooManyRequests)
				if !strings.Contains(string(refused.body), "on spend per month: limit $0.02, used $0.02, requested $0.001.") {
					t.Errorf("%v", refused)
				}
				wantStatus(t, g.post(t, chatPath, strings.Replace(boundedTo50, "mock-llm", "free", 1), user(name, "x-limit", "strict")), http.StatusOK)
			}
			for range 10 {
				wantStatus(t, g.post(t, chatPath, boundedTo50, user("w", "x-limit", "watched")), http.StatusOK)
			}
			if got := g.Sum("spillway_requests_total", "limit", "watched", "decision", "SHADOW"); got != 8 {
				t.Errorf("%v would have been refused, want 8", got)
			}
			for _, body := range []string{`{"model":"other"}`, `{"model":"free","model":"mock-llm"}`, `{"MODEL":"free"}`, `{"model":"free"`, `{"model":"free","fallbacks":["mock-llm"]}`} {
				a := g.post(t, chatPath, body, user("u", "x-limit", "strict"))
				wantStatus(t, a, http.StatusBadRequest)
				wantHeaders(t, a, map[string]string{"x-spillway-reason": "limits/unpriced", "x-should-retry": "false"})
			}
			if got := g.Sum("spillway_unpriced_total"); got != 5 {
				t.Errorf("%v have no price, want 5", got)
			}
			dollarsOfWindows(t, g)
		})
	}
}

// dollarsOfWindows has a limit's window end again and again while requests run: each gives its dollars once.
func dollarsOfWindows(t *testing.T, g *gateway) {
	eachWindowGives(t, 4, 2*time.Second, 3, func() answer { return g.post(t, chatPath, boundedTo50, user("ann", "x-limit", "window")) })
}

const (
	pricesOfKinds = `{"requestHold": "stopIteration", "admin": {"path": "/spillway"}, "unpriced": "pass", "prices": [
		{"models": ["kinds"], "prompt": 2, "cached": 0.2, "cacheWrite": 2.5, "audioPrompt": 40, "completion": 8, "reasoning": 9, "audioCompletion": 80, "request": 0.01,
			"above": {"promptTokens": 1000, "prompt": 4, "completion": 16}},
		{"models": ["each"], "request": 0.015}, {"models": ["half"], "prompt": 0.0005}],
		"limits": [{"name": "spent", "per": ["user"], "unit": "usd", "quantity": 0.04, "window": "month", "admission": "strict"}]}`
	ofKinds = `"usage":{"prompt_tokens":100,"prompt_tokens_details":{"cached_tokens":20,"audio_tokens":5},"cache_creation_input_tokens":10,` +
		`"completion_tokens":50,"completion_tokens_details":{"reasoning_tokens":30,"audio_tokens":4}}`
)

// Each kind of tokens has its price, long prompts have theirs, and so has a request: exact to the billionth, wherever it is told.
func TestDollarsOfEachKind(t *testing.T) {
	harness.AwaitDay(t)
	answers := harness.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", map[bool]string{false: "application/json", true: "text/event-stream"}[strings.HasPrefix(r.Header.Get("x-answer"), "data:")])
		_, _ = io.WriteString(w, strings.ReplaceAll(r.Header.Get("x-answer"), "|", "\n\n"))
	}))
	g := &gateway{Envoy: harness.Start(t, harness.Options{Concurrency: 4, Config: pricesOfKinds, Upstream: answers})}
	total, send := 0., func(name, path, model, answer string) answer {
		return g.post(t, path, `{"model":"`+model+`","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}`, user(name, "x-answer", answer))
	}
	for i, row := range []struct {
		path, model, answer string
		nanos               float64
		used                string
	}{
		{chatPath, "kinds", `{` + ofKinds + `}`, 11_077_000, "0.011077"}, // 65*2000 + 20*200 + 10*2500 + 5*40000 and 16*8000 + 30*9000 + 4*80000, and a request
		{chatPath, "kinds", `data: {"choices":[{"delta":{"content":"a"}}]}|data: {"choices":[],` + ofKinds + `}|data: [DONE]|`, 11_077_000, "0.011077"},
		{"/v1/messages", "kinds", `{"type":"message","usage":{"input_tokens":65,"cache_read_input_tokens":20,"cache_creation_input_tokens":10,"output_tokens":50}}`, 10_559_000, "0.010559"},
		{chatPath, "kinds", `{"usage":{"prompt_tokens":1000,"completion_tokens":10}}`, 12_080_000, "0.01208"},
		{chatPath, "kinds", `{"usage":{"prompt_tokens":1001,"prompt_tokens_details":{"cached_tokens":1},"completion_tokens":10}}`, 14_164_000, "0.014164"},
		{chatPath, "half", `{"usage":{"prompt_tokens":3,"completion_tokens":10}}`, 2, "0.000000002"}, // 1.5, a half up
		{chatPath, "other", `{` + ofKinds + `}`, 0, "0"},
		{chatPath, "each", `{` + ofKinds + `}`, 15_000_000, "0.015"},
	} {
		name := fmt.Sprint("k", i)
		wantStatus(t, send(name, row.path, row.model, row.answer), http.StatusOK)
		total += row.nanos
		harness.Await(t, patience, fmt.Sprintf("row %d costs %v", i, row.nanos), func() bool { return g.Sum("spillway_spend_nanodollars_total", "limit", "spent") == total })
		if a := g.do(t, newRequest(t, http.MethodGet, g.URL+"/spillway/limits/spent?subject="+name, nil, nil)); !strings.Contains(string(a.body), `"used":`+row.used+`,"reserved":0,`) {
			t.Errorf("row %d: %v", i, a)
		}
	}
	wantStatus(t, send("k0", chatPath, "each", `{}`), http.StatusOK)
	if a := send("k0", chatPath, "each", `{}`); a.status != http.StatusTooManyRequests || !strings.Contains(string(a.body), "limit $0.04, used $0.026077, requested $0.015.") {
		t.Errorf("%v", a)
	}
	wantStatus(t, send("k0", chatPath, "other", `{}`), http.StatusOK)
	if got := g.Sum("spillway_unpriced_total"); got != 2 {
		t.Errorf("%v have no price, want 2", got)
	}
	harness.Await(t, patience, "status lists the model without a price", func() bool {
		return strings.Contains(string(g.do(t, newRequest(t, http.MethodGet, g.URL+"/spillway/status", nil, nil)).body), `"unpriced":[{"model":"other"`)
	})
}
