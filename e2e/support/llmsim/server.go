package llmsim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a simulated inference server. It is an http.Handler, to be served by
// Start or by a server of the caller's; all its methods are safe for concurrent use.
type Server struct {
	opts   Options
	base   script
	models []byte
	vector []byte
	idHead string

	slots   slots
	limit   rateLimit
	stats   counters
	hist    history
	headers headerFilter
	changes broadcast
	lastID  atomic.Uint64 // of records
	answers atomic.Uint64 // ids of answers
	buffers sync.Pool

	done      chan struct{}
	closeOnce sync.Once

	mu     sync.Mutex
	http   *http.Server
	served chan struct{}
}

// New makes a server. It panics when Options.Validate finds a mistake.
func New(o Options) *Server {
	if err := o.Validate(); err != nil {
		panic("llmsim: " + err.Error())
	}
	o = o.withDefaults()
	base, _ := o.script()
	s := &Server{
		opts:    o,
		base:    base,
		models:  modelList(o.Models, time.Now().Unix()),
		vector:  appendVector(nil, o.EmbeddingDim),
		idHead:  strconv.FormatUint(rand.Uint64()|1<<63, 16),
		headers: newHeaderFilter(o.RecordHeaders),
		done:    make(chan struct{}),
	}
	s.slots.limit = o.Slots
	s.slots.changed = s.changes.notify
	s.limit.limit = o.RPM
	s.hist.max = o.History
	s.buffers.New = func() any { return new(buffers) }
	return s
}

// Start listens on addr and serves in the background until Close. It returns the
// address in use, which tells the port where addr left it open with port 0.
func (s *Server) Start(addr string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.http != nil {
		return "", errors.New("server is already started")
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return "", err
	}
	// No idle timeout: closing a connection that a proxy keeps in its pool would
	// race with the next request on it.
	s.http = &http.Server{
		Handler:           s,
		ReadHeaderTimeout: time.Minute,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	s.served = make(chan struct{})
	go func(srv *http.Server, served chan<- struct{}) {
		defer close(served)
		_ = srv.Serve(l)
	}(s.http, s.served)
	return l.Addr().String(), nil
}

// Close cuts all connections and ends the requests in flight. A closed server
// cannot be started again.
func (s *Server) Close() error {
	s.closeOnce.Do(func() { close(s.done) })
	s.mu.Lock()
	srv, served := s.http, s.served
	s.mu.Unlock()
	if srv == nil {
		return nil
	}
	err := srv.Close()
	<-served
	return err
}

// Requests returns the records of the latest requests in the order of their
// arrival, those in flight included.
func (s *Server) Requests() []Request { return s.hist.list() }

// Stats returns the totals so far.
func (s *Server) Stats() Stats {
	return Stats{
		Received:    s.stats.received.Load(),
		Completed:   s.stats.completed.Load(),
		ClientLeft:  s.stats.clientLeft.Load(),
		Aborted:     s.stats.aborted.Load(),
		BodyAborted: s.stats.bodyAborted.Load(),
		Errors:      s.stats.errors.Load(),
		Tokens:      s.stats.tokens.Load(),
		Running:     s.slots.running.Load(),
		Waiting:     s.slots.waiting.Load(),
		MaxRunning:  s.slots.peak.Load(),
	}
}

// Await returns once cond holds for the stats, or with the error of ctx. It looks
// again at every change: each request, slot and token. cond may call Requests.
func (s *Server) Await(ctx context.Context, cond func(Stats) bool) error {
	return s.changes.await(ctx, func() bool { return cond(s.Stats()) })
}

// SetSlots changes Options.Slots while the server runs, as when a replica goes or comes back: what runs goes on.
func (s *Server) SetSlots(n int) { s.slots.resize(n) }

// Reset forgets the history, the totals and the window of the request limit.
// Requests in flight go on, and count when they end.
func (s *Server) Reset() {
	s.hist.reset()
	s.stats.reset()
	s.slots.resetPeak()
	s.limit.reset()
	s.changes.notify()
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.serveControl(w, r) {
		return
	}
	c := s.begin(w, r)
	err := c.serve()
	c.end(err)
	if err == errAborted || err == errBodyAborted {
		panic(http.ErrAbortHandler)
	}
}

// buffers are what a request needs to read and write; they are reused.
type buffers struct {
	in  bytes.Buffer
	out []byte
}

// maxPooled keeps the buffers of rare huge requests out of the pool.
const maxPooled = 1 << 20

// call is one request on its way through the server.
type call struct {
	s   *Server
	w   http.ResponseWriter
	r   *http.Request
	rec *Request // nil without history
	buf *buffers

	began    time.Time
	script   script
	endpoint endpoint // once it is known
	req      request
	pace     pacer
	status   int
	tokens   int
	prompt   int
	failed   bool
}

// begin records the request as soon as its headers are there.
func (s *Server) begin(w http.ResponseWriter, r *http.Request) *call {
	c := &call{
		s: s, w: w, r: r, began: time.Now(), script: s.base,
		buf:  s.buffers.Get().(*buffers),
		pace: pacer{ctx: r.Context(), done: s.done},
	}
	s.stats.received.Add(1)
	if !s.opts.NoHistory {
		c.rec = &Request{
			ID: s.lastID.Add(1), Time: c.began, Method: r.Method, Path: r.URL.Path,
			Headers: s.headers.pick(r), Outcome: InFlight,
		}
		s.hist.add(c.rec)
	}
	s.changes.notify()
	return c
}

// end completes the record. It comes before the last bytes of a short answer leave,
// so that a client that has the whole of one also finds its record complete.
func (c *call) end(err error) {
	outcome := Completed
	switch err {
	case nil:
	case errAborted:
		outcome = Aborted
	case errBodyAborted:
		outcome = BodyAborted
	default:
		outcome = ClientLeft
	}
	c.pace.stop()
	if c.failed && outcome == Completed {
		c.s.stats.errors.Add(1)
	}
	c.s.hist.update(c.rec, func(r *Request) {
		r.Outcome, r.Status, r.Tokens, r.PromptTokens = outcome, c.status, c.tokens, c.prompt
		r.Duration = time.Since(c.began)
	})
	c.s.stats.count(outcome)
	c.s.changes.notify()
	if c.buf.in.Cap() <= maxPooled && cap(c.buf.out) <= maxPooled {
		c.s.buffers.Put(c.buf)
	}
	c.buf = nil
}

// sent counts completion tokens as they leave.
func (c *call) sent(n int) {
	if n == 0 {
		return
	}
	c.tokens += n
	c.s.stats.tokens.Add(int64(n))
	c.s.changes.notify()
}

// acquire waits for a slot and starts the clock of the generation.
func (c *call) acquire() error {
	c.pace.start()
	asked := c.pace.next
	err := c.s.slots.acquire(c.r.Context(), c.s.done)
	c.pace.start()
	c.s.hist.update(c.rec, func(r *Request) { r.Queued = c.pace.next.Sub(asked) })
	c.s.changes.notify()
	return err
}
