package wasmtest

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

const (
	notDelivered = "spillway_errors_total;reason=body_not_delivered"
	// patience is how long a request is held for a body that the host doesn't deliver.
	patience = 2 * time.Second
)

// stuck sends a request to a host that doesn't deliver the body of what is held at its headers.
func stuck(t *testing.T, vm *wasmhost.VM, user string) *wasmhost.Stream {
	t.Helper()
	s := vm.NewStream()
	r := request{user: user}
	check(t, "headers", s.RequestHeaders(r.head(), false), wasmhost.Pause)
	check(t, "body", s.RequestBody([]byte(question), true), wasmhost.NotCalled)
	return s
}

func TestAHostThatDeliversNoBodiesHoldsThreeRequestsForAWhileAndThenNone(t *testing.T) {
	for name, match := range map[string]string{"told by headers": `"match":{}`, "told by the model": `"match":{"models":["llama-*"]}`} {
		t.Run(name, func(t *testing.T) {
			p, vm := start(t, plainHost, limitOf("completionTokens", 10_000, match))
			for i := range uint64(3) {
				s := stuck(t, vm, "ann")
				check(t, "ticks in time", vm.TickPeriod() > 0 && vm.TickPeriod() <= patience/4, true)
				p.Advance(patience - 1)
				vm.Tick()
				check(t, "held till then", s.ForwardedHeaders, false)
				check(t, "errors till then", p.Counter(notDelivered), i)
				p.Advance(1)
				vm.Tick()
				check(t, "let go", string(s.UpstreamBody), question)
				check(t, "errors", p.Counter(notDelivered), i+1)
				check(t, "model", s.FilterState["wasm.gen_ai.request.model"], "llama-3-8b")
				answer(s, completion(76))
				check(t, "status", s.ClientStatus, "200")
				check(t, "requests counted", p.requests(), int(i)+1)
			}
			check(t, "logged", p.Logged(wasmhost.LevelWarn, "allow_on_headers_stop_iteration: true"), true)
			fourth := vm.NewStream()
			check(t, "headers of the fourth", fourth.RequestHeaders(request{user: "ann"}.head(), false), wasmhost.Continue)
			fourth.RequestBody([]byte(question), true)
			answer(fourth, completion(76))
			check(t, "status of the fourth", fourth.ClientStatus, "200")
			check(t, "errors in the end", p.Counter(notDelivered), 3)
		})
	}
}

func TestTheTickRefusesAStuckRequestThatItsHeadersCondemn(t *testing.T) {
	p, vm := start(t, plainHost, limitOf("completionTokens", 1))
	first := stuck(t, vm, "ann")
	p.Advance(patience)
	vm.Tick()
	answer(first, completion(76))
	second, gone, free := stuck(t, vm, "ann"), stuck(t, vm, "ann"), stuck(t, vm, "bob")
	gone.Done()
	p.Advance(patience)
	vm.Tick()
	check(t, "refused", second.ClientStatus, "429")
	check(t, "by us", header(second.ClientHeaders, "x-spillway-reason"), "limits/tokens_exceeded")
	check(t, "the upstream saw it", second.ForwardedHeaders, false)
	check(t, "the one that was gone saw the upstream", gone.ForwardedHeaders, false)
	check(t, "the free one", free.UpstreamEnd, true)
	check(t, "bodies that were kept back", p.Counter(notDelivered), 3)
	check(t, "requests counted", p.requests(), 4)
}

// A tick lets some go, since the host nests what is done for each, and the next one is a millisecond later.
func TestManyStuckRequestsAreAllLetGoByTheNextTicks(t *testing.T) {
	p, vm := start(t, plainHost, limitOf("completionTokens", 1_000_000))
	var all []*wasmhost.Stream
	for range 50 {
		all = append(all, stuck(t, vm, "ann"))
	}
	p.Advance(patience)
	for range 2 {
		vm.Tick()
		p.Advance(time.Millisecond)
	}
	for _, s := range all {
		check(t, "let go", string(s.UpstreamBody), question)
	}
}

func TestASlowClientIsWaitedForWhateverIsKnownOfTheHost(t *testing.T) {
	p, vm := start(t, stopIteration, limitOf("completionTokens", 300, `"match":{"models":["llama-*"]}`))
	for range 5 {
		slow := request{user: "ann"}.open(vm)
		p.Advance(time.Minute)
		vm.Tick()
		check(t, "held", slow.Paused(), true)
		slow.RequestBody([]byte(question), true)
		answer(slow, completion(6))
		check(t, "status", slow.ClientStatus, "200")
	}
	check(t, "errors", p.Counter(notDelivered), 0)
}
