package usage

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// Some servers leave a part out of the prompt or the completion that their total has.
func TestReportsWhoseTotalIsMore(t *testing.T) {
	const reported = true
	xai := `{"prompt_tokens":12,"completion_tokens":2,"total_tokens":334,"completion_tokens_details":{"reasoning_tokens":320}}`
	mistral := `{"prompt_tokens":11,"completion_tokens":15,"total_tokens":401,"prompt_tokens_details":{"audio_tokens":375}}`
	chunk := func(usage string) string { return "data: {\"choices\":[],\"usage\":" + usage + "}\n\n" }
	checkResponses(t, false, []responseTest{
		{"xAI's reasoning", chat, `{"usage":` + xai + `}`, Response{Tokens: allTokens(12, 322, 334, Absent, 320), Reported: reported}},
		{"Gemini's thoughts at its OpenAI endpoint", chat, `{"usage":{"prompt_tokens":7,"completion_tokens":12,"total_tokens":402}}`,
			Response{Tokens: tokens(7, 395, 402), Reported: reported}},
		{"Mistral's audio", chat, `{"usage":` + mistral + `}`, Response{Tokens: tokens(386, 15, 401), Reported: reported}},
		{"audio that is in the prompt", chat, `{"usage":{"prompt_tokens":386,"completion_tokens":15,"total_tokens":401,"prompt_tokens_details":{"audio_tokens":375}}}`,
			Response{Tokens: tokens(386, 15, 401), Reported: reported}},
		{"audio, and a gap of another size", chat, `{"usage":{"prompt_tokens":11,"completion_tokens":15,"total_tokens":402,"prompt_tokens_details":{"audio_tokens":375}}}`,
			Response{Tokens: tokens(11, 391, 402), Reported: reported}},
		{"the audio of the completion says nothing of the prompt", chat, `{"usage":{"prompt_tokens":11,"completion_tokens":15,"total_tokens":401,"completion_tokens_details":{"audio_tokens":375}}}`,
			Response{Tokens: tokens(11, 390, 401), Reported: reported}},
		{"in x_groq", chat, `{"x_groq":{"usage":` + xai + `}}`, Response{Tokens: allTokens(12, 322, 334, Absent, 320), Reported: reported}},
		{"in a choice", chat, `{"choices":[{"usage":` + mistral + `}]}`, Response{Tokens: tokens(386, 15, 401), Reported: reported}},
		{"Responses'", responses, `{"usage":{"input_tokens":12,"output_tokens":2,"total_tokens":334}}`, Response{Tokens: tokens(12, 322, 334), Reported: reported}},
		{"Responses' audio", responses, `{"usage":{"input_tokens":12,"output_tokens":2,"total_tokens":34,"input_tokens_details":{"audio_tokens":20}}}`,
			Response{Tokens: tokens(32, 2, 34), Reported: reported}},
		{"a transcription's audio", audio, `{"usage":{"input_tokens":0,"output_tokens":2,"total_tokens":22,"input_token_details":{"audio_tokens":20}}}`,
			Response{Tokens: tokens(20, 2, 22), Reported: reported}},
		{"completions'", completions, `{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":9}}`, Response{Tokens: tokens(1, 8, 9), Reported: reported}},
		{"an embedding has no output to be more", embeddings, `{"usage":{"prompt_tokens":7,"total_tokens":402}}`, Response{Tokens: tokens(402, 0, 402), Reported: reported}},
		{"Gemini's own", gemini, `{"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":3,"totalTokenCount":31}}`, Response{Tokens: tokens(8, 23, 31), Reported: reported}},
		{"a total that is less", chat, `{"usage":{"prompt_tokens":12,"completion_tokens":20,"total_tokens":12}}`, Response{Tokens: tokens(12, 20, 32), Reported: reported}},
		{"no total, and more reasoning than completion", chat, `{"usage":{"prompt_tokens":12,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":320}}}`,
			Response{Tokens: allTokens(12, 322, Absent, Absent, 320), Reported: reported}},
		{"no total, and more audio than prompt", chat, `{"usage":{"prompt_tokens":11,"completion_tokens":15,"prompt_tokens_details":{"audio_tokens":375}}}`,
			Response{Tokens: tokens(386, 15, Absent), Reported: reported}},
		{"a total that fits, and more reasoning than completion", chat, `{"usage":{"prompt_tokens":12,"completion_tokens":2,"total_tokens":14,"completion_tokens_details":{"reasoning_tokens":3}}}`,
			Response{Tokens: allTokens(12, 2, 14, Absent, 3), Reported: reported}},
		{"more in the cache than there is", chat, `{"usage":{"prompt_tokens":7,"completion_tokens":8,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":161}}}`,
			Response{Tokens: allTokens(7, 8, 15, 161, Absent), Reported: reported}},
		{"the total alone", chat, `{"usage":{"total_tokens":10}}`, Response{Tokens: tokens(Absent, Absent, 10), Reported: reported}},
	})
	checkResponses(t, true, []responseTest{
		{"in the last event", chat, textEvent + chunk(xai) + doneEvent, Response{Model: "m", Tokens: allTokens(12, 322, 334, Absent, 320), Reported: reported, Outputs: 1}},
		{"in each event, the last of which counts", chat, chunk(mistral) + chunk(xai), Response{Tokens: allTokens(12, 322, 334, Absent, 320), Reported: reported}},
		{"Responses'", responses, anthropicStream(`{"type":"response.completed","response":{"usage":{"input_tokens":12,"output_tokens":2,"total_tokens":334}}}`),
			Response{Tokens: tokens(12, 322, 334), Reported: reported}},
	})
}

// Moonshot reports a stream's usage in its last choice.
func TestReportsInChoices(t *testing.T) {
	const reported = true
	in := func(usage ...string) string {
		choices := ""
		for i, u := range usage {
			if i > 0 {
				choices += ","
			}
			choices += fmt.Sprintf(`{"index":%d,"delta":{},"finish_reason":"stop","usage":%s}`, i, u)
		}
		return `data: {"choices":[` + choices + `]}` + "\n\n"
	}
	const a, b = `{"prompt_tokens":19,"completion_tokens":13,"total_tokens":32}`, `{"prompt_tokens":19,"completion_tokens":21,"total_tokens":40}`
	checkResponses(t, true, []responseTest{
		{"one", chat, textEvent + in(a) + doneEvent, Response{Model: "m", Tokens: tokens(19, 13, 32), Reported: reported, Outputs: 1}},
		{"the last of several counts", chat, in(a, b), Response{Tokens: tokens(19, 21, 40), Reported: reported}},
		{"the last event counts", chat, in(b) + in(a), Response{Tokens: tokens(19, 13, 32), Reported: reported}},
		{"for want of the standard place", chat, in(a) + usageEvent + in(b), Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported}},
		{"and of the vendor's", chat, `data: {"x_groq":{"usage":` + b + "}}\n\n" + in(a), Response{Tokens: tokens(19, 21, 40), Reported: reported}},
		{"null", chat, textEvent + in("null"), Response{Model: "m", Outputs: 1}},
		{"a list", chat, in("[" + a + "]"), Response{}},
	})
}

func TestCountsAsTexts(t *testing.T) {
	const reported = true
	checkResponses(t, false, []responseTest{
		{"in quotes", chat, `{"usage":{"prompt_tokens":"12","completion_tokens":"2","total_tokens":"14"}}`, Response{Tokens: tokens(12, 2, 14), Reported: reported}},
		{"with a point", chat, `{"usage":{"prompt_tokens":12.0,"completion_tokens":"2.0"}}`, Response{Tokens: tokens(12, 2, Absent), Reported: reported}},
		{"null", chat, `{"usage":{"prompt_tokens":12,"completion_tokens":null,"total_tokens":14}}`, Response{Tokens: tokens(12, Absent, 14), Reported: reported}},
		{"no number", chat, `{"usage":{"prompt_tokens":"many","completion_tokens":"","total_tokens":true}}`, Response{}},
		{"a long text", chat, `{"usage":{"prompt_tokens":"1` + fmt.Sprintf("%030d", 0) + `"}}`, Response{}},
		{"a long text that is little as far as it is kept", chat, `{"usage":{"prompt_tokens":"` + fmt.Sprintf("%024d", 0) + `12"}}`, Response{}},
		{"Anthropic's", messages, `{"usage":{"input_tokens":"12","output_tokens":"2"}}`, Response{Tokens: tokens(12, 2, Absent), Reported: reported}},
		{"Gemini's", gemini, `{"usageMetadata":{"promptTokenCount":"12","candidatesTokenCount":"2","totalTokenCount":"14"}}`, Response{Tokens: tokens(12, 2, 14), Reported: reported}},
		{"Responses'", responses, `{"usage":{"input_tokens":"12","output_tokens":"2"}}`, Response{Tokens: tokens(12, 2, Absent), Reported: reported}},
	})
}

func TestCountsThatNoTokensCanHaveAreNoted(t *testing.T) {
	for count, want := range map[string]bool{
		`-1`: true, `1.5`: true, `1e16`: true, `1e99`: true, `1000000000000001`: true, `"-1"`: true,
		`1e15`: false, `"x"`: false, `null`: false, `12.0`: false, `""`: false, `{}`: false,
	} {
		for dialect, body := range map[*Dialect]string{
			chat: `{"usage":{"prompt_tokens":1,"completion_tokens":%s}}`, messages: `{"usage":{"output_tokens":%s}}`,
			gemini: `{"usageMetadata":{"candidatesTokenCount":%s}}`, responses: `{"usage":{"output_tokens":%s}}`,
		} {
			if got := readResponse(dialect, false, fmt.Appendf(nil, body, count), cuts["by sevens"]); got.Absurd != want || got.Tokens.Completion > 1e15 {
				t.Errorf("%s %s: %+v", dialect.Name, count, got)
			}
		}
	}
}

// The top level of a report leaves out what Anthropic's compaction took.
func TestAnthropicsIterations(t *testing.T) {
	iteration := func(kind string, input, write, read, output int) string {
		return fmt.Sprintf(`{"input_tokens":%d,"cache_creation_input_tokens":%d,"cache_read_input_tokens":%d,"output_tokens":%d,"type":"%s"}`, input, write, read, output, kind)
	}
	compaction, message := iteration("compaction", 180000, 0, 0, 3500), iteration("message", 23000, 10, 5, 1000)
	other := func(kind string) string { return iteration(kind, 2543, 1, 1, 18) }
	first := `{"type":"compaction","input_tokens":180000,"output_tokens":3500}` // the type comes first, and counts are missing
	top := Tokens{Prompt: 23015, Completion: 1000, Total: Absent, Cached: 5, Reasoning: Absent, CacheWrite: 10, Audio: Absent}
	all := Tokens{Prompt: 203015, Completion: 4500, Total: Absent, Cached: 5, Reasoning: Absent, CacheWrite: 10, Audio: Absent}
	for _, test := range []struct {
		name, iterations string
		want             Tokens
	}{
		{"a compaction and a message", "[" + compaction + "," + message + "]", all},
		{"the message first", "[" + message + "," + compaction + "]", all},
		{"the type first", "[" + first + "," + message + "]", all},
		{"an advisor has its own price", "[" + compaction + "," + other("advisor_message") + "," + message + "]", all},
		{"and so has what is not known", "[" + compaction + "," + message + "," + other("new") + "]", all},
		{"without a compaction", "[" + message + "," + other("advisor_message") + "]", top},
		{"another model took over", "[" + compaction + "," + message + "," + other("fallback_message") + "]", top},
		{"none", "[]", top},
		{"null", "null", top},
		{"of another type", `{"type":"compaction","input_tokens":1}`, top},
	} {
		usage := `"usage":{"input_tokens":23000,"cache_creation_input_tokens":10,"cache_read_input_tokens":5,"output_tokens":1000,"iterations":` + test.iterations + `}`
		stream := anthropicStream(`{"type":"message_start","message":{"usage":{"input_tokens":9,"cache_creation_input_tokens":1,"cache_read_input_tokens":1,"output_tokens":1}}}`,
			anHello, `{"type":"message_delta","delta":{},`+usage+`}`, anPing, `{"type":"message_delta","delta":{},`+usage+`}`, anStop)
		for how, lengths := range cuts {
			if got := readResponse(messages, false, []byte("{"+usage+"}"), lengths).Tokens; got != test.want {
				t.Errorf("%s, %s: got %+v, want %+v", test.name, how, got, test.want)
			}
			if got := readResponse(messages, true, []byte(stream), lengths).Tokens; got != test.want {
				t.Errorf("%s in a stream, %s: got %+v, want %+v", test.name, how, got, test.want)
			}
		}
	}
}

// A stream may begin with the list, before the message that its answer is; what comes last is not lost then.
func TestAnthropicsIterationsAtTheBeginning(t *testing.T) {
	stream := anthropicStream(`{"type":"message_start","message":{"usage":{"input_tokens":23,"output_tokens":1,"iterations":[`+
		`{"type":"compaction","input_tokens":180,"output_tokens":35},{"type":"message","input_tokens":23,"output_tokens":1}]}}}`,
		anHello, `{"type":"message_delta","delta":{},"usage":{"output_tokens":1000}}`, anStop)
	for how, lengths := range cuts {
		if got := readResponse(messages, true, []byte(stream), lengths).Tokens; got.Prompt != 203 || got.Completion != 1000 {
			t.Errorf("%s: %+v", how, got)
		}
	}
}

func TestCacheWritesAndAudioAreRead(t *testing.T) {
	for name, test := range map[string]struct {
		dialect           *Dialect
		body              string
		cacheWrite, audio int64
	}{
		"a chat's":         {chat, `{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cache_write_tokens":4,"audio_tokens":2},"completion_tokens_details":{"audio_tokens":3}}}`, 4, 5},
		"beside the usage": {chat, `{"usage":{"prompt_tokens":9,"cache_creation_input_tokens":4}}`, 4, Absent},
		"none":             {chat, `{"usage":{"prompt_tokens":9,"prompt_tokens_details":{"audio_tokens":0}}}`, Absent, 0},
		"Responses'":       {responses, `{"usage":{"input_tokens":9,"input_tokens_details":{"cache_write_tokens":4,"audio_tokens":2}}}`, 4, 2},
		"Anthropic's":      {messages, `{"usage":{"input_tokens":9,"cache_creation_input_tokens":4}}`, 4, Absent},
		"Gemini's": {gemini, `{"usageMetadata":{"promptTokenCount":9,"promptTokensDetails":[{"modality":"TEXT","tokenCount":2},{"tokenCount":7,"modality":"AUDIO"}],` +
			`"candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":3},{"modality":"TEXT","tokenCount":5}]}}`, Absent, 10},
	} {
		for how, lengths := range cuts {
			if got := readResponse(test.dialect, false, []byte(test.body), lengths).Tokens; got.CacheWrite != test.cacheWrite || got.Audio != test.audio {
				t.Errorf("%s, %s: %+v", name, how, got)
			}
		}
	}
}

// Whatever is reported: what is meant is never less than what is said, the total is the sum, and nothing overflows.
func TestWhatIsMeantIsTheSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.OneOf(rapid.Just(int64(Absent)), rapid.Int64Range(0, 1000), rapid.Just(int64(1e15)))
		r := noReport
		r.Prompt, r.Completion, r.Total = count.Draw(t, "prompt"), count.Draw(t, "completion"), count.Draw(t, "total")
		r.Reasoning, r.promptAudio = count.Draw(t, "reasoning"), count.Draw(t, "audio")
		outputs := rapid.Bool().Draw(t, "outputs")
		got := r.meant(outputs)
		if got.Prompt < r.Prompt || got.Completion < r.Completion || got.Total > 1e15 {
			t.Fatalf("%+v became %+v", r, got)
		}
		if got.Prompt != Absent && got.Completion != Absent && got.Total != Absent && got.Total != sum(got.Prompt, got.Completion) {
			t.Fatalf("%+v became %+v", r, got)
		}
		if !outputs && got.Total != Absent && got.Completion != r.Completion {
			t.Fatalf("an output where there is none: %+v became %+v", r, got)
		}
	})
}
