package usage

import (
	"strings"
	"testing"
)

// Whatever its content type says, a body is read for what it is.
func TestABodyIsReadForWhatItIs(t *testing.T) {
	const document = `{"model":"m","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":26,"completion_tokens":76,"total_tokens":102}}`
	const line = `{"model":"m","choices":[{"index":0,"delta":{"content":"hi"}}]}` + "\n"
	lastLine := strings.TrimSpace(strings.TrimPrefix(usageEvent, "data: "))
	stream := openingEvent + textEvent + textEvent + usageEvent + doneEvent
	whole := Response{Model: "m", Tokens: tokens(26, 76, 102), Reported: true, Outputs: 1}
	two := whole
	two.Outputs = 2
	for _, test := range []struct {
		name    string
		body    string
		want    Response
		streams bool
	}{
		{"events", stream, two, true},
		{"events with CRLF", strings.ReplaceAll(stream, "\n", "\r\n"), two, true},
		{"events with CR", strings.ReplaceAll(stream, "\n", "\r"), two, true},
		{"events behind a byte order mark", "\ufeff" + stream, two, true},
		{"events behind empty lines", "\n\r\n\n" + stream, two, true},
		{"events behind a comment", ": OPENROUTER PROCESSING\n\n" + stream, two, true},
		{"events with names", "event: x\n" + stream, two, true},
		{"events with ids", "id: 1\n" + stream, two, true},
		{"events with a time to retry", "retry: 9\n" + stream, two, true},
		{"events without a space", strings.ReplaceAll(stream, "data: ", "data:"), two, true},
		{"a document", document, whole, false},
		{"a document behind blanks", "\r\n \t" + document + "\n", whole, false},
		{"a document behind a byte order mark", "\ufeff" + document, whole, false},
		{"a document that is laid out", strings.ReplaceAll(document, ",", ",\n  "), whole, false},
		{"lines", line + line + lastLine + "\n", two, true},
		{"lines without a last end", line + "\r\n" + line + lastLine, two, true},
		{"documents in a row", strings.TrimSpace(line) + strings.TrimSpace(line) + lastLine, two, true},
		{"lines of which the last is cut off", line + line + lastLine + "\n" + line[:len(line)-3], two, true},
		{"nothing", "", Response{Tokens: none}, false},
		{"a page", "<html>data: {}", Response{Tokens: none}, false},
		{"what begins like a field", "database: no\n\n" + textEvent, Response{Tokens: none}, false},
		{"gzip", "\x1f\x8b\x08\x00\x00data: {}", Response{Tokens: none}, false},
	} {
		for how, lengths := range cuts {
			for _, typed := range []bool{false, true} {
				var r ResponseReader
				r.Reset(chat, typed)
				pieces([]byte(test.body), lengths, r.Write)
				streams := r.Streams(typed)
				r.Close()
				got := r.Response()
				got.Text, got.Unknown = 0, 0
				if typed && !strings.ContainsAny(test.body, "{") || test.want.Tokens == none {
					streams, got.Outputs, got.Model = test.streams, 0, ""
				}
				if got != test.want || streams != test.streams {
					t.Errorf("%s, typed %v, %s: got %+v, streams %v, want %+v, %v", test.name, typed, how, got, streams, test.want, test.streams)
				}
			}
		}
	}
}

func TestWhatCanNotBeReadIsKnown(t *testing.T) {
	gzip := "\x1f\x8b\x08\x00" + strings.Repeat("\x00zip", 2000)
	for _, test := range []struct {
		name    string
		dialect *Dialect
		typed   bool
		body    string
		want    bool
	}{
		{"a page", chat, false, "<html>", true},
		{"gzip that is not said", chat, false, gzip, true},
		{"gzip that is said to be events", chat, true, gzip, true},
		{"a document", chat, false, `{"choices":[]}`, false},
		{"a stream", chat, true, textEvent, false},
		{"nothing", chat, false, "", false},
		{"a comment", chat, true, ": wait\n\n", false},
		{"a transcript", audio, false, "Hello\n", false},
	} {
		for how, lengths := range cuts {
			var r ResponseReader
			r.Reset(test.dialect, test.typed)
			pieces([]byte(test.body), lengths, r.Write)
			if r.Close(); r.Unread() != test.want {
				t.Errorf("%s, %s: %v", test.name, how, r.Unread())
			}
		}
	}
}

// An event of usage alone is hidden whatever the content type is, and nothing of a body that is no stream.
func TestHidingGoesByTheFirstBytes(t *testing.T) {
	const document = "\n" + `{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}` + "\n"
	for _, test := range []struct{ name, body, want string }{
		{"events", "\r\n" + textEvent + usageEvent + doneEvent, "\r\n" + textEvent + doneEvent},
		{"the first event", usageEvent + doneEvent, doneEvent},
		{"a document", document, document},
		{"a page", "<html>", "<html>"},
		{"the beginning of a field", "dat", "dat"},
		{"blanks", "\n\n ", "\n\n "},
	} {
		for how, lengths := range cuts {
			for _, typed := range []bool{false, true} {
				if typed && test.name == "the beginning of a field" {
					continue
				}
				var r ResponseReader
				var got []byte
				r.Reset(chat, typed)
				pieces([]byte(test.body), lengths, func(p []byte) {
					out, _ := r.Hide(p, false)
					got = append(got, out...)
				})
				rest, _ := r.Hide(nil, true)
				if got = append(got, rest...); string(got) != test.want {
					t.Errorf("%s, typed %v, %s: %q, want %q", test.name, typed, how, got, test.want)
				}
				if r.Close(); strings.Contains(test.body, "usage") && !r.Response().Reported {
					t.Errorf("%s, typed %v, %s: the usage was not read", test.name, typed, how)
				}
			}
		}
	}
}
