package queuetest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

const (
	endless = "tokens=1000000 ttft=1ms itl=50ms"
	flowing = "tokens=1000000 ttft=1ms itl=5ms" // so that a piece comes while it is waited for to tell the client
	silent  = "tokens=1000000 ttft=1ms itl=1h"

	endedForUrgent = `data: {"error":{"message":"This stream was ended to make room for an urgent request. Please try again later.",` +
		`"type":"server_error","param":null,"code":"service_unavailable"}}` + "\n\n"
)

// A low stream that is under way is ended for an urgent request, and its client sees an error in the stream, and then that it was broken off.
func revoke(t *testing.T, g *gateway) {
	const config = `{"priority": {"trust": [{}]}, "limits": [{"name": "spent", "per": ["user"], "unit": "completionTokens", "quantity": 100000000, "window": "720h"}],
		"upstreams": [{"name": "revoke", "concurrency": {"max": 2}, "queue": {"revoke": true}}]}`
	g.holds(t, config, func(t *testing.T) {
		t.Run("over HTTP/1", func(t *testing.T) { revokeOne(t, g, g.Client) })
		t.Run("over HTTP/2", func(t *testing.T) { revokeOne(t, g, oneConnection(t, g)) })
		t.Run("silent", func(t *testing.T) { revokeSilent(t, g) })
	})
	g.holds(t, `{"priority": {"trust": [{}]}, "upstreams": [{"name": "storm", "concurrency": {"max": 8}, "queue": {"revoke": true, "maxWait": {"low": "10m"}}}]}`,
		func(t *testing.T) { revokeInStorm(t, g) })
}

// revokeOne ends one until its client is told: on a machine that is busy just then no piece comes in time to tell it, and the stream is cut off without.
func revokeOne(t *testing.T, g *gateway, client *http.Client) {
	g.until(t, "the client of one is told", func() bool { return tellOne(t, g, client) })
}

func tellOne(t *testing.T, g *gateway, client *http.Client) (told bool) {
	count := func(status string) float64 {
		return g.metric("spillway_revoked_total", "upstream", "revoke", "status", status)
	}
	before, cut := count("told"), count("cut")
	low := []*call{g.sendWith(t, client, ask{user: t.Name(), priority: "low", stream: true, sim: flowing})}
	awaitOutput(t, low[0])
	low = append(low, g.sendWith(t, client, ask{user: t.Name(), priority: "low", stream: true, sim: flowing}))
	awaitOutput(t, low[1]) // before its first output nobody ends it, and the older one would have to go
	urgent := g.sendWith(t, client, ask{priority: "urgent"})
	wantServed(t, urgent)
	harness.Await(t, patience, "one is counted", func() bool { return count("told")+count("cut") == before+cut+1 })
	told = count("told") > before
	ended, other := low[0], low[1]
	if harness.Await(t, patience, "one has ended", func() bool { return low[0].over() || low[1].over() }); low[1].over() {
		ended, other = other, ended
	}
	if body := string(ended.wait(t).body); ended.status != http.StatusOK || strings.Contains(body, `"error"`) != told || told && !strings.HasSuffix(body, "\n\n"+endedForUrgent) || strings.Count(body, `"error"`) > 1 {
		t.Errorf("told: %v; its client saw %v", told, ended.answer)
	}
	if ended.err == nil {
		t.Error("its client takes the stream for a whole one")
	}
	if other.over() {
		t.Errorf("the other one ended, too: %v, %v", other.answer, other.err)
	}
	if g.workers == 1 && ended != low[1] {
		t.Error("it was not the youngest")
	}
	r := g.logs(t, ended)[0]
	r.Want(t, map[string]string{"decision": "ALLOWED", "gate": "queue", "reason": "revoked", "status": "200"})
	if tokens := r.Text("completion_tokens"); tokens == "" || tokens == "0" || tokens == "1000000" {
		t.Errorf("it was charged %s tokens", tokens)
	}
	other.cancel()
	g.awaitIdle(t)
	return told
}

// One of which no piece comes is broken off all the same.
func revokeSilent(t *testing.T, g *gateway) {
	cut := g.metric("spillway_revoked_total", "upstream", "revoke", "status", "cut")
	var low []*call
	for range 2 {
		low = append(low, g.send(t, ask{priority: "low", stream: true, sim: silent}))
		g.awaitSeen(t, low[len(low)-1])
	}
	wantServed(t, g.send(t, ask{priority: "urgent"}), g.send(t, ask{priority: "urgent"}), g.send(t, ask{priority: "urgent"}))
	if n := g.metric("spillway_revoked_total", "upstream", "revoke", "status", "cut") - cut; n < 1 || n > 2 {
		t.Errorf("%v were cut", n)
	}
	for _, c := range low {
		c.cancel()
	}
	g.awaitIdle(t)
}

// Many urgent requests at once, while low streams come, run and leave: all urgent ones are served, no more streams are ended than there were of these,
// and all slots come back.
func revokeInStorm(t *testing.T, g *gateway) {
	const slots, urgent = 8, 60
	before := g.metric("spillway_revoked_total", "upstream", "storm")
	var low []*call
	for i := range slots * 3 {
		low = append(low, g.send(t, ask{user: fmt.Sprint(i), priority: "low", stream: true, sim: []string{endless, silent, "tokens=30 itl=5ms"}[i%3]}))
	}
	harness.Await(t, patience, "all slots are in use", func() bool { return g.metric("spillway_inflight", "upstream", "storm") == slots })
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for n := range urgent / 4 {
				if c := low[(i*7+n)%len(low)]; n%3 == 0 {
					c.cancel() // at the same moment, perhaps
				}
				wantServed(t, g.send(t, ask{priority: "urgent", stream: n%2 == 0, sim: "tokens=3 itl=1ms"}))
			}
		})
	}
	all.Wait()
	if n := g.metric("spillway_revoked_total", "upstream", "storm") - before; n < 1 || n > urgent {
		t.Errorf("%v streams were ended for %d urgent requests", n, urgent)
	}
	for _, c := range low {
		c.cancel()
	}
	for _, c := range low {
		c.wait(t)
	}
	g.awaitIdle(t)
	g.awaitMetric(t, 0, "spillway_errors_total")
}
