package reply

import "testing"

// Formats as dialects have them.
var (
	OpenAI    = &Format{Body: `{"error":{"message":$message$,"type":$type$,"param":null,"code":$code$}}`}
	Anthropic = &Format{
		Body:  `{"type":"error","error":{"type":$word$,"message":$message$}}`,
		Words: []Word{{429, "rate_limit_error"}, {503, "overloaded_error"}, {0, "api_error"}},
	}
	Gemini = &Format{
		Body:  `{"error":{"code":$status$,"message":$message$,"status":$word$}}`,
		Words: []Word{{429, "RESOURCE_EXHAUSTED"}, {503, "UNAVAILABLE"}, {0, "INTERNAL"}},
	}
)

func TestAFormatIsFilledIn(t *testing.T) {
	words := []Word{{400, "wrong"}, {0, "other"}}
	for _, test := range []struct {
		format Format
		status int
		want   string
	}{
		{Format{Body: `{"error":$message$}`}, 429, `{"error":"Say \"$type$\"."}`},
		{Format{Body: `$message$`}, 429, `"Say \"$type$\"."`},
		{Format{Body: `{"a":$type$,"b":$code$,"c":$status$}`}, 503, `{"a":"tokens","b":"full","c":503}`},
		{Format{Body: `{"a":$word$}`, Words: words}, 400, `{"a":"wrong"}`},
		{Format{Body: `{"a":$word$}`, Words: words}, 503, `{"a":"other"}`},
		{Format{Body: `{"a":$word$}`}, 503, `{"a":""}`},
		{Format{Body: `{}`}, 503, `{}`},
	} {
		got := test.format.Append([]byte("x"), test.status, `Say "$type$".`, "tokens", "full")
		if string(got) != "x"+test.want {
			t.Errorf("%s: got %s, want %s", test.format.Body, got, test.want)
		}
	}
}

// A refusal is written into memory that is used again.
func TestABodyAllocatesNothing(t *testing.T) {
	b := make([]byte, 0, 512)
	for _, format := range []*Format{OpenAI, Anthropic, Gemini, &Dynamo} {
		if n := testing.AllocsPerRun(10, func() { b = format.Append(b[:0], 429, "Slow down.", "tokens", "full") }); n != 0 {
			t.Errorf("%s: %v allocations", format.Body, n)
		}
	}
}
