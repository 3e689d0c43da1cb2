package wasmtest

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// llama is what the filter state says of every admitted request to llama-3-8b.
var llama = map[string]string{
	"gen_ai.request.model": "llama-3-8b", "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
	"spillway.decision": "ALLOWED", "spillway.priority": "NORMAL",
}

// reported is what it says of an answer with a report.
var reported = map[string]string{
	"gen_ai.response.model": "llama-3-8b-instruct", "gen_ai.usage.source": "reported",
	"gen_ai.prompt.tokens": "24", "gen_ai.completion.tokens": "76", "gen_ai.total.tokens": "100",
}

// state puts filter state together; an empty value takes an entry out.
func state(parts ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, part := range parts {
		for name, value := range part {
			delete(all, "wasm."+name)
			if value != "" {
				all["wasm."+name] = value
			}
		}
	}
	return all
}

func TestTheFilterStateHoldsTheRecordOfARequest(t *testing.T) {
	stream := func(p *proxy, vm *wasmhost.VM, tokens int) *wasmhost.Stream {
		s := request{user: "ann", body: `{"model":"llama-3-8b","stream":true}`}.send(vm)
		p.Advance(100 * time.Millisecond)
		s.ResponseHeaders(okEvents, false)
		for i, event := range events(3, tokens) {
			if i < 3 {
				p.Advance(20 * time.Millisecond)
			}
			s.ResponseBody([]byte(event), false)
		}
		return s
	}
	timed := map[string]string{"gen_ai.ttft.ms": "120", "gen_ai.itl.ms": "20"}
	// A request of 36 bytes, and no report: 0.25 tokens a byte.
	counted := map[string]string{
		"gen_ai.response.model": "llama-3-8b-instruct", "gen_ai.usage.source": "counted",
		"gen_ai.prompt.tokens": "9", "gen_ai.completion.tokens": "3", "gen_ai.total.tokens": "12",
	}
	cases := []struct {
		name string
		unit string // of a limit of 100
		more string
		run  func(p *proxy, vm *wasmhost.VM) *wasmhost.Stream
		want map[string]string
	}{
		{"a completion", "completionTokens", "", func(_ *proxy, vm *wasmhost.VM) *wasmhost.Stream {
			return request{user: "ann"}.ask(vm)
		}, state(llama, reported, map[string]string{"gen_ai.cached.tokens": "8", "gen_ai.reasoning.tokens": "5"})},

		{"a stream with usage", "completionTokens", "", func(p *proxy, vm *wasmhost.VM) *wasmhost.Stream {
			s := stream(p, vm, 76)
			s.ResponseBody(nil, true)
			return s
		}, state(llama, reported, timed)},

		{"a stream without usage", "completionTokens", "", func(p *proxy, vm *wasmhost.VM) *wasmhost.Stream {
			s := stream(p, vm, 0)
			s.ResponseBody(nil, true)
			return s
		}, state(llama, counted, timed)},

		{"a stream that the client leaves", "completionTokens", "", func(p *proxy, vm *wasmhost.VM) *wasmhost.Stream {
			s := stream(p, vm, 0)
			s.Done()
			return s
		}, state(llama, counted, timed)},

		{"a completion that the client doesn't wait for", "completionTokens", "", func(_ *proxy, vm *wasmhost.VM) *wasmhost.Stream {
			s := request{user: "ann", body: `{"model":"llama-3-8b","max_tokens":50}`}.send(vm) // 38 bytes
			s.Done()
			return s
		}, state(llama, map[string]string{
			"gen_ai.usage.source": "estimated", "gen_ai.prompt.tokens": "10", "gen_ai.completion.tokens": "50", "gen_ai.total.tokens": "60",
		})},

		{"a refusal", "requests", `"match":{"operations":["chat"]}`, func(_ *proxy, vm *wasmhost.VM) *wasmhost.Stream {
			for range 100 {
				request{user: "ann"}.ask(vm)
			}
			return request{user: "ann", headers: [][2]string{{"x-priority", "high"}}}.ask(vm)
		}, state(llama, map[string]string{
			"gen_ai.request.model": "", "gen_ai.provider.name": "", "spillway.decision": "REJECTED", "spillway.gate": "limits",
			"spillway.reason": "requests_exceeded", "spillway.limit": "quota", "spillway.subject": "user=ann", "spillway.priority": "HIGH",
			"spillway.measured": "100", "spillway.threshold": "100", "spillway.retryable": "true", "spillway.retry.ms": "36000",
		})},

		{"a refusal that the body told", "completionTokens", `"admission":"strict"`, func(_ *proxy, vm *wasmhost.VM) *wasmhost.Stream {
			return request{user: "ann", body: `{"model":"llama-3-8b","max_tokens":101}`}.send(vm)
		}, state(llama, map[string]string{
			"gen_ai.provider.name": "", "spillway.decision": "REJECTED", "spillway.gate": "limits", "spillway.reason": "request_too_large",
			"spillway.limit":    "quota",
			"spillway.subject":  "user=ann",
			"spillway.measured": "0", "spillway.threshold": "100", "spillway.retryable": "false",
		})},

		{"a request without a body", "requests", "", func(_ *proxy, vm *wasmhost.VM) *wasmhost.Stream {
			s := request{method: "GET", path: "/v1/models", user: "ann", body: "-"}.send(vm)
			answer(s, `{"data":[]}`)
			return s
		}, state(llama, map[string]string{
			"gen_ai.request.model": "", "gen_ai.operation.name": "models", "gen_ai.provider.name": "",
		})},

		{"an unknown path", "requests", "", func(_ *proxy, vm *wasmhost.VM) *wasmhost.Stream {
			return request{path: "/upload", user: "ann"}.ask(vm)
		}, state(llama, map[string]string{
			"gen_ai.request.model": "", "gen_ai.operation.name": "other", "gen_ai.provider.name": "",
		})},

		{"an upstream's error", "completionTokens", "", func(_ *proxy, vm *wasmhost.VM) *wasmhost.Stream {
			s := request{user: "ann"}.send(vm)
			s.ResponseHeaders([][2]string{{":status", "500"}}, true)
			return s
		}, state(llama)},

		{"a client that leaves before it was decided", "completionTokens", "", func(_ *proxy, vm *wasmhost.VM) *wasmhost.Stream {
			s := request{user: "ann"}.open(vm)
			s.RequestBody([]byte(question[:20]), false)
			s.Done()
			return s
		}, state()},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			more := []string{c.more}
			if c.more == "" {
				more = nil
			}
			p, vm := start(t, stopIteration, limitOf(c.unit, 100, more...))
			s := c.run(p, vm)
			checkMap(t, "filter state", s.FilterState, c.want)
		})
	}
}
