package admit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// timed is a host whose upstream has a gate, and whose requests are decided at their headers.
func timed(t *testing.T, hold, gate string) *host {
	return newHost(t, `{"requestHold":"`+hold+`","limits":[],"upstreams":[{"name":"up","models":["*"],`+gate+`}]}`, recordtest.NewMemory())
}

const globalTTFT = `"latency":{"mode":"enforce","per":"global","ttft":"1s","itl":"100ms"}`

// A slow upload isn't the upstream's latency, however requests are held, and whether their bodies are read or not.
func TestASlowUploadIsNotTheUpstreamsTime(t *testing.T) {
	t.Parallel()
	for _, hold := range []string{"none", "stopIteration", "bufferFilter"} {
		for name, headers := range map[string][][2]string{
			"read":       nil,
			"not read":   {{"content-length", "9000000"}},
			"compressed": {{"content-encoding", "zstd"}},
		} {
			for _, gate := range []string{globalTTFT, `"breaker":{"mode":"enforce","slowCall":"1s","minRequests":2,"window":"1h"}`} {
				h := timed(t, hold, gate)
				for range 4 {
					x := h.start("ann", false, headers...)
					h.now += 20 * second
					if x.body(chatBody, true); x.Refused() {
						t.Fatalf("%s, %s, %s: refused", hold, name, gate)
					}
					x.stream(100*millisecond, 10*millisecond)
				}
			}
		}
	}
}

// The time of an answer that begins before its request is complete tells nothing.
func TestAnEarlyAnswerIsNotMeasured(t *testing.T) {
	t.Parallel()
	h := timed(t, "none", globalTTFT)
	x := h.start("ann", false, [2]string{"content-encoding", "zstd"})
	h.now += 20 * second
	x.stream(5*second, 10*millisecond)
	wantPassed(t, h.ask("ann"))
}

// A client that reads slowly holds back what the upstream sends, once the proxy's buffers are full: no gate is to see that.
func TestASlowReaderIsNotTheUpstreamsTime(t *testing.T) {
	t.Parallel()
	event := `data: {"choices":[{"delta":{"content":"` + strings.Repeat("a", 1000) + `"}}]}` + "\n\n"
	for _, gate := range []string{
		globalTTFT, `"breaker":{"mode":"enforce","slowCall":"1s","minRequests":2,"window":"1h"}`,
		`"throttle":{"mode":"enforce","p99":{"max":"1s","periods":1,"period":"1s"}}`,
	} {
		for kind, event := range map[string]string{"text/event-stream": event, "application/json": strings.Repeat(" ", len(event))} {
			h := timed(t, "none", gate)
			for range 30 {
				x := h.start("ann", false, [2]string{"x-priority", "low"})
				if x.body(chatBody, true); x.Refused() {
					t.Fatalf("%s, %s: refused", gate, kind)
				}
				x.status("200", kind, false)
				for range unhindered/len(event) + 1 {
					h.now += millisecond
					x.response(event, false)
				}
				for range 10 {
					h.now += 10 * second
					x.response(event, false)
				}
				x.response("", true)
				x.done()
				h.tick()
			}
		}
	}
}

// How long a stream goes on is what its client asked for: it isn't slow. A first token that comes late is.
func TestALongStreamIsNotASlowCall(t *testing.T) {
	t.Parallel()
	gate := `"breaker":{"mode":"enforce","slowCall":"5s","minRequests":2}`
	for _, test := range []struct {
		ttft, itl int64
		refused   bool
	}{{second, 60 * second, false}, {6 * second, millisecond, true}} {
		h := timed(t, "none", gate)
		for range 3 {
			if x := h.ask("ann"); !x.Refused() {
				x.stream(test.ttft, test.itl)
			}
		}
		if got := h.ask("ann").Refused(); got != test.refused {
			t.Errorf("%+v: refused %v", test, got)
		}
	}
	h := timed(t, "none", gate) // what comes before the first token isn't that
	for range 3 {
		if x := h.ask("ann"); !x.Refused() {
			x.status("200", "text/event-stream", false)
			x.response(": one moment\n\n", false)
			h.now += 6 * second
			x.response(`data: {"choices":[{"delta":{"content":"a"}}]}`+"\n\n", true)
			x.done()
		}
	}
	wantRefused(t, h.ask("ann"), 503, "breaker/open")
	h = timed(t, "none", gate) // what comes whole has an end
	for range 3 {
		if x := h.ask("ann"); !x.Refused() {
			x.status("200", "application/json", false)
			h.now += 6 * second
			x.response("{}", true)
			x.done()
		}
	}
	wantRefused(t, h.ask("ann"), 503, "breaker/open")
}

// The wait for a turn isn't the upstream's time, in any gate.
func TestTheQueueIsNotTheUpstreamsTime(t *testing.T) {
	t.Parallel()
	low := [2]string{"x-priority", "low"}
	for _, gate := range []string{
		globalTTFT, `"breaker":{"mode":"enforce","slowCall":"1s","minRequests":2,"window":"1h"}`,
		`"throttle":{"mode":"enforce","p99":{"max":"1s","periods":1,"period":"1s"}}`,
	} {
		h := timed(t, "stopIteration", gate+`,"concurrency":{"max":1},"queue":{"max":9,"maxWait":{"low":"60s"}}`)
		for range 30 {
			first, second := h.start("ann", false, low), h.start("ann", false, low)
			first.body(chatBody, true)
			second.body(chatBody, true)
			if first.Refused() || !second.Waiting() {
				t.Fatalf("%s: refused %v, it waits %v", gate, first.Refused(), second.Waiting())
			}
			h.now += 30 * 1e9
			first.done() // its client leaves
			second.stream(100*millisecond, millisecond)
			h.tick()
		}
	}
}

// The time between tokens ends with the last token, not with the stream: for the gate, and as it is published.
func TestTimeBetweenTokensEndsWithTheLast(t *testing.T) {
	t.Parallel()
	h := timed(t, "none", globalTTFT)
	x := h.ask("ann")
	x.status("200", "text/event-stream", false)
	for range 5 {
		x.response(`data: {"choices":[{"delta":{"content":"a"}}]}`+"\n\n", false)
		h.now += 20 * millisecond
	}
	h.now += 60 * second // the server is long in saying that it has ended
	x.response("data: [DONE]\n\n", true)
	x.done()
	expect(t, "published", x.properties["gen_ai.itl.ms"], "20")
	wantPassed(t, h.ask("ann"))
	h.tick()
	expect(t, "the average", h.gauges["average itl up all"], 20)
}

// A time-out is the upstream's failure if it had the request; not if the client was long in sending it.
func TestWhoseFaultATimeOutIs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name            string
		upload, waiting int64
		complete        bool
		refused         bool
	}{
		{"it had the request", 0, 10 * second, true, true},
		{"the upload was slow, but the upstream was slower", 4 * second, 10 * second, true, true},
		{"the upload took most of the time", 50 * second, 10 * second, true, false},
		{"the upload was not complete", 60 * second, 0, false, false},
	} {
		h := timed(t, "none", `"breaker":{"mode":"enforce","minRequests":3,"window":"10m"}`)
		for i := range 3 {
			x := h.start(fmt.Sprint(i), false)
			h.now += clock.Moment(test.upload)
			if test.complete {
				x.body(chatBody, true)
			}
			h.now += clock.Moment(test.waiting)
			x.host.comes(origin.TimedOut)
			x.status("504", "text/plain", false)
			x.response("timed out", true)
			x.done()
		}
		if got := h.ask("ann").Refused(); got != test.refused {
			t.Errorf("%s: refused %v", test.name, got)
		}
	}
}

// A 429 counts wherever it stands: in the status, or in an event of a stream that began as 200. One that another filter gave doesn't.
func TestEvery429Counts(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer func(x *exchange)
		want   int64
	}{
		"a status": {func(x *exchange) { x.status("429", "application/json", true) }, 1},
		"an event": {func(x *exchange) { x.events(`{"error":{"message":"m","code":"rate_limit_exceeded"}}`) }, 1},
		"an event after all": {func(x *exchange) {
			x.events(`{"choices":[{"delta":{"content":"a"}}]}`, `{"error":{"message":"m","code":429}}`)
		}, 1},
		"another's status": {func(x *exchange) {
			x.host.comes(origin.Elsewhere)
			x.status("429", "application/json", true, [2]string{"retry-after", "60"}, [2]string{"x-ratelimit-remaining-requests", "0"})
		}, 0},
		"another event": {func(x *exchange) { x.events(`{"error":{"message":"m","code":"invalid_request_error"}}`) }, 0},
	} {
		h := timed(t, "none", `"budget":{"requests":100,"window":"1s"},"retreat":{"minSamples":5,"every":"1s"}`)
		for range 10 {
			x := h.ask("ann")
			wantPassed(t, x)
			test.answer(x)
			x.done()
		}
		h.now += 2 * second
		h.ask("ann")
		h.tick()
		if got := h.gauges["retreat up"]; got != test.want {
			t.Errorf("%s: the state is %d, want %d", name, got, test.want)
		}
		if got := h.gauges["alarm up"]; got != test.want {
			t.Errorf("%s: the alarm is %d, want %d", name, got, test.want)
		}
		for range 3 { // it is said once
			h.now += 2 * second
			h.ask("ann").done()
			h.tick()
		}
		notes := strings.Join(h.notes, "\n")
		if begun := strings.Count(notes, "answers so many requests with 429"); int64(begun) != test.want || strings.Contains(notes, "takes requests again") {
			t.Errorf("%s: the notes are %q", name, h.notes)
		}
	}
}

// events answers with a stream of events.
func (x *exchange) events(events ...string) {
	x.status("200", "text/event-stream", false)
	for _, event := range events {
		x.response("data: "+event+"\n\n", false)
	}
	x.response("data: [DONE]\n\n", true)
}
