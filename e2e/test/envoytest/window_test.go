package envoytest

import (
	"net/http"
	"slices"
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
			const quantity, window = 10, 2 * time.Second
			g := start(t, harness.Options{Concurrency: workers, Config: `{"limits": [{"name": "w", "per": ["user"], "unit": "requests", "quantity": 10, "window": "2s", "refill": "window"},
				{"name": "one", "per": ["user"], "unit": "requests", "quantity": 1, "window": "2s", "refill": "window", "match": {"headers": {"x-limit": "one"}}}]}`},
				llmsim.Options{NoHistory: true})
			eachWindowGives(t, quantity, window, 4, func() answer { return g.chat(t, user("ann")) })
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

// asked is a request, and the times between which it was decided: what these tell of a window holds on a machine of any speed.
type asked struct {
	begin, end time.Time
	passed     bool
}

// within tells the beginning of the window in which it was decided, if that was one for sure.
func (a asked) within(window time.Duration) (start time.Time, sure bool) {
	start = a.begin.Truncate(window)
	return start, start.Equal(a.end.Truncate(window))
}

// eachWindowGives has eight clients ask until one was refused in so many windows, and wants that each window has let its quantity pass by then, and no more.
func eachWindowGives(t *testing.T, quantity int, window time.Duration, spent int, ask func() answer) {
	t.Helper()
	var mu sync.Mutex
	var all []asked
	refused := map[time.Time]time.Time{} // by the beginning of the window: when the last one ended that was refused in it
	over := askAll(ask, func(a asked) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, a)
		if start, sure := a.within(window); sure && !a.passed && a.end.After(refused[start]) {
			refused[start] = a.end
		}
	})
	defer over()
	harness.Await(t, patience, "windows are spent", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(refused) >= spent
	})
	over()
	passed := map[time.Time]int{}
	for _, a := range all {
		if start, sure := a.within(window); sure && a.passed {
			passed[start]++
		}
	}
	for start, n := range passed {
		if n > quantity {
			t.Errorf("in the window from %v %d have passed, want %d", start, n, quantity)
		}
	}
	for start, last := range refused {
		may := slices.DeleteFunc(slices.Clone(all), func(a asked) bool { return !a.passed || !a.begin.Before(last) || !a.end.After(start) })
		if len(may) < quantity {
			t.Errorf("in the window from %v one was refused when at most %d had passed, want %d", start, len(may), quantity)
		}
	}
}

// askAll has eight clients ask, one request after the other, until what it returns is called, which waits for them.
func askAll(ask func() answer, note func(asked)) (over func()) {
	var clients sync.WaitGroup
	var ended atomic.Bool
	for range 8 {
		clients.Go(func() {
			for !ended.Load() {
				a := asked{begin: time.Now()}
				a.passed = ask().status == http.StatusOK
				a.end = time.Now()
				note(a)
			}
		})
	}
	return func() {
		ended.Store(true)
		clients.Wait()
	}
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
