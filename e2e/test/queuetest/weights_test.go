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

// surface has the admin surface, whose token is "operator".
const surface = `"admin": {"path": "/spillway", "tokens": ["sha256:06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23"]}`

const weighing = surface + `, "upstreams": [{"name": %q, "concurrency": {"max": %s, "weights": [` +
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

// A budget of requests counts units as well: two clients share it, one with heavy requests and one with light ones, over four workers. What a request took is
// gone, whatever became of it, and one that needs more than is left waits or is refused, as is one that comes after it in turn; the status has units of both.
func weighBudget(t *testing.T, g *gateway) {
	const config = `{` + surface + `, "mode": %q, "upstreams": [{"name": %q, "budget": {"requests": 15, "window": "24h", "weights": [{"models": ["giant*"], "units": 5},
		{"models": ["whole"], "units": 100}, {"promptTokens": {"above": 1000}, "units": 2}]}, "concurrency": {"max": 20, "weights": [{"models": ["giant*"], "units": 8}]},
		"queue": {"fairness": "user", "maxWait": {"low": "300ms"}}}]}`
	heavy, light, long := ask{user: "heavy", model: "giant-405b"}, ask{user: "light"}, ask{user: "light", more: 20_000}
	shows := func(t *testing.T, left, inFlight int) {
		t.Helper()
		harness.Await(t, patience, fmt.Sprintf("the status has %d units left and %d in flight", left, inFlight), func() bool {
			status := g.admin(t, http.MethodGet, "status", "")
			return strings.Contains(status, fmt.Sprintf(`"requestsLeft":%d,"requestsBurst":15,`, left)) &&
				strings.Contains(status, fmt.Sprintf(`"inFlight":%d,"slots":20,`, inFlight))
		})
	}
	now := func(a ask) ask { a.headers = []string{"x-spillway-queue", "no"}; return a }
	t.Run("enforced", func(t *testing.T) {
		g.configure(t, "stopIteration", fmt.Sprintf(config, "enforce", "budgeted"))
		one, other := g.occupy(t, heavy), g.occupy(t, light)
		shows(t, 9, 9)
		wantServed(t, g.send(t, long), g.send(t, light))
		shows(t, 6, 9)
		one.cancel()
		wantServed(t, g.send(t, now(heavy)))
		shows(t, 1, 1)
		refused := g.send(t, now(heavy))
		wantRefused(t, refused, http.StatusTooManyRequests, "queue/no_wait", "upstream budgeted")
		wantRefused(t, g.send(t, now(long)), http.StatusTooManyRequests, "queue/no_wait", "upstream budgeted")
		low := heavy
		low.priority = "low"
		late := g.send(t, low)
		wantRefused(t, late, http.StatusTooManyRequests, "queue/timeout", "upstream budgeted")
		wantServed(t, g.send(t, now(light))) // the last one; who was refused took nothing
		shows(t, 0, 1)
		wantRefused(t, g.send(t, now(light)), http.StatusTooManyRequests, "queue/no_wait", "upstream budgeted")
		waits := g.enqueue(t, light)
		g.awaitMetric(t, 1, "spillway_queue_depth", "upstream", "budgeted")
		waits.cancel()
		other.cancel()
		g.wantUnseen(t, refused, late)
		shows(t, 0, 0)
		g.awaitIdle(t)
	})
	t.Run("the heaviest of all", func(t *testing.T) {
		g.configure(t, "stopIteration", fmt.Sprintf(config, "enforce", "all-of-it"))
		wantServed(t, g.send(t, now(ask{model: "whole"})))
		shows(t, 0, 0)
		wantRefused(t, g.send(t, now(light)), http.StatusTooManyRequests, "queue/no_wait", "upstream all-of-it")
	})
	t.Run("in shadow", func(t *testing.T) {
		g.configure(t, "stopIteration", fmt.Sprintf(config, "shadow", "watched"))
		calls := []*call{g.send(t, heavy).wait(t), g.send(t, heavy).wait(t), g.send(t, heavy).wait(t), g.send(t, light).wait(t)}
		wantServed(t, calls...)
		for i, r := range g.logs(t, calls...) {
			r.Want(t, map[string]string{"decision": []string{"ALLOWED", "SHADOW"}[i/3], "reason": []string{"", "would_wait"}[i/3]})
		}
		g.awaitIdle(t)
	})
}

// override changes what is overridden, and waits until all workers go by it.
func (g *gateway) override(t *testing.T, method, body string) {
	t.Helper()
	var told struct{ Revision int }
	if err := json.Unmarshal([]byte(g.admin(t, method, "overrides", body)), &told); err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf(`"workers":[{"revision":%d,"workers":%d}]`, told.Revision, g.workers)
	harness.Await(t, patience, "all workers go by "+body, func() bool { return strings.Contains(g.admin(t, http.MethodGet, "config?overrides", ""), all) })
}

// admin is what the admin surface answers to its operator.
func (g *gateway) admin(t *testing.T, method, path, body string) string {
	t.Helper()
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
