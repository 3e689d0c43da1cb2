package dialecttest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/internal/captures"
)

// replayConfig has a limit, so that all that it needs is read, and refuses nothing. The largest recorded request is read.
const replayConfig = `{
	"usage": {"maxRequestBytes": 8388608, "promptTokensPerByte": 0.25, "outputTokens": 256},
	"limits": [{"name": "tokens", "per": ["user"], "unit": "totalTokens", "quantity": 1000000000, "window": "1h"}]
}`

const replayers = 12

// shadowConfig is the same in shadow mode, with a limit and gates that would refuse nearly everything.
const shadowConfig = `{
	"mode": "shadow",
	"usage": {"maxRequestBytes": 8388608, "promptTokensPerByte": 0.25, "outputTokens": 256},
	"limits": [{"name": "one", "per": ["user"], "unit": "requests", "quantity": 1, "window": "1h"}],
	"upstreams": [{"name": "all", "concurrency": {"max": 1}, "queue": {"max": 0},
		"latency": {"mode": "enforce", "ttft": "1ms", "itl": "1ms", "per": "global"},
		"throttle": {"mode": "enforce"},
		"breaker": {"mode": "enforce", "errorRate": 0.01, "slowCall": "1ms", "minRequests": 1},
		"pressure": {"mode": "enforce", "onStale": "full"}}]
}`

// tally counts what was found of what was expected.
type tally struct {
	mu                         sync.Mutex
	exchanges, found, expected int
}

// check counts one comparison, and fails the test when it does not hold.
func (s *tally) check(t *testing.T, id, what string, got, want any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expected++
	if got == want {
		s.found++
	} else {
		t.Errorf("%s: %s is %v, want %v", id, what, got, want)
	}
}

// job is one replay of a recorded exchange.
type job struct {
	capture  capture
	exchange *exchange
	form     string
	sum      *tally
}

// trace names the job in the access log.
func (j job) trace() string { return j.exchange.traceparent(j.form) }

func TestEveryRecordedExchangePassesUnchangedAndIsReadInItsDialect(t *testing.T) {
	t.Parallel()
	upstream, tallies, jobs := replayer{}, map[string]*tally{}, []job(nil)
	for _, recorded := range captures.Load(t) {
		c := capture{recorded}
		upstream[c.ID] = c.exchange()
		if tallies[c.Dialect] == nil {
			tallies[c.Dialect] = &tally{}
		}
		tallies[c.Dialect].exchanges++
		for _, form := range []string{whole, pieces} {
			jobs = append(jobs, job{c, upstream[c.ID], form, tallies[c.Dialect]})
		}
	}
	e := start(t, replayConfig, upstream)
	began := time.Now()
	replayAll(t, e, jobs)
	byTrace := recordsByTrace(t, e, len(jobs))
	for _, j := range jobs {
		j.compareRecord(t, byTrace[j.trace()])
	}
	t.Logf("%d replays took %v%s", len(jobs), time.Since(began).Round(time.Millisecond), table(tallies))
	t.Run("in shadow mode", func(t *testing.T) { replayInShadow(t, e, jobs) })
}

// replayInShadow replays all with gates and limits that would refuse nearly all. Nothing of it may show in an answer, and the
// records say what would have been.
func replayInShadow(t *testing.T, e *harness.Envoy, jobs []job) {
	if err := e.Reconfigure(shadowConfig); err != nil {
		t.Fatal(err)
	}
	sum, shadowed := &tally{}, slices.Clone(jobs)
	for i := range shadowed {
		shadowed[i].sum = sum
	}
	replayAll(t, e, shadowed)
	outcomes, gates := map[string]int{}, map[string]int{}
	for _, r := range e.AccessLog(2 * len(jobs))[len(jobs):] {
		outcomes[r.Text("decision")]++
		gates[r.Text("gate")]++
	}
	t.Logf("%d of %d values as without; decisions %v, by gates %v", sum.found, sum.expected, outcomes, gates)
	if would := outcomes["SHADOW"]; would < len(jobs)/2 || would+outcomes["ALLOWED"] != len(jobs) {
		t.Errorf("the decisions are %v of %d, want most of them SHADOW and the others ALLOWED", outcomes, len(jobs))
	}
	for _, gate := range []string{"breaker", "pressure", "limits"} {
		if gates[gate] == 0 {
			t.Errorf("the gate %s has not said what it would have done: %v", gate, gates)
		}
	}
}

// replayAll sends all requests from several clients at once.
func replayAll(t *testing.T, e *harness.Envoy, jobs []job) {
	queue := make(chan job)
	var clients sync.WaitGroup
	for i := range replayers {
		clients.Go(func() {
			for j := range queue {
				trace := j.trace()
				check := func(what string, got, want any) { j.sum.check(t, trace, what, got, want) }
				if err := j.exchange.replay(t.Context(), e.Client, e.URL, j.form, fmt.Sprint("client-", i), check); err != nil {
					j.sum.check(t, trace, "error", err, nil)
				}
			}
		})
	}
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	clients.Wait()
}

// recordsByTrace reads the access log when it has n records.
func recordsByTrace(t *testing.T, e *harness.Envoy, n int) map[string]harness.Record {
	t.Helper()
	records := map[string]harness.Record{}
	for _, r := range e.AccessLog(n) {
		records[r.Text("traceparent")] = r
	}
	return records
}

// compareRecord sets what the access log says beside what a careful reader found.
func (j job) compareRecord(t *testing.T, r harness.Record) {
	trace := j.trace()
	if r == nil {
		t.Errorf("%s: the access log has no record", trace)
		return
	}
	want := j.capture.wanted()
	for _, key := range slices.Sorted(maps.Keys(want)) {
		j.sum.check(t, trace, key, r.Text(key), want[key])
	}
	if _, stated := want["usage_source"]; !stated {
		j.sum.check(t, trace, "usage_source being reported", r.Text("usage_source") == "reported", false)
	}
}

func table(tallies map[string]*tally) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(tallies)) {
		s := tallies[name]
		fmt.Fprintf(&b, "\n%-20s %4d exchanges, %6d of %6d values, whole and in pieces", name, s.exchanges, s.found, s.expected)
	}
	return b.String()
}
