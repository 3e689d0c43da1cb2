package usage

import (
	"strings"
	"testing"
)

// tokens is a report of prompt, completion and total alone.
func tokens(prompt, completion, total int64) Tokens {
	return allTokens(prompt, completion, total, Absent, Absent)
}

// allTokens is a report without audio, and without what a cache was written.
func allTokens(prompt, completion, total, cached, reasoning int64) Tokens {
	return Tokens{Prompt: prompt, Completion: completion, Total: total, Cached: cached, Reasoning: reasoning, CacheWrite: Absent, Audio: Absent}
}

type responseTest struct {
	name    string
	dialect *Dialect
	body    string
	want    Response
}

func checkResponses(t *testing.T, stream bool, tests []responseTest) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if !test.want.Reported {
				test.want.Tokens = none
			}
			for how, lengths := range cuts {
				got := readResponse(test.dialect, stream, []byte(test.body), lengths)
				got.Text, got.Final, got.Unknown, got.UnknownText, got.Absurd = 0, false, 0, 0, false // have tests of their own
				got.Tokens.CacheWrite, got.Tokens.Audio, got.Tokens.AudioOutput = Absent, Absent, 0
				if !stream {
					got.Outputs = 0 // means something in streams alone
				}
				if got != test.want {
					t.Errorf("%s: got %+v, want %+v", how, got, test.want)
				}
			}
		})
	}
}

func TestJSONResponses(t *testing.T) {
	const reported = true
	checkResponses(t, false, []responseTest{
		{"usage comes last", chat, `{"model":"m","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":26,"completion_tokens":76,"total_tokens":102}}`,
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported}},
		{"usage comes first", chat, `{"usage":{"total_tokens":102,"completion_tokens":76,"prompt_tokens":26},"choices":[],"model":"m"}`,
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported}},
		{"details", chat, `{"usage":{"prompt_tokens":26,"completion_tokens":76,"total_tokens":102,"prompt_tokens_details":{"cached_tokens":20},"completion_tokens_details":{"reasoning_tokens":70}}}`,
			Response{Tokens: allTokens(26, 76, 102, 20, 70), Reported: reported}},
		{"null details", chat, `{"usage":{"prompt_tokens":26,"completion_tokens":76,"prompt_tokens_details":null}}`,
			Response{Tokens: tokens(26, 76, Absent), Reported: reported}},
		{"cached tokens in a vendor's place", chat, `{"usage":{"prompt_tokens":26,"prompt_cache_hit_tokens":20}}`,
			Response{Tokens: allTokens(26, Absent, Absent, 20, Absent), Reported: reported}},
		{"the standard place counts, if it comes later", chat, `{"usage":{"prompt_tokens":26,"cached_tokens":1,"reasoning_tokens":2,"prompt_tokens_details":{"cached_tokens":20},"completion_tokens_details":{"reasoning_tokens":7}}}`,
			Response{Tokens: allTokens(26, Absent, Absent, 20, 7), Reported: reported}},
		{"the standard place counts, if it comes earlier", chat, `{"usage":{"prompt_tokens":26,"prompt_tokens_details":{"cached_tokens":20},"completion_tokens_details":{"reasoning_tokens":7},"num_cached_tokens":1,"reasoning_tokens":2}}`,
			Response{Tokens: allTokens(26, Absent, Absent, 20, 7), Reported: reported}},
		{"the report in a vendor's place", chat, `{"x_groq":{"usage":{"prompt_tokens":26,"completion_tokens":76,"total_tokens":102}},"usage":null}`,
			Response{Tokens: tokens(26, 76, 102), Reported: reported}},
		{"which does not count against the standard one", chat, `{"usage":{"prompt_tokens":26},"x_groq":{"usage":{"prompt_tokens":1,"completion_tokens":2}}}`,
			Response{Tokens: tokens(26, Absent, Absent), Reported: reported}},
		{"an embedding has no output", embeddings, `{"data":[{"embedding":[0.1,-2e-3]}],"model":"m","usage":{"prompt_tokens":8,"total_tokens":8}}`,
			Response{Model: "m", Tokens: tokens(8, 0, 8), Reported: reported}},
		{"no usage", chat, `{"model":"m","choices":[{"message":{"content":"hi"}}]}`, Response{Model: "m"}},
		{"null usage", chat, `{"usage":null}`, Response{}},
		{"usage that says nothing", chat, `{"usage":{}}`, Response{}},
		{"an embedding's usage that says nothing", embeddings, `{"usage":{"queue_time":1}}`, Response{}},
		{"usage of another type", chat, `{"usage":[{"prompt_tokens":1}]}`, Response{}},
		{"usage deeper down", chat, `{"choices":[{"meta":{"usage":{"prompt_tokens":1}}}],"meta":{"usage":{"prompt_tokens":1}}}`, Response{}},
		{"impossible counts are absent", chat, `{"usage":{"prompt_tokens":-1,"completion_tokens":1.5,"total_tokens":9}}`,
			Response{Tokens: tokens(Absent, Absent, 9), Reported: reported}},
		{"of two reports the last counts whole", chat, `{"usage":{"prompt_tokens":1,"completion_tokens":2},"usage":{"total_tokens":9}}`,
			Response{Tokens: tokens(Absent, Absent, 9), Reported: reported}},
		{"of two models the first counts", chat, `{"model":"","model":"a","model":"b"}`, Response{Model: "a"}},
		{"an error", chat, `{"error":{"message":"no","usage":{"prompt_tokens":1}}}`, Response{Failure: 500}},
		{"not JSON", chat, `<html>"usage":{"prompt_tokens":1}</html>`, Response{}},
		{"nothing", chat, ``, Response{}},
	})
}

// A client may leave in the middle of a number: 7 may have become 76.
func TestANumberThatIsCutOffIsNotBelieved(t *testing.T) {
	checkResponses(t, false, []responseTest{
		{"in its middle", chat, `{"usage":{"prompt_tokens":26,"completion_tokens":7`, Response{Tokens: tokens(26, Absent, Absent), Reported: true}},
		{"behind it", chat, `{"usage":{"prompt_tokens":26,"completion_tokens":76,`, Response{Tokens: tokens(26, 76, Absent), Reported: true}},
	})
}

const (
	openingEvent = `data: {"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""}}],"usage":null}` + "\n\n"
	textEvent    = `data: {"model":"m","choices":[{"index":0,"delta":{"content":"hi"}}],"usage":null}` + "\n\n"
	usageEvent   = `data: {"model":"m","choices":[],"usage":{"prompt_tokens":26,"completion_tokens":76,"total_tokens":102}}` + "\n\n"
	doneEvent    = "data: [DONE]\n\n"
)

func TestStreams(t *testing.T) {
	const reported = true
	running := func(n string) string {
		return `data: {"model":"m","choices":[{"delta":{"content":"hi"}}],"usage":{"prompt_tokens":26,"completion_tokens":` + n + `}}` + "\n\n"
	}
	delta := func(inner string) string { return `data: {"choices":[{"delta":` + inner + `}]}` + "\n\n" }
	checkResponses(t, true, []responseTest{
		{"usage in a last event without choices", chat, openingEvent + textEvent + textEvent + usageEvent + doneEvent,
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported, Outputs: 2}},
		{"usage in every event", chat, running("1") + running("2") + running("3") + doneEvent,
			Response{Model: "m", Tokens: tokens(26, 3, Absent), Reported: reported, Outputs: 3}},
		{"usage that is not last", chat, usageEvent + textEvent + doneEvent,
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported, Outputs: 1}},
		{"usage that is taken back by null, is not", chat, usageEvent + textEvent,
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported, Outputs: 1}},
		{"no usage", chat, openingEvent + textEvent + textEvent + doneEvent, Response{Model: "m", Outputs: 2}},
		{"no [DONE]", chat, textEvent + usageEvent, Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported, Outputs: 1}},
		{"no last empty line", chat, textEvent + strings.TrimRight(usageEvent, "\n"),
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported, Outputs: 1}},
		{"line ends of CRLF", chat, strings.ReplaceAll(textEvent+usageEvent+doneEvent, "\n", "\r\n"),
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported, Outputs: 1}},
		{"line ends of CR", chat, strings.ReplaceAll(textEvent+usageEvent+doneEvent, "\n", "\r"),
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported, Outputs: 1}},
		{"comments and named events", chat, ": ping\n\nevent: chunk\n" + textEvent + ": ping\n\n" + usageEvent,
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported, Outputs: 1}},
		{"an event of several lines", chat, "data: {\"choices\":[],\ndata: \"usage\":{\"completion_tokens\":\ndata: 76}}\n\n",
			Response{Tokens: tokens(Absent, 76, Absent), Reported: reported}},
		{"an event that is cut off", chat, textEvent + usageEvent[:len(usageEvent)-8], Response{Model: "m", Outputs: 1}},
		{"an event that is broken does not harm the next", chat, "data: {\"choices\":[}\n\n" + textEvent + usageEvent,
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported, Outputs: 1}},
		{"usage in a vendor's place", chat, textEvent + `data: {"x_groq":{"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}}` + "\n\n",
			Response{Model: "m", Tokens: tokens(1, 2, 3), Reported: reported, Outputs: 1}},
		{"which yields to an earlier one in the standard place", chat, usageEvent + `data: {"x_groq":{"usage":{"prompt_tokens":1}}}` + "\n\n",
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported}},
		{"and to a later one", chat, `data: {"x_groq":{"usage":{"prompt_tokens":1}}}` + "\n\n" + usageEvent,
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported}},
		{"the first model that is not empty counts", chat, `data: {"model":""}` + "\n\n" + textEvent + `data: {"model":"z"}` + "\n\n",
			Response{Model: "m", Outputs: 1}},
		{"reasoning is output", chat, delta(`{"reasoning_content":"hm"}`) + delta(`{"reasoning":"hm"}`) + delta(`{"content":null,"reasoning":""}`), Response{Outputs: 2}},
		{"tool calls are output", chat, delta(`{"tool_calls":[{"function":{"name":"f","arguments":""}}]}`) + delta(`{"tool_calls":[{"function":{"arguments":"{\"a\""}}]}`),
			Response{Outputs: 1}},
		{"a refusal is output", chat, delta(`{"refusal":"no"}`), Response{Outputs: 1}},
		{"each choice is output", chat, `data: {"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}` + "\n\n", Response{Outputs: 2}},
		{"completions", completions, `data: {"model":"m","choices":[{"text":"a"}]}` + "\n\n" + `data: {"choices":[{"text":""}]}` + "\n\n" + usageEvent + doneEvent,
			Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: reported, Outputs: 1}},
		{"nothing", chat, "", Response{}},
	})
}

// What is known of a stream is known while it runs.
func TestAStreamIsCountedWhileItRuns(t *testing.T) {
	var r ResponseReader
	r.Reset(chat, true)
	for i := range int64(3) {
		if got := r.Response().Outputs; got != i {
			t.Errorf("after %d events: %d", i, got)
		}
		r.Write([]byte(textEvent))
	}
	if !r.Wanting() {
		t.Error("a stream can always tell more")
	}
}

func TestAResponseThatIsNotJSONIsNotWantedAnyMore(t *testing.T) {
	var r ResponseReader
	r.Reset(chat, false)
	if r.Write([]byte(`{"model":`)); !r.Wanting() {
		t.Error("not wanting at the start")
	}
	if r.Write([]byte(`<html>`)); r.Wanting() {
		t.Error("still wanting")
	}
}

func TestAResponseReaderCanBeUsedAgain(t *testing.T) {
	var r ResponseReader
	r.Reset(chat, true)
	r.Write([]byte(textEvent + usageEvent + `data: {"mod`))
	r.Reset(chat, false)
	r.Write([]byte(`{"x_groq":{"usage":{"completion_tokens":1}}}`))
	r.Close()
	if got, want := r.Response(), (Response{Tokens: tokens(Absent, 1, Absent), Reported: true}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
