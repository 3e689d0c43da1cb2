package admit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/estimate"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

const start = 1000 * second // the monotonic clock when a test begins

var random = []byte("0123456789abcdef")

// fataler is what tests and property tests have in common.
type fataler interface {
	Helper()
	Errorf(string, ...any)
	Fatal(...any)
	Fatalf(string, ...any)
}

// host stands in for the proxy and the binding: it leads streams through an engine and notes what comes out.
type host struct {
	fataler
	*Engine
	proxy
	cfg    config.Config
	now    int64
	counts map[string]int64 // "counter label label": sum
	gauges map[string]int64
	notes  []string
	woken  map[*Stream]string // other streams that an event has let go on, "", or answered, its reason
}

// short are the metrics' names in tests.
var short = map[string]string{
	"spillway_requests_total": "requests", "spillway_tokens_total": "tokens", "spillway_uncharged_total": "uncharged",
	"spillway_evictions_total": "evictions", "spillway_errors_total": "errors", "spillway_warnings_total": "warnings",
	"spillway_passthrough_total": "passthrough", "spillway_pressure": "pressure", "spillway_pressure_instances": "pressure of",
	"spillway_queue_depth": "depth", "spillway_inflight": "inflight", "spillway_retreat_state": "retreat", "spillway_retreat_alarm": "alarm",
	"spillway_effective_rpm": "rpm", "spillway_upstream_429_ratio": "share", "spillway_queue_wait_milliseconds": "wait",
	"spillway_breaker_state": "breaker", "spillway_gate_state": "gate", "spillway_latency_average_milliseconds": "average",
	"spillway_throttle_severity": "severity", "spillway_ttft_milliseconds": "ttft", "spillway_itl_milliseconds": "itl",
}

func newHost(t fataler, configuration string, store record.Store) *host {
	t.Helper()
	cfg, err := config.Parse([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{fataler: t, proxy: proxy{Store: store}, cfg: cfg, now: start, counts: map[string]int64{}, gauges: map[string]int64{},
		woken: map[*Stream]string{}}
	if h.Engine, err = New(cfg, &h.proxy, new(estimate.Learned), random); err != nil {
		t.Fatal(err)
	}
	return h
}

// proxy stands in for what the proxy tells of the event that is being handled.
type proxy struct {
	record.Store
	headers   [][2]string
	piece     []byte
	details   string // code_details
	flags     string
	holdsBack bool // it keeps bodies back that it has received
	read      int  // bytes of bodies that were read
}

func (p *proxy) Headers() [][2]string { return p.headers }

func (p *proxy) Piece() []byte {
	p.read += len(p.piece)
	return p.piece
}

func (p *proxy) Attribute(a Attribute) (string, bool) {
	value := [Attributes]string{CodeDetails: p.details, ResponseFlags: p.flags}[a]
	return value, value != ""
}

func (p *proxy) Received(*Stream) (bytes, headers uint64, known bool) {
	if p.holdsBack {
		return 101, 100, true
	}
	return 100, 100, true
}

// comes says who has made the next answer.
func (h *host) comes(from origin.Origin) {
	h.details = map[origin.Origin]string{origin.Upstream: "via_upstream", origin.TimedOut: "response_timeout", origin.Unreachable: "no_healthy_upstream",
		origin.Broken: "upstream_reset_before_response_started{connection_termination}", origin.Elsewhere: "ext_authz_denied"}[from]
}

// seedLimits is the seed: 300 completion tokens an hour for each x-user-id.
const seedLimits = `"limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":300,"window":"1h"}]`

func newSeed(t fataler, hold string) *host {
	t.Helper()
	return newHost(t, `{"requestHold":"`+hold+`",`+seedLimits+`}`, recordtest.NewMemory())
}

// exchange is one request and its response.
type exchange struct {
	Stream
	host       *host
	properties map[string]string
	last       *Step
}

// did notes a step and gives it back.
func (x *exchange) did(step *Step) *Step {
	x.last = step
	x.host.noted(step)
	for _, p := range step.Properties {
		x.properties[p.Name] = p.Value
	}
	if (step.Action == Answer) != (step.Reply != nil) {
		x.host.Errorf("action %d with the reply %v", step.Action, step.Reply)
	}
	x.host.after()
	return step
}

func (h *host) noted(step *Step) {
	for i := range step.Metrics {
		u := &step.Metrics[i]
		if u.Series.Kind() == metric.KindGauge {
			h.gauges[named(&u.Series)] = u.N
		} else {
			h.counts[named(&u.Series)] += u.N
		}
	}
	for _, n := range step.Notes {
		h.notes = append(h.notes, n.Text)
	}
}

// named is a series as tests write it: its short name and its labels' values.
func named(s *metric.Series) string {
	parts := strings.Split(s.Name(), ";")
	name := short[parts[0]]
	for _, label := range parts[1:] {
		_, value, _ := strings.Cut(label, "=")
		name += " " + value
	}
	return strings.TrimRight(name, " ")
}

// after takes what an event has changed beside its own stream.
func (h *host) after() {
	h.After(func(s *Stream, step *Step) {
		h.noted(step)
		switch {
		case s == nil:
		case step.Action == Answer:
			h.woken[s] = header(step.Reply.Headers, "x-spillway-reason")
		case step.Resume:
			h.woken[s] = ""
		}
	})
}

// start begins a chat request of a user; more headers may follow.
func (h *host) start(user string, end bool, more ...[2]string) *exchange {
	headers := [][2]string{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"content-type", "application/json"}}
	if user != "" {
		headers = append(headers, [2]string{"x-user-id", user})
	}
	return h.startWith(append(headers, more...), end)
}

func (h *host) startWith(headers [][2]string, end bool) *exchange {
	x := &exchange{host: h, properties: map[string]string{}}
	h.headers = headers
	x.did(h.RequestHeaders(&x.Stream, h.now, end))
	return x
}

// body sends a piece of the request's body, as the binding does.
func (x *exchange) body(piece string, end bool) *Step {
	x.host.piece = []byte(piece)
	return x.did(x.host.RequestBody(&x.Stream, x.host.now, len(piece), end))
}

const chatBody = `{"model":"mock","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}`

// ask sends a whole chat request.
func (h *host) ask(user string) *exchange {
	x := h.start(user, false)
	if !x.Refused() {
		x.body(chatBody, true)
	}
	return x
}

// status begins the response. An answer of the filter itself does not come to the engine.
func (x *exchange) status(status, contentType string, end bool, more ...[2]string) *Step {
	x.host.headers = append([][2]string{{":status", status}, {"content-type", contentType}}, more...)
	defer x.host.comes(origin.Upstream)
	return x.did(x.host.ResponseHeaders(&x.Stream, x.host.now, end))
}

func (x *exchange) response(piece string, end bool) *Step {
	x.host.piece = []byte(piece)
	return x.did(x.host.ResponseBody(&x.Stream, x.host.now, len(piece), end))
}

func (x *exchange) done() *Step { return x.did(x.host.Done(&x.Stream, x.host.now)) }

// answer gives the whole response, in JSON.
func (x *exchange) answer(body string) {
	x.status("200", "application/json", false)
	x.response(body, true)
	x.done()
}

// used is a response that reports its usage.
func used(prompt, completion int) string {
	return fmt.Sprintf(`{"model":"mock-1","choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}}`,
		prompt, completion, prompt+completion)
}

// tick lets the engine's timer run.
func (h *host) tick() map[*Stream]Action {
	resumed := map[*Stream]Action{}
	h.Tick(h.now, func(s *Stream, step *Step) {
		h.noted(step)
		if step.Resume || step.Action == Answer {
			resumed[s] = step.Action
		}
	})
	h.after()
	return resumed
}

// balance is what is left of the first limit of its kind, in units; what is reserved is gone. It looks as another worker
// would that asks for nothing.
func (h *host) balance(user string) int64 {
	h.Helper()
	buckets, err := table.New(h.proxy, h.cfg.Namespace, time.Duration(LeasePeriod), random)
	if err != nil {
		h.Fatal(err)
	}
	set := limit.New(h.cfg, &ident.Picker{}, buckets)
	v := set.Admit(h.now, &limit.Request{
		Caller:    ident.Caller{User: user, Tenant: "anonymous", Key: "anonymous", Priority: config.Normal},
		Operation: "chat", Model: "mock", ModelKnown: true, Tokens: true, Headers: &ident.Headers{},
	}, nil)
	set.Refund(h.now, v.Charges)
	switch {
	case v.Err != nil:
		h.Fatal(v.Err)
	case v.Outcome.Refuses():
		return v.Limit.Burst - int64(v.Measured)
	case v.Tokens.Limit != nil:
		return v.Tokens.Remaining
	case v.Requests.Limit != nil:
		return v.Requests.Remaining + 1
	}
	return -1
}

// requests is how many requests were counted in all.
func (h *host) requests() (n int64) {
	for name, count := range h.counts {
		if strings.HasPrefix(name, "requests ") {
			n += count
		}
	}
	return n
}

// idle checks that nothing is held any more.
func (h *host) idle() {
	h.Helper()
	if len(h.guard.holding) > 0 || len(h.reserving) > 0 || h.TickPeriod() != 0 {
		h.Errorf("%d held, %d reserving, tick period %d", len(h.guard.holding), len(h.reserving), h.TickPeriod())
	}
}

func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// header finds a header.
func header(headers [][2]string, name string) string {
	for _, h := range headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}

// newHostOf is a host with the limits.
func newHostOf(t fataler, hold, limits string) *host {
	t.Helper()
	return newHost(t, `{"requestHold":"`+hold+`",`+limits+`}`, recordtest.NewMemory())
}
