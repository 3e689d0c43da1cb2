package wasmtest

import (
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// revocable is slotsOf with queue.revoke.
func revocable(slots int) string {
	return strings.Replace(slotsOf(slots, `,"queue":{"revoke":true}`), `{`, `{"priority":{"trust":[{}]},`, 1)
}

const lowQuestion = `{"model":"llama-3-8b","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Why is the sky blue?"}]}`

// streaming sends a low request whose stream has begun.
func streaming(vm *wasmhost.VM) *wasmhost.Stream {
	s := request{user: "ann", headers: [][2]string{{"x-priority", "low"}}, body: lowQuestion}.send(vm)
	s.ResponseHeaders(okEvents, false)
	s.ResponseBody([]byte(sseToken), false)
	return s
}

const sseToken = `data: {"model":"llama-3-8b","choices":[{"delta":{"content":"word"}}]}` + "\n\n"

// A stream in one worker ends for an urgent request in another one: its client has the error, then it is broken off, and its slot is free, once.
func TestAStreamEndsForAnotherWorkersUrgentRequest(t *testing.T) {
	for _, silent := range []bool{false, true} {
		p := newProxy(t, stopIteration)
		one, other := p.worker(revocable(2)), p.worker(revocable(2))
		first := streaming(one)
		p.Advance(time.Millisecond)
		low := streaming(one)
		one.Tick() // tells of them
		urgent := waiting(t, other, "carol", "urgent")
		p.Advance(10 * time.Millisecond)
		other.Tick()
		one.Tick()
		check(t, "ticks while it is being ended", one.TickPeriod(), time.Millisecond)
		how := "told"
		if silent {
			how = "cut"
			p.Advance(99 * time.Millisecond)
			one.Tick()
			check(t, "not yet", low.Finished, false)
			p.Advance(time.Millisecond)
		} else {
			low.ResponseBody([]byte(sseToken), false)
			low.ResponseBody([]byte(sseToken), false)
			p.Advance(time.Millisecond)
		}
		one.Tick()
		check(t, "broken off", low.ClientReset && low.Finished, true)
		check(t, "the upstream is let go", low.UpstreamReset, true)
		check(t, "a whole stream", low.ClientEnd, false)
		body := string(low.ClientBody)
		check(t, "tokens", strings.Count(body, "word"), 1)
		check(t, "errors", strings.Count(body, `data: {"error":{"message":"This stream was ended`), map[bool]int{false: 1}[silent])
		check(t, "reason", low.FilterState["wasm.spillway.gate"]+"/"+low.FilterState["wasm.spillway.reason"], "queue/revoked")
		check(t, "tokens", low.FilterState["wasm.gen_ai.completion.tokens"], "1")
		check(t, "counted", p.Counter("spillway_revoked_total;upstream=llm;status="+how), 1)
		p.Advance(10 * time.Millisecond)
		other.Tick()
		check(t, "the urgent one goes", urgent.Paused(), false)
		check(t, "the other stream goes on", first.Finished, false)
		answer(urgent, completion(76))
		first.Done()
		for range 3 {
			p.Advance(time.Second)
			one.Tick()
			other.Tick()
		}
		check(t, "in flight", p.Gauge("spillway_inflight;upstream=llm"), 0)
		check(t, "revoked", p.Counter("spillway_revoked_total;upstream=llm;status="+how), 1)
		check(t, "ticks", one.TickPeriod(), time.Second)
	}
}

// A worker with streams that could be ended reads the upstream's record at each tick, and nothing else.
func TestWhatItCostsToBeReady(t *testing.T) {
	p := newProxy(t, stopIteration)
	one := p.worker(revocable(2))
	streaming(one)
	p.Advance(10 * time.Millisecond)
	one.Tick()
	p.ResetCalls()
	for range 10 {
		p.Advance(10 * time.Millisecond)
		one.Tick()
	}
	calls := p.Calls()
	check(t, "reads", calls["proxy_get_shared_data"], 10)
	check(t, "writes", calls["proxy_set_shared_data"], 0)
}

// What a stream wants from its first output on, ticks that come often, it has at once, though the host is asked for nothing else then: nothing is
// published of it.
func TestTicksComeOftenFromTheFirstOutputOn(t *testing.T) {
	p := newProxy(t, stopIteration)
	one := p.worker(strings.Replace(revocable(2), `{`, `{"publish":["gen_ai.total.tokens"],`, 1))
	s := request{user: "ann", headers: [][2]string{{"x-priority", "low"}}, body: lowQuestion}.send(one)
	s.ResponseHeaders(okEvents, false)
	for range 3 { // what the queue has to write is written
		p.Advance(time.Second)
		one.Tick()
	}
	check(t, "ticks before", one.TickPeriod(), time.Second)
	s.ResponseBody([]byte(sseToken), false)
	check(t, "ticks from then on", one.TickPeriod(), 10*time.Millisecond)
	s.Done()
}
