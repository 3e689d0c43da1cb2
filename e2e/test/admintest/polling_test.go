package admintest

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// Who polls the status costs no more than a part of what a request costs that is governed: it is answered from what was made once for all (what that
// takes is pinned in wasmtest). So what 200 of them cost once a second is less than what 100 requests do; a quarter is usual, most of which is Envoy's own.
func TestPollingCost(t *testing.T) {
	t.Parallel()
	p := start(t, 1, `"limits": [{"name": "r", "per": ["user"], "unit": "totalTokens", "quantity": 1000000000, "window": "1h"}],
		"upstreams": [{"name": "llm", "concurrency": {"max": 1000}, "breaker": {"mode": "enforce"}, "latency": {"mode": "enforce"}}]`)
	p.chat(t, "ann")
	const clients, each = 200, 5
	cost := func(what func()) time.Duration {
		before := p.CPU()
		var all sync.WaitGroup
		for range clients {
			all.Go(func() {
				for range each {
					what()
				}
			})
		}
		all.Wait()
		return (p.CPU() - before) / (clients * each)
	}
	polls := func(headers ...string) func() {
		return func() {
			if a := ask(t, p.Client, http.MethodGet, p.Surface+"/spillway/status", "", append(headers, bearer)...); a.status != http.StatusOK && a.status != http.StatusNotModified {
				t.Errorf("status %d", a.status)
			}
		}
	}
	chats := func() { p.chat(t, "ann") }
	cost(chats) // what a first time costs
	cost(polls())
	var asked, polled, unchanged time.Duration
	for range 10 { // the machine has other work, too, which costs one or another more: what is never so cheap is too dear
		if asked, polled, unchanged = cost(chats), cost(polls()), cost(polls("if-none-match: *")); 2*max(polled, unchanged) <= asked {
			break
		}
	}
	t.Logf("CPU of a request %v, of a status %v, of one that has not changed %v", asked, polled, unchanged)
	if 2*polled > asked || 2*unchanged > asked {
		t.Errorf("a status costs %v, one that has not changed %v, a governed request %v", polled, unchanged, asked)
	}
	harness.Await(t, harness.Patience, "the load is told", func() bool { n, _ := at(p.status(t), "requests", "ALLOWED").(float64); return n >= clients*each })
}
