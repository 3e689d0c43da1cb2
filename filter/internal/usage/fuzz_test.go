package usage

import (
	"encoding/binary"
	"testing"
)

// However a body is cut into pieces, it says the same.

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"model":"a","max_tokens":100,"max_completion_tokens":5,"n":2,"stream":true,"messages":[{"content":"\u00e9\ud83d\ude00"}]}`), uint8(0), uint8(3))
	f.Add([]byte("\ufeff{\"stream\":false,\"n\":1e3,\"model\":null}"), uint8(1), uint8(1))
	f.Add([]byte(`{"max_tokens":12`), uint8(2), uint8(5))
	f.Fuzz(func(t *testing.T, body []byte, which, step uint8) {
		dialect := dialects[int(which)%len(dialects)]
		want := readRequest(dialect, body, cuts["whole"])
		if want.OutputBound < 0 || len(want.Model) > maxModel || want.Bytes != int64(len(body)) {
			t.Fatalf("%+v", want)
		}
		for _, lengths := range [][]int{{1}, {int(step) + 1}, {int(step), 1}} {
			if got := readRequest(dialect, body, lengths); got != want {
				t.Fatalf("in pieces of %v: %+v, whole: %+v", lengths, got, want)
			}
		}
	})
}

// FuzzForm is FuzzRequest for bodies that are packed: compressed, or the fields of a form.
func FuzzForm(f *testing.F) {
	f.Add(packed(newRandom(), []byte(`{"model":"a","max_tokens":5}`)).body, "gzip", "", uint8(3))
	f.Add(fieldsOf("file", "sound", "model", "a"), "", "multipart/form-data; boundary=x-y", uint8(1))
	f.Add(inUTF16(binary.BigEndian, true, []byte(`{"model":"a"}`)), "deflate,gzip", "a/b; charset=utf-16", uint8(2))
	f.Fuzz(func(t *testing.T, body []byte, encoding, contentType string, step uint8) {
		form := NewForm(encoding, contentType)
		for _, dialect := range []*Dialect{chat, audio} {
			want := readForm("", dialect, form, body, cuts["whole"])
			if want.Prompt.Text < 0 || want.Prompt.Media < 0 || want.Unread == "" && want.Model == "" {
				t.Fatalf("%+v", want)
			}
			for _, lengths := range [][]int{{1}, {int(step) + 1}, {int(step), 1}} {
				if got := readForm("", dialect, form, body, lengths); got != want {
					t.Fatalf("in pieces of %v: %+v, whole: %+v", lengths, got, want)
				}
			}
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte(openingEvent+textEvent+usageEvent+doneEvent), uint8(0), true, uint8(3))
	f.Add([]byte("event: x\r\ndata: {\"choices\":[{\"text\":\"a\"}],\"x_groq\":{\"usage\":{\"prompt_tokens\":1}}}\r\n\r\n: c\r\r"), uint8(1), true, uint8(7))
	f.Add([]byte(`{"model":"m","usage":{"prompt_tokens":8,"cached_tokens":2,"prompt_tokens_details":{"cached_tokens":1}},"usage":{}}`), uint8(2), false, uint8(1))
	f.Add([]byte(`{"usage":{"completion_tokens":7`), uint8(0), false, uint8(2))
	f.Fuzz(func(t *testing.T, body []byte, which uint8, stream bool, step uint8) {
		dialect := dialects[int(which)%len(dialects)]
		want := readResponse(dialect, stream, body, cuts["whole"])
		for _, n := range []int64{want.Tokens.Prompt, want.Tokens.Completion, want.Tokens.Total, want.Tokens.Cached, want.Tokens.Reasoning, want.Tokens.CacheWrite, want.Tokens.Audio} {
			if n < Absent || n > 1e15 {
				t.Fatalf("%+v", want)
			}
		}
		if !want.Reported && want.Tokens != none {
			t.Fatalf("counts without a report: %+v", want)
		}
		for _, lengths := range [][]int{{1}, {int(step) + 1}, {int(step), 1}} {
			if got := readResponse(dialect, stream, body, lengths); got != want {
				t.Fatalf("in pieces of %v: %+v, whole: %+v", lengths, got, want)
			}
		}
	})
}
