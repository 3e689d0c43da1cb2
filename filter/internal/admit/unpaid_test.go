package admit

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// paid is a limit of dollars which one subject has, and what models cost: a token of dear a hundred-thousandth of a dollar, one of cheap a millionth.
const paid = `{"requestHold":"stopIteration","models":{"aliases":{"best":"dear"}},"limits":[{"name":"u","unit":"usd","quantity":1000,"window":"month"}],
	"prices":[{"models":["dear*"],"prompt":10,"cached":1,"completion":10},{"models":["dear","cheap","*embed*","whisper*","gpt-image*"],"prompt":1,"completion":1},{"models":["dear"],"prompt":0}],%}`

// Whatever a client asks for, and a server answers, it is paid: by what was used, where that is told and can be true, and else by estimate. What isn't
// paid is counted.
func TestNothingPassesUnpaidInSilence(t *testing.T) {
	const json, text = "application/json", "text/plain"
	const chat, form = "/v1/chat/completions", "multipart/form-data; boundary=b"
	tokens := func(model, usage string) string {
		return `{"model":"` + model + `","choices":[],"usage":{` + usage + `}}`
	}
	transcription := "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n" +
		strings.Repeat("wave", 2000) + "\r\n--b--\r\n"
	for name, x := range map[string]struct {
		path, kind, body, answers, answer string
		least, most                       int64 // billionths of a dollar
		counted                           string
	}{
		"what was asked for":            {chat, json, `{"model":"cheap"}`, json, tokens("cheap-2", `"prompt_tokens":10,"completion_tokens":5`), 15_000, 15_000, ""},
		"a fallback that costs more":    {chat, json, `{"model":"cheap"}`, json, tokens("dear-2", `"prompt_tokens":10,"completion_tokens":5`), 150_000, 150_000, ""},
		"an alias":                      {chat, json, `{"model":"best"}`, json, tokens("", `"prompt_tokens":10,"completion_tokens":5`), 150_000, 150_000, ""},
		"an alias in the answer":        {chat, json, `{"model":"cheap"}`, json, tokens("BEST", `"prompt_tokens":10,"completion_tokens":5`), 150_000, 150_000, ""},
		"entries that overlap":          {chat, json, `{"model":"DEAR"}`, json, tokens("", `"prompt_tokens":10,"completion_tokens":5`), 150_000, 150_000, ""},
		"without a price":               {chat, json, `{"model":"gift"}`, json, tokens("", `"prompt_tokens":10,"completion_tokens":5`), 0, 0, "spillway_unpriced_total other"},
		"none, and answered by one":     {chat, json, `{"model":"gift"}`, json, tokens("dear", `"prompt_tokens":10,"completion_tokens":5`), 150_000, 150_000, "spillway_unpriced_total other"},
		"models to choose from":         {chat, json, `{"model":"gift","models":["dear"]}`, json, tokens("", `"prompt_tokens":10,"completion_tokens":5`), 150_000, 150_000, "spillway_unpriced_total other"},
		"more from a cache than was":    {chat, json, `{"model":"dear"}`, json, tokens("", `"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":1000000}`), 60_000, 60_000, ""},
		"more than there are":           {chat, json, `{"model":"dear"}`, json, tokens("", `"prompt_tokens":9223372036854775808,"completion_tokens":18446744073709551617`), 1_000_000, 100_000_000_000, "errors usage_implausible"},
		"more than can be":              {chat, json, `{"model":"dear"}`, json, tokens("", `"prompt_tokens":1000000000000000,"completion_tokens":5`), 1_000_000_000, 100_000_000_000, "errors usage_implausible"},
		"less than none":                {chat, json, `{"model":"dear"}`, json, tokens("", `"prompt_tokens":-10,"completion_tokens":-5`), 10_000, 10_000_000_000, "errors usage_implausible"},
		"no report":                     {chat, json, `{"model":"dear"}`, json, `{"model":"dear"}`, 100_000, 10_000_000_000, ""},
		"no JSON":                       {chat, json, `{"model":"dear"}`, text, `hello`, 100_000, 10_000_000_000, ""},
		"an embedding without a report": {"/v1/embeddings", json, `{"model":"text-embed","input":"` + strings.Repeat("word ", 100) + `"}`, json, `{"data":[]}`, 50_000, 500_000, ""},
		"a picture without a report":    {"/v1/images/generations", json, `{"model":"gpt-image-1","prompt":"a cat"}`, json, `{"data":[{"url":"https://x"}]}`, 10_000, 10_000_000_000, ""},
		"a recording without a report":  {"/v1/audio/transcriptions", form, transcription, text, "hello", 10_000, 10_000_000_000, ""},
		"a batch":                       {"/v1/batches", json, `{"input_file_id":"f"}`, json, `{"id":"b"}`, 0, 0, "uncharged unknown_path"},
	} {
		h := newHost(t, strings.Replace(paid, ",%", "", 1), recordtest.NewMemory())
		e := h.startWith([][2]string{{":method", "POST"}, {":path", x.path}, {"content-type", x.kind}}, false)
		e.body(x.body, true)
		if e.Refused() {
			t.Errorf("%s: refused for %s", name, refusedFor(e))
			continue
		}
		e.status("200", x.answers, false)
		e.response(x.answer, true)
		e.done()
		if got := h.counts["spillway_spend_nanodollars_total u other"]; got < x.least || got > x.most {
			t.Errorf("%s: %d billionths, want %d to %d", name, got, x.least, x.most)
		}
		if x.counted != "" && h.counts[x.counted] == 0 {
			t.Errorf("%s isn't counted as %s: %v", name, x.counted, h.counts)
		}
	}
}

// Where nothing may pass unpaid, nothing does.
func TestNothingPassesUnpaidWhereThatIsForbidden(t *testing.T) {
	h := newHost(t, strings.Replace(paid, "%", `"unpriced":"reject","unknown":"reject"`, 1), recordtest.NewMemory())
	for _, x := range []struct{ path, body, why string }{
		{"/v1/batches", `{"input_file_id":"f"}`, "operation/unknown"}, {"/v1/rerank", `{"model":"dear"}`, "operation/unknown"},
		{"/v1/chat/completions", `{"model":"gift"}`, "limits/unpriced"}, {"/v1/chat/completions", `{"model":"gift","models":["dear"]}`, "limits/unpriced"},
		{"/v1/chat/completions", `{"model":"dear"}`, ""}, {"/v1/embeddings", `{"model":"gift","input":"x"}`, "limits/unpriced"},
		{"/openai/deployments/gift/chat/completions", `{"model":"dear"}`, "limits/unpriced"}, {"/v1beta/models/gift:generateContent", `{"model":"dear","contents":[]}`, "limits/unpriced"},
		{"/v1/images/generations", `{"prompt":"a cat"}`, "limits/unpriced"},
	} {
		e := h.startWith([][2]string{{":method", "POST"}, {":path", x.path}, {"content-type", "application/json"}}, false)
		if !e.Refused() {
			e.body(x.body, true)
		}
		if got := refusedFor(e); got != x.why {
			t.Errorf("%s %s: %q, want %q", x.path, x.body, got, x.why)
		}
		e.done()
	}
}
