package usage

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// TestErrorsInTheirDialects: the SDKs of Anthropic and Google choose their errors by what stands here.
func TestErrorsInTheirDialects(t *testing.T) {
	const anthropicStart, geminiStart = `{"type":"error","error":{"type":"`, `{"error":{"code":`
	for _, test := range []struct {
		name      string
		status    int
		message   string
		anthropic string
		gemini    string
	}{
		{"a request that is wrong", 400, `Say "x".`, `invalid_request_error","message":"Say \"x\"."}}`, `400,"message":"Say \"x\".","status":"INVALID_ARGUMENT"}}`},
		{"a caller nobody knows", 401, "Who?", `authentication_error","message":"Who?"}}`, `401,"message":"Who?","status":"UNAUTHENTICATED"}}`},
		{"a limit", 429, "Slow.", `rate_limit_error","message":"Slow."}}`, `429,"message":"Slow.","status":"RESOURCE_EXHAUSTED"}}`},
		{"an overload", 503, "Busy.", `overloaded_error","message":"Busy."}}`, `503,"message":"Busy.","status":"UNAVAILABLE"}}`},
		{"an overload by Anthropic's own status", 529, "Busy.", `overloaded_error","message":"Busy."}}`, `529,"message":"Busy.","status":"UNAVAILABLE"}}`},
		{"anything else", 500, "Oh.", `api_error","message":"Oh."}}`, `500,"message":"Oh.","status":"INTERNAL"}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			for d, want := range map[*Dialect]string{
				messages: anthropicStart + test.anthropic, gemini: geminiStart + test.gemini,
				chat:   `{"error":{"message":` + quoted(test.message) + `,"type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
				ollama: `{"error":` + quoted(test.message) + `}`, ollamaEmbeddings: `{"error":` + quoted(test.message) + `}`,
				Opaque: `{"error":{"message":` + quoted(test.message) + `,"type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
			} {
				if got := d.Errors.Append(nil, test.status, test.message, "requests", "rate_limit_exceeded"); string(got) != want {
					t.Errorf("%s: got\n%s\nwant\n%s", d.Name, got, want)
				}
			}
		})
	}
}

func quoted(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

// FuzzErrors: whatever a refusal says, its body is JSON in which the message stands as it was, in every dialect.
func FuzzErrors(f *testing.F) {
	f.Add("Slow down.", "tokens", "rate_limit_exceeded", 429)
	f.Add("\"}\\\x00\x1f\x7f\u2028\xff\xed\xa0\x80$message$", "\"", "\\", 503)
	f.Add(strings.Repeat("\U0001f600", 50), "", "", -1)
	f.Fuzz(func(t *testing.T, message, kind, code string, status int) {
		formats := []*reply.Format{&reply.Dynamo, Opaque.Errors}
		for _, d := range dialects {
			formats = append(formats, d.Errors)
		}
		want := strings.ReplaceAll(strings.ToValidUTF8(message, "\ufffd"), "\ufffd", "")
		for _, format := range formats {
			b := format.Append([]byte("before "), status, message, kind, code)
			var document any
			if err := json.Unmarshal(b[len("before "):], &document); err != nil {
				t.Fatalf("%s: %v: %q", format.Body, err, b)
			}
			if got := messageIn(document); strings.ReplaceAll(got, "\ufffd", "") != want {
				t.Fatalf("%s: %q, want %q", format.Body, got, want)
			}
		}
	})
}

// messageIn finds an error's message, which is a member of that name, or the error itself.
func messageIn(document any) string {
	object, _ := document.(map[string]any)
	if text, ok := object["message"].(string); ok {
		return text
	}
	if text, ok := object["error"].(string); ok {
		return text
	}
	if inner, ok := object["error"]; ok {
		return messageIn(inner)
	}
	return ""
}
