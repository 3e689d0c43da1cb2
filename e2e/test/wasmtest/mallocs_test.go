package wasmtest

import (
	"fmt"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// allocating are requests of more kinds, for what TinyGo might keep on the heap where stock Go doesn't.
var allocating = []struct{ name, config string }{
	{"limits by all that there is", `{"models":{"aliases":{"llama-3":"three"},"labels":["*"]},"priority":{"trust":[{}]},"limits":[
		{"name":"a","per":["user","model"],"unit":"totalTokens","quantity":1000000000,"window":"1h"},
		{"name":"b","per":["tenant","header:x-session"],"unit":"requests","quantity":1000000000,"window":"1m"},
		{"name":"c","per":["key"],"unit":"cost","quantity":1000000000,"window":"1m","match":{"headers":{"x-tier":"gold*"}}}],
		"usage":{"cost":[{"models":["*"],"prompt":0.5,"completion":2}]}}`},
	{"dollars of models with prices, and without", `{"models":{"aliases":{"llama-3":"three"},"labels":["*"]},
		"limits":[{"name":"a","per":["user"],"unit":"usd","quantity":1000000,"window":"month"},{"name":"b","per":["model"],"unit":"usd","quantity":1000000,"window":"1h"}],
		"prices":[{"models":["gpt-*","o3"],"prompt":1,"completion":2},{"models":["*-8b"],"prompt":2,"completion":4,"above":{"promptTokens":100,"prompt":3}}]}`},
	{"dollars of models that have no price", `{"limits":[{"name":"a","per":["user"],"unit":"usd","quantity":1000000,"window":"month"}],"prices":[{"models":["gpt-*"],"prompt":1}]}`},
	{"a budget and a retreat", `{"upstreams":[{"name":"vllm","budget":{"requests":1000000,"tokens":1000000000,"window":"1s"},"retreat":{"mode":"enforce"}}]}`},
	{"in shadow mode", `{"mode":"shadow","limits":[{"name":"a","per":["user"],"unit":"requests","quantity":1,"window":"1h"}],
		"upstreams":[{"name":"vllm","concurrency":{"max":1},"breaker":{"mode":"enforce"},"latency":{"mode":"enforce"},"throttle":{"mode":"enforce"}}]}`},
}

// Once a worker has served some requests, the next ones allocate nothing in it, in either build: TinyGo keeps on the heap what stock Go doesn't.
// The binding counts, too, and what the host hands in. A tick may: what it tells of the gates, it tells once a second.
func TestWhatARequestAllocatesInTheModule(t *testing.T) {
	for _, c := range hostCalls {
		t.Run(c.name, func(t *testing.T) { allocatesNothing(t, c.config, c.run) })
	}
	for _, c := range allocating {
		for answered, run := range map[string]func(*proxy, *wasmhost.VM){"JSON": askJSON, "SSE": askEvents} {
			t.Run(fmt.Sprint(c.name, ", ", answered), func(t *testing.T) { allocatesNothing(t, c.config, run) })
		}
	}
}

func allocatesNothing(t *testing.T, config string, run func(*proxy, *wasmhost.VM)) {
	t.Parallel()
	const warmUp, requests = 100, 100
	p := newProxyOf(t, trapFilter, stopIteration)
	vm := p.worker(config)
	serve := func(n int) {
		for range n {
			run(p, vm)
			p.Advance(answerTime)
		}
	}
	serve(warmUp)
	vm.Tick()
	before := mallocs(t, vm)
	serve(requests)
	const few = 3 // memory that is used again grows, now and then
	if n := mallocs(t, vm) - before; n > few {
		t.Errorf("%d requests allocate %d times", requests, n)
	}
}

func mallocs(t *testing.T, vm *wasmhost.VM) uint64 {
	t.Helper()
	n, err := vm.Mallocs()
	if err != nil || n == 0 {
		t.Fatal(n, err)
	}
	return n
}
