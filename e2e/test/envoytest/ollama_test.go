package envoytest

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// What a client of Ollama's own API says and gets: limits are charged exactly what the last line reports, nothing of an answer
// changes, and a refusal is an error of Ollama's.
func TestOllamasOwnAPI(t *testing.T) {
	t.Parallel()
	for _, hold := range []harness.Hold{harness.HoldStopIteration, harness.HoldNone} {
		t.Run(string(hold), func(t *testing.T) {
			t.Parallel()
			g := start(t, harness.Options{Hold: hold, Config: seedQuota, Concurrency: 2}, llmsim.Options{PromptTokens: 11})
			for _, api := range []struct{ name, path, operation, body string }{
				{"chat", "/api/chat", "chat", `{"model":"llama3.2:1b","messages":[{"role":"user","content":"hello"}],"options":{"num_predict":100}}`},
				{"prompt", "/api/generate", "completions", `{"model":"llama3.2:1b","prompt":"hello","options":{"num_predict":100}}`},
			} {
				for _, how := range []struct{ name, member, chunk string }{
					{"streamed", "", "event"}, {"in pieces", `"stream":true,`, "bytes:7"}, {"at once", "", "whole"},
					{"not streamed", `"stream":false,`, "event"}, {"not streamed in pieces", `"stream":false,`, "bytes:7"},
				} {
					t.Run(api.name+" "+how.name, func(t *testing.T) {
						ollamaQuota(t, g, api.path, api.operation, strings.Replace(api.body, "{", "{"+how.member, 1), how.chunk)
					})
				}
			}
		})
	}
}

// ollamaQuota asks until the quota is used up.
func ollamaQuota(t *testing.T, g *gateway, path, operation, body, chunk string) {
	trace := strings.ReplaceAll(t.Name(), " ", "-")
	h := user(trace, "x-sim-chunk", chunk, "x-sim-reasoning-tokens", "3", "traceparent", trace)
	want := g.do(t, newRequest(t, http.MethodPost, g.direct+path, h, strings.NewReader(body)))
	for range 4 {
		a := g.post(t, path, body, h)
		wantStatus(t, a, http.StatusOK)
		wantSameBytes(t, a.body, want.body)
		wantHeaders(t, a, map[string]string{"content-type": want.header.Get("content-type")})
	}
	g.logged(t, trace).Want(t, map[string]string{
		"status": "200", "decision": "ALLOWED", "operation": operation, "request_model": "llama3.2:1b", "response_model": "llama3.2:1b",
		"prompt_tokens": "11", "completion_tokens": "76", "total_tokens": "87", "usage_source": "reported",
	})
	a := g.post(t, path, body, append(h[:len(h)-2:len(h)-2], "traceparent", trace+"-refused"))
	wantOverQuota(t, a)
	var refused struct{ Error string }
	if err := json.Unmarshal(a.body, &refused); err != nil || !strings.Contains(refused.Error, "limit 300, used 304") {
		t.Errorf("the error is %s", a.body)
	}
	g.logged(t, trace+"-refused").Want(t, map[string]string{
		"status": "429", "decision": "REJECTED", "gate": "limits", "operation": operation, "usage_source": "", "completion_tokens": "",
	})
}
