package usage

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

func TestAskingForUsageChangesNothingElse(t *testing.T) {
	const asked = `{"stream_options":{"include_usage":true},`
	tests := []struct {
		name    string
		dialect *Dialect
		body    string
		want    string // "" is the body itself
	}{
		{"a stream", chat, `{"model":"a","stream":true}`, asked + `"model":"a","stream":true}`},
		{"of completions too", completions, `{"stream":true}`, asked + `"stream":true}`},
		{"behind blanks", chat, " \r\n{ \"stream\" : true }\n", " \r\n" + asked + " \"stream\" : true }\n"},
		{"behind a byte order mark", chat, "\ufeff{\"stream\":true}", "\ufeff" + asked + `"stream":true}`},
		{"the client said no", chat, `{"stream":true,"stream_options":{"include_usage": false}}`,
			`{"stream":true,"stream_options":{"include_usage": true}}`},
		{"or null", chat, `{"stream_options":{"include_usage":null,"a":1},"stream":true}`,
			`{"stream_options":{"include_usage":true,"a":1},"stream":true}`},
		{"or gave no options", chat, `{"stream_options": null ,"stream":true}`, `{"stream_options": {"include_usage":true} ,"stream":true}`},
		{"or empty ones", chat, `{"stream_options":{ },"stream":true}`, `{"stream_options":{"include_usage":true },"stream":true}`},
		{"or others", chat, `{"stream_options":{ "continuous_usage_stats":true},"stream":true}`,
			`{"stream_options":{"include_usage":true, "continuous_usage_stats":true},"stream":true}`},
		{"of repeated options the last count", chat, `{"stream_options":{"include_usage":true},"stream":true,"stream_options":{}}`,
			`{"stream_options":{"include_usage":true},"stream":true,"stream_options":{"include_usage":true}}`},
		{"and of repeated answers", chat, `{"stream_options":{"include_usage":true,"include_usage":false},"stream":true}`,
			`{"stream_options":{"include_usage":true,"include_usage":true},"stream":true}`},
		{"an escaped name", chat, `{"stream":true,"stream\u005foptions":{"include_usag\u0065":false}}`,
			`{"stream":true,"stream\u005foptions":{"include_usag\u0065":true}}`},
		{"deeper ones don't count", chat, `{"stream":true,"metadata":{"stream_options":{"include_usage":true}}}`,
			asked + `"stream":true,"metadata":{"stream_options":{"include_usage":true}}}`},
		{"the client asked", chat, `{"stream":true,"stream_options":{"include_usage":true}}`, ""},
		{"the last answer is yes", chat, `{"stream":true,"stream_options":{"include_usage":false,"include_usage":true}}`, ""},
		{"no stream", chat, `{"model":"a","stream":false,"stream_options":{"include_usage":false}}`, ""},
		{"no stream after all", chat, `{"stream":true,"stream":false}`, ""},
		{"options that the server refuses", chat, `{"stream":true,"stream_options":"yes"}`, ""},
		{"an answer that the server refuses", chat, `{"stream":true,"stream_options":{"include_usage":[false]}}`, ""},
		{"not JSON", chat, `{"stream":true,"stream_options":{}`, ""},
		{"a list", chat, `[{"stream":true}]`, ""},
		{"embeddings have no streams", embeddings, `{"stream":true}`, ""},
		{"Responses always report", responses, `{"stream":true}`, ""},
		{"so do Messages", messages, `{"stream":true}`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.want == "" {
				test.want = test.body
			}
			for how, lengths := range cuts {
				if got := string(askedFor(test.dialect, []byte(test.body), lengths)); got != test.want {
					t.Errorf("%s:\n%s, want\n%s", how, got, test.want)
				}
			}
		})
	}
}

// askedFor gives the body as the server gets it.
func askedFor(dialect *Dialect, body []byte, lengths []int) []byte {
	var r RequestReader
	r.Reset(dialect, Request{}, Form{}, 1<<20)
	pieces(body, lengths, r.Write)
	r.Close()
	if edit := r.Ask(); !edit.None() {
		return edit.Apply(nil, body)
	}
	return body
}

func TestAnEditOfAnotherBodyChangesNothing(t *testing.T) {
	for _, edit := range []Edit{{Text: "x"}, {At: 9, Text: "x"}, {At: 1, Drop: 9, Text: "x"}} {
		if got := string(edit.Apply(nil, []byte("abc"))); got != "abc" {
			t.Errorf("%+v: %s", edit, got)
		}
	}
}

const (
	usageAlone  = `data: {"model":"m","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`
	openingPart = `data: {"model":"m","choices":[{"delta":{"role":"assistant"}}],"usage":null}`
	textPart    = `data: {"model":"m","choices":[{"delta":{"content":"hi"}}],"usage":null}`
	donePart    = `data: [DONE]`
)

func TestHidingTakesOutTheEventOfUsageAlone(t *testing.T) {
	const (
		filters = `data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}`
		failure = `data: {"error":{"message":"x"},"usage":{"prompt_tokens":3}}`
		both    = `data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`
		choices = `data: {"usage":{"prompt_tokens":3,"completion_tokens":2},"choices":[{"delta":{}}]}`
	)
	split := strings.Replace(usageAlone, `,"choices"`, "\ndata: ,\"choices\"", 1)
	tests := []struct{ name, in, want string }{
		{"as OpenAI sends it", openingPart + "\n\n" + textPart + "\n\n" + usageAlone + "\n\n" + donePart + "\n\n",
			openingPart + "\n\n" + textPart + "\n\n" + donePart + "\n\n"},
		{"with CRLF", textPart + "\r\n\r\n" + usageAlone + "\r\n\r\n" + donePart + "\r\n\r\n", textPart + "\r\n\r\n" + donePart + "\r\n\r\n"},
		{"with CR", textPart + "\r\r" + usageAlone + "\r\r" + donePart + "\r\r", textPart + "\r\r" + donePart + "\r\r"},
		{"in mixed lines", textPart + "\r\n\r" + usageAlone + "\n\r\n" + donePart + "\r\r\n", textPart + "\r\n\r" + donePart + "\r\r\n"},
		{"last, and cut off", textPart + "\n\n" + usageAlone, textPart + "\n\n"},
		{"cut off behind its line", textPart + "\n\n" + usageAlone + "\n", textPart + "\n\n"},
		{"named", "event: message\n" + textPart + "\n\nevent: message\n" + usageAlone + "\n\n", "event: message\n" + textPart + "\n\n"},
		{"in several lines", split + "\n\n" + donePart + "\n\n", donePart + "\n\n"},
		{"comments before it stay", ": ping\n" + usageAlone + "\n\n: pong\n\n" + donePart + "\n\n", ": ping\n: pong\n\n" + donePart + "\n\n"},
		{"behind a byte order mark", "\ufeff" + usageAlone + "\n\n" + donePart + "\n\n", "\ufeff" + donePart + "\n\n"},
		{"twice", usageAlone + "\n\n" + usageAlone + "\n\n", ""},
		{"usage beside choices stays", both + "\n\n" + choices + "\n\n", both + "\n\n" + choices + "\n\n"},
		{"no choices and no usage stay", filters + "\n\n" + textPart + "\n\n", filters + "\n\n" + textPart + "\n\n"},
		{"an error stays", failure + "\n\n", failure + "\n\n"},
		{"what isn't JSON stays", usageAlone + "x\n\n" + usageAlone[:50] + "\n\n", usageAlone + "x\n\n" + usageAlone[:50] + "\n\n"},
		{"a cut off event stays", textPart + "\n\n" + textPart[:20], textPart + "\n\n" + textPart[:20]},
		{"a lone comment stays", ": a\r\n\r\n:\n\n\n\n", ": a\r\n\r\n:\n\n\n\n"},
		{"an event too long to wait for", "data: " + strings.Repeat(" ", mostHeld) + usageAlone[6:] + "\n\n" + donePart + "\n\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for how, lengths := range cuts {
				want := test.want
				if len(test.in) > mostHeld && how != "whole" {
					want = test.in // too much has passed when it turns out
				} else if len(test.in) > mostHeld {
					want = donePart + "\n\n"
				}
				if got := string(hide([]byte(test.in), lengths)); got != want {
					t.Errorf("%s:\n%q, want\n%q", how, got, want)
				}
			}
		})
	}
}

// hide gives a stream as the client gets it.
func hide(in []byte, lengths []int) (out []byte) {
	var r ResponseReader
	r.Reset(chat, true)
	pieces(in, lengths, func(p []byte) {
		piece, _ := r.Hide(p, false)
		out = append(out, piece...)
	})
	rest, _ := r.Hide(nil, true)
	return append(out, rest...)
}

func TestHidingKeepsNothingBackThatIsDecided(t *testing.T) {
	var r ResponseReader
	r.Reset(chat, true)
	for _, step := range []struct{ in, want string }{
		{": ping\n", ": ping\n"},
		{textPart + "\n\n", textPart + "\n\n"},
		{textPart + "\n\n" + textPart[:12], textPart + "\n\n"},
		{textPart[12:40], textPart[:40]}, // a choice: it is more than usage
		{textPart[40:], textPart[40:]},
		{"\n\n", "\n\n"},
		{donePart[:9], donePart[:9]}, // no JSON
		{donePart[9:] + "\n\n", donePart[9:] + "\n\n"},
	} {
		if got, _ := r.Hide([]byte(step.in), false); string(got) != step.want {
			t.Fatalf("of %q passes %q, want %q", step.in, got, step.want)
		}
	}
}

func TestHidingKeepsLittleOfAnEndlessEvent(t *testing.T) {
	var r ResponseReader
	r.Reset(chat, true)
	chunk := bytes.Repeat([]byte(" "), 8<<10)
	r.Hide([]byte("data: {"), false)
	for range 1000 {
		r.Hide(chunk, false)
	}
	if held := cap(r.hider.held) + cap(r.hider.out); held > 4*mostHeld {
		t.Errorf("holds %d bytes", held)
	}
}

func TestHiddenEventsAreCounted(t *testing.T) {
	var r ResponseReader
	r.Reset(chat, true)
	r.Hide([]byte(textPart+"\n\n"+usageAlone+"\n\n"), true)
	if got := r.Response(); !got.Reported || got.Tokens.Completion != 2 || got.Outputs != 1 {
		t.Errorf("%+v", got)
	}
}

func FuzzAsk(f *testing.F) {
	for _, body := range []string{
		`{"stream":true}`, `{"stream":true,"stream_options":null}`, "\ufeff {\"stream\":true,\"stream_options\":{\"include_usage\":false}}",
		`{"stream_options":{ },"stream":true}`, `{"stream_options":{"a":[{}]},"stream":true,"stream_options":{"include_usage":null}}`,
	} {
		f.Add([]byte(body), uint8(2))
	}
	f.Fuzz(func(t *testing.T, body []byte, step uint8) {
		asked := askedFor(chat, body, cuts["whole"])
		if got := askedFor(chat, body, []int{int(step) + 1, 1}); !bytes.Equal(got, asked) {
			t.Fatalf("it depends on the split: %s, %s", asked, got)
		}
		if bytes.Equal(asked, body) {
			return
		}
		var request struct {
			Stream        bool `json:"stream"`
			StreamOptions struct {
				IncludeUsage bool `json:"include_usage"`
			} `json:"stream_options"`
		}
		// encoding/json takes names in any case, and merges repeated objects: the odd body can make it differ.
		err := json.Unmarshal(bytes.TrimPrefix(asked, []byte("\ufeff")), &request)
		if !json.Valid(bytes.TrimPrefix(asked, []byte("\ufeff"))) {
			t.Fatalf("%s became %s: %v", body, asked, err)
		}
		if again := askedFor(chat, asked, cuts["whole"]); !bytes.Equal(again, asked) {
			t.Fatalf("%s is asked once more: %s", asked, again)
		}
		if folded := bytes.ToLower(body); err == nil && bytes.Equal(folded, body) && (!request.Stream || !request.StreamOptions.IncludeUsage) {
			t.Fatalf("%s does not ask for usage", asked)
		}
	})
}

func FuzzHide(f *testing.F) {
	f.Add([]byte(openingPart+"\n\n"+textPart+"\r\n\r\n"+usageAlone+"\n\n"+donePart+"\n\n"), uint8(3))
	f.Add([]byte(": c\r"+usageAlone+"\r\r\n"+usageAlone+"\n"), uint8(1))
	f.Add([]byte("\ufeff"+usageAlone+"\n\r"+failed), uint8(7))
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		out := hide(in, cuts["whole"])
		for _, lengths := range [][]int{{1}, {int(step) + 1}, {int(step), 1}} {
			if got := hide(in, lengths); !bytes.Equal(got, out) && len(in) <= mostHeld {
				t.Fatalf("in pieces of %v: %q, whole: %q", lengths, got, out)
			}
		}
		before, after := readResponse(chat, true, in, cuts["whole"]), readResponse(chat, true, out, cuts["whole"])
		if before.Outputs != after.Outputs || before.Text != after.Text || before.Failure != after.Failure {
			t.Fatalf("%q became %q: more than usage was taken out", in, out)
		}
		if again := hide(out, cuts["whole"]); !bytes.Equal(again, out) {
			t.Fatalf("%q hides more the second time: %q", out, again)
		}
	})
}

const failed = `data: {"error":{"message":"x","code":500}}`
