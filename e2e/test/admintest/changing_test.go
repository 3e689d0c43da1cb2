package admintest

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// Ten thousand requests come while the configuration changes every 100 ms: each is answered, and each user has exactly what the limit lets him, which none
// of the changes touches.
func TestRequestsWhileOverridesChange(t *testing.T) {
	t.Parallel()
	const users, each, quantity, clients = 100, 100, 50, 8
	sim, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{})
	g := &steered{Envoy: harness.Start(t, harness.Options{Concurrency: 4, Upstream: address, Config: fmt.Sprintf(`{
		%s,
		"limits":[{"name":"few","per":["user"],"unit":"requests","quantity":%d,"window":"24h"}],
		"upstreams":[{"name":"llm","concurrency":{"max":64},"queue":{"max":500}}]}`, tokensOf(steeringToken), quantity)})}
	stop := g.keepChanging(t)

	var passed, refused [users]atomic.Int64
	var next atomic.Int64
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for i := next.Add(1) - 1; i < users*each; i = next.Add(1) - 1 {
				user := i % users
				switch status := g.chat(t, fmt.Sprint("user-", user)); status {
				case http.StatusOK:
					passed[user].Add(1)
				case 429, 430, 431:
					refused[user].Add(1)
				default:
					t.Errorf("status %d", status)
				}
			}
		})
	}
	all.Wait()
	if changes := stop(); changes == 0 {
		t.Error("nothing was changed meanwhile")
	} else {
		t.Logf("%d changes meanwhile", changes)
	}
	for user := range users {
		if p, r := passed[user].Load(), refused[user].Load(); p != quantity || r != each-quantity {
			t.Errorf("of user %d %d passed and %d were refused", user, p, r)
		}
	}
	if n := sim.Stats().Received; n != users*quantity {
		t.Errorf("the upstream has seen %d requests, want %d", n, users*quantity)
	}
}

// keepChanging overrides something each 100 ms, or as soon as the last change is answered, until it is told to stop; it says how often.
func (g *steered) keepChanging(t *testing.T) (stop func() (changes int)) {
	end := make(chan struct{})
	var admin sync.WaitGroup
	changes := 0
	admin.Go(func() {
		for every := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-end:
				every.Stop()
				return
			case <-every.C:
			}
			change := fmt.Sprintf(`{"statusCode":{"limits":%d},"models":{"aliases":{"a%d":"v%d"}}}`, 429+changes%3, changes%10, changes)
			if status, answer := g.admin(t, http.MethodPatch, "/overrides", change); status != http.StatusOK {
				t.Errorf("%d %s", status, answer)
			}
			changes++
		}
	})
	return func() int {
		close(end)
		admin.Wait()
		return changes
	}
}
