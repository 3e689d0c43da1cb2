package wasmtest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// hostCalls is what a request may cost: the calls of the filter to the host, over its whole life. They are the larger part
// of the filter's cost, since each copies and leaves the compiled code. A number that rises must be justified in the
// change that raises it; one that falls is lowered here.
var hostCalls = []struct {
	name   string
	config string
	run    func(p *proxy, vm *wasmhost.VM)
	want   [len(publishing)]int // by what is published
}{
	{"no limits, JSON", `{}`, askJSON, [...]int{22, 17, 12}},
	{"no limits, no body", `{}`, askModels, [...]int{5, 2, 3}},
	{"one token limit, JSON", limitOf("completionTokens", 1_000_000_000), askJSON, [...]int{29, 24, 19}},
	// Two of these ask for the usage in the client's place, and take the event out again that brings it. One tells of the first output
	// while the stream runs: the next one would a tenth of a second later.
	{"one token limit, SSE of 10 pieces", limitOf("completionTokens", 1_000_000_000), askEvents, [...]int{42, 35, 32}},
	// Two of these count the request when it is sent, once its body has come: until then it is a lease, which a worker that
	// dies doesn't take from its subject.
	{"one request limit, JSON", limitOf("requests", 1_000_000_000), askJSON, [...]int{29, 24, 19}},
	// One of these asks for the attribute that tells who asks; none does where nothing depends on that.
	{"one request limit by address, JSON", byAddress(limitOf("requests", 1_000_000_000)), askJSON, [...]int{30, 25, 20}},
	{"no limits, but an address, JSON", byAddress(`{}`), askJSON, [...]int{22, 17, 12}},
	// A place is reserved at admission, and released at the end: two calls each. No header tells of it.
	{"one limit of requests under way, JSON", underWay(1000), askJSON, [...]int{26, 21, 16}},
	// No header tells of dollars; one call counts them.
	{"one limit of dollars, JSON", dollars("1000"), askJSON, [...]int{27, 22, 17}},
	{"one upstream, JSON", slotsOf(1000, ""), askJSON, [...]int{26, 21, 16}},
	// The headers are taken out, one call each.
	{"one upstream, JSON, of one who says how long to wait", slotsOf(1000, ""), askPatiently, [...]int{28, 23, 18}},
	// To refuse who doesn't wait the upstream's record is read, and not written; the header is taken out, and the body read.
	{"a refusal of one who doesn't wait", slotsOf(1, ""), declineBesideAnother, [...]int{14, 7, 9}},
	// Headers, the subject's page, the answer, a metric; the rest is what is published of it.
	{"a refusal", limitOf("requests", 1), askJSON, [...]int{15, 4, 7}},
	{"a refusal of one too many at once", underWay(1), askBesideAnother, [...]int{15, 4, 7}},
	// One of these reads the body: how much it asks for is known by that.
	{"a refusal by tokens", limitOf("completionTokens", 1), askJSON, [...]int{17, 6, 8}},
	{"a refusal by dollars", dollars("0.000001"), askJSON, [...]int{17, 6, 8}},
	{"a breaker, JSON", gatesOf("breaker"), askJSON, [...]int{25, 20, 15}},
	{"a latency gate, SSE of 10 pieces", gatesOf("latency"), askEvents, [...]int{40, 33, 30}},
	// The throttle writes what it has counted four times a second, not for each request.
	{"all gates, JSON", gatesOf("breaker", "latency", "throttle"), askJSON, [...]int{25, 20, 15}},
}

// publishing are the presets of what is published.
var publishing = [...]string{"all", "tokens", "minimal"}

// byAddress is a configuration whose users are told by their addresses.
func byAddress(config string) string {
	more := `{"identity":{"user":{"property":["source","address"]}},`
	return strings.TrimSuffix(more, map[bool]string{true: ","}[config == "{}"]) + strings.TrimPrefix(config, "{")
}

// underWay is a configuration with a limit of each user's requests under way.
func underWay(quantity int) string {
	return fmt.Sprintf(`{"requestHold":"stopIteration","limits":[{"name":"a","per":["user"],"unit":"inflight","quantity":%d}]}`, quantity)
}

// dollars is a configuration with a limit of each user's dollars.
func dollars(quantity string) string {
	return `{"requestHold":"stopIteration","limits":[{"name":"a","per":["user"],"unit":"usd","quantity":` + quantity + `,"window":"24h"}],"prices":[{"prompt":1,"completion":4}]}`
}

// gatesOf is a configuration with some of an upstream's adaptive gates.
func gatesOf(gates ...string) string {
	return `{"upstreams":[{"name":"vllm","` + strings.Join(gates, `":{"mode":"enforce"},"`) + `":{"mode":"enforce"}}]}`
}

// answerTime is how long an answer takes: shorter than anything that the filter does now and then.
const answerTime = 10 * time.Millisecond

func askJSON(p *proxy, vm *wasmhost.VM) {
	s := request{user: "ann"}.send(vm)
	if s.ClientStatus == "" {
		p.Advance(answerTime)
		answer(s, completion(76))
	}
}

// askBesideAnother asks while another request of the user's is under way, from the first time on.
func askBesideAnother(p *proxy, vm *wasmhost.VM) {
	if vm.Contexts() == 0 {
		request{user: "ann"}.send(vm)
	}
	askJSON(p, vm)
}

// askPatiently says how long it is willing to wait, and needn't.
func askPatiently(p *proxy, vm *wasmhost.VM) {
	s := request{user: "ann", headers: [][2]string{{"x-spillway-max-wait", "2s"}, {"x-spillway-queue", "yes"}}}.send(vm)
	p.Advance(answerTime)
	answer(s, completion(76))
}

// declineBesideAnother declines to wait for the slot that another request has, from the first time on.
func declineBesideAnother(_ *proxy, vm *wasmhost.VM) {
	if vm.Contexts() == 0 {
		request{user: "ann"}.send(vm)
	}
	request{user: "bob", headers: [][2]string{{"x-spillway-queue", "no"}}}.send(vm).Done()
}

func askModels(_ *proxy, vm *wasmhost.VM) {
	answer(request{method: "GET", path: "/v1/models", user: "ann", body: "-"}.send(vm), `{"data":[]}`)
}

func askEvents(p *proxy, vm *wasmhost.VM) {
	s := request{user: "ann", body: `{"model":"llama-3-8b","stream":true}`}.send(vm)
	s.ResponseHeaders(okEvents, false)
	for _, event := range events(10, 10) {
		p.Advance(answerTime / 10)
		s.ResponseBody([]byte(event), false)
	}
	s.ResponseBody(nil, true)
}

func TestARequestCostsThisManyHostCalls(t *testing.T) {
	for _, c := range hostCalls {
		for i, publish := range publishing {
			t.Run(c.name+", "+publish, func(t *testing.T) {
				p, vm := start(t, stopIteration, with(c.config, "publish", publish))
				once := callsOf(t, p, func() { c.run(p, vm) })
				if once.total != c.want[i] {
					t.Errorf("%d host calls, want %d:\n%s", once.total, c.want[i], once.text)
				}
			})
		}
	}
}

// A refusal that its headers decide asks for the time once, with these: at the end of its body it is answered, whenever that is, and what the host shows
// besides, the rest of the body, our own answer and its log, brings nothing about.
func TestARefusalAsksForTheTimeOnce(t *testing.T) {
	p, vm := start(t, stopIteration, limitOf("requests", 1))
	askJSON(p, vm)
	for range 4 {
		body := []byte(request{}.text())
		p.ResetCalls()
		s := request{user: "ann", headers: [][2]string{{"content-length", strconv.Itoa(len(body))}}}.open(vm)
		s.RequestBody(body[:10], false)
		s.RequestBody(body[10:], false)
		check(t, "answered with its body", s.ClientStatus, "")
		s.RequestBody(nil, true)
		s.Done()
		check(t, "answered", s.ClientStatus, "429")
	}
	check(t, "the last one asked for the time", p.Calls()["clock_time_get"], 1)
}

// The clock is read once for each callback that anything can come of: not at the end of a request that has been settled.
func TestTheClockIsReadOnceACallback(t *testing.T) {
	p, vm := start(t, stopIteration, limitOf("completionTokens", 1_000_000_000))
	callsOf(t, p, func() { askJSON(p, vm) })
	p.ResetCalls()
	askJSON(p, vm)
	if n := p.Calls()["clock_time_get"]; n != 4 {
		t.Errorf("it was read %d times, want 4: with the headers and the body of the request, and with those of its answer", n)
	}
}

// Envoy tells the end of a body in an event of its own. If as much has come as was announced, nothing is left to do then: a request goes on, and is settled, one
// event sooner, and that one runs next to no code. A refusal alone waits for it, since an answer before it costs the client's connection.
func TestTheEndOfABodyThatIsWholeBringsNothing(t *testing.T) {
	const quantity = 1000
	p, vm := start(t, stopIteration, limitOf("completionTokens", quantity))
	announce := func(body string) [2]string { return [2]string{"content-length", strconv.Itoa(len(body))} }
	ask := func(tokens int) *wasmhost.Stream {
		body, text := request{}.text(), completion(tokens)
		s := request{user: "ann", headers: [][2]string{announce(body)}}.open(vm)
		s.RequestBody([]byte(body), false)
		if s.RequestBody(nil, true); s.ClientStatus == "" {
			s.ResponseHeaders(append(slices.Clone(okJSON), announce(text)), false)
			s.ResponseBody([]byte(text), false)
			s.ResponseBody(nil, true)
		}
		s.Done()
		return s
	}
	ask(76)
	p.ResetCalls()
	if s := ask(76); !s.UpstreamEnd || s.ClientStatus != "200" || s.FilterState["wasm.gen_ai.completion.tokens"] != "76" {
		t.Errorf("%q, %q tokens, all of it sent: %v", s.ClientStatus, s.FilterState["wasm.gen_ai.completion.tokens"], s.UpstreamEnd)
	}
	if n := p.Calls()["clock_time_get"]; n != 4 {
		t.Errorf("the clock was read %d times, want 4: with the headers and the body of the request, and with those of its answer", n)
	}
	ask(quantity)
	body := request{}.text()
	s := request{user: "ann", headers: [][2]string{announce(body)}}.open(vm)
	if s.RequestBody([]byte(body), false); s.ClientStatus != "" {
		t.Errorf("answered with %s before the end of the body", s.ClientStatus)
	}
	if s.RequestBody(nil, true); s.ClientStatus != "429" {
		t.Errorf("answered with %q, want 429", s.ClientStatus)
	}
}

// In the IETF's words there are two, however many limits they tell of.
func TestStandardHeadersAreTwoCalls(t *testing.T) {
	for style, want := range map[string]int{"openai": 29, "ietf": 28, "both": 31} {
		p, vm := start(t, stopIteration, with(limitOf("completionTokens", 1_000_000_000), "rateLimitStyle", style))
		if once := callsOf(t, p, func() { askJSON(p, vm) }); once.total != want {
			t.Errorf("%s: %d host calls, want %d:\n%s", style, once.total, want, once.text)
		}
	}
}

// The three headers that tell of a limit are three calls, which whoever needs none can save.
func TestHeadersThatNobodyWantsAreNotSet(t *testing.T) {
	for headers, want := range map[string]int{"all": 29, "refusals": 26, "off": 26} {
		p, vm := start(t, stopIteration, with(limitOf("completionTokens", 1_000_000_000), "rateLimitHeaders", headers))
		if once := callsOf(t, p, func() { askJSON(p, vm) }); once.total != want {
			t.Errorf("%s: %d host calls, want %d:\n%s", headers, once.total, want, once.text)
		}
	}
}

// with is a configuration with one more key.
func with(config, key, word string) string {
	more := fmt.Sprintf("{%q:%q,", key, word)
	return strings.TrimSuffix(more, map[bool]string{true: ","}[config == "{}"]) + strings.TrimPrefix(config, "{")
}

// callsOf counts the calls that a request takes, when all that happens once has happened: the first ones define metrics, learn, and set the tick.
func callsOf(t *testing.T, p *proxy, run func()) breakdown {
	t.Helper()
	for range 3 {
		run()
	}
	p.ResetCalls()
	run()
	once := proxyCalls(p)
	run()
	if twice := proxyCalls(p); twice.total != 2*once.total {
		t.Errorf("one request took %d calls, the next one %d", once.total, twice.total-once.total)
	}
	return once
}

// breakdown is a number of host calls, and how often each was made.
type breakdown struct {
	total int
	text  string
}

func proxyCalls(p *proxy) breakdown {
	calls := p.Calls()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if strings.HasPrefix(name, "proxy_") {
			fmt.Fprintf(&b, "%6d %s\n", calls[name], name)
		}
	}
	return breakdown{wasmhost.ProxyCalls(calls), b.String()}
}
