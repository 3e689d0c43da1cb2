package queuetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

const weighing = `"admin": {"path": "/spillway", "tokens": ["sha256:06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23"]}, "upstreams": [{"name": %q, "concurrency": {"max": %s, "weights": [` +
	`{"models": ["giant*"], "units": 8}, {"models": ["whole"], "units": 100}, {"promptTokens": {"above": 1000}, "units": 4}]}, "queue": {"fairness": "none"}}]`

// Over four workers a request has as many slots as it weighs, by its model or the length of its prompt, and gives back what it took, whatever the weights are by then.
func weigh(t *testing.T, g *gateway) {
	inFlight := func(t *testing.T, upstream string, units float64) {
		t.Helper()
		g.awaitMetric(t, units, "spillway_inflight", "upstream", upstream)
	}
	waits := func(t *testing.T, upstream string, calls ...*call) {
		t.Helper()
		g.awaitMetric(t, float64(len(calls)), "spillway_queue_depth", "upstream", upstream)
		for _, c := range calls {
			if c.over() || g.seen(c) {
				t.Errorf("%s of model %s did not wait", c.id, c.model)
			}
		}
	}
	giant, whole, long, small := ask{model: "giant-405b"}, ask{model: "whole"}, ask{more: 20_000}, ask{}
	hanging := func(a ask) ask { a.sim = "hang=forever"; return a }
	t.Run("exact", func(t *testing.T) {
		g.configure(t, "stopIteration", "{"+fmt.Sprintf(weighing, "weighed", "10")+"}")
		big, one := g.occupy(t, giant), g.occupy(t, small)
		inFlight(t, "weighed", 9)
		queued := g.enqueue(t, hanging(long))
		waits(t, "weighed", queued)
		big.cancel()
		g.awaitSeen(t, queued)
		inFlight(t, "weighed", 5)
		alone := g.enqueue(t, hanging(whole))
		waits(t, "weighed", alone)
		one.cancel()
		inFlight(t, "weighed", 4)
		waits(t, "weighed", alone)
		queued.cancel()
		g.awaitSeen(t, alone)
		inFlight(t, "weighed", 10)
		last := g.enqueue(t, small)
		waits(t, "weighed", last)
		alone.cancel()
		wantServed(t, last)
		g.awaitIdle(t)
	})
	t.Run("changed while it runs", func(t *testing.T) {
		g.configure(t, "stopIteration", "{"+fmt.Sprintf(weighing, "reweighed", "10")+"}")
		before := g.occupy(t, giant)
		inFlight(t, "reweighed", 8)
		queued := g.enqueue(t, hanging(giant)) // it keeps what it came with
		waits(t, "reweighed", queued)
		g.override(t, http.MethodPatch, `{"upstreams":{"reweighed":{"concurrency":{"weights":[{"models":["giant*"],"units":2}]}}}}`)
		before.cancel()
		g.awaitSeen(t, queued)
		inFlight(t, "reweighed", 8)
		light := g.occupy(t, giant)
		inFlight(t, "reweighed", 10)
		queued.cancel()
		inFlight(t, "reweighed", 2)
		g.override(t, http.MethodDelete, "")
		light.cancel()
		inFlight(t, "reweighed", 0)
		g.awaitIdle(t)
	})
	t.Run("learned", func(t *testing.T) {
		g.configure(t, "stopIteration", "{"+fmt.Sprintf(weighing, "learned-units", `"auto", "limit": 16`)+"}")
		g.awaitMetric(t, 8, "spillway_slots", "upstream", "learned-units") // units, with which it begins
		big := g.occupy(t, giant)
		inFlight(t, "learned-units", 8)
		first, second := g.enqueue(t, hanging(long)), g.enqueue(t, hanging(long))
		waits(t, "learned-units", first, second)
		big.cancel()
		g.awaitSeen(t, first)
		g.awaitSeen(t, second)
		inFlight(t, "learned-units", 8)
		first.cancel()
		second.cancel()
		inFlight(t, "learned-units", 0)
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				for n := range 10 {
					a := []ask{small, small, small, long, giant, whole}[(i+n)%6]
					a.stream, a.sim = n%2 == 0, "ttft=2ms tokens=3 itl=1ms"
					wantServed(t, g.send(t, a))
				}
			})
		}
		all.Wait()
		if slots := g.metric("spillway_slots", "upstream", "learned-units"); slots < 1 || slots > 16 {
			t.Errorf("%v units were learned, of 1 to 16", slots)
		}
		g.awaitIdle(t)
	})
}

// override changes what is overridden, and waits until all workers go by it.
func (g *gateway) override(t *testing.T, method, body string) {
	t.Helper()
	do := func(method, path, body string) string {
		request, err := http.NewRequestWithContext(t.Context(), method, g.URL+"/spillway/"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer operator")
		request.Header.Set("Content-Type", "application/json")
		response, err := g.Client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %d %s, %v", method, path, response.StatusCode, text, err)
		}
		return string(text)
	}
	var told struct{ Revision int }
	if err := json.Unmarshal([]byte(do(method, "overrides", body)), &told); err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf(`"workers":[{"revision":%d,"workers":%d}]`, told.Revision, g.workers)
	harness.Await(t, patience, "all workers go by "+body, func() bool { return strings.Contains(do(http.MethodGet, "config?overrides", ""), all) })
}
