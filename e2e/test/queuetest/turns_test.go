package queuetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// Who asks seldom is served next, whenever he asks, and however much the one has waiting who floods; each of them in his own order. They are told apart by
// what fairness says: by the user, or by the flow that an inference gateway says. Who may say it is told apart by that, whatever users it says; who may not has
// turns by its user, whatever flows it says.
func takeTurns(t *testing.T, g *gateway) {
	const flow = "x-gateway-inference-fairness-id"
	by := func(user, id string) ask { return ask{user: user, headers: []string{flow, id}, sim: "hang=forever"} }
	for i, test := range []struct {
		name, fairness, trust string
		flood, seldom         func(n int) ask
	}{
		{"of users", "user", "[{}]", func(n int) ask { return by("many", fmt.Sprint(n)) }, func(n int) ask { return by("few", fmt.Sprint(n)) }},
		{"of flows", "header:" + flow, "[{}]", func(n int) ask { return by(fmt.Sprint("u", n), "many") }, func(n int) ask { return by(fmt.Sprint("u", n), "few") }},
		{"of flows that aren't believed", "header:" + flow, `[{"match": {"users": ["gateway"]}}]`,
			func(n int) ask { return by("many", fmt.Sprint("f", n)) }, func(n int) ask { return by("few", fmt.Sprint("f", n)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			upstream := fmt.Sprint("turns", i)
			g.configure(t, "stopIteration", fmt.Sprintf(`{"priority": {"trust": %s}, "upstreams": [{"name": %q, "concurrency": {"max": 1},
				"queue": {"fairness": %q, "maxWait": {"normal": "10m"}}}]}`, test.trust, upstream, test.fairness))
			inTurns(t, g, upstream, test.flood, test.seldom)
		})
	}
}

// inTurns has one ask many times at once, and the other one now and then. All of it is in one worker of four, where turns are exact: over several one of each other worker's
// may go first.
func inTurns(t *testing.T, g *gateway, upstream string, flood, seldom func(n int) ask) {
	const many, pattern = 10, "m m f m m f m f m m f m m m" // who is served: the first finds nobody waiting, so it is no turn
	client := oneConnection(t, g)
	waits := func(n int) { g.awaitMetric(t, float64(n), "spillway_queue_depth", "upstream", upstream) }
	var all, heavy []*call
	send := func(a ask) *call {
		c := g.sendWith(t, client, a)
		all = append(all, c)
		return c
	}
	running := send(flood(0))
	g.awaitSeen(t, running)
	for n := 1; n < many; n++ {
		heavy = append(heavy, send(flood(n)))
		waits(n)
	}
	want, few := []*call{running}, 0
	for _, who := range strings.Fields(pattern)[1:] {
		var next *call
		if who == "f" {
			next = send(seldom(few))
			few++
			waits(len(heavy) + 1)
		} else {
			next, heavy = heavy[0], heavy[1:]
		}
		running.cancel()
		want, running = append(want, next), next
		harness.Await(t, patience, "the next one is served", func() bool { return len(g.order(all)) >= len(want) })
		if got := g.order(all); !slices.Equal(got, want) {
			t.Fatalf("served as number %d: %s, want %s", len(want), names(got), names(want))
		}
	}
	running.cancel()
	g.awaitIdle(t)
}

// names says who was served.
func names(calls []*call) (list []string) {
	for _, c := range calls {
		list = append(list, c.user+"/"+c.headers[1])
	}
	return list
}
