package admit

import (
	"cmp"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/heavy"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
	"github.com/spillway-proxy/spillway/filter/internal/table"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

const (
	second      = 1_000_000_000 // of moments and durations alike
	millisecond = second / 1000
	start       = clock.Moment(1000 * second) // the monotonic clock when a test begins
)

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
	cfg           config.Config
	now           clock.Moment
	counts        map[string]int64 // "counter label label": sum
	gauges        map[string]int64
	notes         []string
	infos, advice []string               // advice is what the configuration was warned of
	others        map[*Stream]string     // other streams that an event has let go on, "", or answered, its reason
	resumed       map[*Stream]EffectKind // the same of the last tick
	told          map[*Stream]int64      // numbers of the filter state of other streams that an event has set
	fetches       int
	calls         []string        // of the fleet's service
	published     map[string]bool // names of what was set in the filter state, of whatever stream
}

// short are the metrics' names in tests, of those that have a shorter one there.
var short = map[string]string{
	"spillway_requests_total": "requests", "spillway_tokens_total": "tokens", "spillway_uncharged_total": "uncharged",
	"spillway_evictions_total": "evictions", "spillway_errors_total": "errors", "spillway_warnings_total": "warnings",
	"spillway_passthrough_total": "passthrough", "spillway_pressure": "pressure", "spillway_pressure_instances": "pressure of",
	"spillway_queue_depth": "depth", "spillway_slots": "slots", "spillway_inflight": "inflight", "spillway_retreat_state": "retreat", "spillway_retreat_alarm": "alarm",
	"spillway_effective_rpm": "rpm", "spillway_upstream_429_ratio": "share", "spillway_queue_wait_milliseconds": "wait",
	"spillway_breaker_state": "breaker", "spillway_gate_state": "gate", "spillway_latency_average_milliseconds": "average",
	"spillway_throttle_severity": "severity", "spillway_ttft_milliseconds": "ttft", "spillway_itl_milliseconds": "itl",
}

func newHost(t fataler, configuration string, store record.Store) *host {
	t.Helper()
	return newWorker(t, configuration, store, random)
}

// newWorker is one of several, whose random bytes are its own.
func newWorker(t fataler, configuration string, store record.Store, random []byte) *host {
	t.Helper()
	cfg, err := config.Parse([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}
	h := &host{fataler: t, proxy: proxy{Store: store}, cfg: cfg, now: start, counts: map[string]int64{}, gauges: map[string]int64{},
		others: map[*Stream]string{}, resumed: map[*Stream]EffectKind{}, told: map[*Stream]int64{}, published: map[string]bool{}}
	h.time = func() clock.Moment { return h.now }
	if h.Engine, err = New(&cfg, &h.proxy, new(Worker), random); err != nil {
		t.Fatal(err)
	}
	h.drain(nil)
	h.advice, h.notes = h.notes, nil
	return h
}

// proxy stands in for what the proxy tells of the event that is being handled.
type proxy struct {
	record.Store
	headers    [][2]string
	piece      []byte
	details    string // code_details
	flags      string
	attributes map[string]string // others, by their paths
	holdsBack  bool              // it keeps bodies back that it has received
	read       int               // bytes of bodies that were read

	time func() clock.Moment
	set  int64 // nanoseconds that the wall clock was set ahead since the test began
}

func (p *proxy) Headers() [][2]string { return p.headers }

func (p *proxy) Piece(from, size int) []byte {
	piece := p.piece[min(from, len(p.piece)):min(from+size, len(p.piece))]
	p.read += len(piece)
	return piece
}

func (p *proxy) Attribute(path string) (string, bool) {
	switch path {
	case CodeDetails:
		return p.details, p.details != ""
	case ResponseFlags:
		return p.flags, p.flags != ""
	}
	value, known := p.attributes[path]
	return value, known
}

// Wall is half a century and three days after 1970 when a test begins.
func (p *proxy) Wall() int64 {
	wall := (50*365+15)*24*3600*second + p.set
	if p.time != nil {
		wall += int64(p.time().Sub(start))
	}
	return wall
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
		origin.Broken: "upstream_reset_before_response_started{connection_termination}", origin.Elsewhere: "ext_authz_denied",
		origin.NoRoute: "route_not_found", origin.TooLarge: "request_payload_too_large",
		origin.FleetDown: "rate_limiter_error", origin.Unfinished: "stream_idle_timeout"}[from]
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

// Step is what an event has brought about for its own stream.
type Step struct {
	Action     EffectKind // Continue, Hold or Answer
	Reply      *reply.Reply
	Asked      [][2]string // request headers
	Headers    [][2]string // response headers
	Edit       usage.Edit
	Measure    bool
	Reroute    bool
	Body       []byte
	Replace    bool
	Properties []Effect
}

// What becomes of the message that an event has brought.
const (
	Continue = nothing
	Hold     = Pause
)

// did takes what has come of the stream's event.
func (x *exchange) did() *Step {
	x.last = x.host.drain(&x.Stream)
	for _, p := range x.last.Properties {
		x.properties[p.Name] = strings.Clone(p.Value)
	}
	return x.last
}

// drain takes what has come of an event, as the binding does: what is for its own stream, and what it has changed beside it.
func (h *host) drain(own *Stream) *Step {
	step, others := &Step{}, false
	for f := h.Next(); f != nil; f = h.Next() {
		switch f.Kind {
		case UpdateMetric:
			if name := named(&f.Metric.Series); f.Metric.Series.Kind() == metric.KindGauge {
				h.gauges[name] = f.Metric.N
			} else {
				h.counts[name] += f.Metric.N
			}
		case LogInfo:
			h.infos = append(h.infos, f.Value)
		case LogWarning:
			h.notes = append(h.notes, f.Value)
		case Fetch:
			h.fetches++
		case Ask:
			_, body, _ := h.FleetCall()
			h.calls = append(h.calls, string(body))
		default:
			if f.Kind == Answer {
				h.isInTheTable(f.Stream)
			}
			if f.Kind == SetProperty || f.Kind == SetNumber {
				h.published[f.Name] = true
			}
			if f.Stream != own {
				others = true
				h.changed(f)
				continue
			}
			if others {
				h.Errorf("effect %d of the event's own stream after those of others", f.Kind)
			}
			if step.Action != Continue {
				h.Errorf("effect %d after what becomes of the message: %d", f.Kind, step.Action)
			}
			step.add(f)
		}
	}
	return step
}

// changed takes what an event has brought about for another stream.
func (h *host) changed(f *Effect) {
	switch f.Kind {
	case Answer:
		h.others[f.Stream] = header(f.Stream.Reply().Headers, "x-spillway-reason")
		h.resumed[f.Stream] = Answer
	case BreakOff:
		h.resumed[f.Stream] = BreakOff
	case Resume:
		h.others[f.Stream] = ""
		h.resumed[f.Stream] = Continue
	case SetNumber:
		h.told[f.Stream] = f.Number
	case Pause:
		h.Errorf("a message is kept back that nobody has brought")
	}
}

func (s *Step) add(f *Effect) {
	switch f.Kind {
	case SetProperty:
		s.Properties = append(s.Properties, *f)
	case SetNumber:
		s.Properties = append(s.Properties, Effect{Name: f.Name, Value: strconv.FormatInt(f.Number, 10)})
	case SetRequestHeader:
		s.Asked = append(s.Asked, [2]string{f.Name, f.Value})
	case SetResponseHeader:
		s.Headers = append(s.Headers, [2]string{f.Name, f.Value})
	case EditRequest:
		s.Edit, s.Measure = f.Stream.Edit()
	case ChooseRoute:
		s.Reroute = true
	case ReplaceResponse:
		s.Body, s.Replace = f.Stream.Body(), true
	case Answer:
		s.Action, s.Reply = Answer, f.Stream.Reply()
	default:
		s.Action = f.Kind
	}
}

// named is a series as tests write it: its short name and its labels' values.
func named(s *metric.Series) string {
	parts := strings.Split(s.Name(), ";")
	name := cmp.Or(short[parts[0]], parts[0])
	for _, label := range parts[1:] {
		_, value, _ := strings.Cut(label, "=")
		name += " " + value
	}
	return strings.TrimRight(name, " ")
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
	h.RequestHeaders(&x.Stream, h.now, end)
	x.did()
	return x
}

// body sends a piece of the request's body, as the binding does.
func (x *exchange) body(piece string, end bool) *Step {
	x.host.piece = []byte(piece)
	x.host.RequestBody(&x.Stream, x.host.now, len(piece), end)
	return x.did()
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
	x.host.ResponseHeaders(&x.Stream, x.host.now, end)
	return x.did()
}

func (x *exchange) response(piece string, end bool) *Step {
	x.host.piece = []byte(piece)
	x.host.ResponseBody(&x.Stream, x.host.now, len(piece), end)
	return x.did()
}

// RequestTrailers ends the request.
func (x *exchange) RequestTrailers() *Step {
	x.host.RequestTrailers(&x.Stream, x.host.now)
	return x.did()
}

// ResponseTrailers ends the response.
func (x *exchange) ResponseTrailers() *Step {
	x.host.ResponseTrailers(&x.Stream, x.host.now)
	return x.did()
}

func (x *exchange) done() *Step {
	x.host.Done(&x.Stream, x.host.now)
	return x.did()
}

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

// tick lets the engine's timer run, and tells which streams it has let go on or answered.
func (h *host) tick() map[*Stream]EffectKind {
	clear(h.resumed)
	h.Tick(h.now)
	h.drain(nil)
	return maps.Clone(h.resumed)
}

// balance is what is left of the first limit of its kind, in units; what is reserved is gone. It looks as another worker
// would that asks for nothing.
func (h *host) balance(user string) int64 {
	h.Helper()
	buckets, err := table.New(h.proxy, h.cfg.Namespace, time.Duration(leasePeriod), random)
	if err != nil {
		h.Fatal(err)
	}
	set := limit.New(&h.cfg, &ident.Picker{}, buckets, &heavy.Book{})
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
	if h.guard.holding.count > 0 || h.reserving.count > 0 || h.TickPeriod() != uint32(beatPeriod.Milliseconds()) {
		h.Errorf("%d held, %d reserving, tick period %d", h.guard.holding.count, h.reserving.count, h.TickPeriod())
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
