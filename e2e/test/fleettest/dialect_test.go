package fleettest

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// fleetDialects has the fleet refuse a user whatever API is asked. Each gets the error of its own API, which official clients make their own class of.
func fleetDialects(t *testing.T, f *fleet) {
	const user = "polyglot"
	f.inTurn(4, ask{user: user})
	for _, test := range []struct{ path, body, start string }{
		{"/v1/chat/completions", `{"model":"mock","messages":[{"role":"user","content":"hi"}]}`, `{"error":{"message":"Rate limit reached for mock on user-tokens, over all gateways: limit 300 per hour. Please try again in `},
		{"/v1/chat/completions", `{"model":"mock","stream":true,"messages":[{"role":"user","content":"hi"}]}`, `{"error":{"message":"Rate limit reached for mock on user-tokens`},
		{"/v1/responses", `{"model":"mock","input":"hi"}`, `{"error":{"message":"Rate limit reached for mock on user-tokens`},
		{"/v1/messages", `{"model":"mock","max_tokens":100,"messages":[{"role":"user","content":"hi"}]}`, `{"type":"error","error":{"type":"rate_limit_error","message":"Rate limit reached for mock on user-tokens`},
		{"/v1beta/models/mock:generateContent", `{"contents":[{"parts":[{"text":"hi"}]}]}`, `{"error":{"code":429,"message":"Rate limit reached for mock on user-tokens`},
	} {
		r := f.post(test.path, test.body, user)
		if !strings.HasPrefix(r.body, test.start) || !json.Valid([]byte(r.body)) {
			t.Errorf("%s: got %s, want %s...", test.path, r.body, test.start)
		}
		if r.status != http.StatusTooManyRequests || r.header.Get("x-spillway-reason") != "limits/fleet_exceeded" || r.header.Get("retry-after") == "" ||
			r.header.Get("content-type") != "application/json" || r.header.Get("x-envoy-ratelimited") != "true" {
			t.Errorf("%s: got %d %v", test.path, r.status, r.header)
		}
	}
	if n := f.received(user); n != 4 {
		t.Errorf("the server saw %d requests, want the 4 that passed", n)
	}
	for module, status := range map[string]string{"openai": "RateLimitError 429", "anthropic": "RateLimitError 429"} {
		if got := f.python(module, user); !strings.HasPrefix(got, status+" ") || strings.HasSuffix(got, " None") {
			t.Errorf("%s: got %q, want %q and the seconds to wait", module, got, status)
		}
	}
}

// post sends a request to the first Envoy.
func (f *fleet) post(path, body, user string) reply {
	f.t.Helper()
	return f.send(0, ask{user: user, path: path, body: body})
}

// python asks with an official client, and gives the class of its error, its status, and retry-after.
func (f *fleet) python(module, user string) string {
	f.t.Helper()
	clients := filepath.Join("..", "clienttest")
	packages, _ := harness.PythonPackages(f.t, "openai-python", "openai", filepath.Join(clients, "requirements.txt"))
	if module == "anthropic" { // which uses what OpenAI's brings
		more, _ := harness.PythonPackages(f.t, "anthropic-python", "anthropic", filepath.Join(clients, "anthropic-requirements.txt"))
		packages = more + string(os.PathListSeparator) + packages
	}
	command := exec.CommandContext(f.t.Context(), "python3", filepath.Join("testdata", "refused.py"), module, f.envoys[0].URL, user)
	command.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PYTHONPATH=" + packages, "PYTHONNOUSERSITE=1"}
	output, err := command.CombinedOutput()
	if err != nil {
		f.t.Fatalf("ask with the Python module %s: %v: %s", module, err, output)
	}
	return strings.TrimSpace(string(output))
}
