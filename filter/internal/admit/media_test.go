package admit

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// formStart is the start of a form with a file. Its whole is 40 KiB.
const formStart = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\nContent-Type: audio/mpeg\r\n\r\nID3\x04"

const uploadSize = 40 << 10

// totals limits tokens of both kinds, strictly: nothing may pass that is estimated at more than there is.
const totals = `"limits":[{"name":"u","per":["user"],"unit":"totalTokens","quantity":10000,"window":"8760h","admission":"strict"}]`

// startUpload begins an upload, whose client may say how large it is.
func (h *host) startUpload(path, length string) *exchange {
	headers := [][2]string{
		{":method", "POST"}, {":path", path}, {"x-user-id", "alice"}, {"content-type", "multipart/form-data; boundary=x"},
	}
	if length != "" {
		headers = append(headers, [2]string{"content-length", length})
	}
	return h.startWith(headers, false)
}

// An upload is let go at its first bytes, for a kilobyte of sound weighs about as much as a token.
func TestUploadsAreNotHeld(t *testing.T) {
	for _, test := range []struct {
		name, contentType, answer string
		prompt, completion        int64
		source                    string
	}{
		{"tokens", "application/json", `{"text":"Hello","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}`, 14, 45, "reported"},
		{"seconds", "application/json", `{"text":"Hello","usage":{"type":"duration","seconds":9}}`, 40, 256, "estimated"},
		{"text", "text/plain", "Hello\n", 40, 256, "estimated"},
		{"events", sseType, `data: {"type":"transcript.text.delta","delta":"Hello"}` + "\n\n" +
			`data: {"type":"transcript.text.done","text":"Hello","usage":{"type":"tokens","input_tokens":14,"output_tokens":45,"total_tokens":59}}` + "\n\n", 14, 45, "reported"},
	} {
		for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
			for _, length := range []string{"", "40960"} {
				t.Run(test.name+" "+hold+" "+length, func(t *testing.T) {
					h := newHost(t, `{"requestHold":"`+hold+`",`+totals+`}`, recordtest.NewMemory())
					x := h.startUpload("/v1/audio/transcriptions", length)
					step := x.body(formStart, false)
					expect(t, "passed at its first piece", step.Action, Continue)
					expect(t, "decided", x.Decided(), true)
					expect(t, "read", x.wants(), false)
					expect(t, "the rest", x.body(strings.Repeat("\xff", uploadSize-len(formStart)), true).Action, Continue)
					x.status("200", test.contentType, false)
					x.response(test.answer, true)
					x.done()
					expect(t, "balance", h.balance("alice"), 10000-test.prompt-test.completion)
					expect(t, "gen_ai.usage.source", x.properties["gen_ai.usage.source"], test.source)
					expect(t, "gen_ai.operation.name", x.properties["gen_ai.operation.name"], "audio")
					h.idle()
				})
			}
		}
	}
}

// What is not JSON costs its first bytes to look at, and the estimate.
func TestSoundPassesUnread(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration",`+completionLimit+`}`, recordtest.NewMemory())
	x := h.request("/v1/audio/speech", `{"model":"gpt-4o-mini-tts","input":"Hello","voice":"alloy"}`)
	x.status("200", "audio/mpeg", false)
	expect(t, "read at first", x.readingResponse(), true)
	x.response("ID3\x04\x00", false)
	expect(t, "read after its first bytes", x.readingResponse(), false)
	x.response("\xff\xfb\x90\x00", true)
	x.done()
	expect(t, "gen_ai.request.model", x.properties["gen_ai.request.model"], "gpt-4o-mini-tts")
	expect(t, "gen_ai.usage.source", x.properties["gen_ai.usage.source"], "estimated")
	expect(t, "balance", h.balance("alice"), 10000-256)
	h.idle()
}

// A stream of sound that is left is charged by what a whole one took.
func TestASpeechThatIsLeft(t *testing.T) {
	piece := `data: {"type":"speech.audio.delta","audio":"` + strings.Repeat("QUJD", 1600) + `"}` + "\n\n"
	h := newHost(t, `{"requestHold":"stopIteration",`+completionLimit+`}`, recordtest.NewMemory())
	begin := func() *exchange {
		x := h.request("/v1/audio/speech", `{"model":"gpt-4o-mini-tts","input":"Hello","stream_format":"sse"}`)
		x.status("200", sseType, false)
		x.response(strings.Repeat(piece, 10), false)
		return x
	}
	x := begin()
	x.response(`data: {"type":"speech.audio.done","usage":{"input_tokens":15,"output_tokens":200,"total_tokens":215}}`+"\n\n", true)
	x.done()
	expect(t, "after the whole one", h.balance("alice"), 9800)
	begin().done()
	expect(t, "after another that was left", h.balance("alice"), 9600)
	h.request("/v1/audio/speech", `{"stream_format":"sse","model":"gpt-4o-mini-tts"}`).done()
	expect(t, "after one that was left before its answer", h.balance("alice"), 9600)
	h.idle()
}
