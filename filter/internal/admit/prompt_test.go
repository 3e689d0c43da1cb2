package admit

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const strictTotal = `"limits":[{"name":"t","per":["user"],"unit":"totalTokens","quantity":100000,"window":"8760h","admission":"strict"}]`

// A prompt that is not in the body says nothing of one that is, not even to its own subject.
func TestAPromptElsewhereTeachesNothing(t *testing.T) {
	picture := strings.Repeat("iVBORw0K", 10_000)
	for _, test := range []struct{ name, path, body, answer string }{
		{"a response before", "/v1/responses", `{"model":"m","input":"hi","previous_response_id":"resp_1"}`, `{"usage":{"input_tokens":60000,"output_tokens":1,"total_tokens":60001}}`},
		{"a conversation", "/v1/responses", `{"model":"m","input":"hi","conversation":"conv_1"}`, `{"usage":{"input_tokens":60000,"output_tokens":1,"total_tokens":60001}}`},
		{"a picture by URL", "/v1/chat/completions", `{"model":"m","messages":[{"content":[{"image_url":{"url":"https://x"}}]}]}`, used(60000, 1)},
		{"a picture inline", "/v1/chat/completions", `{"model":"m","messages":[{"content":[{"image_url":{"url":"data:image/png;base64,` + picture + `"}}]}]}`, used(100, 1)},
		{"cached content", "/v1beta/models/m:generateContent", `{"cachedContent":"c"}`, `{"usageMetadata":{"promptTokenCount":60000,"candidatesTokenCount":1,"totalTokenCount":60001}}`},
	} {
		h := newHost(t, `{"requestHold":"stopIteration",`+strictTotal+`}`, recordtest.NewMemory())
		for range 3 {
			x := h.request(test.path, test.body)
			x.answer(test.answer)
		}
		h.Store = recordtest.NewMemory()
		x := h.request(test.path, `{"model":"m","max_tokens":1,"messages":"`+strings.Repeat("word ", 1600)+`"}`)
		if got := h.accountant.Expect(&x.exchange, h.now).Prompt; got < 1900 || got > 2100 {
			t.Errorf("%s: 8 KB of text are taken for %d tokens", test.name, got)
		}
	}
}

// A picture is as large as its kind, not as its bytes.
func TestAPictureIsEstimatedAsOne(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration",`+strictTotal+`}`, recordtest.NewMemory())
	x := h.request("/v1/chat/completions", `{"model":"m","max_tokens":1,"messages":[{"content":[{"type":"text","text":"what is it?"},
		{"image_url":{"url":"data:image/png;base64,`+strings.Repeat("iVBORw0K", 100_000)+`"}}]}]}`)
	expect(t, "refused", refusedFor(x), "")
	if got := h.accountant.Expect(&x.exchange, h.now).Prompt; got < 1000 || got > 1100 {
		t.Errorf("it is taken for %d tokens", got)
	}
}

// A strict limit sees the largest bound that any server may see.
func TestAStrictLimitSeesEveryBound(t *testing.T) {
	const limit = `"limits":[{"name":"c","per":["user"],"unit":"completionTokens","quantity":1000,"window":"8760h","admission":"strict"}]`
	for _, test := range []struct{ path, body string }{
		{"/v1/chat/completions", `{"model":"m","max_tokens":"5000"}`},
		{"/v1/chat/completions", `{"model":"m","max_tokens":5,"max_completion_tokens":"5e3"}`},
		{"/v1/chat/completions", `{"model":"m","max_tokens":500,"n":"3"}`},
		{"/v1/chat/completions", `{"model":"m","max_tokens":5,"min_tokens":5000}`},
		{"/v1/chat/completions", `{"model":"m","min_tokens":5000}`},
		{"/v1/completions", `{"model":"m","max_tokens":500,"best_of":3}`},
		{"/v1/completions", `{"model":"m","max_tokens":500,"prompt":["a","b","c"]}`},
		{"/v1/messages", `{"model":"m","max_tokens":5,"thinking":{"budget_tokens":5000}}`},
		{"/v1/responses", `{"model":"m","max_output_tokens":"5000"}`},
		{"/v1beta/models/m:generateContent", `{"generation_config":{"maxOutputTokens":"5000"}}`},
	} {
		for _, hold := range []string{"stopIteration", "bufferFilter"} {
			h := newHost(t, `{"requestHold":"`+hold+`",`+limit+`}`, recordtest.NewMemory())
			if x := h.request(test.path, test.body); x.last.Action != Answer {
				t.Errorf("%s %s passes, %s", test.path, test.body, hold)
			}
		}
	}
}
