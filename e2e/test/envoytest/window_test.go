package envoytest

import (
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// Windows of two seconds, under load: each gives its quantity once, to all workers together, and who waits as long as he is told passes.
func TestWindowsGiveTheirQuantityOnce(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(strconv.Itoa(workers)+" workers", func(t *testing.T) {
			t.Parallel()
			const quantity, window = 20, 2 * time.Second
			g := start(t, harness.Options{Concurrency: workers, Config: `{"limits": [{"name": "w", "per": ["user"], "unit": "requests", "quantity": 20, "window": "2s", "refill": "window"},
				{"name": "one", "per": ["user"], "unit": "requests", "quantity": 1, "window": "2s", "refill": "window", "match": {"headers": {"x-limit": "one"}}}]}`},
				llmsim.Options{NoHistory: true})
			from := time.Now()
			end := from.Truncate(window).Add(4 * window)
			passed := passUntil(end, func() answer { return g.chat(t, user("ann")) })
			windows := int(time.Now().Truncate(window).Sub(from.Truncate(window))/window) + 1
			if passed < 4*quantity || passed > windows*quantity {
				t.Errorf("%d have passed, want 4 times %d, and no more than %d times", passed, quantity, windows)
			}
			var refused answer
			for refused.status != http.StatusTooManyRequests {
				refused = g.chat(t, user("bob", "x-limit", "one"))
			}
			wait, err := strconv.Atoi(refused.header.Get("retry-after-ms"))
			if err != nil || wait < 1 || wait > 2000 {
				t.Fatalf("told to wait %q", refused.header.Get("retry-after-ms"))
			}
			time.Sleep(time.Duration(wait) * time.Millisecond)
			wantStatus(t, g.chat(t, user("bob", "x-limit", "one")), http.StatusOK)
		})
	}
}

// passUntil has eight clients ask until a time, and gives how often they were let pass.
func passUntil(end time.Time, ask func() answer) (passed int) {
	var counted atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for time.Now().Before(end) {
				if ask().status == http.StatusOK {
					counted.Add(1)
				}
			}
		})
	}
	clients.Wait()
	return int(counted.Load())
}
