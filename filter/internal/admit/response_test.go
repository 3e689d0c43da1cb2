package admit

import (
	"errors"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const (
	textEvent = `data: {"model":"mock-1","choices":[{"delta":{"content":"hi"}}]}` + "\n\n"
	doneEvent = "data: [DONE]\n\n"
)

func usageEvent() string { return "data: " + used(26, 76) + "\n\n" }

// charged is what a request of alice costs, as the limits of "both" see it.
func charged(t *testing.T, h *host) (requests, tokens int64) {
	t.Helper()
	x := h.startWith([][2]string{{":method", "GET"}, {":path", "/"}, {"x-user-id", "alice"}}, true)
	x.host.comes(origin.Unreachable) // it costs nothing itself
	remaining := header(x.status("503", "", true).Headers, "x-ratelimit-remaining-requests")
	if remaining != "" {
		t.Error("a failure shows headroom")
	}
	x.done()
	left := x.requests.Remaining + 1
	return 9 - left, 10000 - h.balance("alice")
}

// TestWhatIsCharged: for each way that a response can go.
func TestWhatIsCharged(t *testing.T) {
	const prompt = 19 + 1 // what the estimate makes of chatBody, 77 bytes
	stream := func(x *exchange, pieces ...string) {
		x.status("200", "text/event-stream; charset=utf-8", false)
		for _, piece := range pieces {
			x.response(piece, false)
		}
	}
	tests := []struct {
		name     string
		end      func(*exchange) // how it goes on when it was admitted
		requests int64
		tokens   int64
		source   string
	}{
		{"a report", func(x *exchange) { x.answer(used(26, 76)) }, 1, 102, "reported"},
		{"a report in a stream", func(x *exchange) { stream(x, textEvent, usageEvent(), doneEvent); x.response("", true) }, 1, 102, "reported"},
		{"a report in pieces", func(x *exchange) { stream(x, strings.Split(textEvent+usageEvent()+doneEvent, "")...) }, 1, 102, "reported"},
		{"a stream without a report", func(x *exchange) { stream(x, textEvent+textEvent, textEvent); x.response(doneEvent, true) }, 1, prompt + 3, "counted"},
		{"a stream that the client leaves", func(x *exchange) { stream(x, textEvent, textEvent+textEvent[:9]) }, 1, prompt + 2, "counted"},
		{"a stream that is left before it begins", func(x *exchange) { stream(x) }, 1, prompt, "counted"},
		{"a stream that says nothing", func(x *exchange) { stream(x); x.response(doneEvent, true) }, 1, prompt + 100, "estimated"},
		{"a client that leaves before the response", func(*exchange) {}, 1, prompt + 100, "estimated"},
		{"a client that leaves in its middle", func(x *exchange) { x.status("200", "application/json", false); x.response(`{"model":`, false) }, 1, prompt + 100, "estimated"},
		{"a client that leaves in the middle of the report", func(x *exchange) {
			x.status("200", "application/json", false)
			x.response(`{"usage":{"prompt_tokens":26,"completion_tokens":7`, false)
		}, 1, 26 + 100, "reported"},
		{"no report", func(x *exchange) { x.answer(`{"choices":[]}`) }, 1, prompt + 100, "estimated"},
		{"an empty report", func(x *exchange) { x.answer(`{"usage":{}}`) }, 1, prompt + 100, "estimated"},
		{"a report of the total alone", func(x *exchange) { x.answer(`{"usage":{"total_tokens":120}}`) }, 1, 120, "reported"},
		{"a report without a total", func(x *exchange) { x.answer(`{"usage":{"prompt_tokens":2,"completion_tokens":3}}`) }, 1, 5, "reported"},
		{"a response that is not JSON", func(x *exchange) { x.answer(`<html>`) }, 1, prompt + 100, "estimated"},
		{"a compressed response", func(x *exchange) {
			x.status("200", "application/json", false, [2]string{"content-encoding", "gzip"})
			x.response(used(1, 1), true)
		}, 1, prompt + 100, "estimated"},
		{"no body", func(x *exchange) { x.status("204", "", true) }, 1, prompt + 100, "estimated"},
		{"a fault of the upstream", func(x *exchange) { x.status("500", "application/json", false); x.response(`{}`, true) }, 1, 0, ""},
		{"an upstream that refuses", func(x *exchange) { x.status("429", "application/json", true) }, 1, 0, ""},
		{"an upstream that can't be reached", func(x *exchange) { x.host.comes(origin.Unreachable); x.status("503", "text/plain", false) }, 0, 0, ""},
		{"an upstream that breaks off before it answers", func(x *exchange) { x.host.comes(origin.Broken); x.status("503", "text/plain", false) }, 1, 0, ""},
		{"another filter's refusal", func(x *exchange) { x.host.comes(origin.Elsewhere); x.status("429", "text/plain", true) }, 0, 0, ""},
		{"a timeout of the proxy's", func(x *exchange) {
			x.host.now += 15 * second
			x.host.comes(origin.TimedOut)
			x.status("504", "text/plain", false)
			x.response("upstream request timeout", true)
		}, 1, prompt + 100, "estimated"},
		{"a stream that is left before it begins, after a second", func(x *exchange) { x.host.now += second; stream(x) }, 1, prompt + 50, "estimated"},
		{"a stream that is left before its first output", func(x *exchange) {
			stream(x, `data: {"choices":[{"delta":{"role":"assistant","content":""}}]}`+"\n\n")
			x.host.now += 9 * second
		}, 1, prompt + 100, "estimated"},
		{"a fault of the client", func(x *exchange) { x.status("400", "application/json", false); x.response(`{"error":{}}`, true) }, 1, 0, "counted"},
		{"trailers end it", func(x *exchange) { stream(x, usageEvent()); x.ResponseTrailers() }, 1, 102, "reported"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, `{"requestHold":"stopIteration",`+both+`}`, recordtest.NewMemory())
			x := h.ask("alice")
			test.end(x)
			x.done()
			x.done() // once is enough, twice does no harm
			h.idle()
			expect(t, "gen_ai.usage.source", x.properties["gen_ai.usage.source"], test.source)
			expect(t, "counted", h.requests(), 1)
			requests, tokens := charged(t, h)
			expect(t, "requests", requests, test.requests)
			expect(t, "tokens", tokens, test.tokens)
		})
	}
}

// A client that streams and leaves before the response comes is charged what passed: nothing but its prompt.
func TestAStreamThatIsLeftBeforeTheResponse(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration",`+both+`}`, recordtest.NewMemory())
	x := h.start("alice", false)
	x.body(`{"stream":true,"model":"mock"}`, true)
	x.done()
	expect(t, "balance", h.balance("alice"), 10000-8)
	expect(t, "gen_ai.usage.source", x.properties["gen_ai.usage.source"], "counted")
}

// An upload that is broken off never reached the upstream.
func TestAnUploadThatIsBrokenOffCostsNothing(t *testing.T) {
	for _, hold := range []string{"none", "bufferFilter", "stopIteration"} {
		h := newHost(t, `{"requestHold":"`+hold+`",`+both+`}`, recordtest.NewMemory())
		x := h.start("alice", false)
		x.body(chatBody[:20], false)
		x.done()
		expect(t, hold, h.counts["requests CANCELLED none NORMAL other"], 1)
		expect(t, hold+": balance", h.balance("alice"), 10000)
		h.idle()
	}
}

// What the proxy answers before the request has come here is none of our requests.
func TestDoneMayBeTheOnlyEvent(t *testing.T) {
	h := newSeed(t, "stopIteration")
	x := &exchange{host: h, properties: map[string]string{}}
	x.status("400", "text/plain", true)
	x.done()
	expect(t, "counted", h.requests(), 0)
	h.idle()
}

// The proxy, or the upstream, may answer before the request is complete.
func TestAnEarlyResponse(t *testing.T) {
	for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
		t.Run(hold, func(t *testing.T) {
			h := newSeed(t, hold)
			x := h.start("alice", false)
			x.status("408", "text/plain", false)
			h.now += clock.Moment(guardTime)
			expect(t, "let go by the timer", len(h.tick()), 0)
			x.response("too slow", true)
			x.body(chatBody, true)
			x.done()
			expect(t, "balance", h.balance("alice"), 300)
			expect(t, "counted", h.requests(), 1)
			if hold != "none" {
				expect(t, "uncharged", h.counts["uncharged answered_early"], 1)
			}
			expect(t, "requests given up on", h.guard.kept, 0)
			h.idle()
		})
	}
}

func TestAStreamIsTimedAndCountedWhileItRuns(t *testing.T) {
	h := newSeed(t, "stopIteration")
	x := h.ask("alice")
	h.now += 50 * millisecond
	x.status("200", "text/event-stream", false)
	x.response(`data: {"choices":[{"delta":{"role":"assistant","content":""}}]}`+"\n\n", false)
	expect(t, "before the first token", x.properties["gen_ai.completion.tokens"], "")
	for _, want := range []string{"1", "2", "3"} {
		h.now += 100 * millisecond
		x.response(textEvent, false)
		expect(t, "after token "+want, x.properties["gen_ai.completion.tokens"], want)
		expect(t, "properties of a step", len(x.last.Properties), 1)
		if x.response(textEvent[:20], false); len(x.last.Properties) > 0 {
			t.Errorf("half an event publishes %v", x.last.Properties)
		}
		x.response("\n\n", false) // its end: it is broken, and counts for nothing
	}
	x.response(usageEvent(), false)
	x.response(doneEvent, true)
	for name, want := range map[string]string{
		"gen_ai.completion.tokens": "76", "gen_ai.ttft.ms": "150", "gen_ai.itl.ms": "100", "gen_ai.usage.source": "reported",
	} {
		expect(t, name, x.properties[name], want)
	}
	x.done()
}

// A stream that takes longer than its lease keeps its reservation as long as the timer runs.
func TestALongStreamKeepsItsReservation(t *testing.T) {
	h := newSeed(t, "stopIteration")
	x := h.ask("alice")
	x.status("200", "text/event-stream", false)
	expect(t, "tick period", h.TickPeriod(), 1000)
	for range 20 {
		h.now += 5 * second
		h.tick()
		x.response(textEvent, false)
		expect(t, "balance", h.balance("alice"), 200)
	}
	h.now += clock.Moment(2 * leasePeriod) // the worker dies
	expect(t, "balance when nobody renews it", h.balance("alice"), 300)
	x.response(usageEvent(), true)
	x.done()
	expect(t, "balance at the end", h.balance("alice"), 224)
	h.idle()
}

var errFailure = errors.New("failure")

// failing is a store that can be told to fail.
type failing struct {
	record.Store
	now bool
}

func (f *failing) Get(key string) ([]byte, uint32, bool, error) {
	if f.now {
		return nil, 0, false, errFailure
	}
	return f.Store.Get(key)
}

func TestAFailingStoreLetsRequestsPass(t *testing.T) {
	store := &failing{Store: recordtest.NewMemory()}
	h := newHost(t, `{"requestHold":"stopIteration",`+seedLimits+`}`, store)
	store.now = true
	x := h.ask("alice")
	expect(t, "action", x.last.Action, Continue)
	x.answer(used(26, 76))
	expect(t, "uncharged", h.counts["uncharged store"], 1)
	expect(t, "errors", h.counts["errors store"], 1)
	expect(t, "counted", h.counts["requests ALLOWED none NORMAL other"], 1)
	expect(t, "notes", len(h.notes), 1)
	h.idle()

	store.now = false
	x = h.ask("bob")
	store.now = true
	h.now += clock.Moment(leasePeriod)
	h.tick()
	x.answer(used(26, 76))
	expect(t, "errors of renewal and settlement", h.counts["errors store"], 3)
	h.idle()

	if _, err := New(&h.cfg, &h.proxy, new(Worker), random); !errors.Is(err, errFailure) {
		t.Errorf("a new engine: %v", err)
	}
}
