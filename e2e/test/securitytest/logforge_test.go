package securitytest

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// Neither a client nor an upstream writes lines of a text log: each request has one, whatever it calls its model.
func TestNobodyForgesLinesOfALog(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "text.log")
	const evil = `x\nLINE FORGED\r\u2028LINE FORGED\u0085\u0000\u001b[2J\u007f`
	answer := fmt.Sprintf(`{"model":"%s","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}`, evil)
	server := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("content-type", "application/json")
		_, _ = io.WriteString(w, answer)
	})
	format := "LINE"
	for _, property := range []string{
		"gen_ai.request.model", "gen_ai.response.model", "gen_ai.operation.name", "gen_ai.provider.name", "spillway.priority",
		"spillway.decision", "spillway.gate", "spillway.reason", "spillway.limit", "spillway.subject",
	} {
		format += " [%FILTER_STATE(wasm." + property + ":PLAIN)%]"
	}
	g := start(t, harness.Options{
		Concurrency: 2,
		Config:      `{"limits":[{"name":"u","per":["user","tenant","model"],"unit":"requests","quantity":1,"window":"1h"}]}`,
		Edit: func(b *envoyproc.Bootstrap) {
			b.Edit(func(root map[string]any) {
				harness.Visit(root, func(o map[string]any) {
					if logs, ok := o["access_log"].([]any); ok {
						o["access_log"] = append(logs, map[string]any{"name": "text", "typed_config": map[string]any{
							"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": path,
							"log_format": map[string]any{"text_format_source": map[string]any{"inline_string": format + "\n"}},
						}})
					}
				})
			})
		},
	}, server)
	sent := 0
	for _, request := range [][2]string{
		{chatPath, `{"model":"` + evil + `"}`},
		{chatPath, "{\"model\":\"a\xff\xfe\xe2\x80\"}"},
		{"/v1/chat%2Fcompletions", `{"model":"` + strings.Repeat("é", 127) + `a\n"}`},
		{"/v1beta/models/x%0ALINE%20FORGED%E2%80%A8%7F:generateContent", `{}`},
		{"/openai/deployments/x%0ALINE%20FORGED%C2%85/chat/completions", `{}`},
		{"/v1/%0ALINE%20FORGED", `{}`},
		{"/v1/models/%0ALINE%20FORGED", `{}`},
	} {
		for range 2 { // the second one is refused
			g.send(t, "POST", request[0], request[1], "x-user-id: ann\x85\xff", "x-tenant-id: t\xe2\x80\xa8", "x-priority: urgent\xc2\x85LINE FORGED")
			sent++
		}
	}
	g.send(t, "POST", chatPath, `{"model":"meta-llama/模型 é"}`)
	sent++
	g.AccessLog(sent)
	var lines []string
	harness.Await(t, patience, "the text log has all requests", func() bool {
		text, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		lines = strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
		return len(lines) >= sent
	})
	if len(lines) != sent {
		t.Errorf("%d requests have %d lines", sent, len(lines))
	}
	for _, line := range lines {
		if !strings.HasPrefix(line, "LINE [") || !utf8.ValidString(line) ||
			strings.IndexFunc(line, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) >= 0 {
			t.Errorf("the log has the line %q", line)
		}
	}
	if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, "LINE [meta-llama/模型 é] [x_LINE FORGED") }) {
		t.Errorf("an ordinary name isn't logged as it is: %q", lines)
	}
	for _, line := range strings.Split(g.Logs(), "\n") {
		if strings.HasPrefix(line, "LINE FORGED") {
			t.Errorf("Envoy's log has the line %q", line)
		}
	}
}
