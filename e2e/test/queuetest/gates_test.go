package queuetest

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// gates are the ones in front of the queue that learn from what the upstream does: breaker, latency, throttle.
func gates(t *testing.T, g *gateway) {
	t.Run("breaker", func(t *testing.T) { breakAndProbe(t, g) })
	t.Run("streams that fail", func(t *testing.T) { breakOnStreams(t, g) })
	t.Run("fallback", func(t *testing.T) { fallBack(t, g) })
	t.Run("latency", func(t *testing.T) { latency(t, g) })
	t.Run("latency, expected", func(t *testing.T) { expect(t, g) })
	t.Run("throttle", func(t *testing.T) { throttle(t, g) })
}

// breakerOf is a configuration with a breaker that opens quickly, and stays open; more of it may follow.
func breakerOf(name, more string) string {
	return fmt.Sprintf(`{"upstreams": [{"name": "%s-%d", "breaker": {"mode": "enforce", "minRequests": 5, "window": "1h", "openFor": "1h"%s}}]}`,
		name, time.Now().UnixNano(), more)
}

// reason is that of a refusal; "" of anything else.
func (c *call) reason() string { return c.header.Get("x-spillway-reason") }

// untilRefused sends a request again and again until it is refused for a reason, and returns that one.
func (g *gateway) untilRefused(t *testing.T, reason string, a ask) (refused *call) {
	t.Helper()
	g.until(t, "it is refused for "+reason, func() bool {
		refused = g.do(t, a)
		return refused.reason() == reason
	})
	return refused
}

// Failures open it for their model, over all workers; then exactly as many pass as may try, and their success closes it.
func breakAndProbe(t *testing.T, g *gateway) {
	const probes = 3
	config := breakerOf("probed", fmt.Sprint(`, "probes": `, probes))
	g.configure(t, "stopIteration", config)
	failing := ask{model: "broken", sim: "status=500"}
	refused := g.untilRefused(t, "breaker/open", failing)
	wantRefused(t, refused, http.StatusServiceUnavailable, "breaker/open", "fails too often for broken (100 %, threshold 50 %)")
	record := g.logs(t, refused)[0]
	record.Want(t, map[string]string{"decision": "OPEN", "gate": "breaker", "measured": "1", "threshold": "0.5", "retryable": "true"})
	if got := record.Text("reason"); !regexp.MustCompile(`^5xx_rate_100%_in_\w+$`).MatchString(got) {
		t.Errorf("the record's reason is %q", got)
	}
	if g.seen(refused) {
		t.Error("the server saw a refused request")
	}
	wantServed(t, g.send(t, ask{model: "sound"}))
	g.awaitMetric(t, 2, "spillway_breaker_state", "model", "other")

	g.configure(t, "stopIteration", strings.Replace(config, `"window": "1h"`, `"window": "50m"`, 1)) // anew: with the same state
	if c := g.do(t, ask{model: "broken"}); c.status == http.StatusOK {
		t.Error("a new configuration has closed the breaker")
	}

	server := g.front.holdAll(t)                                                                      // so that the probes are out until all others are decided
	g.configure(t, "stopIteration", strings.Replace(config, `"openFor": "1h"`, `"openFor": "1s"`, 1)) // which is over soon, or is now
	var calls []*call
	g.until(t, "the first probe is at the server", func() bool {
		c := g.send(t, ask{model: "broken"})
		harness.Await(t, patience, "it is decided", func() bool { return c.over() || server.has(c) })
		calls = append(calls, c)
		return server.has(c)
	})
	for range 5 * probes {
		calls = append(calls, g.send(t, ask{model: "broken"}))
	}
	harness.Await(t, patience, "all are decided", func() bool {
		return !slices.ContainsFunc(calls, func(c *call) bool { return !c.over() && !server.has(c) })
	})
	close(server.release)
	outcomes := map[string]int{}
	for _, c := range calls {
		c.wait(t)
		outcomes[fmt.Sprint(c.status, " ", c.reason())]++
	}
	delete(outcomes, "503 breaker/open") // before it was tried
	want := map[string]int{"200 ": probes, "503 breaker/half_open_probing": 5*probes + 1 - probes}
	if !maps.Equal(outcomes, want) {
		t.Errorf("the answers are %v, want %v", outcomes, want)
	}
	g.until(t, "it is closed", func() bool { return g.do(t, ask{model: "broken"}).status == http.StatusOK })
	g.awaitMetric(t, 0, "spillway_breaker_state", "model", "other")
}

// What begins with 200 and fails later counts as what it is: an error event, and an answer that the upstream breaks off.
func breakOnStreams(t *testing.T, g *gateway) {
	for name, sim := range map[string]string{"an event": "error-after=3", "broken off": "abort-after=3"} {
		t.Run(name, func(t *testing.T) {
			g.configure(t, "stopIteration", breakerOf("streams", ""))
			g.until(t, "the breaker opens", func() bool {
				c := g.send(t, ask{model: "m", stream: true, sim: sim}).wait(t) // it may end with an error, as it should
				return c.reason() == "breaker/open"
			})
		})
	}
	t.Run("a client that leaves", func(t *testing.T) {
		g.configure(t, "stopIteration", breakerOf("left", ""))
		for range 10 {
			c := g.send(t, ask{model: "m", stream: true, sim: "itl=100ms"})
			g.awaitSeen(t, c)
			c.cancel()
			<-c.done
		}
		wantServed(t, g.send(t, ask{model: "m"}))
	})
}

// In place of a refusal there can be an answer, or another route.
func fallBack(t *testing.T, g *gateway) {
	t.Run("an answer", func(t *testing.T) {
		g.configure(t, "stopIteration", breakerOf("answered", `, "fallback": {"operations": ["chat"], "status": 200,
			"headers": {"content-type": "application/json"}, "body": "{\"sorry\":true}"}`))
		c := g.untilRefused(t, "breaker/open", ask{model: "m", sim: "status=500"})
		if c.status != http.StatusOK || string(c.body) != `{"sorry":true}` || c.header.Get("content-type") != "application/json" {
			t.Errorf("got %v", c.answer)
		}
		refused := g.untilRefused(t, "breaker/open", ask{model: "m", path: embeddingsPath, sim: "status=500"})
		if refused.status != http.StatusServiceUnavailable {
			t.Errorf("an operation without a fallback got %v", refused.answer)
		}
	})
	const route = `, "fallback": {"routeHeader": {"x-fallback": "other"}}`
	t.Run("a route", func(t *testing.T) {
		g.configure(t, "stopIteration", breakerOf("routed", route))
		g.route(t)
		var c *call
		g.until(t, "a request takes the other route", func() bool {
			c = g.do(t, ask{model: "m", sim: "status=500"})
			return c.status == http.StatusOK
		})
		if !strings.Contains(string(c.body), "elsewhere") {
			t.Errorf("it was answered by %s", c.body)
		}
		g.logs(t, c)[0].Want(t, map[string]string{"decision": "FALLBACK", "gate": "breaker", "status": "200"})
		// A request that has been there is not sent there again.
		wantRefused(t, g.send(t, ask{model: "m", headers: []string{"x-fallback", "other"}}), http.StatusServiceUnavailable, "breaker/open", "fails too often")
	})
	for _, hold := range []harness.Hold{harness.HoldBufferFilter, harness.HoldNone} { // the route can't be changed any more
		t.Run("a route that is too late/"+string(hold), func(t *testing.T) {
			g.configure(t, hold, breakerOf("late", route))
			wantRefused(t, g.untilRefused(t, "breaker/open", ask{model: "m", sim: "status=500"}), http.StatusServiceUnavailable, "breaker/open", "fails too often")
		})
	}
}

// route adds the other route: the same server, which answers something else.
func (g *gateway) route(t *testing.T) {
	t.Helper()
	err := g.ReplaceListeners(func(listeners []map[string]any) {
		harness.Visit(listeners, func(object map[string]any) {
			routes, ok := object["routes"].([]any)
			if !ok {
				return
			}
			other := maps.Clone(routes[len(routes)-1].(map[string]any))
			other["match"] = map[string]any{"prefix": "/", "headers": []any{
				map[string]any{"name": "x-fallback", "string_match": map[string]any{"exact": "other"}},
			}}
			other["request_headers_to_remove"] = []any{"x-sim-status"}
			other["request_headers_to_add"] = []any{map[string]any{"header": map[string]any{"key": "x-sim-content", "value": "from elsewhere"}}}
			object["routes"] = slices.Insert(slices.Clone(routes), 0, any(other))
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = g.ReplaceListeners(func(listeners []map[string]any) {
			harness.Visit(listeners, func(object map[string]any) {
				if routes, ok := object["routes"].([]any); ok {
					object["routes"] = routes[1:]
				}
			})
		})
	})
}

// One slow stream closes the gate for its model; it opens by itself.
func latency(t *testing.T, g *gateway) {
	g.configure(t, "stopIteration", fmt.Sprintf(`{"upstreams": [{"name": "slow-%d", "latency": {"mode": "enforce", "ttft": "300ms", "itl": "10s",
		"timeConstant": "4s"}}]}`, time.Now().UnixNano()))
	c := g.untilRefused(t, "latency/ttft", ask{model: "slow", stream: true, sim: "ttft=900ms"})
	wantRefused(t, c, http.StatusTooManyRequests, "latency/ttft", "is too slow: time to first token of slow")
	record := g.logs(t, c)[0]
	record.Want(t, map[string]string{"decision": "REJECTED", "gate": "latency", "threshold": "300", "retryable": "true"})
	if got := record.Text("reason"); !regexp.MustCompile(`^ttft_\d+ms_over_300ms$`).MatchString(got) {
		t.Errorf("the record's reason is %q", got)
	}
	wantServed(t, g.send(t, ask{model: "another", stream: true}))
	g.until(t, "it has opened by decay alone", func() bool { return g.do(t, ask{model: "slow"}).status == http.StatusOK })
	g.untilRefused(t, "latency/slo_ttft", ask{model: "slow", headers: []string{"x-slo-ttft-ms", "1"}})
	g.awaitMetric(t, 0, "spillway_gate_state", "gate", "latency")
}

// Of a server whose time to the first token is told by the prompt, a request whose own would be too late is refused before the server has it; short
// ones pass all the while. Where the machine makes one late by itself, all begins anew: what its server took is then not what was measured.
func expect(t *testing.T, g *gateway) {
	g.until(t, "no request is late by the machine's fault", func() bool { return expected(t, g) })
}

// inTime says that a call took hardly longer than the simulator was told to.
func (c *call) inTime(t *testing.T) bool {
	t.Helper()
	const slack = 500 * time.Millisecond
	ttft, err := time.ParseDuration(strings.TrimPrefix(c.sim, "ttft="))
	if err != nil {
		t.Fatal(err)
	}
	return c.wait(t).took <= ttft+slack
}

// expected says whether the machine was quick enough for a judgement.
func expected(t *testing.T, g *gateway) bool {
	const tokens = 4 // bytes for each, about
	g.configure(t, "stopIteration", fmt.Sprintf(`{"upstreams": [{"name": "prompted-%d", "latency": {"mode": "enforce", "ttft": "2s", "itl": "10s"}}]}`, time.Now().UnixNano()))
	short, long := ask{stream: true, sim: "ttft=5ms"}, ask{stream: true, sim: "ttft=500ms", more: 2_000 * tokens}
	longest := long
	longest.more, longest.sim = 10*long.more, "ttft=5s"
	var refused *call
	for refused == nil { // until it is known that prompts take time
		for i, a := range []ask{short, long, short, long, short, long} {
			a.user = fmt.Sprint("user-", i)
			c := g.send(t, a)
			if !c.inTime(t) {
				return false
			}
			wantServed(t, c)
		}
		var calls []*call
		for range 6 { // each worker lets one pass, to see
			calls = append(calls, g.send(t, longest))
		}
		for _, c := range calls {
			if !c.inTime(t) {
				return false
			}
			if c.status != http.StatusOK {
				refused = c
			}
		}
	}
	wantRefused(t, refused, http.StatusTooManyRequests, "latency/ttft", "is too slow")
	record := g.logs(t, refused)[0]
	record.Want(t, map[string]string{"decision": "REJECTED", "gate": "latency", "threshold": "2000", "retryable": "true"})
	if got := record.Text("reason"); !regexp.MustCompile(`^expected_ttft_\d+ms_over_2000ms$`).MatchString(got) {
		t.Errorf("the record's reason is %q", got)
	}
	if g.seen(refused) {
		t.Error("the server saw a refused request")
	}
	for range 10 {
		c := g.send(t, short)
		if !c.inTime(t) {
			return false
		}
		wantServed(t, c)
	}
	long.headers = []string{"x-slo-ttft-ms", "100"}
	c := g.untilRefused(t, "latency/slo_ttft", long)
	if got := g.logs(t, c)[0].Text("reason"); !regexp.MustCompile(`^slo_ttft_\d+ms_over_100ms$`).MatchString(got) {
		t.Errorf("the record's reason is %q", got)
	}
	return true
}

// Answers that take too long shed the low priorities, thin the normal ones out, and leave the high ones alone.
func throttle(t *testing.T, g *gateway) {
	g.configure(t, "stopIteration", fmt.Sprintf(`{"upstreams": [{"name": "busy-%d", "throttle": {"mode": "enforce",
		"p99": {"max": "50ms", "periods": 1, "period": "1s"}}}]}`, time.Now().UnixNano()))
	slow := ask{priority: "high", sim: "ttft=200ms"}
	var low *call
	g.until(t, "low priorities are shed", func() bool {
		g.together(t, 12, slow)
		low = g.do(t, ask{priority: "low"})
		return low.status != http.StatusOK
	})
	wantRefused(t, low, http.StatusTooManyRequests, "throttle/p99", "for a request of priority LOW")
	outcomes := map[int]bool{}
	g.until(t, "of normal ones a part is shed", func() bool { // how large a one is for the machine to say: the slower, the larger
		outcomes[g.do(t, ask{priority: "normal", sim: "ttft=200ms"}).status] = true
		return outcomes[http.StatusOK] && outcomes[http.StatusTooManyRequests]
	})
	wantServed(t, g.send(t, ask{priority: "high"}), g.send(t, ask{priority: "urgent"}))
	g.until(t, "Prometheus gets the state", func() bool { // which lasts while answers are slow
		g.together(t, 12, slow)
		return g.Sum("spillway_gate_state", "gate", "throttle", "model", "all") == 2
	})
	harness.Await(t, patience, "Prometheus gets the times of requests of priority HIGH", func() bool { // which Envoy merges once in a while
		return g.Sum("spillway_ttft_milliseconds_count", "streaming", "false", "priority", "HIGH") >= 12
	})
}
