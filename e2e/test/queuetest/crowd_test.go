package queuetest

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// slots is how many requests the server of the crowded tests works on at once.
const slots = 8

// crowds are more than a server can do, in an Envoy of its own.
func crowds(t *testing.T) {
	// Connections are shared out equally, so that each VM's memory is known.
	balance := func(b *envoyproc.Bootstrap) {
		b.Set(map[string]any{"exact_balance": map[string]any{}},
			"static_resources", "listeners", envoyproc.Named(envoyproc.Gateway), "connection_balance_config")
	}
	g := start(t, harness.Options{Concurrency: 4, Edit: balance}, llmsim.Options{Slots: slots})
	t.Run("gauges", func(t *testing.T) { returnToZero(t, g) })
	t.Run("overload", func(t *testing.T) { overload(t, g) })
	t.Run("outage", outage)
	t.Run("ten thousand wait and half of them leave", func(t *testing.T) { waitInThousands(t, g) })
}

// Whichever worker is the last to have nothing more to do, and whichever the last to look, the gauges end at zero.
func returnToZero(t *testing.T, g *gateway) {
	g.configure(t, "stopIteration", `{"upstreams": [{"name": "zero", "concurrency": {"max": 8}}]}`)
	const lastLook = 1500 * time.Millisecond // a worker with anything in flight looks once a second
	for range 2 {
		g.together(t, 4*slots, ask{sim: "ttft=20ms"}) // they end in groups of eight
		g.awaitIdle(t)
	}
	for range 3 {
		var calls []*call
		for i := range slots {
			calls = append(calls, g.send(t, ask{sim: fmt.Sprintf("ttft=%dms", 50+i*20)})) // one after another
		}
		wantServed(t, calls...)
		g.awaitIdle(t)
		time.Sleep(lastLook)
		g.awaitIdle(t) // still, or again where a worker was slow to look
	}
}

// waitInThousands bounds a VM's memory, too. What a waiting request takes of it is some 13 KiB, and the collector lets it
// come to four times of that before it has all of it in use again. Later crowds find their place in what the first has left.
func waitInThousands(t *testing.T, g *gateway) {
	const crowd, mostForEach, mostGrowth = 10_000, 64 << 10, 16 << 20
	g.configure(t, "stopIteration", `{"upstreams": [{"name": "crowd", "models": ["llama"], "concurrency": {"max": 8},
		"queue": {"max": 20000, "maxWait": {"normal": "1h", "high": "1h"}}}]}`)
	before := g.LargestVM()
	first := g.crowded(t, crowd)
	if most := before + uint64(crowd/g.workers*mostForEach); first > most {
		t.Errorf("a VM has %.1f MiB, want at most %.1f", mib(first), mib(most))
	}
	last := first
	for range 3 {
		last = g.crowded(t, crowd/10)
	}
	t.Logf("the largest VM had %.1f MiB before, %.1f after the first crowd and %.1f after the last", mib(before), mib(first), mib(last))
	if last > first+mostGrowth {
		t.Errorf("a VM grew from %.1f to %.1f MiB with crowds of a tenth", mib(first), mib(last))
	}
	g.awaitIdle(t)
}

func mib(bytes uint64) float64 { return float64(bytes) / (1 << 20) }

// crowded has a crowd wait, half of them leave, and the others served, and gives the memory of the VM that has most.
func (g *gateway) crowded(t *testing.T, crowd int) uint64 {
	clients := make([]*http.Client, 200) // few streams a connection: Envoy closes one on which hundreds are reset at once
	for i := range clients {
		clients[i] = oneConnection(t, g)
	}
	g.sim.Reset()
	var busy []*call
	for range slots {
		busy = append(busy, g.occupy(t, ask{}))
	}
	began := time.Now()
	calls := make([]*call, crowd)
	for i := range calls {
		calls[i] = g.sendWith(t, clients[i%len(clients)], ask{user: fmt.Sprint("user", i%100), priority: []string{"normal", "high"}[i%2]})
	}
	await := func(what string, active int) {
		t.Helper()
		harness.Await(t, 2*patience, what, func() bool { return g.active() == uint64(active) })
	}
	await("all wait", slots+crowd)
	came := time.Since(began)
	// Envoy closes a connection with many streams that were reset within a second: it takes them for a rapid reset attack.
	settled := time.Now().Add(1100 * time.Millisecond)
	harness.Await(t, patience, "the youngest is more than a second old", func() bool { return time.Now().After(settled) })
	left, stay := calls[:crowd/2], calls[crowd/2:]
	for _, c := range left {
		c.cancel()
	}
	await("half of them have left", slots+crowd/2)
	if n := g.sim.Stats().Received; n != slots {
		t.Errorf("the server saw %d requests before it had a free slot, want %d", n, slots)
	}
	released := time.Now()
	for _, c := range busy {
		c.cancel()
	}
	wantServed(t, stay...)
	t.Logf("%d came in %v; %d were served in %v", crowd, came, len(stay), time.Since(released))
	if n := g.sim.Stats().Received; n != int64(slots+len(stay)) {
		t.Errorf("the server saw %d requests, want %d and not one that had left", n, slots+len(stay))
	}
	await("all have gone", 0)
	return g.LargestVM()
}

const overloadConfig = `{"upstreams": [{"name": "overload", "concurrency": {"max": 8, "reserved": {"urgent": 1, "high": 1}},
	"queue": {"max": 100, "whenFull": "dropLowest", "maxWait": {"urgent": "10m", "high": "10m", "normal": "10m", "low": "10m"}}}]}`

// overload asks for more than may wait, while the server has no slot free. What matters is served, and first, and what matters
// least is refused. How quick it is, and how busy the server, is for the benchmarks to say: here other tests have the machine,
// too.
func overload(t *testing.T, g *gateway) {
	const room, crowd = 100, 500
	g.configure(t, "stopIteration", overloadConfig)
	var busy []*call
	for range slots {
		busy = append(busy, g.occupy(t, ask{priority: "urgent"}))
	}
	random, came := rand.New(rand.NewPCG(1, 2)), g.came()+crowd
	calls, all := map[string][]*call{}, []*call(nil)
	for i := range crowd {
		c := g.send(t, ask{priority: mix(random.IntN(100)), user: fmt.Sprint("user", i%7), sim: "ttft=5ms"})
		calls[c.priority], all = append(calls[c.priority], c), append(all, c)
	}
	harness.Await(t, patience, "all have come, and as many wait as may", func() bool { return g.came() == came && g.active() == slots+room })
	for _, c := range busy {
		c.cancel()
	}
	served, places := map[string]float64{}, map[string]float64{}
	for priority, list := range calls {
		served[priority] = outcome(t, list)
	}
	for i, c := range g.order(all) {
		places[c.priority] += float64(i) / served[c.priority] / float64(len(calls[c.priority]))
	}
	t.Logf("served %.2v, in the mean as number %.3v", served, places)
	if served["urgent"] < 1 || served["high"] < 1 || served["normal"] == 0 || served["low"] > 0 {
		t.Errorf("served are %v, want all of urgent and high, and none of low", served)
	}
	if !(places["urgent"] < places["high"] && places["high"] < places["normal"]) {
		t.Errorf("served in the mean as number %v, want urgent first", places)
	}
	g.awaitIdle(t)
}

// mix gives the priority of one of a hundred requests.
func mix(n int) string {
	switch {
	case n < 5:
		return "urgent"
	case n < 10:
		return "high"
	case n < 50:
		return "normal"
	default:
		return "low"
	}
}

// outcome is the share of calls that were served. All others must have been refused.
func outcome(t *testing.T, calls []*call) (served float64) {
	t.Helper()
	for _, c := range calls {
		switch c.wait(t); {
		case c.err == nil && c.status == http.StatusOK:
			served++
		case c.err != nil || !strings.HasPrefix(c.header.Get("x-spillway-reason"), "queue/"):
			t.Fatalf("%v, %v", c.answer, c.err)
		}
	}
	return served / float64(len(calls))
}

// outage has a crowd wait when its server goes. Whoever is let go on then is answered at once by Envoy, which makes room for the next one: one
// inside the other, on a stack that is finite.
func outage(t *testing.T) {
	const crowd = 3000
	watched := func(b *envoyproc.Bootstrap) {
		at := []any{"static_resources", "clusters", envoyproc.Named("llm")}
		b.Set([]any{map[string]any{
			"timeout": "600s", "interval": "0.1s", "no_traffic_interval": "0.1s", "unhealthy_threshold": 1, "healthy_threshold": 1,
			"http_health_check": map[string]any{"path": "/health"},
		}}, append(at, "health_checks")...)
		b.Set(map[string]any{"healthy_panic_threshold": map[string]any{"value": 0}}, append(at, "common_lb_config")...)
	}
	g := start(t, harness.Options{Edit: watched}, llmsim.Options{})
	g.configure(t, "stopIteration", `{"upstreams": [{"name": "outage", "models": ["llama"], "concurrency": {"max": 1},
		"queue": {"max": 20000, "maxWait": {"normal": "1h"}}}]}`)
	busy := g.occupy(t, ask{})
	clients := make([]*http.Client, 100)
	for i := range clients {
		clients[i] = oneConnection(t, g)
	}
	calls := make([]*call, crowd)
	for i := range calls {
		calls[i] = g.sendWith(t, clients[i%len(clients)], ask{})
	}
	harness.Await(t, 2*patience, "all wait", func() bool { return g.metric("spillway_queue_depth") == crowd })
	down := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	g.front.other.Store(&down)
	const healthy = "cluster.llm.membership_healthy"
	harness.Await(t, patience, "the server is known to be gone", func() bool { return g.Stats(healthy)[healthy] == 0 })
	busy.cancel()
	for _, c := range calls {
		if c.wait(t); c.err != nil || c.status != http.StatusServiceUnavailable {
			t.Fatalf("%v, %v", c.answer, c.err)
		}
	}
	if n := g.Stats(vmReloads)[vmReloads]; n != 0 {
		t.Errorf("VMs were started again %d times", n)
	}
	g.awaitIdle(t)
}
