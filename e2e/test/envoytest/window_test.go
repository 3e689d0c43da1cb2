package envoytest

import (
	"net/http"
	"strconv"
	"strings"
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

// Status says when a calendar's window ends where its limit's people are, and a session that has used nothing for as long as it says begins anew.
func TestWindowsOfACalendarAndOfASession(t *testing.T) {
	t.Parallel()
	const limits = `{"admin": {"path": "/spillway"}, "limits": [{"name": "hours", "per": ["user"], "unit": "requests", "quantity": 9, "window": "hour", "timezone": "+05:30"},
		{"name": "weeks", "per": ["user"], "unit": "requests", "quantity": 9, "window": "week", "timezone": "+08:00"},
		{"name": "session", "per": ["user"], "unit": "requests", "quantity": 1, "lifetime": true, "idle": "1m"}]}`
	g := start(t, harness.Options{Concurrency: 4, Config: limits}, llmsim.Options{NoHistory: true})
	shows := func(path, text string) bool {
		return strings.Contains(string(g.do(t, newRequest(t, http.MethodGet, g.URL+"/spillway/"+path, nil, nil)).body), text)
	}
	begun := time.Now()
	wantStatus(t, g.chat(t, user("ann")), http.StatusOK)
	wantHeaders(t, g.chat(t, user("ann")), map[string]string{"x-spillway-reason": "limits/lifetime_spent", "x-should-retry": "false"})
	harness.Await(t, patience, "status has the ends of the windows that are", func() bool {
		hours, weeks := time.Now().In(time.FixedZone("", 5*3600+1800)), time.Now().In(time.FixedZone("", 8*3600))
		hour := time.Date(hours.Year(), hours.Month(), hours.Day(), hours.Hour()+1, 0, 0, 0, hours.Location())
		monday := time.Date(weeks.Year(), weeks.Month(), weeks.Day()+7-(int(weeks.Weekday())+6)%7, 0, 0, 0, 0, weeks.Location())
		return shows("status", `"window":"hour","windowEnds":"`+hour.UTC().Format("2006-01-02T15:04:05.000Z")+`"`) &&
			shows("status", `"window":"week","windowEnds":"`+monday.UTC().Format("2006-01-02T15:04:05.000Z")+`"`)
	})
	harness.Await(t, patience, "the session is forgotten", func() bool { return shows("limits/session?subject=ann", `"used":0,`) })
	if passed := time.Since(begun); passed < time.Minute-time.Second {
		t.Errorf("it was forgotten after %v, want a minute", passed)
	}
	wantStatus(t, g.chat(t, user("ann")), http.StatusOK)
	wantHeaders(t, g.chat(t, user("ann")), map[string]string{"x-spillway-reason": "limits/lifetime_spent", "x-should-retry": "false"})
}
