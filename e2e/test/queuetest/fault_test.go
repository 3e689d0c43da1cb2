package queuetest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

const (
	vmReloads = "wasm.spillway.vm_reload_success"

	// Requests with the header doomed are answered after so long a silence, as is what waits in a VM that dies. In it the others have their turns, on a
	// busy machine, too. Without the header they wait for as long as that takes.
	doomed, doomedFor = "x-doomed", "30s"
)

// endDoomed adds a route for requests that are to end in a dead VM.
func endDoomed(b *envoyproc.Bootstrap) {
	b.Edit(func(root map[string]any) {
		harness.Visit(root, func(object map[string]any) {
			routes, is := object["routes"].([]any)
			if !is || object["name"] != "llm" {
				return
			}
			ends := maps.Clone(routes[len(routes)-1].(map[string]any))
			route := maps.Clone(ends["route"].(map[string]any))
			route["idle_timeout"] = doomedFor
			ends["route"] = route
			ends["match"] = map[string]any{"prefix": "/", "headers": []any{map[string]any{"name": doomed, "present_match": true}}}
			object["routes"] = slices.Insert(slices.Clone(routes), 0, any(ends))
		})
	})
}

// faults is what goes wrong, in an Envoy of its own.
func faults(t *testing.T) {
	wasm, err := envoyproc.LocateTrapWasm()
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, harness.Options{Wasm: wasm, Concurrency: 4, DrainTime: patience, Edit: endDoomed}, llmsim.Options{})
	contained, err := envoyproc.ContainsPanics(wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a new configuration", func(t *testing.T) { reload(t, g) })
	t.Run("a new configuration between a stream and who ends it", func(t *testing.T) { revokeAcross(t, g) })
	t.Run("a dead VM of low streams", func(t *testing.T) { lowsDie(t, g) })
	t.Run("a dead VM of an urgent request", func(t *testing.T) { urgentDies(t, g) })
	if contained {
		t.Run("a panic", func(t *testing.T) { panicInOne(t, g) })
	} else {
		t.Run("a panic", func(t *testing.T) { killVM(t, g, "100003", "panic") })
	}
	t.Run("a dead VM", func(t *testing.T) { killVM(t, g, "100004", "die") })
}

// reconfigured puts a configuration into force, and returns when all workers have it: it has a limit that shows.
func (g *gateway) reconfigured(t *testing.T, mark, upstreams string) {
	t.Helper()
	g.configure(t, "stopIteration", `{"limits": [{"name": "mark", "unit": "requests", "quantity": `+mark+`, "window": "1h"}], "upstreams": `+upstreams+`}`)
	harness.Await(t, patience, "all workers have the configuration", func() bool {
		for range 4 * g.workers { // each over a new connection, which goes to any worker
			g.Client.CloseIdleConnections()
			if g.do(t, ask{model: "ungoverned"}).header.Get("x-ratelimit-limit-requests") != mark {
				return false
			}
		}
		return true
	})
	g.Client.CloseIdleConnections()
}

// What waits is served by the old configuration's engine. Both share the slots.
func reload(t *testing.T, g *gateway) {
	const upstreams = `[{"name": "reload", "models": ["llama"], "concurrency": {"max": 2}, "queue": {"maxWait": {"low": "10m", "high": "10m"}}}]`
	g.reconfigured(t, "100001", upstreams)
	busy := []*call{g.occupy(t, ask{}), g.occupy(t, ask{})}
	var calls []*call
	for range 6 {
		calls = append(calls, g.enqueue(t, ask{priority: "high"}))
	}
	g.reconfigured(t, "100002", upstreams)
	for range 6 {
		calls = append(calls, g.enqueue(t, ask{priority: "low"}))
	}
	if seen := g.order(calls); len(seen) > 0 {
		t.Fatalf("%d requests came to a server whose slots are taken", len(seen))
	}
	busy[0].cancel() // the other one stays, so that there is never more than one more
	wantServed(t, calls...)
	for i, c := range g.order(calls) {
		if want := []string{"high", "low"}[i/6]; c.priority != want {
			t.Errorf("served as number %d: one of priority %s, want %s", i, c.priority, want)
		}
	}
	for i, r := range g.logs(t, calls...) {
		r.Want(t, map[string]string{"decision": "QUEUED"})
		if i < 6 && calls[i].header.Get("x-ratelimit-limit-requests") != "100001" {
			t.Errorf("a request that waited had the new configuration: %v", calls[i].answer)
		}
	}
	busy[1].cancel()
	g.awaitIdle(t)
}

// A panic in one stream costs that one its place, and nobody else anything.
func panicInOne(t *testing.T, g *gateway) {
	g.reconfigured(t, "100003", `[{"name": "panic", "models": ["llama"], "concurrency": {"max": 1}}]`)
	busy, reloads := g.occupy(t, ask{}), g.Stats(vmReloads)[vmReloads]
	var calls []*call
	for range 6 {
		calls = append(calls, g.enqueue(t, ask{}))
	}
	for range 4 {
		wantServed(t, g.send(t, ask{headers: []string{"x-spillway-trap", "panic"}}))
	}
	if n := g.Stats(vmReloads)[vmReloads] - reloads; n != 0 {
		t.Errorf("VMs were started again %d times, want them to live on", n)
	}
	for _, c := range calls {
		if c.over() {
			t.Errorf("one that waits has an answer: %v, %v", c.answer, c.err)
		}
	}
	busy.cancel()
	wantServed(t, calls...)
	g.awaitIdle(t)
}

// A VM dies, in the way that is told, that has all slots, and requests that wait. One client's connection keeps to one worker, the
// others' don't.
func killVM(t *testing.T, g *gateway, mark, trap string) {
	const inFlight, inside, outside = 4, 8, 24
	g.reconfigured(t, mark, `[{"name": "`+trap+`", "models": ["llama"], "concurrency": {"max": 4}}]`)
	client := oneConnection(t, g)
	var inVain, calls []*call
	for range inFlight {
		c := g.sendWith(t, client, ask{stream: true, sim: "tokens=100000 itl=20ms ttft=20ms"})
		g.awaitSeen(t, c)
	}
	active, reloads := g.active(), g.Stats(vmReloads)[vmReloads]
	for range inside {
		inVain = append(inVain, g.sendWith(t, client, ask{headers: []string{doomed, "yes"}}))
	}
	for range outside {
		calls = append(calls, g.send(t, ask{headers: []string{doomed, "yes"}})) // some come to the worker whose VM dies
	}
	harness.Await(t, patience, "all wait, or have waited for too long", func() bool {
		over := 0
		for _, c := range slices.Concat(inVain, calls) {
			if c.over() {
				over++
			}
		}
		return g.active()+uint64(over) == active+inside+outside
	})
	if c := g.sendWith(t, client, ask{headers: []string{"x-spillway-trap", trap}}).wait(t); c.status != http.StatusServiceUnavailable {
		t.Fatalf("the VM did not die: %v, %v", c.answer, c.err)
	}
	if served := wantAnswers(t, inVain); served > 0 {
		t.Errorf("%d of %d were served that waited in a VM that died", served, inside)
	}
	served := wantAnswers(t, calls)
	t.Logf("of %d that waited over all workers when one of 4 VMs died, %d were served", outside, served)
	if served == 0 {
		t.Error("the queues of the other workers stopped")
	}
	awaitRevival(t, g, reloads)
	var again []*call
	for range inFlight {
		again = append(again, g.occupy(t, ask{}))
	}
	for _, c := range again {
		c.cancel()
	}
	g.awaitIdle(t)
}

// wantAnswers waits for all calls: they must be served once the dead worker's slots are free, or, if they died with it, be
// answered when they have been silent for too long. It gives the number of the first.
func wantAnswers(t *testing.T, calls []*call) (served int) {
	t.Helper()
	for _, c := range calls {
		c.wait(t)
		switch {
		case c.err == nil && c.status == http.StatusOK:
			served++
		case c.err == nil && (c.status == http.StatusGatewayTimeout || c.status == http.StatusServiceUnavailable):
		default:
			t.Errorf("a request that waited when the VM died: %v, %v", c.answer, c.err)
		}
	}
	return served
}

func awaitRevival(t *testing.T, g *gateway, reloads uint64) {
	t.Helper()
	harness.Await(t, patience, "the VM is back", func() bool {
		ok := true
		for range 16 {
			g.Client.CloseIdleConnections()
			ok = ok && g.do(t, ask{model: "ungoverned"}).status == http.StatusOK
		}
		return ok && g.Stats(vmReloads)[vmReloads] > reloads
	})
}

// misconfigured is an Envoy that holds the headers and never shows the body, because it is not set up as the filter is told. A request then
// comes to the gate when that is found out, and later ones at once.
func misconfigured(t *testing.T) {
	g := start(t, harness.Options{Hold: harness.HoldBroken, Config: `{"upstreams": [{"name": "broken", "concurrency": {"max": 1},
		"queue": {"maxWait": {"low": "300ms", "high": "1h"}}}]}`}, llmsim.Options{})
	for i := range 4 {
		wantServed(t, g.send(t, ask{}))
		g.awaitMetric(t, float64(min(i+1, 3)), "spillway_errors_total", "reason", "body_not_delivered") // each of the first three had to be let go
	}
	if !strings.Contains(g.Logs(), "set allow_on_headers_stop_iteration: true") {
		t.Error("the log doesn't say what to set")
	}
	busy := g.occupy(t, ask{})
	low, high := g.send(t, ask{priority: "low"}), g.enqueue(t, ask{priority: "high"})
	wantRefused(t, low, http.StatusTooManyRequests, "queue/timeout", "upstream broken")
	busy.cancel()
	wantServed(t, high)
	g.wantUnseen(t, low, high)
	g.awaitIdle(t)
}
