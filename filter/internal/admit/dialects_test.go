package admit

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// talk is how a dialect asks for a stream, and how it streams.
type talk struct {
	path, body  string
	contentType string
	opening     string                              // before the first piece of output
	piece       string                              // five bytes of text
	closing     func(prompt, completion int) string // the end, with the report
	failure     string                              // an error in place of an event: 503, or 429 of Responses
	tokens      int                                 // of a piece, by the rule of thumb
}

const (
	sseType = "text/event-stream; charset=utf-8"
	dataOf  = "data: %s\n\n"
)

var talks = map[string]talk{
	"OpenAI": {
		path: "/v1/chat/completions", body: `{"model":"mock","stream":true,"max_tokens":1000}`, contentType: sseType,
		opening: `data: {"choices":[{"delta":{"role":"assistant","content":""}}]}` + "\n\n",
		piece:   `data: {"choices":[{"delta":{"content":"Hello"}}]}` + "\n\n",
		closing: func(p, c int) string { return fmt.Sprintf(dataOf, used(p, c)) + doneEvent },
		failure: `data: {"error":{"message":"busy","code":503}}` + "\n\n" + doneEvent,
		tokens:  1,
	},
	"Responses": {
		path: "/v1/responses", body: `{"model":"mock","stream":true,"max_output_tokens":1000}`, contentType: sseType,
		opening: `data: {"type":"response.created","response":{"model":"mock-1","usage":null,"error":null}}` + "\n\n",
		piece:   `data: {"type":"response.output_text.delta","delta":"Hello"}` + "\n\n",
		closing: func(p, c int) string {
			return fmt.Sprintf(dataOf, fmt.Sprintf(`{"type":"response.completed","response":{"usage":{"input_tokens":%d,"output_tokens":%d,"total_tokens":%d}}}`, p, c, p+c))
		},
		failure: `data: {"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded"}}}` + "\n\n",
		tokens:  1,
	},
	"Anthropic": {
		path: "/v1/messages", body: `{"model":"mock","stream":true,"max_tokens":1000}`, contentType: sseType,
		opening: `data: {"type":"message_start","message":{"model":"mock-1","usage":{"input_tokens":20,"output_tokens":1}}}` + "\n\n",
		piece:   `data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hello"}}` + "\n\n",
		closing: func(p, c int) string {
			return fmt.Sprintf(dataOf, fmt.Sprintf(`{"type":"message_delta","usage":{"input_tokens":%d,"output_tokens":%d}}`, p, c)) + `data: {"type":"message_stop"}` + "\n\n"
		},
		failure: `data: {"type":"error","error":{"type":"overloaded_error"}}` + "\n\n",
	},
	"Gemini": {
		path: "/v1beta/models/mock:streamGenerateContent?alt=sse", body: `{"contents":[]}`, contentType: sseType,
		piece: `data: {"candidates":[{"content":{"parts":[{"text":"Hello"}]}}],"usageMetadata":{"promptTokenCount":20,"totalTokenCount":20}}` + "\n\n",
		closing: func(p, c int) string {
			return fmt.Sprintf(dataOf, fmt.Sprintf(`{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":%d,"candidatesTokenCount":%d,"totalTokenCount":%d}}`, p, c, p+c))
		},
		failure: `data: {"error":{"code":503,"status":"UNAVAILABLE"}}` + "\n\n",
	},
	"Gemini's array": {
		path: "/v1beta/models/mock:streamGenerateContent", body: `{"contents":[]}`, contentType: "application/json",
		opening: "[{}",
		piece:   `,{"candidates":[{"content":{"parts":[{"text":"Hello"}]}}],"usageMetadata":{"promptTokenCount":20,"totalTokenCount":20}}` + "\n",
		closing: func(p, c int) string {
			return fmt.Sprintf(`,{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":%d,"candidatesTokenCount":%d,"totalTokenCount":%d}}]`, p, c, p+c)
		},
		failure: `,{"error":{"code":503,"status":"UNAVAILABLE"}}]`,
	},
	"Ollama": {
		path: "/api/chat", body: `{"model":"mock","messages":[],"options":{"num_predict":1000}}`, contentType: "application/x-ndjson",
		piece: `{"model":"mock","message":{"role":"assistant","content":"Hello"},"done":false}` + "\n",
		closing: func(p, c int) string {
			return fmt.Sprintf(`{"model":"mock","message":{"role":"assistant","content":""},"done":true,"prompt_eval_count":%d,"eval_count":%d}`+"\n", p, c)
		},
		failure: `{"error":"llama runner process has terminated"}` + "\n",
		tokens:  1,
	},
	"Ollama's prompt": {
		path: "/api/generate", body: `{"model":"mock","prompt":"hi","stream":true}`, contentType: "application/x-ndjson",
		piece: `{"model":"mock","response":"Hello","done":false}` + "\n",
		closing: func(p, c int) string {
			return fmt.Sprintf(`{"model":"mock","response":"","done":true,"context":[1,2],"prompt_eval_count":%d,"eval_count":%d}`+"\n", p, c)
		},
		failure: `{"error":"llama runner process has terminated"}` + "\n",
		tokens:  1,
	},
}

// request sends a request with more headers.
func (h *host) request(path, body string, more ...[2]string) *exchange {
	x := h.startWith(append([][2]string{{":method", "POST"}, {":path", path}, {"x-user-id", "alice"}}, more...), false)
	if !x.Refused() {
		x.body(body, true)
	}
	return x
}

// stream begins a stream and lets so many pieces of it pass.
func (h *host) stream(d talk, pieces int) *exchange {
	x := h.request(d.path, d.body)
	x.status("200", d.contentType, false)
	x.response(d.opening, false)
	for range pieces {
		x.response(d.piece, false)
	}
	return x
}

const completionLimit = `"limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":10000,"window":"8760h"}]`

func TestAFailureInsideAStream(t *testing.T) {
	for name, d := range talks {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, `{"requestHold":"stopIteration",`+both+`}`, recordtest.NewMemory())
			x := h.stream(d, 0)
			x.response(d.failure, true)
			x.done()
			expect(t, "balance of one that failed at once", h.balance("alice"), 10000)
			expect(t, "gen_ai.usage.source", x.properties["gen_ai.usage.source"], "")
			requests, _ := charged(t, h)
			expect(t, "requests", requests, 1)

			x = h.stream(d, 20)
			x.response(d.failure, true)
			x.done()
			passed := map[bool]string{true: "20", false: "25"}[d.tokens == 1]
			expect(t, "gen_ai.completion.tokens of one that failed later", x.properties["gen_ai.completion.tokens"], passed)
			expect(t, "gen_ai.usage.source", x.properties["gen_ai.usage.source"], "counted")
			requests, tokens := charged(t, h)
			expect(t, "requests", requests, 2)
			if tokens < 20 || tokens > 60 {
				t.Errorf("%d tokens were charged", tokens)
			}
			h.idle()
		})
	}
}

// A client's own fault inside a stream is charged as one that the status tells of.
func TestAFaultOfTheClientInsideAStream(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration",`+both+`}`, recordtest.NewMemory())
	x := h.stream(talks["OpenAI"], 0)
	x.response(`data: {"error":{"type":"BadRequestError","code":400}}`+"\n\n"+doneEvent, true)
	x.done()
	requests, tokens := charged(t, h)
	expect(t, "requests", requests, 1)
	expect(t, "tokens", tokens, 0)
}

// Before a model's first complete stream, the rule of thumb counts; after it, what it taught.
func TestAStreamThatIsLeftIsChargedWhatPassed(t *testing.T) {
	for name, d := range talks {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, `{"requestHold":"stopIteration",`+completionLimit+`}`, recordtest.NewMemory())
			left := func(pieces int) int64 {
				before := h.balance("alice")
				x := h.stream(d, pieces)
				h.now = h.now.Add(beatPeriod)
				h.tick()
				published, later := h.told[&x.Stream]
				if !later { // there was but one piece
					published, _ = strconv.ParseInt(x.properties["gen_ai.completion.tokens"], 10, 64)
				}
				x.done()
				expect(t, "gen_ai.usage.source", x.properties["gen_ai.usage.source"], "counted")
				expect(t, "what was published last", published, before-h.balance("alice"))
				return before - h.balance("alice")
			}
			const pieces = 40
			byThumb := int64((5*pieces + 3) / 4)
			if d.tokens == 1 {
				byThumb = pieces
			}
			expect(t, "before it is known", left(pieces), byThumb)

			before := h.balance("alice")
			x := h.stream(d, pieces)
			x.response(d.closing(20, 3*pieces), true)
			x.done()
			expect(t, "the complete one", before-h.balance("alice"), 3*pieces)
			expect(t, "its source", x.properties["gen_ai.usage.source"], "reported")

			for _, n := range []int64{1, 10, 100} {
				if got := left(int(n)); got < 3*n*9/10 || got > 3*n*11/10 {
					t.Errorf("%d pieces of 3 tokens are charged as %d", n, got)
				}
			}
			h.idle()
		})
	}
}

// A client that leaves behind the report is charged what it says.
func TestAReportThatRunsAlong(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration",`+completionLimit+`}`, recordtest.NewMemory())
	d := talks["Gemini"]
	d.piece = strings.Replace(d.piece, `"totalTokenCount":20`, `"candidatesTokenCount":50,"totalTokenCount":70`, 1)
	x := h.stream(d, 3)
	expect(t, "while it runs", x.properties["gen_ai.completion.tokens"], "50")
	x.done()
	expect(t, "balance", h.balance("alice"), 10000-50)
}

func TestGeminisArrayIsPublishedWhileItGrows(t *testing.T) {
	h := newSeed(t, "stopIteration")
	x := h.request(talks["Gemini's array"].path, `{}`)
	x.status("200", "application/json; charset=UTF-8", false)
	h.now += 70 * millisecond
	for i, piece := range []string{"[{", `"candidates":[{"content":{"parts":[{"text":"12345678"`, "}]}}]", "}\n,\n", `{"candidates":[{"content":{"parts":[{"text":"1234"}]}}]}`} {
		x.response(piece, false)
		want := []string{"", "2", "2", "2", "3"}[i]
		expect(t, "after "+piece, x.properties["gen_ai.completion.tokens"], want)
		h.now = h.now.Add(tellPeriod)
	}
	x.response(`,{"candidates":[{"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":4,"candidatesTokenCount":7,"totalTokenCount":11},"modelVersion":"mock-2"}]`, true)
	for name, want := range map[string]string{
		"gen_ai.completion.tokens": "7", "gen_ai.prompt.tokens": "4", "gen_ai.usage.source": "reported", "gen_ai.request.model": "mock",
		"gen_ai.response.model": "mock-2", "gen_ai.operation.name": "generate_content", "gen_ai.provider.name": "gcp.gemini",
		"gen_ai.ttft.ms": "170", "gen_ai.itl.ms": "300",
	} {
		expect(t, name, x.properties[name], want)
	}
	x.done()
	expect(t, "balance", h.balance("alice"), 293)
}

// A stream of lines is timed from its first line, and what it says of itself is published.
func TestOllamasStreamIsPublishedWhileItRuns(t *testing.T) {
	h := newSeed(t, "stopIteration")
	d := talks["Ollama"]
	x := h.request(d.path, d.body)
	x.status("200", d.contentType, false)
	h.now += 70 * millisecond
	for i, piece := range []string{d.piece[:20], d.piece[20:], d.piece + d.piece[:60], d.piece[60:]} {
		x.response(piece, false)
		want := []string{"", "1", "2", "3"}[i]
		expect(t, "after "+piece, x.properties["gen_ai.completion.tokens"], want)
		h.now = h.now.Add(tellPeriod)
	}
	x.response(d.closing(4, 7), true)
	for name, want := range map[string]string{
		"gen_ai.completion.tokens": "7", "gen_ai.prompt.tokens": "4", "gen_ai.total.tokens": "11", "gen_ai.usage.source": "reported",
		"gen_ai.request.model": "mock", "gen_ai.response.model": "mock", "gen_ai.operation.name": "chat", "gen_ai.provider.name": "ollama",
		"gen_ai.ttft.ms": "170", "gen_ai.itl.ms": "100",
	} {
		expect(t, name, x.properties[name], want)
	}
	x.done()
	expect(t, "balance", h.balance("alice"), 293)
}

// What Ollama leaves out of a report is estimated, but for the zeros that it leaves out.
func TestWhatOllamaLeavesOut(t *testing.T) {
	prompt := strings.Repeat("word ", 80) // 100 tokens, as it starts
	body := `{"model":"mock","stream":false,"prompt":"` + prompt + `"}`
	estimate := int64(len(body)+3) / 4
	for _, test := range []struct {
		name, answer       string
		prompt, completion int64
		source             string
	}{
		{"a prompt that was cached", `{"model":"mock","response":"Hello","done":true,"eval_count":7}`, estimate, 7, "reported"},
		{"all", `{"model":"mock","response":"Hello","done":true}`, estimate, 256, "estimated"},
		{"an output of nothing", `{"model":"mock","response":"","done":true,"prompt_eval_count":90}`, 90, 0, "reported"},
		{"a model that is loaded", `{"model":"mock","response":"","done":true,"done_reason":"load"}`, 0, 0, "reported"},
	} {
		h := newHost(t, `{"requestHold":"stopIteration",`+completionLimit+`}`, recordtest.NewMemory())
		x := h.request("/api/generate", body)
		x.status("200", "application/json; charset=utf-8", false)
		x.response(test.answer, true)
		x.done()
		for name, want := range map[string]string{
			"gen_ai.prompt.tokens": fmt.Sprint(test.prompt), "gen_ai.completion.tokens": fmt.Sprint(test.completion), "gen_ai.usage.source": test.source,
			"gen_ai.operation.name": "completions",
		} {
			expect(t, test.name+": "+name, x.properties[name], want)
		}
		h.idle()
	}
}

// The model of a path has its limit, whatever is done to the body.
func TestTheModelOfAPathIsLimited(t *testing.T) {
	const limits = `"limits":[{"name":"big","per":["user"],"match":{"models":["big-*"]},"unit":"requests","quantity":1,"window":"8760h"}]`
	paths := map[string]string{
		"Azure": "/openai/deployments/big-1/chat/completions?api-version=1", "Gemini": "/v1beta/models/big-1:generateContent",
		"Vertex AI": "/v1/publishers/anthropic/models/big-1:rawPredict",
	}
	for name, path := range paths {
		for _, test := range []struct {
			name string
			body string
			more [][2]string
		}{
			{"a body without a model", `{}`, nil},
			{"a compressed body", "\x1f\x8b", [][2]string{{"content-encoding", "gzip"}}},
			{"a body that is too large by its length", `{}`, [][2]string{{"content-length", "999"}}},
			{"a body that is too large", strings.Repeat(" ", 200), nil},
			{"a body that is not JSON", "model=small", nil},
			{"no body", "", nil},
		} {
			for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
				t.Run(name+" "+test.name+" "+hold, func(t *testing.T) {
					h := newHost(t, `{"requestHold":"`+hold+`","usage":{"maxRequestBytes":100},`+limits+`}`, recordtest.NewMemory())
					h.request(path, test.body, test.more...).done()
					x := h.request(path, test.body, test.more...)
					expect(t, "the second", x.Refused(), true)
					expect(t, "gen_ai.request.model", x.properties["gen_ai.request.model"], "big-1")
					x.done()
					x = h.request(strings.Replace(path, "big-1", "small", 1), test.body, test.more...)
					expect(t, "another model", x.Refused(), false)
					x.done()
					h.idle()
				})
			}
		}
	}
}

// A refusal is written as the request's own API would write it.
func TestRefusalsSpeakTheRequestsDialect(t *testing.T) {
	const noRoom = `"limits":[{"name":"u","per":["user"],"unit":"requests","quantity":1,"window":"1h"}]`
	for name, test := range map[string]struct{ start, end string }{
		"OpenAI":         {`{"error":{"message":"`, `"type":"requests","param":null,"code":"rate_limit_exceeded"}}`},
		"Responses":      {`{"error":{"message":"`, `"type":"requests","param":null,"code":"rate_limit_exceeded"}}`},
		"Anthropic":      {`{"type":"error","error":{"type":"rate_limit_error","message":"`, `"}}`},
		"Gemini":         {`{"error":{"code":429,"message":"`, `"status":"RESOURCE_EXHAUSTED"}}`},
		"Gemini's array": {`{"error":{"code":429,"message":"`, `"status":"RESOURCE_EXHAUSTED"}}`},
		"Ollama":         {`{"error":"Rate limit reached for any model on requests per hour`, `(limit u)"}`},
	} {
		for format, dynamo := range map[string]bool{"openai": false, "dynamo": true} {
			t.Run(name+" "+format, func(t *testing.T) {
				configuration := `{"requestHold":"stopIteration",` + noRoom + `}`
				start, end := test.start, test.end
				if dynamo {
					configuration = `{"errorFormat":"dynamo",` + configuration[1:]
					start, end = `{"message":"`, `"type":"rate_limit_exceeded","code":429}`
				}
				h := newHost(t, configuration, recordtest.NewMemory())
				d := talks[name]
				h.request(d.path, d.body).done()
				x := h.request(d.path, d.body)
				if x.last.Reply == nil {
					t.Fatal("it was not refused")
				}
				body := string(x.last.Reply.Body)
				if !strings.HasPrefix(body, start) || !strings.HasSuffix(body, end) || !json.Valid([]byte(body)) {
					t.Errorf("got %s", body)
				}
				expect(t, "status", x.last.Reply.Status, 429)
			})
		}
	}
}

// A body can't name a cheaper model than the one that the path sends it to.
func TestThePathsModelIsTheOneThatIsLimited(t *testing.T) {
	h := newHostOf(t, "stopIteration", `"limits":[{"name":"big","per":["user"],"match":{"models":["big-*"]},"unit":"requests","quantity":1,"window":"24h"}]`)
	send := func() EffectKind {
		x := h.startWith([][2]string{{":method", "POST"}, {":path", "/openai/deployments/big-1/chat/completions"}, {"x-user-id", "alice"}}, false)
		if x.Refused() { // the path told all that there was to know
			return x.last.Action
		}
		x.body(`{"model":"small"}`, true)
		expect(t, "what the client wrote", x.properties["gen_ai.request.model"], "small")
		x.answer(used(26, 76))
		return Continue
	}
	expect(t, "the first", send(), Continue)
	expect(t, "the second", send(), Answer)
}
