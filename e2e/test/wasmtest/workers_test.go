package wasmtest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// shared is a worker that several goroutines drive, as a worker's connections do: a callback at a time.
type shared struct {
	sync.Mutex
	vm *wasmhost.VM
}

func (w *shared) do(f func(*wasmhost.VM)) {
	w.Lock()
	defer w.Unlock()
	f(w.vm)
}

func workers(p *proxy, n int, config string) []*shared {
	var all []*shared
	for range n {
		all = append(all, &shared{vm: p.worker(config)})
	}
	return all
}

// atOnce runs n functions in parallel and waits for them.
func atOnce(n int, f func(i int)) {
	var begun, ended sync.WaitGroup
	begun.Add(1)
	for i := range n {
		ended.Go(func() {
			begun.Wait()
			f(i)
		})
	}
	begun.Done()
	ended.Wait()
}

func TestWorkersTogetherAdmitExactlyWhatALimitAllows(t *testing.T) {
	const rounds, streams, allowed = 10, 64, 20
	for name, config := range map[string]string{
		"requests":                    limitOf("requests", allowed, `"admission":"strict"`),
		"requests, told by the model": limitOf("requests", allowed, `"admission":"strict","match":{"models":["llama-*"]}`),
		"tokens":                      limitOf("completionTokens", allowed*50, `"admission":"strict"`),
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, stopIteration)
			vms := workers(p, 4, config)
			for round := range rounds {
				r := request{user: fmt.Sprintf("user-%d", round), body: `{"model":"llama-3-8b","max_tokens":50}`}
				admitted := sendAtOnce(vms, r, streams)
				checkAdmitted(t, admitted, allowed)
				atOnce(streams, func(i int) {
					vms[i%len(vms)].do(func(*wasmhost.VM) { answer(admitted[i], completion(50)) })
				})
				checkAdmitted(t, sendAtOnce(vms, r, streams), 0)
			}
			check(t, "admitted", sum(p.counters("spillway_requests_total;decision=ALLOWED;")), rounds*allowed)
			check(t, "refused", sum(p.counters("spillway_requests_total;decision=REJECTED;")), rounds*(2*streams-allowed))
			check(t, "uncharged", sum(p.counters("spillway_uncharged_total")), 0)
		})
	}
}

// sendAtOnce sends a request n times, in parallel and in pieces.
func sendAtOnce(vms []*shared, r request, n int) []*wasmhost.Stream {
	streams := make([]*wasmhost.Stream, n)
	atOnce(n, func(i int) {
		w := vms[i%len(vms)]
		w.do(func(vm *wasmhost.VM) { streams[i] = r.open(vm) })
		w.do(func(*wasmhost.VM) { streams[i].RequestBody([]byte(r.body[:12]), false) })
		w.do(func(*wasmhost.VM) { streams[i].RequestBody([]byte(r.body[12:]), true) })
	})
	return streams
}

func checkAdmitted(t *testing.T, streams []*wasmhost.Stream, want int) {
	t.Helper()
	admitted := 0
	for _, s := range streams {
		if s.UpstreamEnd {
			admitted++
		} else {
			check(t, "status of a refused one", s.ClientStatus, "429")
		}
	}
	check(t, "admitted", admitted, want)
}

func sum(counters map[string]uint64) (total int) {
	for _, n := range counters {
		total += int(n)
	}
	return total
}

func TestWorkersThatMeetAUserForTheFirstTimeAtOnceAdmitOneRequest(t *testing.T) {
	const users, count = 500, 4
	p := newProxy(t, plainHost)
	vms := workers(p, count, held("none", limitOf("requests", 1)))
	admitted := make([][count]bool, users)
	for user := range users {
		atOnce(count, func(i int) {
			s := request{user: fmt.Sprintf("user-%d", user)}.open(vms[i].vm)
			admitted[user][i] = s.ForwardedHeaders
		})
	}
	for user, by := range admitted {
		n := 0
		for _, yes := range by {
			if yes {
				n++
			}
		}
		if n != 1 {
			t.Errorf("user-%d: %d requests admitted, want 1", user, n)
		}
	}
}

func TestTheWorkersFirstStartAtOnceAgreesOnOneState(t *testing.T) {
	p := newProxy(t, plainHost)
	vms := make([]*wasmhost.VM, 4)
	atOnce(len(vms), func(i int) {
		vm, err := p.StartVM(nil, []byte(held("none", limitOf("requests", 2))))
		if err != nil {
			t.Error(err)
			return
		}
		vms[i] = vm
	})
	var all []*wasmhost.Stream
	for _, vm := range vms {
		if vm == nil {
			return
		}
		t.Cleanup(vm.Kill)
		all = append(all, request{user: "ann"}.ask(vm))
	}
	statuses(t, all, "200", "200", "429", "429")
}

func TestAnotherNamespaceIsAnotherState(t *testing.T) {
	p := newProxy(t, plainHost)
	one := p.worker(`{"namespace":"one","limits":[{"name":"quota","per":["user"],"unit":"requests","quantity":1,"window":"1h"}]}`)
	two := p.worker(`{"namespace":"two","limits":[{"name":"quota","per":["user"],"unit":"requests","quantity":1,"window":"1h"}]}`)
	var all []*wasmhost.Stream
	for _, vm := range []*wasmhost.VM{one, one, two, two} {
		all = append(all, request{user: "ann"}.ask(vm))
	}
	statuses(t, all, "200", "429", "200", "429")
}

// leasePeriod is admit.LeasePeriod: a reservation counts for one to two of them. The host's clock starts at a multiple.
const leasePeriod = 10 * time.Second

// everything is a request for all that limitOf("completionTokens", 100, strict) has.
var everything = request{user: "ann", body: `{"model":"llama-3-8b","stream":true,"max_tokens":100}`}

func TestADeadWorkersReservationsAreForgottenAfterTwoLeasePeriodsAndNotBeforeOne(t *testing.T) {
	for _, into := range []time.Duration{0, 1, leasePeriod / 2, leasePeriod - 1} {
		t.Run(fmt.Sprintf("reserved %v into a period", into), func(t *testing.T) {
			config := limitOf("completionTokens", 100, `"admission":"strict"`)
			p := newProxy(t, stopIteration)
			dying, other := p.worker(config), p.worker(config)
			p.Advance(into)
			running := everything.send(dying)
			check(t, "admitted", running.UpstreamEnd, true)
			held := request{user: "bob"}.open(dying)
			dying.Kill()
			check(t, "a held stream hangs", held.Hung, true)
			var asked []*wasmhost.Stream
			for _, d := range []time.Duration{0, leasePeriod, 2*leasePeriod - into - leasePeriod - 1, 1} {
				p.Advance(d)
				asked = append(asked, everything.send(other))
			}
			statuses(t, asked, "429", "429", "429", "")
			check(t, "admitted in the end", asked[3].UpstreamEnd, true)
		})
	}
}

func TestALivingWorkerRenewsItsReservations(t *testing.T) {
	config := limitOf("completionTokens", 100, `"admission":"strict"`)
	p := newProxy(t, stopIteration)
	living, other := p.worker(config), p.worker(config)
	check(t, "ticks of an idle worker", living.TickPeriod(), time.Second)
	s := everything.send(living)
	period := living.TickPeriod()
	check(t, "ticks at least once a period", period > 0 && period <= leasePeriod, true)
	for range 5 * leasePeriod / period {
		p.Advance(period)
		living.Tick()
		check(t, "while it runs", everything.send(other).ClientStatus, "429")
	}
	s.ResponseHeaders([][2]string{{":status", "503"}}, true)
	s.Done() // nothing was generated: no tokens are charged
	check(t, "after it", everything.send(other).UpstreamEnd, true)
	living.Tick()
	check(t, "ticks of an idle worker", living.TickPeriod(), time.Second)
}
