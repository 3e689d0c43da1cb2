package reply

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
)

// TestErrorsInTheirDialects: the SDKs of Anthropic and Google choose their errors by what stands here.
func TestErrorsInTheirDialects(t *testing.T) {
	const anthropicStart, geminiStart = `{"type":"error","error":{"type":"`, `{"error":{"code":`
	for _, test := range []struct {
		name      string
		refusal   refusal
		anthropic string
		gemini    string
	}{
		{"a request that is wrong", refusal{Status: 400, Message: `Say "x".`}, `invalid_request_error","message":"Say \"x\"."}}`, `400,"message":"Say \"x\".","status":"INVALID_ARGUMENT"}}`},
		{"a caller nobody knows", refusal{Status: 401, Message: "Who?"}, `authentication_error","message":"Who?"}}`, `401,"message":"Who?","status":"UNAUTHENTICATED"}}`},
		{"a limit", refusal{Status: 429, Message: "Slow."}, `rate_limit_error","message":"Slow."}}`, `429,"message":"Slow.","status":"RESOURCE_EXHAUSTED"}}`},
		{"an overload", refusal{Status: 503, Message: "Busy."}, `overloaded_error","message":"Busy."}}`, `503,"message":"Busy.","status":"UNAVAILABLE"}}`},
		{"an overload by Anthropic's own status", refusal{Status: 529, Message: "Busy."}, `overloaded_error","message":"Busy."}}`, `529,"message":"Busy.","status":"UNAVAILABLE"}}`},
		{"anything else", refusal{Status: 500, Message: "Oh."}, `api_error","message":"Oh."}}`, `500,"message":"Oh.","status":"INTERNAL"}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.refusal.Reason, test.refusal.Wait = "gate/reason", 2*second
			for format, want := range map[Format]string{Anthropic: anthropicStart + test.anthropic, Gemini: geminiStart + test.gemini} {
				r := New(format, test.refusal)
				if string(r.Body) != want || !json.Valid(r.Body) || r.Status != test.refusal.Status {
					t.Errorf("%s: %d, got\n%s\nwant\n%s", format, r.Status, r.Body, want)
				}
				headers := text(&Reply{Headers: r.Headers})
				if headers != "0\ncontent-type: application/json\nx-spillway-reason: gate/reason\nretry-after: 2\nretry-after-ms: 2000\n" {
					t.Errorf("%s: headers %s", format, headers)
				}
			}
		})
	}
}

func TestProvidersHaveTheirFormats(t *testing.T) {
	for provider, want := range map[string]Format{"openai": OpenAI, "anthropic": Anthropic, "gcp.gemini": Gemini, "": OpenAI, "other": OpenAI} {
		if got := FormatOf(provider); got != want {
			t.Errorf("%q: %s, want %s", provider, got, want)
		}
	}
}

// FuzzNew: whatever a refusal says, its body is JSON in which the message stands as it was.
func FuzzNew(f *testing.F) {
	f.Add("Slow down.", "tokens", "rate_limit_exceeded", 429, int64(1))
	f.Add("\"}\\\x00\x1f\x7f\u2028\xff\xed\xa0\x80", "\"", "\\", 503, int64(math.MaxInt64))
	f.Add(strings.Repeat("\U0001f600", 50), "", "", -1, int64(-1))
	f.Fuzz(func(t *testing.T, message, kind, code string, status int, wait int64) {
		for _, format := range []Format{OpenAI, Anthropic, Gemini, Dynamo, "unknown"} {
			r := New(format, refusal{Status: status, Reason: "gate/reason", Message: message, Kind: kind, Code: code, Wait: wait})
			var body struct {
				Message string
				Error   struct{ Message string }
			}
			if err := json.Unmarshal(r.Body, &body); err != nil {
				t.Fatalf("%s: %v: %q", format, err, r.Body)
			}
			if got, want := body.Message+body.Error.Message, strings.ToValidUTF8(message, "\ufffd"); strings.ReplaceAll(got, "\ufffd", "") != strings.ReplaceAll(want, "\ufffd", "") {
				t.Fatalf("%s: %q, want %q", format, got, want)
			}
		}
	})
}
