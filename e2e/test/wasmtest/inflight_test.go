package wasmtest

import (
	"fmt"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// leases is the longest that a dead worker's places are taken: two lease periods.
const leases = 20 * time.Second

// Whichever workers requests come to, and however they race, exactly as many are under way as may be; one that ends makes room for one.
func TestWorkersTogetherHaveNoMoreUnderWayThanMayBe(t *testing.T) {
	const rounds, streams, most = 10, 64, 20
	p := newProxy(t, stopIteration)
	vms := workers(p, 4, underWay(most))
	for round := range rounds {
		r := request{user: fmt.Sprintf("user-%d", round), body: `{"model":"llama-3-8b","max_tokens":50}`}
		first := sendAtOnce(vms, r, streams)
		checkAdmitted(t, first, most)
		for _, n := range []int{1, 7} {
			end(vms, first, n)
			second := sendAtOnce(vms, r, streams)
			checkAdmitted(t, second, n)
			end(vms, second, n)
			checkAdmitted(t, sendAtOnce(vms, r, streams), n)
		}
	}
	check(t, "uncharged", sum(p.counters("spillway_uncharged_total")), 0)
}

// end answers n of the streams that are under way, all at once.
func end(vms []*shared, streams []*wasmhost.Stream, n int) {
	var ends []int
	for i, s := range streams {
		if s.UpstreamEnd && s.ClientStatus == "" && len(ends) < n {
			ends = append(ends, i)
		}
	}
	atOnce(len(ends), func(i int) {
		vms[ends[i]%len(vms)].do(func(*wasmhost.VM) { answer(streams[ends[i]], completion(50)) })
	})
}

// A worker that lives keeps its places for as long as its requests take; one that dies gives its own back within two lease periods.
func TestADeadWorkersPlacesComeBack(t *testing.T) {
	p := newProxyOf(t, trapFilter, stopIteration)
	config := underWay(3)
	dying, living := p.worker(config), p.worker(config)
	running := request{user: "ann"}.send(living)
	request{user: "ann"}.send(dying)
	request{user: "ann"}.send(dying)
	ask := func() string { return request{user: "ann"}.ask(living).ClientStatus }
	pass := func(vms ...*wasmhost.VM) {
		p.Advance(leases / 4)
		for _, vm := range vms {
			vm.Tick()
		}
	}
	for range 9 {
		pass(dying, living)
		check(t, "while all three are under way", ask(), "429")
	}
	trap("die", "bob").send(dying)
	check(t, "dead", dying.Dead(), true)
	check(t, "at once", ask(), "429")
	for range 4 {
		pass(living)
	}
	again := []*wasmhost.Stream{request{user: "ann"}.send(living), request{user: "ann"}.send(living)}
	for range 9 {
		check(t, "with the two that came back", ask(), "429")
		pass(living)
	}
	for _, s := range append(again, running) {
		answer(s, completion(50))
	}
	check(t, "when all have ended", ask(), "200")
}

// A fault of the filter costs nobody a place: neither one in the request, before it has any, nor one in its answer.
func TestAFaultFreesThePlace(t *testing.T) {
	p := newProxyOf(t, trapFilter, stopIteration)
	vm := p.worker(underWay(1))
	if !contained(t) { // the place is a dead worker's
		request{user: "ann"}.send(vm).ResponseHeaders(append(okJSON, [2]string{"x-spillway-trap", "panic"}), false)
		check(t, "dead", vm.Dead(), true)
		next := p.worker(underWay(1))
		check(t, "at once", request{user: "ann"}.ask(next).ClientStatus, "429")
		p.Advance(2 * leases)
		check(t, "after two leases", request{user: "ann"}.ask(next).ClientStatus, "200")
		return
	}
	for range 3 {
		check(t, "status", trap("panic", "ann").ask(vm).ClientStatus, "200")
		s := request{user: "ann"}.send(vm)
		check(t, "beside it", request{user: "ann"}.ask(vm).ClientStatus, "429")
		s.ResponseHeaders(append(okJSON, [2]string{"x-spillway-trap", "panic"}), false)
		s.ResponseBody([]byte(completion(50)), true)
		check(t, "finished", s.Finished, true)
	}
	check(t, "panics", p.Counter("spillway_errors_total;reason=panic"), 6)
	check(t, "stream contexts", vm.Contexts(), 0)
}

// A new configuration takes over what is under way: where that is more than may be by now, nothing is let through until it is less.
func TestAReconfigurationKeepsThePlaces(t *testing.T) {
	p, vm := start(t, stopIteration, underWay(4))
	var old []*wasmhost.Stream
	for range 4 {
		old = append(old, request{user: "ann"}.send(vm))
	}
	if err := vm.Reconfigure([]byte(underWay(2))); err != nil {
		t.Fatal(err)
	}
	for i, s := range old {
		for range 5 { // the old configuration keeps its streams' places, as long as it has any
			p.Advance(leases / 4)
			vm.Tick()
		}
		want := "429"
		if len(old)-i < 2 {
			want = "200"
		}
		check(t, fmt.Sprint("status with ", len(old)-i, " under way"), request{user: "ann"}.ask(vm).ClientStatus, want)
		answer(s, completion(50))
	}
	check(t, "plugin contexts", vm.PluginContexts(), 1)
}
