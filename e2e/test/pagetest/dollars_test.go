package pagetest

import (
	"net/http"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// ofDollars has a limit of dollars for a month, which ann soon meets, and one in shadow mode; an answer of 76 tokens costs 0.000076 dollars.
const ofDollars = `{"admin": {"path": "/spillway"}, "prices": [{"models": ["llama-*"], "prompt": 0, "completion": 1}],
	"limits": [{"name": "user-month", "per": ["user"], "unit": "usd", "quantity": 0.0002, "window": "month"},
		{"name": "watched", "per": ["user"], "unit": "usd", "quantity": 0.0001, "window": "day", "mode": "shadow"},
		{"name": "all", "unit": "usd", "quantity": 1234.5, "window": "720h"}]}`

// Dollars are dollars on the page, to the billionth where they are few, and a window says when it is over.
func TestDollarsOnThePageThroughEnvoy(t *testing.T) {
	t.Parallel()
	sim := llmsim.New(llmsim.Options{Tokens: 76, TTFT: time.Millisecond, ITL: time.Microsecond})
	t.Cleanup(func() { _ = sim.Close() })
	e := harness.Start(t, harness.Options{Config: ofDollars, Concurrency: 4, Upstream: harness.Serve(t, sim)})
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusOK, http.StatusTooManyRequests} {
		if got := ask(t.Context(), e, "ann", "normal"); got != want {
			t.Errorf("request %d: %d, want %d", i, got, want)
		}
	}
	harness.Await(t, patience, "what was spent of each limit is a metric", func() bool {
		spent := func(limit string) float64 { return e.Sum("spillway_spend_nanodollars_total", "limit", limit) }
		return spent("user-month") == 3*76_000 && spent("all") == 3*76_000 && spent("watched") == 2*76_000
	})
	b := open(t, e.URL+"/spillway/", 1280, true)
	b.shows("$0.0002 per month")
	b.shows("$0.0001 per day")
	b.shows("$1,234.50 in 30 d")
	b.shows("again in ")
	b.until(`[...document.querySelectorAll('td small')].filter(e => / per (month|day), again in \d+ (d|h|min|s)/.test(e.textContent)).length === 2`, "windows say when they are over")
	b.press("user-month")
	b.shows("$0.000228")
	b.enter("[name=subject]", "user=ann")
	b.press("Look up")
	b.until(`document.querySelector('[aria-label="Balance of user=ann"]')?.innerText.includes('−$0.000028')`, "the debt is in dollars, too")
	b.press("Refusals")
	b.shows("spend exceeded")
	b.accessible("with dollars")
}
