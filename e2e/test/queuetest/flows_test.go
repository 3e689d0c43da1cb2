package queuetest

import "testing"

// An inference gateway's objectives say who goes first, its fairness ids between whom turns are shared: whichever workers they come to, and
// whoever is said to ask. What isn't believed counts for nothing, and isn't shown to the server.
func serveFlows(t *testing.T, g *gateway) {
	const objective, fairness = "x-gateway-inference-objective", "x-gateway-inference-fairness-id"
	g.configure(t, "stopIteration", `{"priority": {"objectives": {"premium": "high", "batch": "low"}, "trust": [{"match": {"users": ["gateway"]}}]},
		"upstreams": [{"name": "flows", "concurrency": {"max": 1}, "queue": {"maxWait": {"low": "10m", "normal": "10m", "high": "10m"}, "fairness": "header:`+fairness+`"}}]}`)
	busy := g.occupy(t, ask{user: "gateway"})
	in := func(user, aim, flow string) *call {
		return g.enqueue(t, ask{user: user, headers: []string{objective, aim, fairness, flow}})
	}
	batch := in("gateway", "batch", "a")
	var heavy []*call
	const many = 16
	for range many {
		heavy = append(heavy, in("gateway", "unknown", "a"))
	}
	light := in("gateway", "unknown", "b")
	stranger := in("eve", "premium", "c")
	premium := in("gateway", "premium", "a")
	g.awaitMetric(t, many+4, "spillway_queue_depth")
	busy.cancel()
	all := append([]*call{batch, light, stranger, premium}, heavy...)
	wantServed(t, all...)
	seen := g.order(all)
	at := map[string]int{}
	for i, c := range seen {
		at[c.id] = i
	}
	switch last := len(all) - 1; {
	case at[premium.id] != 0 || at[batch.id] != last:
		t.Errorf("premium was served as number %d, batch as number %d of %d", at[premium.id], at[batch.id], len(all))
	case at[light.id] > many/2: // a worker goes ahead by a request of the same flow at most
		t.Errorf("the only one of its flow came as number %d, behind most of another", at[light.id])
	}
	for i, r := range g.logs(t, premium, batch, stranger) {
		r.Want(t, map[string]string{"priority": []string{"HIGH", "LOW", "NORMAL"}[i]})
	}
	for _, r := range g.sim.Requests() {
		if got := r.Headers[objective]; r.Headers["x-user-id"] == "eve" && got != "" || r.Headers["x-user-id"] == "gateway" && r.Headers[fairness] != "" && got == "" {
			t.Errorf("%s: the server sees the objective %q", r.Headers["x-user-id"], got)
		}
	}
	g.awaitIdle(t)
}
