package admit

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// gatedHost is a host whose upstream has the gates.
func gatedHost(t fataler, gates string) *host {
	t.Helper()
	return newHost(t, `{"requestHold":"stopIteration","upstreams":[{"name":"up",`+gates+`}]}`, recordtest.NewMemory())
}

// try sends a request of a user for a model; more headers may follow.
func (h *host) try(model string, more ...[2]string) *exchange {
	x := h.start("ada", false, more...)
	if x.last.Action != Answer {
		x.body(`{"model":"`+model+`","max_tokens":50}`, true)
	}
	return x
}

// serve answers a request after a time, with a status.
func (x *exchange) serve(after int64, status string) {
	x.host.now += clock.Moment(after)
	x.status(status, "application/json", false)
	x.response(used(5, 10), true)
	x.done()
}

// stream answers a request with a stream, whose first token comes after ttft, and whose others come itl apart.
func (x *exchange) stream(ttft, itl int64) {
	x.status("200", "text/event-stream", false)
	x.host.now += clock.Moment(ttft)
	for range 5 {
		x.response(`data: {"choices":[{"delta":{"content":"a"}}]}`+"\n\n", false)
		x.host.now += clock.Moment(itl)
	}
	x.response("data: [DONE]\n\n", true)
	x.done()
}

func wantRefused(t *testing.T, x *exchange, status int, reason string) {
	t.Helper()
	if x.last.Action != Answer {
		t.Fatalf("it passed, want it refused for %s", reason)
	}
	if got := header(x.last.Reply.Headers, "x-spillway-reason"); got != reason || x.last.Reply.Status != status {
		t.Errorf("refused with %d for %q, want %d for %q", x.last.Reply.Status, got, status, reason)
	}
	if header(x.last.Reply.Headers, "retry-after") == "" {
		t.Error("it doesn't say when to come back")
	}
}

func wantPassed(t *testing.T, x *exchange) {
	t.Helper()
	if x.last.Action == Answer {
		t.Fatalf("refused: %s", x.last.Reply.Body)
	}
}

const fastBreaker = `"breaker":{"mode":"enforce","minRequests":4,"openFor":"10s","window":"30s"}`

func TestTheBreakerOpensAndIsTriedAgain(t *testing.T) {
	t.Parallel()
	h := gatedHost(t, fastBreaker)
	for range 4 {
		x := h.try("m")
		wantPassed(t, x)
		x.serve(second, "503")
	}
	x := h.try("m")
	wantRefused(t, x, 503, "breaker/open")
	want := map[string]string{
		"decision": "OPEN", "gate": "breaker", "reason": "5xx_rate_100%_in_30s", "measured": "1", "threshold": "0.5",
		"retryable": "true", "retry.ms": "10000",
	}
	if got := x.decided(); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	other := h.try("another")
	wantPassed(t, other)
	other.serve(second, "200")

	h.now += 10 * second
	probe := h.try("m")
	wantPassed(t, probe)
	wantRefused(t, h.try("m"), 503, "breaker/half_open_probing")
	probe.serve(second, "200")
	closed := h.try("m")
	wantPassed(t, closed)
	closed.serve(second, "200")
}

// A probe that ends without telling anything is another request's to be.
func TestAProbeIsGivenBack(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(h *host, x *exchange){
		"the client leaves":              func(_ *host, x *exchange) { x.done() },
		"the client leaves the answer":   func(_ *host, x *exchange) { x.status("200", "application/json", false); x.done() },
		"a mistake of the client":        func(_ *host, x *exchange) { x.serve(1, "400") },
		"429, which is not for breakers": func(_ *host, x *exchange) { x.serve(1, "429") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := gatedHost(t, fastBreaker)
			for range 4 {
				h.try("m").serve(second, "500")
			}
			h.now += 10 * second
			probe := h.try("m")
			wantPassed(t, probe)
			wantRefused(t, h.try("m"), 503, "breaker/half_open_probing")
			end(h, probe)
			wantPassed(t, h.try("m"))
		})
	}
	t.Run("a limit refuses", func(t *testing.T) {
		t.Parallel()
		h := newHost(t, `{"requestHold":"stopIteration","upstreams":[{"name":"up",`+fastBreaker+`}],`+
			`"limits":[{"name":"l","per":["user"],"unit":"requests","quantity":4,"window":"1h","match":{"headers":{"x-limited":"yes"}}}]}`, recordtest.NewMemory())
		limited := [2]string{"x-limited", "yes"}
		for range 4 {
			h.try("m", limited).serve(second, "200")
		}
		for range 8 {
			h.try("m").serve(second, "500")
		}
		h.now += 10 * second
		wantRefused(t, h.try("m", limited), 429, "limits/requests_exceeded")
		wantPassed(t, h.try("m"))
	})
	t.Run("the queue refuses", func(t *testing.T) {
		t.Parallel()
		h := gatedHost(t, fastBreaker+`,"concurrency":{"max":1},"queue":{"max":0}`)
		for range 4 {
			h.try("m").serve(second, "500")
		}
		busy := h.try("n")
		wantPassed(t, busy)
		h.now += 10 * second
		wantRefused(t, h.try("m"), 429, "queue/shed")
		busy.serve(1, "200")
		wantPassed(t, h.try("m"))
	})
}

// An answer of another of the proxy's filters, such as the fleet's own limit, says nothing of the upstream.
func TestAnswersOfOtherFilters(t *testing.T) {
	t.Parallel()
	h := gatedHost(t, fastBreaker+`,"budget":{"requests":1000},"retreat":{"every":"1s","minSamples":4}`)
	for _, status := range []string{"429", "503"} {
		for range 20 {
			x := h.try("m")
			wantPassed(t, x)
			x.host.comes(origin.Elsewhere)
			x.serve(second, status)
		}
	}
	wantPassed(t, h.try("m"))
	h.tick()
	expect(t, "the retreat", h.gauges["retreat up"], 0)
	expect(t, "the share of 429", h.gauges["share up"], 0)
}

func TestErrorsInsideAStreamOpenTheBreaker(t *testing.T) {
	t.Parallel()
	for name, fail := range map[string]func(x *exchange){
		"an event": func(x *exchange) {
			x.response(`data: {"error":{"message":"engine died","code":500}}`+"\n\n", false)
			x.response("data: [DONE]\n\n", true)
		},
		"broken off": func(x *exchange) {
			x.response(`data: {"choices":[{"delta":{"content":"a"}}]}`+"\n\n", false)
			x.host.flags = "\x40\x00\x00\x00\x00\x00\x00\x00" // UC
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := gatedHost(t, fastBreaker)
			for range 4 {
				x := h.try("m")
				wantPassed(t, x)
				x.status("200", "text/event-stream", false)
				fail(x)
				x.done()
			}
			wantRefused(t, h.try("m"), 503, "breaker/open")
		})
	}
}

func TestFallbacks(t *testing.T) {
	t.Parallel()
	broken := func(t *testing.T, fallback string) *host {
		h := gatedHost(t, strings.Replace(fastBreaker, `"window"`, `"fallback":`+fallback+`,"window"`, 1))
		for range 4 {
			h.try("m").serve(second, "500")
		}
		return h
	}
	t.Run("an answer", func(t *testing.T) {
		t.Parallel()
		x := broken(t, `{"status":200,"body":"{\"later\":true}","headers":{"x-fallback-answer":"1"}}`).try("m")
		wantRefused(t, x, 200, "breaker/open")
		expect(t, "the body", string(x.last.Reply.Body), `{"later":true}`)
		expect(t, "the header", header(x.last.Reply.Headers, "x-fallback-answer"), "1")
	})
	t.Run("without a body", func(t *testing.T) {
		t.Parallel()
		x := broken(t, `{"status":529}`).try("m")
		wantRefused(t, x, 529, "breaker/open")
		if !strings.Contains(string(x.last.Reply.Body), `"error":{"message":"Upstream up fails too often for m (100 %, threshold 50 %)`) {
			t.Errorf("the body is %s", x.last.Reply.Body)
		}
	})
	t.Run("for another operation", func(t *testing.T) {
		t.Parallel()
		wantRefused(t, broken(t, `{"operations":["embeddings"],"status":200,"body":"x"}`).try("m"), 503, "breaker/open")
	})
	route := `{"routeHeader":{"x-fallback":"1"}}`
	t.Run("a route", func(t *testing.T) {
		t.Parallel()
		h := broken(t, route)
		x := h.try("m")
		wantPassed(t, x)
		if !x.last.Reroute || header(x.last.Asked, "x-fallback") != "1" {
			t.Errorf("reroute %v with the headers %v", x.last.Reroute, x.last.Asked)
		}
		expect(t, "the decision", fmt.Sprint(x.decided()["decision"], " ", x.decided()["reason"]), "FALLBACK 5xx_rate_100%_in_30s")
		for range 10 {
			h.try("m").serve(1, "200") // what answers there says nothing about the upstream
		}
		if x := h.try("m"); !x.last.Reroute {
			t.Error("the fallback's answers have closed the breaker")
		}
	})
	t.Run("a route, and all gates are left", func(t *testing.T) {
		t.Parallel()
		h := broken(t, route)
		left := 0
		h.Engine.gates = slices.Insert(h.Engine.gates, 0, gatekeeper{
			ask:   func(*Engine, *Stream, clock.Moment, *gate.Verdict) {},
			leave: func(*Engine, *Stream, clock.Moment) { left++ },
		})
		h.atDecision++
		wantPassed(t, h.try("m"))
		expect(t, "left", left, 1)
	})
	t.Run("no loop", func(t *testing.T) {
		t.Parallel()
		wantRefused(t, broken(t, route).try("m", [2]string{"x-fallback", "1"}), 503, "breaker/open")
	})
	t.Run("the headers have gone", func(t *testing.T) {
		t.Parallel()
		h := newHost(t, `{"upstreams":[{"name":"up","models":["m"],"breaker":{"mode":"enforce","minRequests":4,"fallback":`+route+`}}]}`, recordtest.NewMemory())
		for range 4 {
			h.try("m").serve(second, "500")
		}
		wantRefused(t, h.try("m"), 503, "breaker/open")
	})
}

func TestTheLatencyGate(t *testing.T) {
	t.Parallel()
	h := gatedHost(t, `"latency":{"mode":"enforce","ttft":"1s","itl":"100ms","timeConstant":"10s"}`)
	h.try("m").stream(2*second, 10*millisecond)
	x := h.try("m")
	wantRefused(t, x, 429, "latency/ttft")
	if got := x.decided()["reason"]; !strings.HasPrefix(got, "ttft_") || !strings.HasSuffix(got, "ms_over_1000ms") {
		t.Errorf("the reason is %q", got)
	}
	wantPassed(t, h.try("n"))
	h.now += 7 * second // by decay alone: 10 s × ln 2
	wantPassed(t, h.try("m"))

	h.try("slow").stream(100*millisecond, second)
	wantRefused(t, h.try("slow"), 429, "latency/itl")

	h.try("near").stream(950*millisecond, 10*millisecond)
	wantPassed(t, h.try("near"))
	expect(t, "warnings", h.counts["warnings latency up"], 2)
	wantRefused(t, h.try("near", [2]string{"x-slo-ttft-ms", "500"}), 429, "latency/slo_ttft")
	wantPassed(t, h.try("near", [2]string{"x-slo-ttft-ms", "5000"}))
	wantPassed(t, h.try("near", [2]string{"x-slo-ttft-ms", "soon"}))
}

// The first token tells of an overload long before the stream ends.
func TestTheFirstTokenCountsAtOnce(t *testing.T) {
	t.Parallel()
	h := gatedHost(t, `"latency":{"mode":"enforce"}`)
	x := h.try("m")
	x.status("200", "text/event-stream", false)
	h.now += 5 * second
	x.response(`data: {"choices":[{"delta":{"content":"a"}}]}`+"\n\n", false)
	wantRefused(t, h.try("m"), 429, "latency/ttft")
}

// Only what the upstream did is measured: not the wait for a turn.
func TestTheQueueIsNotTheUpstreamsLatency(t *testing.T) {
	t.Parallel()
	h := gatedHost(t, `"latency":{"mode":"enforce"},"concurrency":{"max":1},"queue":{"max":10}`)
	first, second := h.try("m"), h.try("m")
	if !second.Waiting() {
		t.Fatal("the second request doesn't wait")
	}
	first.serve(30_000*millisecond, "200")
	second.stream(10*millisecond, 10*millisecond)
	wantPassed(t, h.try("m"))
}

func TestTheThrottleShedsByPriority(t *testing.T) {
	t.Parallel()
	h := gatedHost(t, `"throttle":{"mode":"enforce","p99":{"max":"2s","periods":1,"period":"1s"}}`)
	for range 12 {
		var sent []*exchange
		for range 12 {
			sent = append(sent, h.try("m", [2]string{"x-priority", "high"}))
		}
		h.now += 3 * second
		for _, x := range sent {
			x.serve(0, "200")
		}
	}
	wantRefused(t, h.try("m", [2]string{"x-priority", "low"}), 429, "throttle/p99")
	wantPassed(t, h.try("m", [2]string{"x-priority", "high"}))
	wantPassed(t, h.try("m", [2]string{"x-priority", "urgent"}))
}

// In shadow mode each gate says what it would have done, and nothing else changes.
func TestGatesInShadow(t *testing.T) {
	t.Parallel()
	h := newHost(t, `{"mode":"shadow","requestHold":"stopIteration","upstreams":[{"name":"up",`+fastBreaker+`,"latency":{"mode":"enforce"}}]}`, recordtest.NewMemory())
	for range 4 {
		x := h.try("m")
		wantPassed(t, x)
		x.serve(second, "503")
	}
	x := h.try("m")
	wantPassed(t, x)
	expect(t, "the decision", fmt.Sprint(x.decided()["decision"], " ", x.decided()["gate"], " ", x.decided()["reason"]), "SHADOW breaker 5xx_rate_100%_in_30s")
}

// The gauges say how the gates stand, and go on to while nothing comes.
func TestTheGatesGauges(t *testing.T) {
	t.Parallel()
	h := newHost(t, `{"models":{"labels":["m"]},"requestHold":"stopIteration","upstreams":[{"name":"up",`+fastBreaker+`,"latency":{"mode":"enforce","timeConstant":"10s"}}]}`, recordtest.NewMemory())
	h.try("m").stream(2*second, 10*millisecond)
	h.tick()
	expect(t, "the breaker", h.gauges["breaker up m"], 0)
	expect(t, "the gate", h.gauges["gate latency up m"], 2)
	if got := h.gauges["average ttft up m"]; got < 1900 || got > 2000 {
		t.Errorf("the average is %d ms, want nearly 2000", got)
	}
	if h.TickPeriod() == 0 || h.TickPeriod() > 1000 {
		t.Errorf("the next tick is in %d ms, want one a second", h.TickPeriod())
	}
	h.now += 30 * second
	h.tick()
	expect(t, "the gate after a while", h.gauges["gate latency up m"], 0)
}

// The GPU memory that the exporter tells of trips the throttle, as long as it is not too old.
func TestTheThrottleKnowsTheGPUMemory(t *testing.T) {
	t.Parallel()
	h := gatedHost(t, `"throttle":{"mode":"enforce"},"pressure":{"mode":"shadow","onStale":"ignore"}`)
	low := [2]string{"x-priority", "low"}
	tell := func(used int) {
		h.tick()
		h.Fetched(h.now, 200, fmt.Appendf(nil, `{"version":1,"time":"2026-11-22T00:00:00Z","instances":[{"name":"a","gpus":[{"uuid":"u",
			"memoryUsedBytes":%d,"memoryTotalBytes":100}],"activeDecodeBlocks":0.1,"ageSeconds":0}]}`, used))
		h.now += second
		h.tick()
	}
	tell(50)
	wantPassed(t, h.try("m", low))
	var refused *exchange
	for range 30 {
		tell(90)
		if refused = h.try("m", low); refused.last.Action == Answer {
			break
		}
	}
	wantRefused(t, refused, 429, "throttle/gpu_memory")
	wantPassed(t, h.try("m", [2]string{"x-priority", "high"}))
	h.now += 60 * second // nothing has been heard for longer than staleAfter, and the throttle's hold is over
	passed := false
	for range 30 {
		h.now += second
		h.tick()
		passed = passed || h.try("m", low).last.Action != Answer
	}
	expect(t, "passes once the memory is not known any more", passed, true)
}

// The gauges are told also after the clock was set back, and not when it is where it was.
func TestGaugesAreToldAfterTheClockWasSetBack(t *testing.T) {
	t.Parallel()
	h := gatedHost(t, `"concurrency":{"max":2},"pressure":{"mode":"enforce"}`)
	x := h.try("m")
	h.now += second
	h.tick()
	expect(t, "in flight", h.gauges["inflight up"], 1)
	h.now -= 60 * second
	x.answer(used(1, 1))
	h.tick()
	expect(t, "in flight when it has ended", h.gauges["inflight up"], 0)
}
