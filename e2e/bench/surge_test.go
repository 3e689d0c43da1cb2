package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
)

func TestTheSurgesConfigurationsAreValid(t *testing.T) {
	t.Parallel()
	for _, arm := range surgeArms()[1:] {
		parsed, err := config.Parse([]byte(arm.config))
		if err != nil {
			t.Errorf("%s: %v", arm.name, err)
			continue
		}
		if u := parsed.Upstreams[0]; strings.Contains(arm.name, "slots") && u.Concurrency.Max != surgeSlots {
			t.Errorf("%s has %d slots, the server %d", arm.name, u.Concurrency.Max, surgeSlots)
		}
	}
	for _, g := range costlyGates {
		if _, err := config.Parse([]byte(`{"upstreams":[{"name":"bench",` + g.config + `}]}`)); err != nil {
			t.Errorf("%s: %v", g.name, err)
		}
	}
}

func TestTheTraceIsTheSameEachTime(t *testing.T) {
	t.Parallel()
	const length = 100 * time.Second
	trace := surgeTrace(length)
	if !slices.Equal(trace, surgeTrace(length)) {
		t.Fatal("two traces differ")
	}
	rates := map[float64]int{}
	for _, a := range trace {
		rates[surgeRate(a.due, length)]++
		if a.tokens < surgeTokens/2 || a.tokens > surgeTokens*3/2 {
			t.Errorf("an answer of %d tokens", a.tokens)
		}
	}
	for _, b := range append(slices.Clone(bursts), struct {
		at     float64
		length time.Duration
		rate   float64
	}{0, length - 9*time.Second, surgeCalm}) {
		want := b.rate * b.length.Seconds()
		if got := float64(rates[b.rate]); got < 0.8*want || got > 1.2*want {
			t.Errorf("%v arrivals at %v a second, want about %v", got, b.rate, want)
		}
	}
	if c := surgeCapacity(); c < 2*surgeCalm || c > bursts[1].rate {
		t.Errorf("the server can do %v a second: the bursts are no surge", c)
	}
}

func TestASurgeIsJudged(t *testing.T) {
	t.Parallel()
	story := func(priority string, attempts ...attempt) told {
		return told{asked{due: time.Second, priority: priority}, attempts}
	}
	soon := attempt{status: http.StatusOK, first: 100 * time.Millisecond}
	late := attempt{status: http.StatusOK, first: 250 * time.Millisecond}
	gaveUp := attempt{}
	refused := attempt{status: http.StatusTooManyRequests, reason: "latency/ttft", retryAfter: time.Second}
	s := judgeSurge([]told{
		story("urgent", soon), story("normal", late), story("normal", gaveUp, soon), story("low", refused, soon), story("low", refused, refused),
	}, trace{length: 10 * time.Second})
	for name, figure := range map[string][2]float64{
		"attempts": {float64(s.attempts), 8}, "sent": {float64(s.sent), 5}, "in time, of what was sent": {s.sentInTime, 3.0 / 5},
		"answered, of what was sent": {s.sentAnswered, 4.0 / 5}, "in time, of all": {s.allInTime, 1.0 / 5}, "answered, of all": {s.allAnswered, 4.0 / 5},
		"goodput": {s.goodput, 0.3}, "p99": {s.p99, 250}, "LOW refused": {float64(s.priorities["low"].refused), 2},
		"reasons": {float64(s.priorities["low"].reasons["latency/ttft"]), 2}, "NORMAL in time": {float64(s.priorities["normal"].inTime), 0},
		"due in the second": {s.course.requests[1], 5}, "in time in it": {s.course.inTime[1], 1}, "sent in it": {float64(len(s.course.ttft[1])), 3},
	} {
		if figure[0] != figure[1] {
			t.Errorf("%s is %v, want %v", name, figure[0], figure[1])
		}
	}
}

func TestTheFirstTokenIsTheFirstText(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]bool{
		`data: {"choices":[{"delta":{"role":"assistant","content":""}}]}`: false,
		`data: {"choices":[{"delta":{"content":"a"}}]}`:                   true,
		`data: [DONE]`: false, ``: false,
	} {
		if hasToken(line) != want {
			t.Errorf("%s has a token: %v", line, !want)
		}
	}
}

func TestTheGatesSectionIsReplaced(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "report.md")
	const section = gatesBegin + "\nnew\n" + gatesEnd + "\n"
	if got, err := replaceSection(file, gatesBegin, gatesEnd, section); err != nil || string(got) != section {
		t.Errorf("without a report: %q, %v", got, err)
	}
	for text, want := range map[string]string{
		"a\n" + gatesBegin + "\nold\n" + gatesEnd + "\nb\n": "a\n" + section + "b\n",
		"a\nb\n": "",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := replaceSection(file, gatesBegin, gatesEnd, section); (err != nil) != (want == "") || string(got) != want {
			t.Errorf("%q became %q, %v", text, got, err)
		}
	}
}

func TestAGateThatIsNotAtWorkIsNoticed(t *testing.T) {
	t.Parallel()
	variants := gateVariants()
	last := variants[len(variants)-1]
	all := counters{"wasm.envoy.wasm.runtime.v8.active": 1}
	counted := counters{"http.gateway.downstream_rq_2xx": 1, "wasmcustom.spillway_requests_total;decision=ALLOWED": 1,
		"wasmcustom.spillway_tokens_total;type=output;source=reported;model": 76}
	if last.verify(counted, all, work{requests: 1, tokens: 76}) == nil {
		t.Error("gates without a gauge were taken for gates at work")
	}
	for _, g := range costlyGates {
		all["wasmcustom."+g.gauge+";upstream=bench"] = 0
	}
	if err := last.verify(counted, all, work{requests: 1, tokens: 76}); err != nil {
		t.Error(err)
	}
}
