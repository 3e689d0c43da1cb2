package fleettest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

func TestFleet(t *testing.T) {
	t.Parallel()
	f := startFleet(t)
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f *fleet)
	}{
		{"one limit over all proxies", oneLimit},
		{"what the fleet refuses is told in the request's dialect", fleetDialects},
		{"requests without a user are one user", anonymous},
		{"a client that leaves is charged what passed", leave},
		{"the limit is changed", changed},
		{"what the fleet refuses is given back", givenBack},
		{"slots of refused requests are free", slots},
		{"a burst is stopped before Redis is asked", burst},
		{"parallel requests at the edge", edge},
		{"Redis restarts", redisRestarts},
		{"Redis is gone", redisGone},
		{"ratelimit is gone", ratelimitGone},
		{"answers of the proxy's own say nothing of the upstream", localReplies},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, f.in(t)) })
	}
}

// oneLimit is the promise: 300 tokens are four answers of 76, whichever proxy gives them.
func oneLimit(t *testing.T, f *fleet) {
	for _, stream := range []bool{false, true} {
		name := fmt.Sprint("one-", stream)
		if got := f.inTurn(6, ask{user: name, stream: stream}); got != "200 200 200 200 429 429" {
			t.Errorf("streams %v: got %s, want 200 200 200 200 429 429", stream, got)
		}
		if got := f.charged(name); got != 4*answer {
			t.Errorf("streams %v: Redis has %d, want what passed, 304", stream, got)
		}
		if n := f.received(name); n != 4 {
			t.Errorf("streams %v: the server saw %d requests, want 4", stream, n)
		}
		if r := f.send(1, ask{user: name + "-other", stream: stream}); r.status != http.StatusOK {
			t.Errorf("streams %v: another user got %d", stream, r.status)
		}
	}
	wantRefusedByFleet(t, f.send(0, ask{user: "one-true", header: []string{"traceparent", "refused"}}))
	f.awaitLogged(0, map[string]string{"traceparent": "refused", "status": "429", "response_flags": "RL", "decision": "REJECTED", "gate": "limits",
		"reason": "fleet_exceeded", "limit": "user-tokens", "threshold": "300", "retryable": "true"})
	stats := f.envoys[0].Stats("cluster.llm.ratelimit.")
	for _, name := range []string{"ok", "over_limit"} {
		if stats["cluster.llm.ratelimit."+name] == 0 {
			t.Errorf("cluster.llm.ratelimit.%s is 0: %v", name, stats)
		}
	}
}

// awaitLogged waits until an Envoy's access log has a record with these fields.
func (f *fleet) awaitLogged(envoy int, want map[string]string) {
	f.t.Helper()
	harness.Await(f.t, patience, fmt.Sprint("the access log has ", want), func() bool {
		return slices.ContainsFunc(f.envoys[envoy].AccessLog(0), func(r harness.Record) bool {
			for key, value := range want {
				if r.Text(key) != value {
					return false
				}
			}
			return true
		})
	})
}

// wantRefusedByFleet checks the answer that stands in the place of the one of Envoy's ratelimit filter.
func wantRefusedByFleet(t *testing.T, r reply) {
	t.Helper()
	if r.status != http.StatusTooManyRequests || r.header.Get("x-spillway-reason") != "limits/fleet_exceeded" || r.header.Get("x-envoy-ratelimited") != "true" {
		t.Fatalf("got %d with the reason %q, x-envoy-ratelimited %q, want the fleet's 429", r.status, r.header.Get("x-spillway-reason"), r.header.Get("x-envoy-ratelimited"))
	}
	var body struct {
		Error struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal([]byte(r.body), &body); err != nil || body.Error.Code != "rate_limit_exceeded" || body.Error.Type != "tokens" ||
		!strings.HasPrefix(body.Error.Message, "Rate limit reached for mock on user-tokens, over all gateways: limit 30") {
		t.Errorf("the body is no error of OpenAI's API that names the limit (%v): %s", err, r.body)
	}
	reset, err := strconv.Atoi(r.header.Get("x-ratelimit-reset"))
	if err != nil || reset < 0 || reset > 3600 {
		t.Errorf("x-ratelimit-reset is %q, want the seconds that are left of the hour", r.header.Get("x-ratelimit-reset"))
	}
	if after := r.header.Get("retry-after"); after != strconv.Itoa(max(reset, 1)) || r.header.Get("retry-after-ms") != after+"000" {
		t.Errorf("retry-after is %q, want that of x-ratelimit-reset, %q", r.header.Get("retry-after"), r.header.Get("x-ratelimit-reset"))
	}
	if never := r.header.Get("x-should-retry") == "false"; never != (reset > 60) { // retry.longest
		t.Errorf("with %d s to wait x-should-retry is %q", reset, r.header.Get("x-should-retry"))
	}
	if !strings.HasPrefix(r.header.Get("x-ratelimit-limit"), "300") || r.header.Get("x-ratelimit-remaining") != "0" {
		t.Errorf("x-ratelimit-limit is %q and -remaining %q, want 300 and 0",
			r.header.Get("x-ratelimit-limit"), r.header.Get("x-ratelimit-remaining"))
	}
}

func anonymous(t *testing.T, f *fleet) {
	if got := f.inTurn(6, ask{}); got != "200 200 200 200 429 429" {
		t.Errorf("got %s, want 200 200 200 200 429 429", got)
	}
}

// leave hears some tokens of a long stream, which doesn't end before a busy machine has let it hang up.
func leave(t *testing.T, f *fleet) {
	const heard, all = 40, 1_000_000
	a := ask{user: "leaver", stream: true, unbounded: true, header: []string{"traceparent", "leaver", "x-sim-tokens", fmt.Sprint(all), "x-sim-itl", "2ms"}}
	request, err := a.request(t.Context(), f.envoys[0].URL)
	if err != nil {
		t.Fatal(err)
	}
	response, err := f.envoys[0].Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(response.Body)
	for events := 0; events < heard && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "data: ") {
			events++
		}
	}
	_ = response.Body.Close()

	harness.Await(t, patience, "the stream is charged", func() bool { return f.charged("leaver") > 0 })
	charged := f.charged("leaver")
	if charged < heard-5 || charged >= all {
		t.Errorf("%d tokens are charged, want those that passed: about %d had been heard, of %d", charged, heard, all)
	}
	f.awaitLogged(0, map[string]string{"traceparent": "leaver", "completion_tokens": fmt.Sprint(charged)})
}

// changed edits the file that says what the fleet may use, while all runs.
func changed(t *testing.T, f *fleet) {
	path := filepath.Join(f.root, configFile)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { replace(string(before)) })
	f.inTurn(4, ask{user: "changed"})
	wantRefusedByFleet(t, f.send(0, ask{user: "changed"}))
	replace(strings.Replace(string(before), "requests_per_unit: 300", "requests_per_unit: 304", 1))
	harness.Await(t, patience, "the new limit holds", func() bool {
		return f.send(0, ask{user: "changed", path: "/v1/embeddings"}).status == http.StatusOK // it lets pass what is not above it
	})
	if got := f.inTurn(2, ask{user: "changed"}); got != "200 429" {
		t.Errorf("under the new limit: got %s, want 200 429", got)
	}
}

// givenBack asks for all that is left of the proxy's own limit: requests that the fleet refuses must not count there.
func givenBack(t *testing.T, f *fleet) {
	const name = "given-back"
	f.inTurn(4, ask{user: name})
	for range 10 {
		wantRefusedByFleet(t, f.send(0, ask{user: name}))
	}
	f.must("FLUSHALL")                          // else the fleet would refuse what comes now
	for i, want := range []int{200, 200, 429} { // two of four are spent at this proxy
		r := f.send(0, ask{user: name})
		if r.status != want || want == 429 && r.header.Get("x-spillway-reason") != "limits/tokens_exceeded" {
			t.Errorf("request %d: got %d, %q, want %d", i, r.status, r.header.Get("x-spillway-reason"), want)
		}
	}
}

// slots lets the fleet refuse requests in a proxy that sends one at a time.
func slots(t *testing.T, f *fleet) {
	f.configure(`{"upstreams": [{"name": "llm", "concurrency": {"max": 1}, "queue": {"max": 0}}]}`)
	t.Cleanup(func() { f.configure(f.config) })
	f.inTurn(4, ask{user: "slots"})
	for range 5 {
		wantRefusedByFleet(t, f.send(0, ask{user: "slots"}))
		if r := f.send(0, ask{user: "slots-other", path: "/v1/embeddings"}); r.status != http.StatusOK {
			t.Fatalf("after a refusal another user got %d: %s", r.status, r.body)
		}
	}
}

// burst sends more than one proxy's limit allows, all at once. What passes asks once and is charged once; all else never gets
// as far as Redis.
func burst(t *testing.T, f *fleet) {
	const crowd = 40
	f.inTurn(1, ask{user: "teacher"}) // now Spillway knows how long answers are
	f.forgetCounted()
	replies := f.atOnce(crowd, func(int) int { return 0 }, ask{user: "burst"})
	passed := 0
	for _, r := range replies {
		switch {
		case r.status == http.StatusOK:
			passed++
		case r.status != http.StatusTooManyRequests || !strings.HasPrefix(r.header.Get("x-spillway-reason"), "limits/"):
			t.Errorf("got %d with the reason %q, want Spillway's 429", r.status, r.header.Get("x-spillway-reason"))
		}
	}
	f.awaitCharged("burst", passed*answer)
	// What is in flight may turn out longer than answers were so far, so the last one that would fit may not be let go.
	if least, most := limit/answer, (limit+answer-1)/answer; passed < least || passed > most {
		t.Errorf("%d passed, want %d to %d", passed, least, most)
	}
	if got := f.counted(); got != 2*passed {
		t.Errorf("Redis was asked %d times, want twice for each of the %d that passed", got, passed)
	}
}

// atOnce sends n requests in parallel.
func (f *fleet) atOnce(n int, envoy func(i int) int, a ask) []reply {
	replies := make([]reply, n)
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() { replies[i] = f.send(envoy(i), a) })
	}
	all.Wait()
	return replies
}
