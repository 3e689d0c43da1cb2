package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// secure is a server that speaks TLS as httptest's certificate lets it: as 127.0.0.1, and *.example.com.
func secure(t *testing.T) (server *httptest.Server, roots string) {
	t.Helper()
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("content-type", "application/json")
		if r.URL.Path == "/v1/models" {
			_, _ = io.WriteString(w, `{"data":[{"id":"tls-model"}]}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"host":%q,"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`, r.Host)
	}))
	t.Cleanup(server.Close)
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return server, write(t, t.TempDir(), "roots.pem", string(text))
}

func ask(t *testing.T, gateway int) (status int, body string) {
	t.Helper()
	response, err := http.Post("http://"+local(gateway)+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"m","messages":[{"role":"user","content":"Hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// An https:// upstream is reached by its certificate and under its name, and the commands that are printed name a model of its own.
func TestRunReachesAnUpstreamByTLS(t *testing.T) {
	t.Parallel()
	server, roots := secure(t)
	ports := harness.FreePorts(t, 3)
	s := start(t, "CONFIG=", "GPUEXPORTER_ARGS=", "UPSTREAM="+server.URL, "SSL_CERT_FILE="+roots, fmt.Sprint("GATEWAY_PORT=", ports[0]),
		fmt.Sprint("ENVOY_ADMIN_PORT=", ports[1]), fmt.Sprint("ADMIN_PORT=", ports[2]))
	output := s.await(t, "Ctrl-C stops everything")
	if want := `"model":"tls-model"`; !strings.Contains(output, want) || strings.Contains(output, "MODEL") {
		t.Errorf("no %s in\n%s", want, output)
	}
	status, body := ask(t, ports[0])
	if want := fmt.Sprintf(`"host":%q`, strings.TrimPrefix(server.URL, "https://")); status != http.StatusOK || !strings.Contains(body, want) {
		t.Errorf("status %d, %s, want %s", status, body, want)
	}
	line := s.await(t, `"status":200`)
	if strings.Contains(line, "SHADOW") {
		t.Errorf("without an exporter something is recorded as if there were pressure: %s", line)
	}
}

// One whose certificate isn't vouched for is told at once, and gets nothing.
func TestRunBelievesNoOtherCertificate(t *testing.T) {
	t.Parallel()
	server, _ := secure(t)
	_, other := secure(t)
	if err := os.WriteFile(other, []byte(otherRoot), 0o600); err != nil {
		t.Fatal(err)
	}
	ports := harness.FreePorts(t, 3)
	s := start(t, "CONFIG=", "GPUEXPORTER_ARGS=", "UPSTREAM="+server.URL, "SSL_CERT_FILE="+other, fmt.Sprint("GATEWAY_PORT=", ports[0]),
		fmt.Sprint("ENVOY_ADMIN_PORT=", ports[1]), fmt.Sprint("ADMIN_PORT=", ports[2]))
	s.await(t, "Ctrl-C stops everything")
	if want := "certificate signed by unknown authority"; !strings.Contains(s.stderr.String(), want) || !strings.Contains(s.stderr.String(), "SSL_CERT_FILE=") {
		t.Errorf("it said %q, want %q in it", s.stderr, want)
	}
	const want = `{"error":{"message":"The model server can't be reached.","type":"server_error","param":null,"code":"service_unavailable"}}`
	if status, body := ask(t, ports[0]); status != http.StatusServiceUnavailable || body != want {
		t.Errorf("status %d, %s, want 503 and %s", status, body, want)
	}
}

// otherRoot has signed nothing.
const otherRoot = `-----BEGIN CERTIFICATE-----
MIIBeDCCAR+gAwIBAgIUHTPwObwTg70JUNx+WZUoE6Y8v7cwCgYIKoZIzj0EAwIw
ETEPMA0GA1UEAwwGbm9ib2R5MCAXDTI2MTEyODA5NDkxM1oYDzIxMjYxMTA0MDk0
OTEzWjARMQ8wDQYDVQQDDAZub2JvZHkwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC
AARuWT6JzDEJRBL6ZzX1ZpVrvZJs+g6YluyvGfwZrnPeX2LjcWvvYZLz60SOr4+C
30u+citxxnuMDAgVfyO8Hk7ho1MwUTAdBgNVHQ4EFgQUQ6SDrTZQxyYk+KqvaWfz
EMvJCpAwHwYDVR0jBBgwFoAUQ6SDrTZQxyYk+KqvaWfzEMvJCpAwDwYDVR0TAQH/
BAUwAwEB/zAKBggqhkjOPQQDAgNHADBEAiAvDjSfKgxeMCXNMHFx1l3T9CXyz+N+
6aUzxhq2ZOTfkQIgWw/ZLX1uET8tLT0QUfCvm1KZaxgjnL/HlebfV07dx/o=
-----END CERTIFICATE-----
`

func TestLook(t *testing.T) {
	t.Parallel()
	serve := func(models, metrics string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/v1/models":
				_, _ = io.WriteString(w, models)
			case "/metrics":
				_, _ = io.WriteString(w, metrics)
			}
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	for _, c := range []struct {
		name, url string
		want      found
	}{
		{"vLLM", serve(`{"data":[{"id":"meta/llama-3"}]}`, "# HELP x\nvllm:num_requests_running 1\n"), found{metrics: true, model: "meta/llama-3"}},
		{"metrics of nothing that is read", serve(`{"data":[]}`, "go_goroutines 3\n"), found{}},
		{"a model's name that would end a quote", serve(`{"data":[{"id":"a'; rm -r ~"}]}`, ""), found{}},
		{"not JSON", serve("hello", ""), found{}},
	} {
		u, err := parseUpstream(c.url)
		if err != nil {
			t.Fatal(err)
		}
		if got := u.look(t.Context()); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
	gone, err := parseUpstream(fmt.Sprintf("http://%s", local(harness.FreePorts(t, 1)[0])))
	if err != nil {
		t.Fatal(err)
	}
	if got := gone.warning(gone.look(t.Context())); !strings.Contains(got, "can't be reached: ") || !strings.Contains(got, "connection refused. Until it can, clients get status 503") {
		t.Errorf("of one that is gone: %q", got)
	}
}

// The exporter reads the metrics of a server that has some.
func TestRunReadsTheUpstreamsMetrics(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			_, _ = io.WriteString(w, "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{model_name=\"m\"} 7\n"+
				"# TYPE vllm:kv_cache_usage_perc gauge\nvllm:kv_cache_usage_perc{model_name=\"m\"} 0.25\n")
		}
	}))
	t.Cleanup(server.Close)
	ports := harness.FreePorts(t, 4)
	start(t, "CONFIG=", "GPUEXPORTER_ARGS=", "UPSTREAM="+server.URL, fmt.Sprint("GATEWAY_PORT=", ports[0]), fmt.Sprint("ENVOY_ADMIN_PORT=", ports[1]),
		fmt.Sprint("ADMIN_PORT=", ports[2]), fmt.Sprint("GPUEXPORTER_PORT=", ports[3]))
	harness.Await(t, harness.Patience, "the exporter tells what the server does", func() bool {
		return listening(ports[3]) && strings.Contains(look(t, "http://"+local(ports[3])+"/v1/pressure"), `"running":7`)
	})
}

func TestRoots(t *testing.T) {
	t.Parallel()
	if got, err := roots(func(string) string { return harness.InRepository(t, "go.mod") }); err != nil || filepath.Base(got) != "go.mod" {
		t.Errorf("SSL_CERT_FILE: %s, %v", got, err)
	}
	if _, err := roots(func(string) string { return "/nowhere" }); err == nil {
		t.Error("no error of a file that isn't there")
	}
}

// What five requests get is only said where it is sure.
func TestOutcome(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"limits": [{"name": "a", "per": ["user"], "unit": "completionTokens", "quantity": 300, "window": "1h"}]}`:                   "the limit: 200 200 200 200 429",
		`{"limits": [{"name": "a", "per": ["user"], "unit": "completionTokens", "quantity": 100, "window": "1h"}]}`:                   "the limit: 200 200 429 429 429",
		`{"limits": [{"name": "a", "per": ["user"], "unit": "completionTokens", "quantity": 300, "window": "1h", "mode": "shadow"}]}`: "five requests of one user",
		`{"limits": [{"name": "a", "per": ["user"], "unit": "requests", "quantity": 3, "window": "1h"}]}`:                             "five requests of one user",
	} {
		cfg, err := config.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := outcome(&cfg, true); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
