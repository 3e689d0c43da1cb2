package wasmtest

import (
	"fmt"
	"maps"
	"slices"
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
	want   int
}{
	{"no limits, JSON", `{}`, askJSON, 22},
	{"no limits, no body", `{}`, askModels, 5},
	{"one token limit, JSON", limitOf("completionTokens", 1_000_000_000), askJSON, 29},
	// Three of these ask for the usage in the client's place, and take the event out again that brings it.
	{"one token limit, SSE of 10 pieces", limitOf("completionTokens", 1_000_000_000), askEvents, 52},
	// Two of these count the request when it is sent, once its body has come: until then it is a lease, which a worker that
	// dies doesn't take from its subject.
	{"one request limit, JSON", limitOf("requests", 1_000_000_000), askJSON, 29},
	// A place is reserved at admission, and released at the end: two calls each. No header tells of it.
	{"one limit of requests under way, JSON", underWay(1000), askJSON, 26},
	{"one upstream, JSON", slotsOf(1000, ""), askJSON, 26},
	{"a refusal", limitOf("requests", 1), askJSON, 15},
	{"a refusal of one too many at once", underWay(1), askBesideAnother, 15},
	{"a breaker, JSON", gatesOf("breaker"), askJSON, 25},
	{"a latency gate, SSE of 10 pieces", gatesOf("latency"), askEvents, 50},
	// The throttle writes what it has counted four times a second, not for each request.
	{"all gates, JSON", gatesOf("breaker", "latency", "throttle"), askJSON, 25},
}

// underWay is a configuration with a limit of each user's requests under way.
func underWay(quantity int) string {
	return fmt.Sprintf(`{"requestHold":"stopIteration","limits":[{"name":"a","per":["user"],"unit":"inflight","quantity":%d}]}`, quantity)
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
		t.Run(c.name, func(t *testing.T) {
			p, vm := start(t, stopIteration, c.config)
			for range 3 { // the first ones define metrics, learn, and set the tick
				c.run(p, vm)
			}
			p.ResetCalls()
			c.run(p, vm)
			once := proxyCalls(p)
			c.run(p, vm)
			if twice := proxyCalls(p); twice.total != 2*once.total {
				t.Errorf("one request took %d calls, the next one %d", once.total, twice.total-once.total)
			}
			if once.total != c.want {
				t.Errorf("%d host calls, want %d:\n%s", once.total, c.want, once.text)
			}
		})
	}
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
