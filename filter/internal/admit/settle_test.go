package admit

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/account"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

const askedStream = `{"model":"mock","stream":true,"max_tokens":100,"messages":[{"role":"user","content":"hi"}]}`

// sent is a request of alice whose body has passed, and whose answer has begun.
func (h *host) sent(body, contentType string) *exchange {
	x := h.start("alice", false)
	x.body(body, true)
	x.status("200", contentType, false)
	return x
}

func newTotal(t fataler) *host {
	t.Helper()
	return newHost(t, `{"requestHold":"stopIteration","limits":[{"name":"t","per":["user"],"unit":"totalTokens","quantity":100000000,"window":"1h"}]}`, recordtest.NewMemory())
}

// figures are what is published of the counts: the prompt, the completion, the total and their source.
func (x *exchange) figures() string {
	p := x.properties
	return p["gen_ai.prompt.tokens"] + " " + p["gen_ai.completion.tokens"] + " " + p["gen_ai.total.tokens"] + " " + p["gen_ai.usage.source"]
}

func TestCacheWritesAndAudioArePublished(t *testing.T) {
	h := newTotal(t)
	x := h.sent(askedStream, sseType)
	x.response(`data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":8,"prompt_tokens_details":{"cache_write_tokens":4,"audio_tokens":2},"completion_tokens_details":{"audio_tokens":3}}}`+"\n\n", true)
	expect(t, "written", x.properties["gen_ai.usage.cache_write.tokens"], "4")
	expect(t, "audio", x.properties["gen_ai.usage.audio.tokens"], "5")
	x = h.sent(askedStream, sseType)
	x.response(usageEvent(), true)
	for _, name := range []string{"gen_ai.usage.cache_write.tokens", "gen_ai.usage.audio.tokens"} {
		if _, there := x.properties[name]; there {
			t.Errorf("%s is there, and was not reported", name)
		}
	}
}

// An upstream's figures that can't be true are cut, counted each time, and told in the log once.
func TestAnImplausibleReportIsCountedAndLoggedOnce(t *testing.T) {
	h := newTotal(t)
	for range 3 {
		x := h.sent(chatBody, "application/json")
		x.response(`{"usage":{"prompt_tokens":1000000000000000,"completion_tokens":5}}`, true)
		x.done()
	}
	expect(t, "counted", h.counts["errors usage_implausible"], 3)
	expect(t, "lines in the log", len(h.notes), 1)
	if charged := 100000000 - h.balance("alice"); charged > 3*3_000_000 {
		t.Errorf("%d tokens were charged", charged)
	}
	h.idle()
}

// An answer that is none of those that the dialect has is counted, and charged as it is published.
func TestAnUnreadAnswerIsCounted(t *testing.T) {
	h := newTotal(t)
	x := h.sent(chatBody, "application/json")
	x.response("\x1f\x8b\x08", true)
	x.done()
	expect(t, "unread", h.counts["errors response_unread"], 1)
	expect(t, "figures", x.figures(), "20 100 120 estimated")
	expect(t, "balance", h.balance("alice"), 100000000-120)
	expect(t, "output in the metrics", h.counts["tokens output estimated other"], 100)
}

// A lie in the middle of a stream is not published.
func TestALieIsNotPublishedWhileAStreamRuns(t *testing.T) {
	h := newTotal(t)
	x := h.sent(askedStream, sseType)
	x.response(`data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":5,"completion_tokens":1000000000000000}}`+"\n\n", false)
	if got := x.properties["gen_ai.completion.tokens"]; got == "" || len(got) > 6 {
		t.Errorf("%q tokens are said to have passed", got)
	}
	x.done()
	if got := x.properties["gen_ai.completion.tokens"]; len(got) > 6 {
		t.Errorf("%s tokens were charged", got)
	}
}

// What a request has used is published without an allocation, be it as large as it may.
func TestPublishingAllocatesNothing(t *testing.T) {
	h := newTotal(t)
	s := &Stream{}
	s.exchange.Stream = true
	end := account.Settlement{
		Used: usage.Tokens{Prompt: 1234, Completion: 5678, Total: 6912, Cached: 1000, Reasoning: 2000, CacheWrite: 3000, Audio: 4000}, Source: account.Reported,
		Model: "mock-1", TTFT: 345 * time.Millisecond, ITL: 678 * time.Millisecond,
	}
	effects := 0
	allocations := testing.AllocsPerRun(100, func() {
		h.Engine.publish(s, &end)
		for effects = 0; h.Next() != nil; effects++ {
		}
	})
	expect(t, "allocations", allocations, 0)
	expect(t, "effects", effects, 8+4+1+2+2) // tokens and their source, metrics of these, the model, the times, and metrics of these
}
