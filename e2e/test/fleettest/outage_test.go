package fleettest

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// noLimits is the filter without limits of its own, so that only the fleet's hold.
const noLimits = `{"requestHold": "stopIteration"}`

// edge is how far parallel requests get beyond the limit: each that is in flight when the limit is reached, and no more.
func edge(t *testing.T, f *fleet) {
	const parallel = 12
	t.Run("without limits in front", func(t *testing.T) {
		f := f.in(t)
		f.configure(noLimits)
		t.Cleanup(func() { f.configure(f.config) })
		f.inTurn(3, ask{user: "edge"})
		passed := f.crowd(parallel, ask{user: "edge"})
		if passed != parallel {
			t.Errorf("%d of %d passed, want all: nothing is charged before it has ended", passed, parallel)
		}
		f.awaitCharged("edge", (3+passed)*answer)
		wantRefusedByFleet(t, f.send(0, ask{user: "edge"}))
		if most := limit + parallel*answer; f.charged("edge") > most {
			t.Errorf("%d are charged, want the limit and what was in flight, %d, at most", f.charged("edge"), most)
		}
	})
	t.Run("with them", func(t *testing.T) {
		f := f.in(t)
		f.inTurn(1, ask{user: "teacher-of-two"})
		const least, most = 2 * (limit / answer), 2 * ((limit + answer - 1) / answer) // each proxy lets its own limit pass
		passed := f.crowd(4*parallel, ask{user: "edge-in-front"})
		if passed < least || passed > most {
			t.Errorf("%d passed, want %d to %d", passed, least, most)
		}
		f.awaitCharged("edge-in-front", passed*answer)
		if r := f.send(0, ask{user: "edge-in-front"}); r.status != http.StatusTooManyRequests {
			t.Errorf("one more got %d, want 429", r.status)
		}
	})
}

// crowd sends n requests in parallel, half of them to each proxy, none of which ends before all have been decided. It returns
// how many passed.
func (f *fleet) crowd(n int, a ask) (passed int) {
	f.t.Helper()
	a.header = append(a.header, "x-wait", "yes")
	answers := make(chan reply, n)
	for i := range n {
		go func() { answers <- f.send(i%len(f.envoys), a) }()
	}
	refused := 0
	harness.Await(f.t, patience, "all are decided", func() bool {
		for len(answers) > 0 {
			<-answers
			refused++
		}
		return f.door.held()+refused == n
	})
	f.door.open()
	for range n - refused {
		if r := <-answers; r.status == http.StatusOK {
			passed++
		}
	}
	return passed
}

// redisRestarts keeps the counters, or loses them, by how Redis is told to keep its data.
func redisRestarts(t *testing.T, f *fleet) {
	t.Run("with an append-only file", func(t *testing.T) {
		f, data := f.in(t), f.data
		f.inTurn(4, ask{user: "kept"})
		f.stopRedis()
		f.startRedis(data)
		f.awaitConnections()
		if got := f.charged("kept"); got != 4*answer {
			t.Errorf("Redis has %d, want 304 as before", got)
		}
		for i := range f.envoys {
			wantRefusedByFleet(t, f.send(i, ask{user: "kept"}))
		}
	})
	t.Run("without one", func(t *testing.T) {
		f := f.in(t)
		f.inTurn(5, ask{user: "restart"})
		f.stopRedis()
		f.startRedis("")
		f.awaitConnections()
		if got := f.charged("restart"); got != 0 {
			t.Errorf("Redis still has %d", got)
		}
		// The proxies remember: two answers of each are spent, and two are left.
		if got := f.inTurn(5, ask{user: "restart"}); got != "200 200 200 200 429" {
			t.Errorf("got %s, want 200 200 200 200 429", got)
		}
	})
}

// awaitConnections waits until ratelimit has replaced all its connections to a Redis that has gone.
func (f *fleet) awaitConnections() {
	f.t.Helper()
	const pool = 10 // REDIS_POOL_SIZE
	f.probeUntil("ratelimit is connected to Redis again", func() bool {
		var clients int
		for line := range strings.Lines(strings.Join(f.must("INFO", "clients"), "\n")) {
			_, _ = fmt.Sscanf(line, "connected_clients:%d", &clients)
		}
		return clients > pool // one is ours
	})
}

// awaitHealth waits until both Envoys see ratelimit as healthy, or as not.
func (f *fleet) awaitHealth(healthy bool) {
	f.t.Helper()
	const stat = "cluster.ratelimit.membership_healthy"
	for i, e := range f.envoys {
		f.probeUntil(fmt.Sprintf("for proxy %d ratelimit is healthy: %v", i, healthy), func() bool {
			return (e.Stats(stat)[stat] == 1) == healthy
		})
	}
}

// probeUntil waits for a condition, and sends requests meanwhile, of users of their own: ratelimit finds its connections to Redis
// broken when it uses them, or by a ping every few seconds.
func (f *fleet) probeUntil(what string, condition func() bool) {
	f.t.Helper()
	harness.Await(f.t, patience, what, func() bool {
		if condition() {
			return true
		}
		f.send(0, ask{user: fmt.Sprint("probe-", probes.Add(1)), path: "/v1/embeddings"})
		return false
	})
}

var probes atomic.Int64

func redisGone(t *testing.T, f *fleet) {
	f.outage(func(f *fleet) { f.stopRedis() }, func(f *fleet) { f.startRedis("") })
}

func ratelimitGone(t *testing.T, f *fleet) {
	f.outage(func(f *fleet) { f.stopRatelimit() }, func(f *fleet) { f.startRatelimit() })
}

// outage is what is documented of both failure modes.
func (f *fleet) outage(stop, start func(*fleet)) {
	f.t.Run("requests pass", func(t *testing.T) {
		f := f.in(t)
		user := t.Name()[len("TestFleet/"):]
		stop(f)
		// From the first moment on, not only when it is known.
		if r := f.send(0, ask{user: user}); r.status != http.StatusOK {
			t.Errorf("at once: got %d, want 200", r.status)
		}
		f.awaitHealth(false)
		for i, want := range []int{200, 200, 200, 429} { // the first of four is above
			r := f.send(0, ask{user: user})
			if r.status != want {
				t.Errorf("request %d: got %d, want %d", i, r.status, want)
			}
			if want == 429 && r.header.Get("x-spillway-reason") != "limits/tokens_exceeded" {
				t.Errorf("the limit of the proxy doesn't hold: the reason is %q", r.header.Get("x-spillway-reason"))
			}
		}
		start(f)
		f.awaitHealth(true)
		f.awaitConnections()
		if got := f.charged(user); got > answer { // of the first, ratelimit may have heard
			t.Errorf("%d tokens are charged, want none of those that passed meanwhile", got)
		}
		if got := f.inTurn(5, ask{user: user + "-after"}); got != "200 200 200 200 429" {
			t.Errorf("afterwards: got %s, want 200 200 200 200 429", got)
		}
	})
	f.t.Run("requests are refused", func(t *testing.T) {
		f := f.in(t)
		user := t.Name()[len("TestFleet/"):]
		f.setFailureModeDeny(true)
		t.Cleanup(func() { f.setFailureModeDeny(false) })
		stop(f)
		f.awaitHealth(false)
		for range 6 { // more than the proxy's own limit lets pass, which is given back
			r := f.send(0, ask{user: user, header: []string{"traceparent", user}})
			if r.status != http.StatusServiceUnavailable || r.header.Get("x-spillway-reason") != "proxy/fleet_unavailable" || !strings.HasPrefix(r.body, `{"error":{"message":"The limit`) {
				t.Errorf("got %d, want the ratelimit filter's 503, in the API's words: %v", r.status, r)
			}
		}
		f.awaitLogged(0, map[string]string{"traceparent": user, "response_flags": "RLSE", "decision": "ALLOWED"})
		const failures = "cluster.llm.ratelimit.error"
		if f.envoys[0].Stats(failures)[failures] == 0 {
			t.Errorf("%s is 0", failures)
		}
		if n := f.received(user); n != 0 {
			t.Errorf("the server saw %d requests", n)
		}
		start(f)
		f.awaitHealth(true)
		f.awaitConnections()
		if got := f.inTurn(5, ask{user: user}); got != "200 200 200 200 429" {
			t.Errorf("afterwards: got %s, want 200 200 200 200 429", got)
		}
	})
}

// setFailureModeDeny changes one field of envoy/fleet.yaml in both Envoys.
func (f *fleet) setFailureModeDeny(deny bool) {
	f.t.Helper()
	for _, e := range f.envoys {
		found := false
		err := e.ReplaceListeners(func(listeners []map[string]any) {
			harness.Visit(listeners, func(object map[string]any) {
				if _, ok := object["failure_mode_deny"]; ok {
					object["failure_mode_deny"], found = deny, true
				}
			})
		})
		if err != nil || !found {
			f.t.Fatalf("set failure_mode_deny: found %v, %v", found, err)
		}
	}
}
