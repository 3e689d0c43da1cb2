package wasmtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// slotsOf is a configuration of an upstream that takes so many requests at once.
func slotsOf(slots int, more string) string {
	return fmt.Sprintf(`{"namespace":"test","requestHold":"stopIteration","models":{"labels":["llama-3-8b"]},`+
		`"upstreams":[{"name":"llm","concurrency":{"max":%d}%s}]}`, slots, more)
}

func TestAFreedSlotIsTakenAtOnceInTheSameWorker(t *testing.T) {
	for _, hold := range holds {
		t.Run(hold.name, func(t *testing.T) {
			p, vm := start(t, hold.host, held(hold.name, slotsOf(1, "")))
			first, second := request{user: "ann"}.send(vm), waiting(t, vm, "bob", "normal")
			urgent := waiting(t, vm, "carol", "urgent")
			answer(first, completion(76))
			check(t, "the urgent one goes", urgent.UpstreamEnd || urgent.ForwardedHeaders && !urgent.Paused(), true)
			check(t, "the other one waits", second.Paused(), true)
			urgent.Done() // its client leaves
			check(t, "now it goes", second.Paused(), false)
			answer(second, completion(76))
			check(t, "status", second.ClientStatus, "200")
			check(t, "body", string(second.UpstreamBody), question)
			p.Advance(time.Second)
			vm.Tick()
			check(t, "in flight", p.Gauge("spillway_inflight;upstream=llm"), 0)
			check(t, "ticks", vm.TickPeriod(), time.Second)
		})
	}
}

// waiting sends a request that finds no slot. A host that holds headers by themselves shows no body until it goes on.
func waiting(t *testing.T, vm *wasmhost.VM, user, priority string) *wasmhost.Stream {
	t.Helper()
	s := request{user: user, headers: [][2]string{{"x-priority", priority}}}.send(vm)
	check(t, user+" waits", s.Paused(), true)
	check(t, user+": all of it is upstream", s.UpstreamEnd, false)
	return s
}

func TestAnotherWorkersSlotIsTakenWithTheNextTick(t *testing.T) {
	p := newProxy(t, stopIteration)
	one, other := p.worker(slotsOf(1, "")), p.worker(slotsOf(1, ""))
	first := request{user: "ann"}.send(one)
	second := waiting(t, other, "bob", "normal")
	check(t, "ticks while one waits", other.TickPeriod(), 10*time.Millisecond)
	answer(first, completion(76))
	check(t, "it is not told", second.Paused(), true)
	p.Advance(10 * time.Millisecond)
	other.Tick()
	check(t, "it goes", second.Paused(), false)
	answer(second, completion(76))
	check(t, "status", second.ClientStatus, "200")
}

func TestADeadWorkersSlotsComeBack(t *testing.T) {
	p := newProxy(t, stopIteration)
	dying, other := p.worker(slotsOf(2, "")), p.worker(slotsOf(2, ""))
	request{user: "ann"}.send(dying)
	request{user: "ann"}.send(dying)
	second := waiting(t, other, "bob", "normal")
	dying.Kill()
	for range 49 {
		p.Advance(100 * time.Millisecond)
		other.Tick()
	}
	check(t, "before five seconds", second.Paused(), true)
	p.Advance(200 * time.Millisecond)
	other.Tick()
	check(t, "after five seconds", second.Paused(), false)
}

func TestWhoWaitsTooLongIsAnsweredByTheTick(t *testing.T) {
	p, vm := start(t, stopIteration, slotsOf(1, ""))
	request{user: "ann"}.send(vm)
	low := waiting(t, vm, "bob", "low")
	p.Advance(2*time.Second - 1)
	vm.Tick()
	check(t, "before two seconds", low.Paused(), true)
	p.Advance(1)
	vm.Tick()
	check(t, "status", low.ClientStatus, "429")
	check(t, "reason", header(low.ClientHeaders, "x-spillway-reason"), "queue/timeout")
	check(t, "the upstream saw it", low.ForwardedHeaders, false)
	if body := string(low.ClientBody); !strings.Contains(body, "Waited 2s for upstream llm") {
		t.Errorf("body %s", body)
	}
	check(t, "counted", p.Counter("spillway_requests_total;decision=REJECTED;gate=queue;priority=LOW;model=llama-3-8b"), 1)
	check(t, "waits", fmt.Sprint(p.Histogram("spillway_queue_wait_milliseconds;priority=LOW")), "[2000]")
}
