package wasmtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// impatient sends a request that says how long it is willing to wait.
func impatient(vm *wasmhost.VM, headers ...[2]string) *wasmhost.Stream {
	return request{user: "bob", headers: headers}.send(vm)
}

// However often one comes that asks not to wait, it is refused at once, leaves nothing, and is let go when there is room.
func TestWhoDeclinesToWaitIsRefusedAtOnce(t *testing.T) {
	for _, hold := range holds {
		t.Run(hold.name, func(t *testing.T) {
			p, vm := start(t, hold.host, held(hold.name, slotsOf(1, "")))
			first := request{user: "ann"}.send(vm)
			for range 20 {
				s := impatient(vm, [2]string{"x-spillway-queue", "no"})
				check(t, "status", s.ClientStatus, "429")
				check(t, "reason", header(s.ClientHeaders, "x-spillway-reason"), "queue/no_wait")
				s.Done()
			}
			answer(first, completion(76))
			s := impatient(vm, [2]string{"x-spillway-queue", "no"}, [2]string{"x-spillway-max-wait", "2s"})
			answer(s, completion(76))
			check(t, "status when there is room", s.ClientStatus, "200")
			for _, h := range s.UpstreamHeaders {
				if strings.HasPrefix(h[0], "x-spillway-") {
					t.Errorf("the upstream sees %s", h)
				}
			}
			p.Advance(time.Second)
			vm.Tick()
			check(t, "ticks", vm.TickPeriod(), time.Second)
		})
	}
}

// A tick ends the wait of one that said how long; what stands in trailers says nothing, and what can't be read is refused.
func TestHowLongARequestAsksToWait(t *testing.T) {
	p, vm := start(t, stopIteration, held("stopIteration", slotsOf(1, "")))
	first := request{user: "ann"}.send(vm)
	hurried := impatient(vm, [2]string{"x-spillway-max-wait", "200ms"})
	trailing := request{user: "carol"}.open(vm)
	trailing.RequestBody([]byte(question), false)
	trailing.RequestTrailers([][2]string{{"x-spillway-queue", "no"}, {"x-spillway-max-wait", "1"}})
	for _, value := range []string{"-1", "1e9", "٢٠٠", strings.Repeat("9", 100_000), "\x00", "2 s"} {
		s := impatient(vm, [2]string{"x-spillway-max-wait", value})
		check(t, fmt.Sprintf("%.20q", value), s.ClientStatus+" "+header(s.ClientHeaders, "x-spillway-reason"), "400 request/unreadable_wait")
	}
	p.Advance(190 * time.Millisecond)
	vm.Tick()
	check(t, "it waits", hurried.Paused() && trailing.Paused(), true)
	p.Advance(10 * time.Millisecond)
	vm.Tick()
	check(t, "refused", hurried.ClientStatus+" "+header(hurried.ClientHeaders, "x-spillway-reason"), "429 queue/max_wait")
	check(t, "the other one waits on", trailing.Paused(), true)
	answer(first, completion(76))
	check(t, "and goes", trailing.UpstreamEnd || trailing.ForwardedHeaders && !trailing.Paused(), true)
}

// What a worker that has died kept back takes no room of others after five seconds.
func TestADeadWorkersBytesAreForgotten(t *testing.T) {
	p := newProxy(t, stopIteration)
	config := slotsOf(1, `,"queue":{"max":10,"maxBytes":1000}`) // 50 bytes each, and 500 for larger ones
	dying, other := p.worker(config), p.worker(config)
	large := request{user: "bob", body: `{"model":"llama-3-8b","messages":[{"role":"user","content":"` + strings.Repeat("x", 300) + `"}]}`}
	request{user: "ann"}.send(other)
	check(t, "one waits", large.send(dying).Paused(), true)
	s := large.send(other)
	check(t, "there is no room for two", s.ClientStatus+" "+header(s.ClientHeaders, "x-spillway-reason"), "503 queue/full_bytes")
	dying.Kill()
	for range 52 {
		p.Advance(100 * time.Millisecond)
		other.Tick()
	}
	check(t, "now there is", large.send(other).Paused(), true)
	p.Advance(time.Second)
	other.Tick()
	check(t, "metric", p.Gauge("spillway_queue_bytes;upstream=llm"), int64(len(large.body)))
}
