package securitytest

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// An upstream that reports a figure that can't be true costs a caller what can be, not years; it is counted, and said once.
func TestAReportThatCanNotBeTrueIsCut(t *testing.T) {
	t.Parallel()
	const plausible = 3_000_000 // tokens: a context of the largest models, and an answer
	const lie = "1000000000000000"
	bounded := `{"model":"llama","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}`
	plays := player{}
	add := func(name, path, request, contentType string, pieces ...string) {
		plays[name] = &play{name: name, path: path, request: request, contentType: contentType, pieces: pieces}
	}
	for i, usage := range []string{
		`{"prompt_tokens":` + lie + `,"completion_tokens":5}`, `{"prompt_tokens":5,"completion_tokens":` + lie + `}`,
		`{"prompt_tokens":5,"completion_tokens":5,"total_tokens":` + lie + `}`, `{"total_tokens":` + lie + `}`,
		`{"prompt_tokens":"` + lie + `","completion_tokens":"5"}`, `{"prompt_tokens":-5,"completion_tokens":-1}`, `{"prompt_tokens":1e300,"completion_tokens":5}`,
		`{"prompt_tokens":5,"completion_tokens":2.5}`, `{"prompt_tokens":1e15,"completion_tokens":1e15,"prompt_tokens_details":{"cached_tokens":1e15}}`,
	} {
		add(fmt.Sprint("json-", i), chatPath, bounded, "application/json", `{"model":"llama","choices":[],"usage":`+usage+`}`)
		add(fmt.Sprint("events-", i), chatPath, asks, "text/event-stream", chunk(`{"model":"llama","choices":[],"usage":`+usage+`}`))
	}
	anthropic := `{"model":"claude","max_tokens":50,"messages":[]}`
	add("anthropic", "/v1/messages", anthropic, "application/json", `{"usage":{"input_tokens":`+lie+`,"cache_read_input_tokens":`+lie+`,"output_tokens":`+lie+`}}`)
	add("compaction", "/v1/messages", anthropic, "application/json",
		`{"usage":{"input_tokens":5,"output_tokens":5,"iterations":[{"type":"compaction","input_tokens":`+lie+`,"output_tokens":`+lie+`}]}}`)
	add("gemini", "/v1beta/models/gemini:generateContent", `{}`, "application/json", `{"usageMetadata":{"promptTokenCount":5,"thoughtsTokenCount":`+lie+`}}`)
	add("responses", "/v1/responses", `{"model":"llama","max_output_tokens":50}`, "application/json", `{"usage":{"input_tokens":5,"output_tokens":`+lie+`}}`)
	add("embeddings", "/v1/embeddings", `{"model":"llama","input":"hello"}`, "application/json", `{"usage":{"prompt_tokens":`+lie+`,"total_tokens":`+lie+`}}`)
	lies := len(plays)
	add("honest", chatPath, bounded, "application/json", `{"model":"llama","choices":[],"usage":{"prompt_tokens":1000000,"completion_tokens":100000}}`)

	g := start(t, harness.Options{Config: `{"limits":[{"name":"tokens","per":["user"],"unit":"totalTokens","quantity":10000000,"window":"1h"}]}`, Concurrency: 1}, plays)
	for _, p := range plays {
		g.play(t, p)
		r := g.record(t, p.name)
		for _, key := range []string{"prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens"} {
			if n, _ := strconv.ParseInt(r.Text(key), 10, 64); n > plausible {
				t.Errorf("%s: %s is %d", p.name, key, n)
			}
		}
		g.play(t, p) // the same user is not locked out
	}
	if got := g.record(t, "honest").Text("total_tokens"); got != "1100000" {
		t.Errorf("an honest report became %s", got)
	}
	if cut := g.Sum("spillway_errors_total", "reason", "usage_implausible"); cut != float64(2*lies) {
		t.Errorf("%v lies were counted, want %d", cut, 2*lies)
	}
	if n := strings.Count(g.Logs(), "usage_implausible"); n != 1 {
		t.Errorf("the log says so %d times, want once", n)
	}
}
