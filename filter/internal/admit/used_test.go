package admit

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
	"github.com/spillway-proxy/spillway/internal/captures"
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

func TestReportsThatLackSomething(t *testing.T) {
	long := `{"model":"mock","messages":[{"role":"user","content":"` + strings.Repeat("words ", 100) + `"}]}`
	for _, test := range []struct{ name, answer, want string }{
		{"xAI's reasoning", `{"usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":334,"completion_tokens_details":{"reasoning_tokens":320}}}`, "12 322 334 reported"},
		{"Mistral's audio", `{"usage":{"prompt_tokens":11,"completion_tokens":15,"total_tokens":401,"prompt_tokens_details":{"audio_tokens":375}}}`, "386 15 401 reported"},
		{"the total alone", `{"usage":{"total_tokens":10}}`, "10 0 10 reported"},
		{"a total of more than the prompt", `{"usage":{"total_tokens":1000}}`, "165 835 1000 reported"},
		{"a total and a completion", `{"usage":{"total_tokens":10,"completion_tokens":4}}`, "6 4 10 reported"},
		{"a total that is less", `{"usage":{"total_tokens":10,"completion_tokens":4,"prompt_tokens":8}}`, "8 4 12 reported"},
		{"events of that", "data: {\"usage\":{\"total_tokens\":10}}\n\n", "10 0 10 reported"},
		{"events of output and of that", textEvent + textEvent + "data: {\"choices\":[],\"usage\":{\"total_tokens\":10}}\n\n", "8 2 10 reported"},
		{"nothing", `{"usage":{"total_tokens":0}}`, "0 0 0 reported"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTotal(t)
			x := h.sent(long, "application/json")
			x.response(test.answer, true)
			x.done()
			expect(t, "figures", x.figures(), test.want)
			var total int64
			_, _ = fmt.Sscan(strings.Fields(test.want)[2], &total)
			expect(t, "balance", h.balance("alice"), 100000000-total)
			h.idle()
		})
	}
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

// Whatever its content type says, and whether or not it was asked for: a stream is read as one, and a document too.
func TestResponsesAreWhatTheyAre(t *testing.T) {
	lines := strings.ReplaceAll(strings.ReplaceAll(textEvent+textEvent+usageEvent(), "data: ", ""), "\n\n", "\n")
	for _, contentType := range []string{"text/event-stream", "application/json", "text/plain", "", "application/x-ndjson"} {
		for _, asked := range []string{chatBody, askedStream} {
			for body, want := range map[string]string{textEvent + textEvent + usageEvent() + doneEvent: "2", lines: "2", used(26, 76): ""} {
				h := newTotal(t)
				x := h.sent(asked, contentType)
				passed := ""
				for _, piece := range strings.SplitAfter(body, "}") {
					x.response(piece, false)
					if n := x.properties["gen_ai.completion.tokens"]; n == "2" {
						passed = n
					}
				}
				expect(t, fmt.Sprintf("%q as %s: passed while it ran", body, contentType), passed, want)
				x.response("", true)
				x.done()
				expect(t, contentType+" "+body, x.figures(), "26 76 102 reported")
				h.idle()
			}
		}
	}
}

// A client that leaves is charged for what passed of a stream, and the estimate for what was none.
func TestLeavingGoesByTheFormToo(t *testing.T) {
	for _, test := range []struct{ name, body, contentType, answer, want string }{
		{"a stream that is said to be JSON", chatBody, "application/json", textEvent + textEvent, "20 2 22 counted"},
		{"a document that is said to be a stream", askedStream, "text/event-stream", `{"model":"mock-1","choices":[{"message":{"content":"hel`, "23 100 123 estimated"},
		{"gzip that is not said", askedStream, "text/event-stream", "\x1f\x8b" + strings.Repeat("zip", 2000), "23 100 123 estimated"},
		{"gzip as a document", chatBody, "application/json", "\x1f\x8b\x08", "20 100 120 estimated"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTotal(t)
			x := h.sent(test.body, test.contentType)
			x.response(test.answer, false)
			x.done()
			expect(t, "figures", x.figures(), test.want)
		})
	}
	h := newTotal(t)
	x := h.sent(chatBody, "application/json")
	x.response("\x1f\x8b\x08", true)
	expect(t, "unread", h.counts["errors response_unread"], 1)
	expect(t, "figures", x.figures(), "20 100 120 estimated")
}

// A stream whose output stands in no known place is charged by its events, while it runs and when it is left.
func TestOutputOfUnknownFormIsCharged(t *testing.T) {
	const opening = `data: {"choices":[{"delta":{"role":"assistant","content":""}}]}` + "\n\n"
	hologram := `data: {"choices":[{"delta":{"hologram":"x"}}]}` + "\n\n"
	large := `data: {"choices":[{"delta":{"hologram":"` + strings.Repeat("x", 10000) + `"}}]}` + "\n\n"
	for _, test := range []struct {
		name, answer string
		end          bool
		want         string
	}{
		{"left", opening + strings.Repeat(hologram, 50), false, "23 50 73 counted"},
		{"left behind more than is expected", opening + strings.Repeat(hologram, 500), false, "23 500 523 counted"},
		{"large pieces count up to what is expected", opening + large, false, "23 100 123 counted"},
		{"ended", opening + strings.Repeat(hologram, 50) + doneEvent, true, "23 100 123 estimated"},
		{"ended behind more than is expected", opening + strings.Repeat(hologram, 500) + doneEvent, true, "23 500 523 estimated"},
		{"behind a known beginning", opening + textEvent + strings.Repeat(hologram, 50), false, "23 50 73 counted"},
		{"the role alone", opening, false, "23 0 23 counted"},
		{"a function's arguments", strings.Repeat(`data: {"choices":[{"delta":{"function_call":{"arguments":"{"}}}]}`+"\n\n", 50), false, "23 50 73 counted"},
		{"parts", strings.Repeat(`data: {"choices":[{"delta":{"content":[{"type":"text","text":"Hi"}]}}]}`+"\n\n", 50), false, "23 50 73 counted"},
		{"long pieces are more than a token each", strings.Repeat(`data: {"choices":[{"delta":{"content":"`+strings.Repeat("word ", 80)+`"}}]}`+"\n\n", 10), false, "23 500 523 counted"},
		{"broken off by an error", opening + strings.Repeat(hologram, 50) + `data: {"error":{"code":503}}` + "\n\n", true, "23 100 123 estimated"},
		{"an error in place of all output", opening + `data: {"error":{"code":503}}` + "\n\n", true, "   "},
		{"a report is believed", opening + strings.Repeat(hologram, 50) + usageEvent(), true, "26 76 102 reported"},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTotal(t)
			x := h.sent(askedStream, sseType)
			x.response(test.answer, test.end)
			if !test.end {
				expect(t, "while it runs", cmp.Or(x.properties["gen_ai.completion.tokens"], "0"), strings.Fields(test.want)[1])
			}
			x.done()
			expect(t, "figures", x.figures(), test.want)
			h.idle()
		})
	}
}

// A piece without a text is a token at least, also where it is known what texts take.
func TestPiecesWithoutTextAreCharged(t *testing.T) {
	const call = `data: {"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}` + "\n\n"
	h := newTotal(t)
	for range 2 { // before and after a whole stream
		x := h.stream(talks["Gemini"], 0)
		x.response(strings.Repeat(call, 9), false)
		x.done()
		expect(t, "completion", x.properties["gen_ai.completion.tokens"], "9")
		x = h.stream(talks["Gemini"], 10)
		x.response(talks["Gemini"].closing(20, 10), true)
		x.done()
	}
}

// An upstream's figures are believed within what is plausible.
func TestImplausibleReportsAreCut(t *testing.T) {
	const most = "1000000000000000"
	for _, test := range []struct {
		name, answer       string
		prompt, completion int64
		cut                int64
	}{
		{"a prompt", `{"usage":{"prompt_tokens":` + most + `,"completion_tokens":5}}`, hiddenPrompt + promptRate + 77, 5, 1},
		{"a completion", `{"usage":{"prompt_tokens":5,"completion_tokens":` + most + `}}`, 5, -1, 1},
		{"a total", `{"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":` + most + `}}`, 5, -1, 1},
		{"a text", `{"usage":{"prompt_tokens":"` + most + `","completion_tokens":5}}`, hiddenPrompt + promptRate + 77, 5, 1},
		{"a cache", `{"usage":{"prompt_tokens":5,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":` + most + `}}}`, 5, 5, 1},
		{"reasoning", `{"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10,"completion_tokens_details":{"reasoning_tokens":` + most + `}}}`, 5, 5, 1},
		{"more than any number of tokens", `{"usage":{"prompt_tokens":1e30,"completion_tokens":5}}`, 20, 5, 1},
		{"less than nothing", `{"usage":{"prompt_tokens":5,"completion_tokens":-5}}`, 5, 100, 1},
		{"a fraction", `{"usage":{"prompt_tokens":5,"completion_tokens":0.5}}`, 5, 100, 1},
		{"nothing but nonsense", `{"usage":{"prompt_tokens":-1,"completion_tokens":1e99}}`, 20, 100, 1},
		{"in events", "data: {\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":" + most + "}}\n\n", 5, -1, 1},
		{"an honest long context", `{"usage":{"prompt_tokens":2000000,"completion_tokens":128000}}`, 2000000, 128000, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newTotal(t)
			for range 3 { // and nothing is learned from it
				x := h.sent(chatBody, "application/json")
				x.response(test.answer, true)
				x.done()
				if test.completion < 0 {
					test.completion = hiddenOutput + outputRate + 100 + int64(len(test.answer))
				}
				expect(t, "prompt", x.properties["gen_ai.prompt.tokens"], fmt.Sprint(test.prompt))
				expect(t, "completion", x.properties["gen_ai.completion.tokens"], fmt.Sprint(test.completion))
				for _, name := range []string{"gen_ai.cached.tokens", "gen_ai.reasoning.tokens"} {
					if n := x.properties[name]; len(n) > 7 {
						t.Errorf("%s: %s", name, n)
					}
				}
			}
			expect(t, "balance", h.balance("alice"), 100000000-3*(test.prompt+test.completion))
			expect(t, "counted", h.counts["errors usage_implausible"], 3*test.cut)
			expect(t, "lines in the log", int64(len(h.notes)), test.cut)
		})
	}
}

// A lie in the middle of a stream is not published either.
func TestImplausibleReportsAreCutWhileAStreamRuns(t *testing.T) {
	h := newTotal(t)
	x := h.sent(askedStream, sseType)
	x.response(`data: {"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":5,"completion_tokens":1000000000000000}}`+"\n\n", false)
	if got := x.properties["gen_ai.completion.tokens"]; len(got) > 6 {
		t.Errorf("%s tokens are said to have passed", got)
	}
	x.done()
	if got := x.properties["gen_ai.completion.tokens"]; len(got) > 6 {
		t.Errorf("%s tokens were charged", got)
	}
}

// What takes time may be more: a server can go through many rounds by itself.
func TestLongWorkMayReportMore(t *testing.T) {
	h := newTotal(t)
	x := h.sent(chatBody, "application/json")
	h.now += 600 * second
	x.response(`{"usage":{"prompt_tokens":40000000,"completion_tokens":3000000}}`, true)
	expect(t, "figures", x.figures(), "40000000 3000000 43000000 reported")
	expect(t, "counted", h.counts["errors usage_implausible"], 0)
}

// No recorded report comes near to what is cut, be it sent at once and four times over.
func TestNoRecordedReportIsCut(t *testing.T) {
	operations := usage.NewOperations(nil)
	seen := 0
	for _, c := range captures.Load(t) {
		dialect, _ := operations.Find(c.Path)
		if dialect == nil || c.Status != 200 {
			continue
		}
		var s Stream
		s.asked.Bytes = int64(len(c.RequestBody))
		s.response.Reset(dialect, c.Stream)
		s.response.Write([]byte(c.ResponseBody))
		s.response.Close()
		r := s.response.Response()
		if r.Absurd {
			t.Errorf("%s is taken for absurd", c.ID)
		}
		if !r.Reported {
			continue
		}
		seen++
		tokens := r.Tokens
		if cut(&tokens, s.plausible()) {
			t.Errorf("%s: %+v became %+v", c.ID, r.Tokens, tokens)
		}
		tokens = r.Tokens
		for _, n := range []*int64{&tokens.Prompt, &tokens.Completion, &tokens.Cached, &tokens.Reasoning, &tokens.Audio, &tokens.CacheWrite} {
			*n *= 4
		}
		if times := tokens; cut(&times, s.plausible()) {
			t.Errorf("%s, four times over: %+v became %+v", c.ID, tokens, times)
		}
	}
	if seen < 40 { // as many are in the sample that a checkout has by itself
		t.Errorf("only %d reports", seen)
	}
}
