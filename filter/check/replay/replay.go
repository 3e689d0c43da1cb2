// Package replay says what a configuration would have refused of the requests of an access log. It leads them through the filter's own engine, in the
// order and at the times of the log: limits, budgets, numbers of slots, queue and priorities are the same code that decides in the proxy.
//
// What a log can't tell is left out, and named: how the server's times would have changed, hence the gates that measure it (latency, throttle, breaker,
// pressure) and slots that are learned; what refused requests would have used, which is taken to be what others of their model use.
//
// # Bounds
//
// Of the log some ten thousand lines are held to be put in order, and requests under way; of the engine's state the table has a bound of its own. What is
// counted by subject and by hour has one, too: beyond it, all the rest are one.
package replay

import (
	"container/heap"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/admit"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// Log replays a log under a configuration, and writes what would have become of it. An error comes after what could be read was told.
func Log(cfg config.Config, log io.Reader, out io.Writer) error {
	r, err := newRun(prepare(cfg))
	if err != nil {
		return err
	}
	var order sorter
	unreadable := eachLine(log, func(text []byte) {
		if l, ok := parse(text); !ok {
			r.told.garbage++
		} else if first := order.put(l); first != nil {
			r.arrives(first)
		}
	})
	for l := order.next(); l != nil; l = order.next() {
		r.arrives(l)
	}
	r.until(math.MaxInt64)
	r.told.write(out, &cfg)
	return unreadable
}

// The headers by which the engine is told who a line says has asked, and how urgently.
const (
	userHeader     = "x-replayed-user"
	tenantHeader   = "x-replayed-tenant"
	keyHeader      = "x-replayed-key"
	priorityHeader = "x-replayed-priority"
)

// prepare makes a configuration one that a log can be led through.
func prepare(cfg config.Config) config.Config {
	cfg.Publish, cfg.RateLimitHeaders = filterstate.All, config.RateLimitsOff
	cfg.RequestHold = config.HoldStopIteration
	identity := &cfg.Identity
	for source, header := range map[*config.Source]string{&identity.User: userHeader, &identity.Tenant: tenantHeader, &identity.Key: keyHeader} {
		*source = config.Source{Place: config.Place{Headers: []string{header}}}
	}
	cfg.Priority.Header, cfg.Priority.Trust = priorityHeader, nil
	cfg.Limits = append([]config.Limit(nil), cfg.Limits...)
	for i := range cfg.Limits {
		cfg.Limits[i].Scope = config.ScopeProxy
	}
	cfg.Upstreams = append([]config.Upstream(nil), cfg.Upstreams...)
	for i := range cfg.Upstreams {
		u := &cfg.Upstreams[i]
		u.Latency.Mode, u.Throttle.Mode, u.Breaker.Mode, u.Pressure.Mode = config.Off, config.Off, config.Off, config.Off
		u.Queue.Deadline = config.DeadlineNone
		if u.Concurrency.Auto() {
			u.Concurrency = config.Concurrency{}
		}
	}
	cfg.Admin = config.Admin{}
	return cfg
}

// run is a log that is led through an engine.
type run struct {
	*admit.Engine
	host
	told    report
	usual   map[string]*usual // by model
	now     int64             // nanoseconds since 1970
	ticked  int64
	agenda  events
	n       uint64
	open    map[*admit.Stream]*request
	free    []*request
	padding string
}

// request is one of the log.
type request struct {
	admit.Stream
	line
	whole      bool // all of it has come
	sent, over bool
	decided    map[string]string // the filter state of the decision
}

func newRun(cfg config.Config) (*run, error) {
	r := &run{host: host{Store: recordtest.NewMemory()}, usual: map[string]*usual{}, open: map[*admit.Stream]*request{}}
	var err error
	r.Engine, err = admit.New(&cfg, &r.host, new(admit.Worker), []byte("spillway replays"))
	return r, err
}

// host is what the engine is shown of the event that is being handled.
type host struct {
	record.Store
	headers [][2]string
	piece   []byte
	wall    int64
}

func (h *host) Headers() [][2]string                           { return h.headers }
func (h *host) Piece(from, size int) []byte                    { return h.piece[from:min(from+size, len(h.piece))] }
func (h *host) Attribute(string) (string, bool)                { return "", false }
func (h *host) Wall() int64                                    { return h.wall }
func (*host) Received(*admit.Stream) (_, _ uint64, known bool) { return 0, 0, false }

// event is what happens to a request at a time.
type event struct {
	at    int64
	order uint64
	do    func()
}

type events []event

func (e events) Len() int      { return len(e) }
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].order < e[j].order
}
func (e *events) Push(x any) { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func (r *run) after(wait time.Duration, do func()) {
	r.n++
	heap.Push(&r.agenda, event{r.now + int64(wait), r.n, do})
}

// until lets happen what happens up to a time. Where nothing is open, time passes at once.
func (r *run) until(end int64) {
	for {
		next := end
		if len(r.agenda) > 0 {
			next = min(next, r.agenda[0].at)
		}
		if len(r.open) > 0 {
			if tick := r.ticked + int64(r.TickPeriod())*int64(time.Millisecond); tick > r.ticked && tick < next {
				r.tick(tick)
				continue
			}
		}
		if len(r.agenda) == 0 || r.agenda[0].at > end {
			break
		}
		e := heap.Pop(&r.agenda).(event)
		r.sets(e.at)
		e.do()
	}
	if end != math.MaxInt64 {
		r.sets(end)
	}
}

// sets sets the time, which doesn't go back.
func (r *run) sets(now int64) {
	r.now = max(r.now, now)
	r.wall = r.now
	if len(r.open) == 0 {
		r.tick(r.now)
	}
}

func (r *run) tick(at int64) {
	r.now, r.wall, r.ticked = max(r.now, at), max(r.now, at), max(r.now, at)
	r.Tick(clock.Moment(r.now))
	r.did(nil)
}

// arrives brings a line's request.
func (r *run) arrives(l *line) {
	at := l.Time.UnixNano()
	r.told.arrived(l, at < r.now && r.now != 0)
	r.until(max(at, r.now))
	x := r.take(l)
	form := formOf(l)
	r.headers = append(r.headers[:0], [2]string{":method", form.method}, [2]string{":path", form.path})
	for _, h := range [...][2]string{{userHeader, l.User}, {tenantHeader, l.Tenant}, {keyHeader, l.Key}, {priorityHeader, l.Priority}} {
		if h[1] != "" {
			r.headers = append(r.headers, h)
		}
	}
	r.headers = append(r.headers, l.headers...)
	if form.usage == "" {
		x.whole = true
		r.RequestHeaders(&x.Stream, clock.Moment(r.now), true)
		r.did(x)
		return
	}
	r.piece = r.body(x)
	r.headers = append(r.headers, [2]string{"content-type", "application/json"}, [2]string{"content-length", strconv.Itoa(len(r.piece))})
	r.RequestHeaders(&x.Stream, clock.Moment(r.now), false)
	if r.did(x); !x.over {
		x.whole = true
		r.RequestBody(&x.Stream, clock.Moment(r.now), len(r.piece), true)
		r.did(x)
	}
}

// take gives a request that isn't in use.
func (r *run) take(l *line) *request {
	var x *request
	if n := len(r.free); n > 0 {
		x, r.free = r.free[n-1], r.free[:n-1]
		clear(x.decided)
	} else {
		x = &request{decided: map[string]string{}}
	}
	r.n++
	x.Reset(uint32(r.n))
	x.line, x.whole, x.sent, x.over = *l, false, false, false
	r.expects(x)
	r.open[&x.Stream] = x
	return x
}

// did takes what an event has brought, for its own request and for others.
func (r *run) did(own *request) {
	for f := r.Next(); f != nil; f = r.Next() {
		x := r.open[f.Stream]
		if x == nil {
			continue
		}
		switch f.Kind { //nolint:exhaustive // nothing else matters here
		case admit.SetProperty:
			if strings.HasPrefix(f.Name, "spillway.") {
				x.decided[f.Name] = strings.Clone(f.Value)
			}
		case admit.Answer:
			if !x.over {
				x.over = true
				x.decided["refused"] = header(f.Stream.Reply().Headers, "x-spillway-reason")
				r.after(0, func() { r.ends(x) })
			}
		case admit.Resume:
			r.sends(x)
		}
	}
	if own != nil && own.whole && own.Decided() && !own.Waiting() {
		r.sends(own)
	}
}

func header(headers [][2]string, name string) string {
	for _, h := range headers {
		if h[0] == name {
			return strings.Clone(h[1])
		}
	}
	return ""
}

// sends has a request go to the server, which takes as long as it did.
func (r *run) sends(x *request) {
	if x.over || x.sent {
		return
	}
	x.sent = true
	r.after(min(time.Duration(max(x.DurationMS-x.QueueMS, 1))*time.Millisecond, longest), func() { r.answers(x) })
}

// longest is how long a server takes at most: while a request is under way, the engine's clocks have to tick.
const longest = 6 * time.Hour

// answers has the server answer.
func (r *run) answers(x *request) {
	r.headers = append(r.headers[:0], [2]string{":status", strconv.Itoa(int(x.Status))}, [2]string{"content-type", "application/json"})
	r.piece = []byte(formOf(&x.line).answer(x))
	r.ResponseHeaders(&x.Stream, clock.Moment(r.now), false)
	r.did(x)
	r.ResponseBody(&x.Stream, clock.Moment(r.now), len(r.piece), true)
	r.did(x)
	r.ends(x)
}

func (r *run) ends(x *request) {
	r.Done(&x.Stream, clock.Moment(r.now))
	r.did(nil)
	r.told.ended(x)
	delete(r.open, &x.Stream)
	r.free = append(r.free, x)
}

// body is what a request's may have been: as long as its tokens let expect.
func (r *run) body(x *request) []byte {
	size := 4 * int(min(x.Prompt, 1<<18)) // a megabyte at most: more than is read by default
	if len(r.padding) < size {
		r.padding = strings.Repeat("a", size)
	}
	return fmt.Appendf(nil, `{"model":%s,"messages":[{"role":"user","content":"%s"}],"input":"","prompt":""}`, strconv.Quote(x.Model), r.padding[:size])
}
