// Package queuetest tests, in a real Envoy, what waits in front of an upstream: who goes first, who is refused, and what
// the server behind it gets to see.
package queuetest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
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

const (
	chatPath       = "/v1/chat/completions"
	messagesPath   = "/v1/messages"
	embeddingsPath = "/v1/embeddings"

	// patience bounds everything that a test waits for, unless it says otherwise: other tests may have the machine.
	patience = harness.Patience
)

// gateway is an Envoy with the filter, and the simulated server behind it.
type gateway struct {
	*harness.Envoy
	sim     *llmsim.Server
	front   *front
	workers int
	hold    harness.Hold
}

// start runs a gateway until the test ends.
func start(t *testing.T, options harness.Options, simulator llmsim.Options) *gateway {
	t.Helper()
	simulator.History = 20_000
	simulator.RecordHeaders = []string{"traceparent", "x-user-id"}
	sim := llmsim.New(simulator)
	t.Cleanup(func() { _ = sim.Close() })
	f := &front{Handler: sim}
	options.Upstream = harness.Serve(t, f)
	g := &gateway{sim: sim, front: f, workers: max(options.Concurrency, 1), hold: cmp.Or(options.Hold, harness.HoldStopIteration)}
	g.Envoy = harness.Start(t, options)
	return g
}

// front stands before the simulator and adds what that can't do: response headers of a request's choice, and to tell the requests that
// have begun from those that came whole. The simulator only sees the latter.
type front struct {
	http.Handler
	other atomic.Pointer[http.Handler] // answers in the simulator's place
	begun sync.Map                     // the traceparent of each request whose headers came
}

// answerPrefix begins the names of request headers that come back as response headers.
const answerPrefix = "X-Answer-"

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.begun.Store(r.Header.Get("traceparent"), true)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	for name, values := range r.Header {
		if added, ok := strings.CutPrefix(name, answerPrefix); ok {
			w.Header()[added] = values
		}
	}
	if other := f.other.Load(); other != nil {
		(*other).ServeHTTP(w, r)
		return
	}
	f.Handler.ServeHTTP(w, r)
}

// held is the server behind the gateway while it answers nothing.
type held struct {
	mu      sync.Mutex
	seen    map[string]bool // by traceparent
	release chan struct{}
}

// holdAll lets all that comes to the server wait until it is released.
func (f *front) holdAll(t *testing.T) *held {
	h := &held{seen: map[string]bool{}, release: make(chan struct{})}
	f.replace(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.seen[r.Header.Get("traceparent")] = true
		h.mu.Unlock()
		select {
		case <-h.release:
			f.Handler.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
	return h
}

// has says whether the server has a call.
func (h *held) has(c *call) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen[c.id]
}

// replace puts another server behind the gateway until the test ends.
func (f *front) replace(t *testing.T, other http.Handler) {
	f.other.Store(&other)
	t.Cleanup(func() { f.other.Store(nil) })
}

// configure puts a configuration into force, and sets Envoy up to hold requests as hold says.
func (g *gateway) configure(t *testing.T, hold harness.Hold, config string) {
	t.Helper()
	if err := g.ReconfigureHold(hold, patientQueues(t, config)); err != nil {
		t.Fatal(err)
	}
	g.hold = hold
	g.sim.Reset() // the records of earlier parts would only be searched
}

// ask is a request. What is left out is that of a chat without a stream, and sent by nobody.
type ask struct {
	path, model, user, priority string
	stream                      bool
	sim                         string // x-sim headers: "ttft=20ms tokens=3"
	headers                     []string
	more                        int // bytes of a chat's question beside that
}

func (a ask) text() string {
	model := a.model
	if model == "" {
		model = "llama"
	}
	switch a.path {
	case embeddingsPath:
		return fmt.Sprintf(`{"model":%q,"input":"hello"}`, model)
	default:
		return fmt.Sprintf(`{"model":%q,"max_tokens":%d,"stream":%v,"messages":[{"role":"user","content":"hello%s"}]}`, model, a.bound(), a.stream, strings.Repeat("x", a.more))
	}
}

// bound is how many tokens it asks for at most: as many as the simulator is told to answer with, which takes no more than that for an answer.
func (a ask) bound() int {
	bound := 1000
	for _, told := range strings.Fields(a.sim) {
		if n, is := strings.CutPrefix(told, "tokens="); is {
			tokens, _ := strconv.Atoi(n)
			bound = max(bound, tokens)
		}
	}
	return bound
}

// call is a request on its way, and its answer when done is closed.
type call struct {
	ask
	id     string // its traceparent: the access log and the simulator's records have it
	cancel context.CancelFunc
	done   chan struct{}
	began  time.Time
	took   time.Duration
	ended  time.Time
	answer
	err  error
	came atomic.Int64 // bytes of the answer's body, while it comes
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string {
	return fmt.Sprintf("status %d, headers %v, body %.300s", a.status, a.header, a.body)
}

var lastID atomic.Int64

// send sends a request over the gateway's client and returns at once.
func (g *gateway) send(t testing.TB, a ask) *call { return g.sendWith(t, g.Client, a) }

func (g *gateway) sendWith(t testing.TB, client *http.Client, a ask) *call {
	ctx, cancel := context.WithCancel(t.Context())
	c := &call{ask: a, id: fmt.Sprintf("%s-%d", t.Name(), lastID.Add(1)), cancel: cancel, done: make(chan struct{})}
	request := a.request(ctx, g.URL, c.id)
	go func() {
		defer close(c.done)
		defer cancel()
		c.began = time.Now()
		c.answer, c.err = fetch(client, request, &c.came)
		c.ended = time.Now()
		c.took = c.ended.Sub(c.began)
	}()
	return c
}

func (a ask) request(ctx context.Context, url, id string) *http.Request {
	if a.path == "" {
		a.path = chatPath
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+a.path, strings.NewReader(a.text()))
	if err != nil {
		panic(err) // the URL is Envoy's
	}
	h := request.Header
	h.Set("Content-Type", "application/json")
	h.Set("Traceparent", id)
	for name, value := range map[string]string{"X-User-Id": a.user, "X-Priority": a.priority} {
		if value != "" {
			h.Set(name, value)
		}
	}
	for _, override := range strings.Fields(a.sim) {
		name, value, _ := strings.Cut(override, "=")
		h.Set("X-Sim-"+name, value)
	}
	for i := 0; i < len(a.headers); i += 2 {
		h.Set(a.headers[i], a.headers[i+1])
	}
	return request
}

func fetch(client *http.Client, request *http.Request, came *atomic.Int64) (answer, error) {
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.TeeReader(response.Body, counter{came}))
	return answer{response.StatusCode, response.Header, body}, err
}

// counter counts the bytes that are written to it.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// oneConnection is a client all of whose requests go over one connection, or more if Envoy doesn't take as many: to one worker.
func oneConnection(t *testing.T, g *gateway) *http.Client {
	t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport}
	wantServed(t, g.sendWith(t, client, ask{model: "ungoverned"})) // else each of many requests would open a connection
	return client
}

// wait waits for a call's end.
func (c *call) wait(t testing.TB) *call {
	t.Helper()
	select {
	case <-c.done:
	case <-time.After(patience):
		t.Fatalf("%s has no answer after %v", c.id, patience)
	}
	return c
}

func (c *call) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// do sends a request and waits for the answer.
func (g *gateway) do(t testing.TB, a ask) *call {
	t.Helper()
	c := g.send(t, a).wait(t)
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c
}

// came is how many requests Envoy has received so far.
func (g *gateway) came() uint64 {
	const name = "http.gateway.downstream_rq_total"
	return g.Stats(name)[name]
}

// active is how many requests Envoy has.
func (g *gateway) active() uint64 {
	const name = "http.gateway.downstream_rq_active"
	return g.Stats(name)[name]
}

// enqueue sends a request and returns when Envoy has it, so that the next one comes later, as a rule: where all depends on its place,
// the queue's depth tells (the request takes it when its body is complete).
func (g *gateway) enqueue(t testing.TB, a ask) *call {
	t.Helper()
	before := g.active()
	c := g.send(t, a)
	harness.Await(t, patience, "Envoy has the request", func() bool { return c.over() || g.active() > before })
	return c
}

// occupy puts a request in flight that stays there until it is cancelled.
func (g *gateway) occupy(t testing.TB, a ask) *call {
	t.Helper()
	a.sim += " hang=forever"
	c := g.send(t, a)
	g.awaitSeen(t, c)
	return c
}

// awaitSeen waits until the simulator has a call.
func (g *gateway) awaitSeen(t testing.TB, c *call) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := g.sim.Await(ctx, func(llmsim.Stats) bool { return c.over() || g.seen(c) }); err != nil || !g.seen(c) {
		if c.over() {
			t.Fatalf("%s did not stay at the server: %v, %v", c.id, c.answer, c.err)
		}
		t.Fatalf("%s has not come to the server: %v", c.id, err)
	}
}

// awaitOutput waits until a call's client has some of its answer's body: that has passed the filter.
func awaitOutput(t testing.TB, c *call) {
	t.Helper()
	if harness.Await(t, patience, "the first output has come", func() bool { return c.over() || c.came.Load() > 0 }); c.came.Load() == 0 {
		t.Fatalf("%s has no output: %v, %v", c.id, c.answer, c.err)
	}
}

// seen says whether the simulator has a record of a call.
func (g *gateway) seen(c *call) bool {
	return slices.ContainsFunc(g.sim.Requests(), func(r llmsim.Request) bool { return r.Headers["traceparent"] == c.id })
}

// order gives the calls in the order in which the simulator saw them.
func (g *gateway) order(calls []*call) (served []*call) {
	for _, r := range g.sim.Requests() {
		for _, c := range calls {
			if r.Headers["traceparent"] == c.id {
				served = append(served, c)
			}
		}
	}
	return served
}

// logs waits for the access log's records of the calls, and gives them in the calls' order.
func (g *gateway) logs(t testing.TB, calls ...*call) []harness.Record {
	t.Helper()
	records := make([]harness.Record, len(calls))
	harness.Await(t, patience, "the access log has all requests", func() bool {
		byID := map[string]harness.Record{}
		for _, r := range g.AccessLog(0) {
			byID[r.Text("traceparent")] = r
		}
		found := 0
		for i, c := range calls {
			if records[i] = byID[c.id]; records[i] != nil {
				found++
			}
		}
		return found == len(calls)
	})
	return records
}

// metric is the sum of a counter or gauge over all that have these labels, as name and value in turn.
func (g *gateway) metric(name string, labels ...string) (sum float64) {
	// Prometheus's form of all statistics costs more than the requests that are counted.
	for full, value := range g.Stats("wasmcustom." + name) {
		same := true
		for i := 0; i < len(labels); i += 2 {
			same = same && strings.Contains(full+";", ";"+labels[i]+"="+labels[i+1]+";")
		}
		if same {
			sum += float64(value)
		}
	}
	return sum
}

// awaitMetric waits until a metric has a value.
func (g *gateway) awaitMetric(t testing.TB, want float64, name string, labels ...string) {
	t.Helper()
	var got float64
	if !harness.Comes(patience, func() bool {
		got = g.metric(name, labels...)
		return got == want
	}) {
		t.Errorf("%s%v is still %v after %v, want %v", name, labels, got, patience, want)
	}
}

// awaitIdle waits until the gauges say that nothing waits and nothing is in flight.
func (g *gateway) awaitIdle(t testing.TB) {
	t.Helper()
	g.awaitMetric(t, 0, "spillway_inflight")
	g.awaitMetric(t, 0, "spillway_queue_depth")
}

// wantRefused checks a refusal: status, reason, advice, and that it names itself in the client's dialect.
func wantRefused(t testing.TB, c *call, status int, reason, message string) {
	t.Helper()
	c.wait(t)
	if c.err != nil || c.status != status || c.header.Get("x-spillway-reason") != reason {
		t.Fatalf("%s: want %d %s, got %v, %v", c.id, status, reason, c.answer, c.err)
	}
	if after, err := strconv.Atoi(c.header.Get("retry-after")); err != nil || after < 1 || after > 3600 {
		t.Errorf("retry-after is %q, want 1 to 3600", c.header.Get("retry-after"))
	}
	var said struct {
		Type  string
		Error struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal(c.body, &said); err != nil || !strings.Contains(said.Error.Message, message) {
		t.Errorf("the body is %s (%v), want a message with %q", c.body, err, message)
	}
	got := fmt.Sprintf("%s/%s/%s", said.Type, said.Error.Type, said.Error.Code)
	want := map[bool]map[int]string{
		false: {429: "/requests/rate_limit_exceeded", 503: "/server_error/service_unavailable"},
		true:  {429: "error/rate_limit_error/", 503: "error/overloaded_error/"},
	}[c.path == messagesPath][status]
	if got != want {
		t.Errorf("the body is %s, want it to be of %s", c.body, want)
	}
}

// shown is how many of a crowd are shown that were not answered as they should be.
const shown = 3

func wantServed(t testing.TB, calls ...*call) {
	t.Helper()
	failed := 0
	for _, c := range calls {
		if c.wait(t); c.err == nil && c.status == http.StatusOK {
			continue
		}
		if failed++; failed <= shown {
			t.Errorf("%s (%s) after %v: want status 200, got %v, %v", c.id, c.priority, c.took, c.answer, c.err)
		}
	}
	if failed > shown {
		t.Errorf("%d of %d were not served", failed, len(calls))
	}
}

// wantUnseen checks that no request came to the server that the access log has as not admitted: nothing of it where headers are
// held, else not the whole of it.
func (g *gateway) wantUnseen(t testing.TB, calls ...*call) {
	t.Helper()
	for i, r := range g.logs(t, calls...) {
		switch decision := r.Text("decision"); decision {
		case "REJECTED", "CANCELLED":
			_, begun := g.front.begun.Load(calls[i].id)
			if holds := g.hold == harness.HoldStopIteration || g.hold == harness.HoldBufferFilter; g.seen(calls[i]) || holds && begun {
				t.Errorf("the server saw %s, which was %s", calls[i].id, decision)
			}
		case "ALLOWED", "QUEUED", "SHADOW":
		default:
			t.Errorf("the access log's decision about %s is %q: %v", calls[i].id, decision, r)
		}
	}
}
