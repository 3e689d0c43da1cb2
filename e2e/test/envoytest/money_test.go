package envoytest

import (
	"fmt"
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
	const window = 2 * time.Second
	from := time.Now()
	end := from.Truncate(window).Add(3 * window)
	passed := passUntil(end, func() answer { return g.post(t, chatPath, boundedTo50, user("ann", "x-limit", "window")) })
	windows := int(time.Now().Truncate(window).Sub(from.Truncate(window))/window) + 1
	if passed < 3*4 || passed > windows*4 {
		t.Errorf("%d have passed, want three times 4, and no more than %d times", passed, windows)
	}
}
