package fleettest

import (
	"net/http"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// localReplies lets the fleet refuse one user, and be unable to say anything: neither says anything of the upstream, so its budget,
// its retreat and its breaker must not hear of it.
func localReplies(t *testing.T, f *fleet) {
	f.configure(`{"requestHold": "stopIteration", "upstreams": [{"name": "llm", "budget": {"requests": 10000, "window": "1m"},
		"retreat": {"every": "1s", "minSamples": 1}, "breaker": {"mode": "enforce", "minRequests": 1, "window": "10s"}}]}`)
	t.Cleanup(func() { f.configure(f.config) })
	f.inTurn(4, ask{user: "local"})
	for range 20 {
		wantRefusedByFleet(t, f.send(0, ask{user: "local"}))
	}
	f.setFailureModeDeny(true)
	t.Cleanup(func() { f.setFailureModeDeny(false) })
	f.stopRatelimit()
	t.Cleanup(func() {
		f.stopRatelimit()
		f.startRatelimit()
		f.awaitHealth(true)
	})
	f.awaitHealth(false)
	for range 20 {
		if r := f.send(0, ask{user: "local-other"}); r.status != http.StatusServiceUnavailable || r.header.Get("x-spillway-reason") != "proxy/fleet_unavailable" {
			t.Fatalf("got %d with the reason %q, want the ratelimit filter's 503", r.status, r.header.Get("x-spillway-reason"))
		}
	}
	f.startRatelimit()
	f.awaitHealth(true)
	if r := f.send(0, ask{user: "local-other"}); r.status != http.StatusOK {
		t.Errorf("afterwards another user got %d with the reason %q, want 200", r.status, r.header.Get("x-spillway-reason"))
	}
	for _, name := range []string{"spillway_retreat_state", "spillway_upstream_429_ratio"} {
		harness.Await(t, patience, name+" is told", func() bool { return len(f.envoys[0].Samples(name)) > 0 })
	}
	for _, name := range []string{"spillway_retreat_state", "spillway_upstream_429_ratio"} {
		for _, s := range f.envoys[0].Samples(name) {
			if s.Value != 0 {
				t.Errorf("%s is %v, want 0: the upstream has never said 429", name, s.Value)
			}
		}
	}
}
