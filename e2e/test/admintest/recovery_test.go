package admintest

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// A breaker that is open in every worker is closed by a reset: the next request passes, whichever worker has it.
func TestBreakerReset(t *testing.T) {
	t.Parallel()
	forWorkers(t, func(t *testing.T, workers int) {
		p := start(t, workers, `"upstreams": [{"name": "llm", "concurrency": {"max": 8}, "breaker": {"mode": "enforce", "minRequests": 5, "window": "10m", "openFor": "10m"}}]`)
		for range 2 {
			open := 0
			harness.Await(t, harness.Patience, "the breaker is open in every worker", func() bool {
				if a := p.any(t, "x-sim-status: 500"); a.header.Get("x-spillway-reason") != "breaker/open" {
					open = 0
				} else {
					open++
				}
				return open > 8*workers
			})
			p.change(t, "/upstreams/llm/breaker/reset?model=llama-3")
			for range 16 * workers {
				if a := p.any(t); a.status != http.StatusOK {
					t.Fatalf("after the reset: %d %s", a.status, a.body)
				}
			}
		}
	})
}

// A retreat that has gone down to its floor, and holds everything back that comes, is over when it is reset, whichever worker has the next
// request. (Its last answer has told the caller to stay away for some seconds, which holds on.)
func TestRetreatReset(t *testing.T) {
	t.Parallel()
	forWorkers(t, func(t *testing.T, workers int) {
		p := start(t, workers, `"upstreams": [{"name": "llm", "budget": {"requests": 100000, "window": "600s"}, "queue": {"max": 10, "maxWait": {"normal": "300ms"}},
			"retreat": {"window": "60s", "every": "100ms", "minSamples": 40, "minRequests": 1, "recoverWindow": "60s"}}]`)
		harness.Await(t, harness.Patience, "nothing goes any more", func() bool {
			return p.any(t, "x-sim-status: 429").header.Get("x-spillway-reason") == "queue/timeout"
		})
		p.change(t, "/upstreams/llm/retreat/reset")
		harness.Await(t, harness.Patience, "it is over in every worker", func() bool {
			for range 8 * workers { // in a row: at the floor one would go in ten minutes
				if p.any(t).status != http.StatusOK {
					return false
				}
			}
			return true
		})
	})
}

// A flood of 429 uses up a budget of 6,000 a minute and lowers it to its floor, 30. Nobody resets it: the next requests go at the lowered rate as soon as the
// flood is over, where paying for the flood, 400 at least, at that rate would take longer than the test waits; and no faster.
func TestAFloodIsNoDebt(t *testing.T) {
	t.Parallel()
	forWorkers(t, func(t *testing.T, workers int) {
		p := start(t, workers, `"upstreams": [{"name": "llm", "budget": {"requests": 6000, "window": "60s"},
			"retreat": {"window": "60s", "every": "100ms", "minSamples": 400, "minRequests": 30, "recoverWindow": "10m"}}]`)
		harness.Await(t, harness.Patience, "the budget is at its floor", func() bool {
			for range 50 { // several, since as many are to come within the window
				p.any(t, "x-sim-status: 429", "x-sim-retry-after: 0")
			}
			return p.Sum("spillway_retreat_alarm", "upstream", "llm") == 1
		})
		began, passed := time.Now(), 0
		harness.Await(t, harness.Patience, "requests go at the lowered rate", func() bool {
			if p.any(t).status == http.StatusOK {
				passed++
			}
			return passed >= 2
		})
		if most := time.Since(began).Seconds()/2 + 2; float64(passed) > most {
			t.Errorf("%d have passed, at most %.1f may", passed, most)
		}
	})
}

// The VM that holds an admin's request dies: nothing of it reaches the upstream, nothing is changed, and the surface answers again. What was changed
// before stays.
func TestSurfaceOutlivesItsVM(t *testing.T) {
	t.Parallel()
	wasm, err := envoyproc.LocateTrapWasm()
	if err != nil {
		t.Fatal(err)
	}
	sim, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{})
	g := &steered{Envoy: harness.Start(t, harness.Options{Wasm: wasm, Upstream: address, Config: `{` + tokensOf(steeringToken) + `,"upstreams":[{"name":"llm"}]}`})}
	if status, answer := g.admin(t, http.MethodPatch, "/overrides", `{"statusCode":{"limits":430}}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	const active = "http.gateway.downstream_rq_active"
	for _, dies := range []string{"/v1/models", "/spillway/status"} {
		c := g.dial(t)
		_, _ = io.WriteString(c, patchHead+"content-length: 28\r\n\r\n"+`{"statusCode":{"lim`)
		harness.Await(t, harness.Patience, "it is held", func() bool {
			return g.Stats(active)[active] == 1
		})
		if status, answer := g.send(t, http.MethodGet, dies, "", http.Header{"X-Spillway-Trap": {"die"}}); status != http.StatusServiceUnavailable {
			t.Fatalf("%s: the VM lives: %d %s", dies, status, answer)
		}
		harness.Await(t, harness.Patience, "the surface answers", func() bool {
			status, answer := g.admin(t, http.MethodGet, "/config?overrides", "")
			return status == http.StatusOK && strings.Contains(answer, `"overrides":{"statusCode":{"limits":430`)
		})
		_, _ = io.WriteString(c, `its":431}}`)
		if response, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil && response.StatusCode < 500 {
			t.Errorf("%s: what the dead VM held was answered %d", dies, response.StatusCode)
		}
		if status, answer := g.admin(t, http.MethodPatch, "/overrides", `{"statusCode":{"breaker":504}}`); status != http.StatusOK || !strings.Contains(answer, `"limits":430`) {
			t.Errorf("%d %s", status, answer)
		}
	}
	if n := sim.Stats().Received; n != 0 {
		t.Errorf("the upstream has seen %d requests", n)
	}
}
