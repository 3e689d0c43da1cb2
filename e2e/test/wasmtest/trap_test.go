package wasmtest

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// trap makes the worker of the trap build panic or die at a request's headers.
func trap(what, user string) request {
	return request{user: user, headers: [][2]string{{"x-spillway-trap", what}}}
}

// contained says whether a panic is contained in the build that is tested: docs/security.md has what it costs in either.
func contained(t *testing.T) bool {
	t.Helper()
	path, err := envoyproc.LocateTrapWasm()
	if err != nil {
		t.Fatal(err)
	}
	contained, err := envoyproc.ContainsPanics(path)
	if err != nil {
		t.Fatal(err)
	}
	return contained
}

func TestAPanicCostsOneStreamItsTreatmentOrAllOfTheWorkersStreams(t *testing.T) {
	if contained(t) {
		panicCostsOneStreamItsTreatment(t)
	} else {
		panicCostsTheWorker(t)
	}
}

// In a build without recover, a panic is one more way to die.
func panicCostsTheWorker(t *testing.T) {
	config := limitOf("requests", 2, `"match":{"models":["llama-*"]}`)
	p := newProxyOf(t, trapFilter, stopIteration)
	vm := p.worker(config)
	before := request{user: "ann"}.open(vm)
	s := trap("panic", "ann").send(vm)
	check(t, "status", s.ClientStatus, "503")
	check(t, "the upstream saw it", s.ForwardedHeaders, false)
	check(t, "logged", p.Logged(wasmhost.LevelInfo, "panic: runtime error: index out of range"), true)
	check(t, "dead", vm.Dead(), true)
	before.RequestBody([]byte(question), true)
	check(t, "status of the one beside it", before.ClientStatus, "503")
	next := p.worker(config)
	statuses(t, []*wasmhost.Stream{request{user: "ann"}.ask(next), request{user: "ann"}.ask(next), request{user: "ann"}.ask(next)}, "200", "200", "429")
}

func panicCostsOneStreamItsTreatment(t *testing.T) {
	p := newProxyOf(t, trapFilter, stopIteration)
	vm := p.worker(limitOf("requests", 2, `"match":{"models":["llama-*"]}`))
	before := request{user: "ann"}.open(vm)
	for range 3 {
		s := trap("panic", "ann").ask(vm)
		check(t, "status", s.ClientStatus, "200")
		check(t, "upstream body", string(s.UpstreamBody), question)
		check(t, "client body", string(s.ClientBody), completion(76))
		check(t, "finished", s.Finished, true)
		checkMap(t, "filter state", s.FilterState, nil)
	}
	bare := trap("panic", "ann")
	bare.body = "-"
	check(t, "status without a body", bare.ask(vm).ClientStatus, "200")
	check(t, "counted", p.Counter("spillway_errors_total;reason=panic"), 4)
	check(t, "logged", p.Logged(wasmhost.LevelCritical, "a fault in request_headers was contained: runtime error: index out of range"), true)
	check(t, "dead", vm.Dead(), false)
	before.RequestBody([]byte(question), true)
	answer(before, completion(76))
	statuses(t, []*wasmhost.Stream{before, request{user: "ann"}.ask(vm), request{user: "ann"}.ask(vm)}, "200", "200", "429")
	check(t, "requests counted", p.requests(), 7)
	check(t, "stream contexts", vm.Contexts(), 0)
}

// What a tick has said before a fault ends it is done all the same: in the next event, an answer to another stream would be taken for that event's own.
func TestAFaultInATickHarmsNoOtherStream(t *testing.T) {
	if !contained(t) {
		return // it is one more way to die
	}
	p := newProxyOf(t, trapFilter, plainHost)
	vm := p.worker(slotsOf(1, `,"queue":{"max":1,"whenFull":"dropLowest"}`))
	ask := func(user, priority string) *wasmhost.Stream {
		return request{user: user, headers: [][2]string{{"x-priority", priority}}, body: "-"}.send(vm)
	}
	ask("ann", "normal")
	fatal := stuck(t, vm, "bob")
	fatal.Properties["request.total_size"] = "panic"
	low, urgent := ask("carol", "low"), ask("dave", "urgent")
	p.Advance(patience)
	vm.Tick()
	check(t, "panics", p.Counter("spillway_errors_total;reason=panic"), 1)
	check(t, "ticks while one waits", vm.TickPeriod(), 10*time.Millisecond)
	next := request{user: "erin", path: "/v1/models", method: "GET", body: "-"}.send(vm)
	check(t, "the next one is upstream", next.ForwardedHeaders && !next.LocalReply, true)
	check(t, "status of the one that made room", low.ClientStatus, "503")
	check(t, "the one that has its place", urgent.Paused(), true)
}

// A fault at a stream's very end costs nobody its place.
func TestAFaultAtTheEndFreesThePlace(t *testing.T) {
	if !contained(t) {
		return // it is one more way to die
	}
	p := newProxyOf(t, trapFilter, stopIteration)
	vm := p.worker(slotsOf(1, ""))
	for i := range uint64(3) {
		s := request{user: "ann"}.send(vm)
		behind := waiting(t, vm, "bob", "normal")
		s.Properties["response.code_details"] = "panic"
		s.Done()
		check(t, "panics", p.Counter("spillway_errors_total;reason=panic"), i+1)
		check(t, "the next one is upstream", behind.UpstreamEnd || !behind.Paused(), true)
		answer(behind, completion(76))
	}
	check(t, "requests counted", p.requests(), 6)
	check(t, "stream contexts", vm.Contexts(), 0)
}

func TestADeadWorkerLeavesItsStateToTheNext(t *testing.T) {
	config := limitOf("requests", 3, `"match":{"models":["llama-*"]}`)
	p := newProxyOf(t, trapFilter, stopIteration)
	dying := p.worker(config)
	request{user: "ann"}.ask(dying)
	held, running := request{user: "ann"}.open(dying), request{user: "ann"}.send(dying)
	check(t, "running", running.UpstreamEnd, true)
	fatal := trap("die", "bob").send(dying)
	check(t, "dead", dying.Dead(), true)
	check(t, "status of the fatal request", fatal.ClientStatus, "503")
	check(t, "the upstream saw it", fatal.ForwardedHeaders, false)
	held.RequestBody([]byte(question), true)
	answer(running, completion(76))
	check(t, "status of the held one", held.ClientStatus, "503")
	check(t, "status of the running one", running.ClientStatus, "503")

	next := p.worker(config)
	statuses(t, []*wasmhost.Stream{
		request{user: "ann"}.ask(next), request{user: "ann"}.ask(next), request{user: "bob"}.ask(next),
	}, "200", "429", "200")
}

func TestOnlyTheTrapBuildCanBeToldToDie(t *testing.T) {
	for _, what := range []string{"panic", "die"} {
		p, vm := start(t, stopIteration, limitOf("requests", 2))
		check(t, "status", trap(what, "ann").ask(vm).ClientStatus, "200")
		check(t, "dead", vm.Dead(), false)
		check(t, "panics", p.Counter("spillway_errors_total;reason=panic"), 0)
	}
}
