package envoytest

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// A body that doesn't come must not be a way around a limit that needs it, nor make a worker that has seen none yet stop holding.
func TestASlowUploadIsNoWayAroundALimit(t *testing.T) {
	t.Parallel()
	const longerThanTheGuard = 3 * time.Second
	g := start(t, harness.Options{Config: `{"limits": [{"name": "one", "per": ["user"], "match": {"models": ["mock*"]},
		"unit": "requests", "quantity": 1, "window": "24h"}]}`}, llmsim.Options{})

	var all sync.WaitGroup
	got := make([]int, 5)
	for i := range got {
		all.Go(func() {
			body, later := io.Pipe()
			timer := time.AfterFunc(longerThanTheGuard, func() {
				_, _ = io.Copy(later, strings.NewReader(chatBody))
				_ = later.Close()
			})
			defer timer.Stop()
			a, err := g.try(newRequest(t, http.MethodPost, g.URL+chatPath, user("slow"), body))
			if err != nil {
				t.Error(err)
			}
			got[i] = a.status
		})
	}
	all.Wait()
	count := map[int]int{}
	for _, status := range got {
		count[status]++
	}
	if count[http.StatusOK] != 1 || count[http.StatusTooManyRequests] != len(got)-1 {
		t.Errorf("slow requests beyond a limit of one: statuses %v", got)
	}
	if n := g.counter(t, "spillway_errors_total", "reason", "body_not_delivered"); n != 0 {
		t.Errorf("spillway_errors_total{reason=body_not_delivered} is %v: the host was blamed for slow clients", n)
	}

	wantStatus(t, g.chat(t, user("fast")), http.StatusOK)
	before := g.sim.Stats().Received
	wantStatus(t, g.chat(t, user("fast")), http.StatusTooManyRequests)
	if after := g.sim.Stats().Received; after != before {
		t.Error("the server saw a refused request: holding was given up")
	}
}
