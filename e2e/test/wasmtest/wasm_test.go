// Package wasmtest tests the compiled filter on a strict double of Envoy's Wasm host (package wasmhost): what only shows
// once the core, its binding and the Wasm runtime come together, and what a real Envoy can't be made to do at
// will, such as losing a worker at a given moment.
//
// Every test ends with a host that has nothing to complain of. Nothing is ever skipped: without the filter a test fails,
// and says which make target builds it.
package wasmtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// The compiled filter, and the one that a request can make panic or die.
var (
	filter     = sync.OnceValues(func() (*wasmhost.Module, error) { return compile(envoyproc.LocateWasm()) })
	trapFilter = sync.OnceValues(func() (*wasmhost.Module, error) { return compile(envoyproc.LocateTrapWasm()) })
)

func compile(path string, err error) (*wasmhost.Module, error) {
	if err != nil {
		return nil, err
	}
	return wasmhost.Compile(context.Background(), path)
}

// The host's set-ups that can hold a request back, and the one that can't.
var (
	stopIteration = wasmhost.Options{AllowOnHeadersStopIteration: true}
	bufferFilter  = wasmhost.Options{BufferFilterAfter: true}
	plainHost     = wasmhost.Options{}
)

// holds are the ways of holding a request, with the host that each needs.
var holds = []struct {
	name string
	host wasmhost.Options
}{
	{"stopIteration", stopIteration},
	{"bufferFilter", bufferFilter},
	{"none", plainHost},
}

// proxy is one Envoy process.
type proxy struct {
	*wasmhost.Host
	t *testing.T
}

// newProxy starts a process without workers, and checks at the test's end that the host has nothing to complain of.
func newProxy(t *testing.T, options wasmhost.Options) *proxy {
	t.Helper()
	return newProxyOf(t, filter, options)
}

func newProxyOf(t *testing.T, module func() (*wasmhost.Module, error), options wasmhost.Options) *proxy {
	t.Helper()
	m, err := module()
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{wasmhost.NewHost(m, options), t}
	t.Cleanup(func() {
		for _, violation := range p.Violations() {
			t.Errorf("the host complains: %s", violation)
		}
		for name, n := range p.counters("spillway_errors_total;reason=host_") {
			t.Errorf("the host refused calls: %s is %d", name, n)
		}
		if t.Failed() {
			for _, line := range p.Logs() {
				t.Logf("vm %d, %v: %.2000s", line.VM, line.Level, line.Message)
			}
		}
	})
	return p
}

// worker starts a VM, which ends with the test.
func (p *proxy) worker(config string) *wasmhost.VM {
	p.t.Helper()
	vm, err := p.StartVM(nil, []byte(config))
	if err != nil {
		for _, line := range p.Logs() {
			p.t.Log(line.Message)
		}
		p.t.Fatal(err)
	}
	p.t.Cleanup(vm.Kill)
	return vm
}

// start is a process with one worker.
func start(t *testing.T, options wasmhost.Options, config string) (*proxy, *wasmhost.VM) {
	t.Helper()
	p := newProxy(t, options)
	return p, p.worker(config)
}

// counters are the counters whose names begin with a prefix.
func (p *proxy) counters(prefix string) map[string]uint64 {
	found := map[string]uint64{}
	for _, name := range p.MetricNames() {
		if strings.HasPrefix(name, prefix) {
			found[name] = p.Counter(name)
		}
	}
	return found
}

// requests is the number of requests counted.
func (p *proxy) requests() (n int) {
	for count := range maps.Values(p.counters("spillway_requests_total;")) {
		n += int(count)
	}
	return n
}

// request is what a client sends.
type request struct {
	method  string // "" is POST
	path    string // "" is the chat completions
	user    string // x-user-id; "" is none
	headers [][2]string
	body    string // "" is a question to llama-3-8b; "-" is none
}

const question = `{"model":"llama-3-8b","messages":[{"role":"user","content":"Why is the sky blue?"}]}`

func (r request) head() [][2]string {
	if r.method == "" {
		r.method = "POST"
	}
	if r.path == "" {
		r.path = "/v1/chat/completions"
	}
	headers := [][2]string{{":method", r.method}, {":path", r.path}, {":authority", "llm"}, {"content-type", "application/json"}}
	if r.user != "" {
		headers = append(headers, [2]string{"x-user-id", r.user})
	}
	return append(headers, r.headers...)
}

func (r request) text() string {
	switch r.body {
	case "":
		return question
	case "-":
		return ""
	}
	return r.body
}

// open sends the headers alone.
func (r request) open(vm *wasmhost.VM) *wasmhost.Stream {
	s := vm.NewStream()
	s.RequestHeaders(r.head(), r.body == "-")
	return s
}

// send sends all of it.
func (r request) send(vm *wasmhost.VM) *wasmhost.Stream {
	s := r.open(vm)
	if r.body != "-" {
		s.RequestBody([]byte(r.text()), true)
	}
	return s
}

// ask sends it, and gives the upstream's answer if it gets there: 24 prompt and 76 completion tokens.
func (r request) ask(vm *wasmhost.VM) *wasmhost.Stream {
	s := r.send(vm)
	answer(s, completion(76))
	return s
}

var (
	okJSON   = [][2]string{{":status", "200"}, {"content-type", "application/json"}}
	okEvents = [][2]string{{":status", "200"}, {"content-type", "text/event-stream"}}
)

// answer is the upstream's, if it has got the request.
func answer(s *wasmhost.Stream, body string) {
	if s.UpstreamEnd {
		s.ResponseHeaders(okJSON, false)
		s.ResponseBody([]byte(body), true)
	}
}

// completion is a chat completion.
func completion(tokens int) string {
	return fmt.Sprintf(`{"id":"chatcmpl-1","object":"chat.completion","model":"llama-3-8b-instruct","choices":[{"index":0,`+
		`"message":{"role":"assistant","content":"Rayleigh."},"finish_reason":"stop"}],"usage":{"prompt_tokens":24,`+
		`"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":8},`+
		`"completion_tokens_details":{"reasoning_tokens":5}}}`, tokens, 24+tokens)
}

// events is a streamed chat completion: a piece of text an event, and then the usage if there is one.
func events(pieces, tokens int) []string {
	var all []string
	for i := range pieces {
		all = append(all, fmt.Sprintf(`data: {"model":"llama-3-8b-instruct","choices":[{"index":0,"delta":{"content":"w%d"}}]}`+"\n\n", i))
	}
	if tokens > 0 {
		all = append(all, fmt.Sprintf(`data: {"model":"llama-3-8b-instruct","choices":[],"usage":{"prompt_tokens":24,`+
			`"completion_tokens":%d,"total_tokens":%d}}`+"\n\n", tokens, 24+tokens))
	}
	return append(all, "data: [DONE]\n\n")
}

// limitOf is a configuration with one limit for each user.
func limitOf(unit string, quantity int, more ...string) string {
	return fmt.Sprintf(`{"namespace":"test","requestHold":"stopIteration","models":{"labels":["llama-*"]},"limits":[{"name":"quota",`+
		`"per":["user"],"unit":%q,"quantity":%d,"window":"1h"%s}]}`, unit, quantity, strings.Join(append([]string{""}, more...), ","))
}

// held replaces the way of holding of a configuration that limitOf made.
func held(hold, config string) string {
	return strings.Replace(config, `"requestHold":"stopIteration"`, `"requestHold":"`+hold+`"`, 1)
}

func check[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// checkMap compares two maps entry by entry.
func checkMap[V comparable](t *testing.T, what string, got, want map[string]V) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if v, found := got[key]; !found || v != want[key] {
			t.Errorf("%s: %s: got %v (present: %v), want %v", what, key, v, found, want[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, wanted := want[key]; !wanted {
			t.Errorf("%s: %s: got %v, want none", what, key, got[key])
		}
	}
}

// statuses checks what clients got, in order.
func statuses(t *testing.T, streams []*wasmhost.Stream, want ...string) {
	t.Helper()
	var got []string
	for _, s := range streams {
		got = append(got, s.ClientStatus)
	}
	check(t, "statuses", strings.Join(got, " "), strings.Join(want, " "))
}

func header(headers [][2]string, name string) string {
	for _, h := range headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}
