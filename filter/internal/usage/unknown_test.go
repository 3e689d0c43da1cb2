package usage

import (
	"strings"
	"testing"
)

// Output is found in all the places that are known.
func TestOutputIsFoundInAllItsPlaces(t *testing.T) {
	delta := func(inner string) string { return data(`{"choices":[{"delta":` + inner + `}]}`) }
	part := func(inner string) string { return data(`{"candidates":[{"content":{"parts":[` + inner + `]}}]}`) }
	for _, test := range []struct {
		name          string
		dialect       *Dialect
		body          string
		outputs, text int64
	}{
		{"a list of parts", chat, delta(`{"content":[{"type":"text","text":"Hello"},{"type":"text","text":"you"}]}`), 2, 8},
		{"parts that think", chat, delta(`{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hmm"}]}]}`), 1, 3},
		{"the arguments of a function", chat, delta(`{"function_call":{"name":"f","arguments":"{\"a\""}}`), 1, 4},
		{"a custom tool's input", chat, delta(`{"tool_calls":[{"type":"custom","custom":{"name":"f","input":"abc"}}]}`), 1, 3},
		{"a transcript", chat, delta(`{"audio":{"id":"a","transcript":"Hello"}}`), 1, 5},
		{"sound", chat, delta(`{"audio":{"data":"` + strings.Repeat("QUJD", 256) + `"}}`), 1, 4},
		{"pictures", chat, delta(`{"images":[{"image_url":{"url":"data:image/png;base64,QUJD"}}]}`), 1, 1},
		{"a message for a delta", chat, data(`{"choices":[{"message":{"role":"assistant","content":"Hello"}}]}`), 1, 5},
		{"a message beside deltas", chat, delta(`{"content":"Hel"}`) + data(`{"choices":[{"delta":{"content":"lo"},"message":{"content":"Hello"}}]}`), 2, 5},
		{"a message behind deltas", chat, delta(`{"content":"Hello"}`) + data(`{"choices":[{"message":{"content":"Hello"}}]}`), 1, 5},
		{"Anthropic's compaction", messages, anthropicStream(`{"type":"content_block_delta","delta":{"type":"compaction_delta","content":"Hello"}}`), 1, 5},
		{"Anthropic's input of a tool", messages, anthropicStream(`{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{}"}}`), 1, 2},
		{"Responses' input of a custom tool", responses, anthropicStream(`{"type":"response.custom_tool_call_input.delta","delta":"abc"}`), 1, 3},
		{"Responses' picture", responses, anthropicStream(`{"type":"response.image_generation_call.partial_image","partial_image_b64":"QUJD"}`), 1, 1},
		{"Gemini's picture", gemini, part(`{"inlineData":{"mimeType":"image/png","data":"` + strings.Repeat("QUJD", 256) + `"}}`), 1, 4},
		{"Gemini's code", gemini, part(`{"executableCode":{"language":"PYTHON","code":"1+1"}}`), 1, 3},
		{"Gemini's call", gemini, part(`{"functionCall":{"name":"f","args":{"a":1}}}`), 1, 0},
	} {
		for how, lengths := range cuts {
			got := readResponse(test.dialect, true, []byte(test.body), lengths)
			if got.Outputs != test.outputs || got.Text != test.text || got.Unknown != 0 {
				t.Errorf("%s, %s: %+v", test.name, how, got)
			}
		}
	}
}

// An event that is not known to bring no output may have brought some.
func TestEventsOfUnknownFormCount(t *testing.T) {
	delta := func(inner string) string { return data(`{"choices":[{"delta":` + inner + `,"finish_reason":null}]}`) }
	long := strings.Repeat("x", 1000)
	for _, test := range []struct {
		name    string
		dialect *Dialect
		body    string
		want    int64
	}{
		{"what nobody knows yet", chat, delta(`{"hologram":"x"}`) + delta(`{"hologram":{"y":1}}`), 2},
		{"after what is known", chat, textEvent + delta(`{"hologram":"x"}`), 1},
		{"with usage in each event", chat, data(`{"choices":[{"delta":{"hologram":"x"}}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`), 1},
		{"the role in each event", chat, delta(`{"role":"assistant","hologram":"x"}`) + delta(`{"role":"assistant","hologram":"y"}`) + delta(`{"role":"assistant","hologram":"z"}`), 2},
		{"another shape altogether", chat, data(`{"token":"x"}`, `{"token":"y"}`), 2},
		{"what is not JSON", chat, "data: Hello\n\ndata: you there\n\n", 1}, // five bytes are less than [DONE]
		{"a known stream", chat, openingEvent + textEvent + data(`{"choices":[{"delta":{},"finish_reason":"stop"}]}`) + usageEvent + doneEvent, 0},
		{"Azure's filters", chat, data(`{"choices":[],"prompt_filter_results":[{"x":1}]}`), 0},
		{"signs of life", chat, data(`{"type":"ping"}`) + "event: ping\ndata: {}\n\n: comment\n\n", 0},
		{"an error", chat, data(`{"error":{"code":503}}`), 0},
		{"Anthropic's new delta", messages, anthropicStream(`{"type":"content_block_delta","delta":{"type":"new_delta","new":"x"}}`), 1},
		{"Anthropic's known stream", messages, anthropicStream(anStart, anPing, `{"type":"content_block_start","content_block":{}}`, anHello,
			`{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"abc"}}`,
			`{"type":"content_block_delta","delta":{"type":"citations_delta","citation":{"cited_text":"x"}}}`, `{"type":"content_block_stop"}`, anEnd, anStop), 0},
		{"Responses' new delta", responses, anthropicStream(`{"type":"response.hologram.delta","delta":{"x":1}}`, `{"type":"response.hologram.delta","hologram":"y"}`), 2},
		{"Responses' known stream", responses, anthropicStream(reStart, `{"type":"response.in_progress","response":{}}`, `{"type":"response.output_item.added","item":{}}`,
			reHello, `{"type":"response.output_text.done","text":"Hello"}`, `{"type":"response.completed","response":{"usage":`+reCounts+`}}`), 0},
		{"Gemini's new part", gemini, data(`{"candidates":[{"content":{"parts":[{"hologram":"x"}]}}],"usageMetadata":{"promptTokenCount":8}}`), 1},
		{"Gemini's known stream", gemini, data(`{"usageMetadata":{"promptTokenCount":8}}`, geHello, geLast), 0},
		{"a transcript's known stream", audio, anthropicStream(heard, `{"type":"transcript.text.done","text":"Hello"}`), 0},
		{"the usage of vLLM's transcripts", audio, data(vllmHeard, `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}`), 0},
		{"a long one", chat, delta(`{"hologram":"` + long + `"}`), 1},
	} {
		for how, lengths := range cuts {
			got := readResponse(test.dialect, true, []byte(test.body), lengths)
			if got.Unknown != test.want || (got.UnknownText > 0) != (test.name == "a long one") {
				t.Errorf("%s, %s: %+v, want %d", test.name, how, got, test.want)
			}
		}
	}
}
