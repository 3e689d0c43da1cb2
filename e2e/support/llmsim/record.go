package llmsim

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Outcome is how a request ended, as the server saw it.
type Outcome string

// The outcomes.
const (
	// InFlight: not ended yet.
	InFlight Outcome = "in_flight"
	// Completed: answered to the end, be it with an error.
	Completed Outcome = "completed"
	// ClientLeft: the client hung up before the end of the answer.
	ClientLeft Outcome = "client_left"
	// Aborted: the server cut the connection, as scripted or by Close.
	Aborted Outcome = "aborted"
	// BodyAborted: the headers came, and the body was cut before its end.
	BodyAborted Outcome = "body_aborted"
)

// Request is the record of a request as the server saw it. Health checks and the
// /sim/ endpoints leave no record.
type Request struct {
	// ID counts the requests since the server began, from 1.
	ID      uint64            `json:"id"`
	Time    time.Time         `json:"time"`
	Method  string            `json:"method"`
	Path    string            `json:"path"`
	Headers map[string]string `json:"headers"` // lower-case names
	// BodyBytes is the length of the body as far as it came, and Body the beginning
	// of it.
	BodyBytes int64  `json:"body_bytes"`
	Body      string `json:"body"`
	// Model and Stream are what the body asked for.
	Model  string `json:"model,omitempty"`
	Stream bool   `json:"stream,omitempty"`

	Outcome Outcome `json:"outcome"`
	// Status is 0 while nothing was answered.
	Status int `json:"status"`
	// PromptTokens is what usage reports, and Tokens the completion tokens that
	// were sent, which may be fewer than usage would have reported.
	PromptTokens int `json:"prompt_tokens"`
	Tokens       int `json:"tokens"`
	// Queued is the time spent waiting for a slot, 0 as long as there is none, and
	// Duration the time from the headers to the end.
	Queued   time.Duration `json:"queued_ns"`
	Duration time.Duration `json:"duration_ns"`
}

// Stats are totals since the server began or was last reset.
type Stats struct {
	Received    int64 `json:"received"`
	Completed   int64 `json:"completed"`
	ClientLeft  int64 `json:"client_left"`
	Aborted     int64 `json:"aborted"`
	BodyAborted int64 `json:"body_aborted"`
	// Errors counts answers with an error status or an error event; they are
	// among the completed.
	Errors int64 `json:"errors"`
	// Tokens counts the completion tokens sent, token by token.
	Tokens int64 `json:"tokens"`
	// Running and Waiting are the requests in a slot and in the queue right now.
	Running    int64 `json:"running"`
	Waiting    int64 `json:"waiting"`
	MaxRunning int64 `json:"max_running"`
}

// counters are the totals behind Stats.
type counters struct {
	received, completed, clientLeft, aborted, bodyAborted, errors, tokens atomic.Int64
}

func (c *counters) reset() {
	for _, n := range []*atomic.Int64{
		&c.received, &c.completed, &c.clientLeft, &c.aborted, &c.bodyAborted, &c.errors, &c.tokens,
	} {
		n.Store(0)
	}
}

func (c *counters) count(o Outcome) {
	switch o {
	case Completed:
		c.completed.Add(1)
	case ClientLeft:
		c.clientLeft.Add(1)
	case Aborted:
		c.aborted.Add(1)
	case BodyAborted:
		c.bodyAborted.Add(1)
	}
}

// history remembers the latest requests, in a ring once it is full.
type history struct {
	max int

	mu   sync.Mutex
	ring []*Request
	next int // index of the oldest, once the ring is full
}

func (h *history) add(r *Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.ring) < h.max {
		h.ring = append(h.ring, r)
		return
	}
	h.ring[h.next] = r
	h.next = (h.next + 1) % h.max
}

// update changes a record, which others may be reading.
func (h *history) update(r *Request, change func(*Request)) {
	if r == nil {
		return
	}
	h.mu.Lock()
	change(r)
	h.mu.Unlock()
}

func (h *history) list() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Request, 0, len(h.ring))
	for i := range h.ring {
		out = append(out, *h.ring[(h.next+i)%len(h.ring)])
	}
	return out
}

func (h *history) reset() {
	h.mu.Lock()
	h.ring, h.next = nil, 0
	h.mu.Unlock()
}

// headerFilter picks the headers that a record keeps.
type headerFilter struct {
	exact    map[string]bool
	prefixes []string
	host     bool
}

func newHeaderFilter(names []string) headerFilter {
	f := headerFilter{exact: map[string]bool{}}
	for _, name := range names {
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			f.prefixes = append(f.prefixes, http.CanonicalHeaderKey(prefix))
			continue
		}
		f.exact[http.CanonicalHeaderKey(name)] = true
	}
	f.host = f.match("Host")
	return f
}

func (f *headerFilter) match(canonical string) bool {
	return f.exact[canonical] || slices.ContainsFunc(f.prefixes, func(p string) bool {
		return strings.HasPrefix(canonical, p)
	})
}

func (f *headerFilter) pick(r *http.Request) map[string]string {
	out := make(map[string]string, 8)
	for name, values := range r.Header {
		if f.match(name) {
			out[strings.ToLower(name)] = strings.Join(values, ", ")
		}
	}
	if f.host {
		out["host"] = r.Host
	}
	// net/http keeps this one apart from the others.
	if len(r.TransferEncoding) > 0 && f.match("Transfer-Encoding") {
		out["transfer-encoding"] = strings.Join(r.TransferEncoding, ", ")
	}
	return out
}
