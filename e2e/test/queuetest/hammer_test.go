package queuetest

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
)

// Thousands who don't want to wait, over HTTP/2 and HTTP/1, each in a flow of its own and with words that nobody has said before, take nothing of the one that
// waits: not its turn, not its place, and not a slot that it could have.
func hammer(t *testing.T, g *gateway) {
	const clients, each = 16, 125
	g.configure(t, "stopIteration", `{"priority": {"objectives": {"premium": "high"}}, "upstreams": [{"name": "hammer", "concurrency": {"max": 1},
		"queue": {"max": 1, "whenFull": "dropLowest", "fairness": "header:x-gateway-inference-fairness-id", "maxWait": {"low": "10m"}}}]}`)
	h2 := oneConnection(t, g)
	busy := g.occupy(t, ask{})
	waits := g.enqueue(t, ask{priority: "low"})
	g.awaitMetric(t, 1, "spillway_queue_depth")
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			for n := range each {
				word := [][2]string{{"x-spillway-queue", "no"}, {"x-spillway-max-wait", "0"}, {"x-spillway-max-wait", fmt.Sprintf("0, %dms", n)}}[n%3]
				client := g.Client
				if i%2 == 0 {
					client = h2
				}
				c := g.sendWith(t, client, ask{priority: "urgent", headers: []string{word[0], word[1],
					"x-gateway-inference-objective", fmt.Sprint("premium", i, n), "x-gateway-inference-fairness-id", fmt.Sprint(i, "/", n)}})
				if c.wait(t); c.err != nil || c.status != http.StatusTooManyRequests || c.header.Get("x-spillway-reason") != "queue/no_wait" {
					t.Errorf("%v, %v", c.answer, c.err)
					return
				}
			}
		})
	}
	all.Wait()
	if waits.over() {
		t.Fatalf("the one that waits was answered: %v", waits.answer)
	}
	busy.cancel()
	wantServed(t, waits)
	g.awaitMetric(t, 0, "spillway_errors_total")
	g.awaitIdle(t)
}
