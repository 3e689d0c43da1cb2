package admintest

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// A quantity is lowered, by an override and by a new file, and raised again, while a request runs: in every worker what was used counts on, once, nobody is in debt
// for longer than he would have waited before, and what ran is charged.
func TestALimitIsLowered(t *testing.T) {
	t.Parallel()
	const workers, day = 4, 24 * 3600.0
	sim, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{Models: []string{"llama-3"}, Tokens: 76})
	file := func(requests int) string {
		return fmt.Sprintf(`{%s,"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":%d,"window":"24h"},
			{"name":"t","per":["user"],"unit":"completionTokens","quantity":%d,"window":"8760h"}]}`, admin("open"), requests, 100*requests)
	}
	p := &proxy{harness.Start(t, harness.Options{Config: file(10), Surface: `{"mode":"off",` + admin("token") + `}`, Upstream: address, Concurrency: workers}), sim}
	began := time.Now()
	stands := func(what string, used, remaining float64, reset float64) {
		t.Helper()
		_, is := p.get(t, "limits/r?subject=ann")
		if late := at(is, "resetsInSeconds").(float64) - reset; at(is, "used") != used || at(is, "remaining") != remaining || late < -time.Since(began).Seconds()-1 || late > 10 {
			t.Errorf("%s: %v, want %v used, %v left, all back after %v s", what, is, used, remaining, reset)
		}
	}
	for range 7 {
		if a := p.from(t, "ann"); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	ran := make(chan answer)
	go func() { ran <- p.from(t, "ann", "x-sim-ttft: 4s") }()
	harness.Await(t, harness.Patience, "it runs", func() bool { return sim.Stats().Received == 8 })
	stands("before", 8, 2, 0.8*day)
	revision := 0
	refused := func() {
		t.Helper()
		for range 5 * workers { // on a connection of its own each: to every worker all but certainly
			if a := p.from(t, "ann"); a.status != http.StatusTooManyRequests {
				t.Errorf("%d %s", a.status, a.body)
			}
		}
	}
	change := func(quantity int) {
		t.Helper()
		if a := ask(t, p.Client, http.MethodPatch, p.Surface+"/spillway/overrides", fmt.Sprintf(`{"limits":{"r":{"quantity":%d}}}`, quantity), bearer,
			"content-type: application/json"); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		revision++
		harness.Await(t, harness.Patience, "every worker goes by it", func() bool {
			_, is := p.get(t, "config?overrides")
			return at(is, "workers", 0, "revision") == float64(revision) && at(is, "workers", 0, "workers") == float64(workers)
		})
	}
	change(5)
	refused()
	stands("lowered", 8, -3, 0.8*day)
	change(1)
	refused()
	stands("lowered by much", 8, -7, 0.8*day)
	if a := <-ran; a.status != http.StatusOK {
		t.Errorf("what ran: %d %s", a.status, a.body)
	}
	harness.Await(t, harness.Patience, "what ran is charged, too", func() bool {
		_, is := p.get(t, "limits/t?subject=ann")
		return at(is, "used") == 8*76.0 && at(is, "reserved") == 0.0
	})
	if err := p.Reconfigure(file(6)); err != nil { // the override is laid over it
		t.Fatal(err)
	}
	stands("a new file", 8, -7, 0.8*day)
	if a := ask(t, p.Client, http.MethodDelete, p.Surface+"/spillway/overrides", "", bearer); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	harness.Await(t, harness.Patience, "the file's is in force", func() bool { _, is := p.get(t, "limits/r?subject=ann"); return at(is, "quantity") == 6.0 })
	stands("the new file's", 8, -2, 0.8*day)
	_, tokens := p.get(t, "limits/t?subject=ann")
	if at(tokens, "used") != 608.0 || at(tokens, "remaining") != -8.0 {
		t.Errorf("tokens: %v", tokens)
	}
	if err := p.Reconfigure(file(10)); err != nil {
		t.Fatal(err)
	}
	passed := 0
	harness.Await(t, harness.Patience, "two more pass, and then none", func() bool {
		a := p.from(t, "ann")
		if a.status == http.StatusOK {
			passed++
		}
		_, is := p.get(t, "limits/r?subject=ann")
		return a.status == http.StatusTooManyRequests && at(is, "quantity") == 10.0 && at(is, "remaining") == 0.0
	})
	refused()
	if passed != 2 {
		t.Errorf("%d have passed, want 2", passed)
	}
	stands("raised again", 10, 0, day)
}
