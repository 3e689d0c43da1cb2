package usage

import (
	"strings"
	"testing"
)

// event writes an event as Anthropic and Responses do.
func event(name, data string) string { return "event: " + name + "\ndata: " + data + "\n\n" }

func data(documents ...string) string {
	return "data: " + strings.Join(documents, "\r\n\r\ndata: ") + "\r\n\r\n"
}

const (
	anStart = `{"type":"message_start","message":{"id":"m","model":"claude-1","content":[],"usage":{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":100,"output_tokens":1}}}`
	anPing  = `{"type":"ping"}`
	anHello = `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}`
	anEnd   = `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":42}}`
	anStop  = `{"type":"message_stop"}`

	reStart  = `{"type":"response.created","response":{"model":"gpt-5","error":null,"usage":null}}`
	reHello  = `{"type":"response.output_text.delta","item_id":"i","delta":"Hello"}`
	reCounts = `{"input_tokens":26,"input_tokens_details":{"cached_tokens":20},"output_tokens":76,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":102}`

	geHello = `{"candidates":[{"content":{"parts":[{"text":"Hello"}],"role":"model"}}],"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8},"modelVersion":"gemini-2.5"}`
	geLast  = `{"candidates":[{"content":{"parts":[{"text":"!"},{"text":""}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":3,"thoughtsTokenCount":20,"toolUsePromptTokenCount":4,"totalTokenCount":35,"cachedContentTokenCount":6},"modelVersion":"gemini-2.5"}`
)

// anthropicStream is a whole stream of Anthropic's.
func anthropicStream(documents ...string) string {
	var b strings.Builder
	for _, d := range documents {
		name, _, _ := strings.Cut(strings.TrimPrefix(d, `{"type":"`), `"`)
		b.WriteString(event(name, d))
	}
	return b.String()
}

var geTokens = allTokens(12, 23, 35, 6, 20)

func TestJSONResponsesInTheOtherDialects(t *testing.T) {
	const reported = true
	checkResponses(t, false, []responseTest{
		{"Anthropic's", messages, `{"type":"message","model":"claude-1","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":10,"cache_creation_input_tokens":5,"cache_read_input_tokens":100,"output_tokens":42,"cache_creation":{"ephemeral_5m_input_tokens":5}}}`,
			Response{Model: "claude-1", Tokens: allTokens(115, 42, Absent, 100, Absent), Reported: reported}},
		{"Anthropic's without a cache", messages, `{"usage":{"input_tokens":10,"cache_read_input_tokens":null,"output_tokens":42}}`,
			Response{Tokens: tokens(10, 42, Absent), Reported: reported}},
		{"Anthropic's with thoughts", messages, `{"usage":{"input_tokens":10,"output_tokens":42,"output_tokens_details":{"thinking_tokens":30}}}`,
			Response{Tokens: allTokens(10, 42, Absent, Absent, 30), Reported: reported}},
		{"Anthropic's error", messages, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, Response{Failure: 503}},
		{"Anthropic's without usage", messages, `{"model":"claude-1"}`, Response{Model: "claude-1"}},
		{"Anthropic's impossible counts", messages, `{"usage":{"input_tokens":-4,"output_tokens":1e99}}`, Response{}},
		{"Anthropic's huge counts are cut", messages, `{"usage":{"input_tokens":999999999999999,"cache_read_input_tokens":999999999999999}}`,
			Response{Tokens: allTokens(1e15, Absent, Absent, 999999999999999, Absent), Reported: reported}},
		{"Responses'", responses, `{"object":"response","status":"completed","error":null,"model":"gpt-5","output":[{"type":"error"}],"usage":` + reCounts + `}`,
			Response{Model: "gpt-5", Tokens: allTokens(26, 76, 102, 20, 64), Reported: reported}},
		{"Responses' null usage", responses, `{"status":"in_progress","usage":null}`, Response{}},
		{"Responses' that failed", responses, `{"status":"failed","error":{"code":"server_error","message":"x"},"usage":null}`, Response{Failure: 500}},
		{"Gemini's", gemini, geLast, Response{Model: "gemini-2.5", Tokens: geTokens, Reported: reported}},
		{"Gemini's without output", gemini, `{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8}}`,
			Response{Tokens: tokens(8, Absent, 8), Reported: reported}},
		{"Gemini's with a type of traffic alone", gemini, `{"usageMetadata":{"trafficType":"ON_DEMAND"}}`, Response{}},
		{"Gemini's error", gemini, `{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}`, Response{Failure: 429}},
		{"Gemini's array", gemini, "[" + geHello + "\n,\r\n" + geLast + "\n]\n", Response{Model: "gemini-2.5", Tokens: geTokens, Reported: reported}},
		{"Gemini's array that is cut off", gemini, "[" + geHello + "," + geLast[:len(geLast)-60], Response{Model: "gemini-2.5", Tokens: allTokens(12, 23, Absent, Absent, 20), Reported: reported}},
		{"Gemini's array with an error", gemini, `[{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}]`, Response{Failure: 503}},
		{"Gemini's empty array", gemini, `[]`, Response{}},
	})
}

func TestStreamsInTheOtherDialects(t *testing.T) {
	const reported = true
	whole := Response{Model: "claude-1", Tokens: allTokens(115, 42, Absent, 100, Absent), Reported: reported, Outputs: 1}
	restated := strings.Replace(anEnd, `"output_tokens":42`, `"input_tokens":7,"cache_creation_input_tokens":0,"cache_read_input_tokens":3,"output_tokens":42`, 1)
	full := allTokens(26, 76, 102, 20, 64)
	final := func(kind string) string {
		return anthropicStream(reStart, reHello, `{"type":"`+kind+`","response":{"model":"gpt-5","error":null,"usage":`+reCounts+`}}`)
	}
	checkResponses(t, true, []responseTest{
		{"Anthropic's counts are spread over its events", messages, anthropicStream(anStart, anPing, anHello, anEnd, anStop), whole},
		{"Anthropic's without an end", messages, anthropicStream(anStart, anHello),
			Response{Model: "claude-1", Tokens: allTokens(115, 1, Absent, 100, Absent), Reported: reported, Outputs: 1}},
		{"Anthropic's counts replace those before", messages, anthropicStream(anStart, anHello, strings.Replace(anEnd, "42", "9", 1), anEnd, anStop), whole},
		{"Anthropic's end restates the prompt", messages, anthropicStream(anStart, anHello, restated, anStop),
			Response{Model: "claude-1", Tokens: allTokens(10, 42, Absent, 3, Absent), Reported: reported, Outputs: 1}},
		{"a broken event of Anthropic's leaves nothing behind", messages,
			event("x", `{"message":{"model":"no","usage":{"input_tokens":9,"output_tokens":9}}`) + anthropicStream(anHello) + event("x", `{"usage":{"output_tokens":5},}`) + anthropicStream(anPing),
			Response{Outputs: 1}},
		{"Anthropic's tools and thoughts are output", messages, anthropicStream(`{"delta":{"partial_json":"{\"a\""}}`, `{"delta":{"thinking":"hm"}}`, `{"delta":{"partial_json":""}}`, `{"delta":{"signature":"abc"}}`),
			Response{Outputs: 2}},
		{"Responses' completed", responses, final("response.completed"), Response{Model: "gpt-5", Tokens: full, Reported: reported, Outputs: 1}},
		{"Responses' incomplete", responses, final("response.incomplete"), Response{Model: "gpt-5", Tokens: full, Reported: reported, Outputs: 1}},
		{"Responses' failed, with usage", responses, final("response.failed"), Response{Model: "gpt-5", Tokens: full, Reported: reported, Outputs: 1, Failure: 500}},
		{"Responses' last model counts", responses, anthropicStream(reStart, `{"type":"response.completed","response":{"model":"gpt-5-2025"}}`), Response{Model: "gpt-5-2025"}},
		{"Responses' arguments and reasoning are output", responses, anthropicStream(`{"type":"response.function_call_arguments.delta","delta":"{}"}`, `{"type":"response.reasoning_summary_text.delta","delta":"hm"}`, `{"type":"response.output_text.done","text":"{}hm"}`),
			Response{Outputs: 2}},
		{"Gemini's", gemini, data(geHello, geLast), Response{Model: "gemini-2.5", Tokens: geTokens, Reported: reported, Outputs: 2}},
		{"Gemini's prompt alone", gemini, data(geHello), Response{Model: "gemini-2.5", Tokens: tokens(8, Absent, 8), Reported: reported, Outputs: 1}},
		{"Gemini's last usage counts whole", gemini, data(geLast, geHello), Response{Model: "gemini-2.5", Tokens: tokens(8, Absent, 8), Reported: reported, Outputs: 2}},
		{"Gemini's type of traffic takes nothing back", gemini, data(geLast, `{"usageMetadata":{"trafficType":"ON_DEMAND"}}`, `{"usageMetadata":null}`),
			Response{Model: "gemini-2.5", Tokens: geTokens, Reported: reported, Outputs: 1}},
		{"a broken event of another dialect names no model", chat, "data: {\"model\":\"no\",}\n\n" + textEvent, Response{Model: "m", Outputs: 1}},
	})
}

func TestFailuresInStreams(t *testing.T) {
	plain := func(document string) string { return "data: " + document + "\n\n" + doneEvent }
	abort := plain(`{"choices":[{"delta":{},"finish_reason":"abort"}]}`)
	for _, test := range []struct {
		name    string
		dialect *Dialect
		body    string
		want    int
	}{
		{"vLLM sheds load", chat, plain(`{"error":{"message":"busy","type":"Service Unavailable","param":null,"code":503}}`), 503},
		{"vLLM's engine dies", chat, plain(`{"error":{"message":"EngineCore","type":"Internal Server Error","code":500}}`), 500},
		{"vLLM refuses the request", chat, plain(`{"error":{"type":"BadRequestError","code":400}}`), 400},
		{"the type of more words comes before the code", chat, plain(`{"error":{"type":"tokens","code":"rate_limit_exceeded"}}`), 429},
		{"the code comes before the type", chat, plain(`{"error":{"code":"context_length_exceeded","type":"invalid_request_error"}}`), 400},
		{"a code in words", chat, plain(`{"error":{"code":"rate_limit_exceeded"}}`), 429},
		{"no quota", chat, plain(`{"error":{"type":"insufficient_quota","code":"insufficient_quota"}}`), 429},
		{"a code in words that nobody knows", chat, plain(`{"error":{"code":"broken"}}`), 500},
		{"a code of digits in quotes", chat, plain(`{"error":{"message":"over capacity","type":"x","code":"503"}}`), 503},
		{"OpenRouter's", chat, plain(`{"id":"gen","error":{"code":429,"message":"x"},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}`), 429},
		{"a code that is no status", chat, plain(`{"error":{"code":1302}}`), 500},
		{"a null code", chat, plain(`{"error":{"code":null,"type":null,"message":"x"}}`), 500},
		{"an error that says nothing", chat, plain(`{"error":{}}`), 500},
		{"an error in a word", chat, plain(`{"error":"boom"}`), 500},
		{"no error", chat, plain(`{"error":null,"choices":[]}`), 0},
		{"a stream that is not ended by force", chat, plain(`{"choices":[{"finish_reason":"stop"},{"finish_reason":null}]}`), 0},
		{"vLLM is stopped", chat, abort, 503},
		{"vLLM is stopped in completions", completions, abort, 503},
		{"the first failure counts", chat, plain(`{"error":{"code":429}}`) + plain(`{"error":{"code":503}}`) + abort, 429},
		{"be it the least definite", chat, plain(`{"error":{}}`) + abort, 500},
		{"a failure behind output", chat, textEvent + plain(`{"error":{"code":503}}`), 503},
		{"an error that is cut off", chat, `data: {"error":{"code":503`, 0},
		{"Anthropic's overload", messages, event("error", `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), 503},
		{"Anthropic's rate limit", messages, event("error", `{"type":"error","error":{"type":"rate_limit_error"}}`), 429},
		{"Anthropic's own fault", messages, event("error", `{"type":"error","error":{"type":"api_error"}}`), 500},
		{"Anthropic's unknown error", messages, event("error", `{"type":"error","error":{"type":"new_error"}}`), 500},
		{"Responses' failed", responses, event("response.failed", `{"type":"response.failed","response":{"error":{"code":"rate_limit_exceeded","message":"x"}}}`), 429},
		{"Responses' failed for the server's fault", responses, event("response.failed", `{"type":"response.failed","response":{"error":{"code":"server_error"}}}`), 500},
		{"Responses' failed without a reason", responses, event("response.failed", `{"type":"response.failed","response":{"error":null}}`), 500},
		{"Responses' error", responses, event("error", `{"type":"error","code":"rate_limit_exceeded","message":"x","param":null}`), 429},
		{"Responses' error, its code first", responses, event("error", `{"code":"invalid_prompt","type":"error"}`), 400},
		{"Responses' error without a code", responses, event("error", `{"type":"error","code":null,"message":"x"}`), 500},
		{"Responses' error as vLLM sends it", responses, plain(`{"error":{"message":"x","type":"x","code":503}}`), 503},
		{"Responses' incomplete is none", responses, event("x", `{"type":"response.incomplete","response":{"error":null}}`), 0},
		{"a longer type is none", responses, event("x", `{"type":"response.failed.not"}`), 0},
		{"Gemini's", gemini, data(`{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}`), 503},
		{"Gemini's, for its quota", gemini, data(geHello, `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}`), 429},
	} {
		t.Run(test.name, func(t *testing.T) {
			for how, lengths := range cuts {
				if got := readResponse(test.dialect, true, []byte(test.body), lengths).Failure; got != test.want {
					t.Errorf("%s: got %d, want %d", how, got, test.want)
				}
			}
		})
	}
}

// The bytes of the text are counted as they are meant, not as they are written.
func TestTextIsMeasured(t *testing.T) {
	for _, test := range []struct {
		name    string
		dialect *Dialect
		stream  bool
		body    string
		want    int64
	}{
		{"OpenAI's", chat, true, textEvent + textEvent + usageEvent + doneEvent, 4},
		{"escapes", chat, true, `data: {"choices":[{"delta":{"content":"\u00e9\n\ud83d\ude00"}}]}` + "\n\n", 7},
		{"reasoning and tool calls", chat, true, `data: {"choices":[{"delta":{"reasoning":"abc","tool_calls":[{"function":{"arguments":"{}"}}]}}]}` + "\n\n", 5},
		{"Anthropic's", messages, true, anthropicStream(anStart, anHello, anHello, anEnd), 10},
		{"Responses', whose text is told twice", responses, true, anthropicStream(reStart, reHello, `{"type":"response.output_text.done","text":"Hello"}`), 5},
		{"Gemini's", gemini, true, data(geHello, geLast), 6},
		{"Gemini's array", gemini, false, "[" + geHello + "," + geLast + "]", 6},
		{"Gemini's array that is cut off", gemini, false, "[" + geHello + `,{"candidates":[{"content":{"parts":[{"text":"lost`, 5},
		{"a broken event", chat, true, `data: {"choices":[{"delta":{"content":"hi"}}]` + "\n\n", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			for how, lengths := range cuts {
				if got := readResponse(test.dialect, test.stream, []byte(test.body), lengths).Text; got != test.want {
					t.Errorf("%s: got %d, want %d", how, got, test.want)
				}
			}
		})
	}
}

// Gemini's array is one document, of which each piece counts when it has come.
func TestAGrowingArrayIsCounted(t *testing.T) {
	var r ResponseReader
	r.Reset(gemini, false)
	for i, piece := range []string{"[" + geHello, "\n,", geHello, "," + geLast} {
		r.Write([]byte(piece))
		got, want := r.Response(), [][2]int64{{1, 5}, {1, 5}, {2, 10}, {3, 11}}[i]
		if got.Outputs != want[0] || got.Text != want[1] || got.Reported || !r.Wanting() {
			t.Errorf("after piece %d: %+v, want %v", i, got, want)
		}
	}
	for range 2 {
		r.Write([]byte("]"))
		r.Close()
		want := Response{Model: "gemini-2.5", Tokens: geTokens, Reported: true, Outputs: 3, Text: 11, Final: true}
		if got := r.Response(); got != want {
			t.Errorf("at its end: got %+v, want %+v", got, want)
		}
		r.Reset(gemini, false)
		r.Write([]byte("[" + geHello + "," + geHello + "," + geLast))
	}
}

// What a dialect keeps from event to event is not kept from response to response.
func TestNothingIsKeptForTheNextResponse(t *testing.T) {
	var r ResponseReader
	for _, dialect := range []*Dialect{messages, gemini, responses, chat} {
		r.Reset(messages, true)
		r.Write([]byte(anthropicStream(anStart, anHello, `{"error":{"type":"api_error"}}`) + "data: {"))
		r.Reset(dialect, true)
		r.Write([]byte(anthropicStream(anPing)))
		r.Close()
		if got, want := r.Response(), (Response{Tokens: none}); got != want {
			t.Errorf("%s: got %+v, want %+v", dialect.Name, got, want)
		}
	}
}

// What a Gemini stream may end with, and what counts as output beside text.
func TestGeminisEndsAndParts(t *testing.T) {
	for _, test := range []struct {
		name, event string
		final       bool
		outputs     int64
	}{
		{"a reason by name", `{"candidates":[{"finishReason":"STOP"}]}`, true, 0},
		{"a reason by number", `{"candidates":[{"finishReason":1}]}`, true, 0},
		{"no reason yet", `{"candidates":[{"finishReason":0}]}`, false, 0},
		{"a blocked prompt", `{"promptFeedback":{"blockReason":"SAFETY"}}`, true, 0},
		{"a call", `{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":1}}}]}}]}`, false, 1},
		{"code and a picture", `{"candidates":[{"content":{"parts":[{"executableCode":{}},{"inlineData":{}}]}}]}`, false, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			for how, lengths := range cuts {
				got := readResponse(gemini, true, []byte("data: "+test.event+"\n\n"), lengths)
				if got.Final != test.final || got.Outputs != test.outputs {
					t.Errorf("%s: final %v, outputs %d", how, got.Final, got.Outputs)
				}
			}
		})
	}
}
