package llmsim

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

// rateLimit is the server's own limit of requests per minute. Its windows are
// fixed rather than sliding, so that a test knows exactly how many requests pass.
type rateLimit struct {
	limit int

	mu    sync.Mutex
	start time.Time
	used  int
}

// take counts a request. It returns what is left of the window, in requests and in
// time, and whether the request is within the limit.
func (l *rateLimit) take(now time.Time) (remaining int, reset time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.used == 0 || now.Sub(l.start) >= time.Minute {
		l.start, l.used = now, 0
	}
	reset = time.Minute - now.Sub(l.start)
	if l.used >= l.limit {
		return 0, reset, false
	}
	l.used++
	return l.limit - l.used, reset, true
}

func (l *rateLimit) reset() {
	l.mu.Lock()
	l.used = 0
	l.mu.Unlock()
}

// setRateLimit writes the headers by which OpenAI reports its request limit.
func setRateLimit(h http.Header, limit, remaining int, reset time.Duration) {
	h.Set("X-Ratelimit-Limit-Requests", strconv.Itoa(limit))
	h.Set("X-Ratelimit-Remaining-Requests", strconv.Itoa(remaining))
	h.Set("X-Ratelimit-Reset-Requests", reset.Round(time.Millisecond).String())
}

// wholeSeconds rounds up, as retry-after must not ask for a retry that is too early.
func wholeSeconds(d time.Duration) int {
	return int((d + time.Second - 1) / time.Second)
}
