package harness_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// echo answers with the request's body.
func echo(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func post(t *testing.T, e *harness.Envoy, path, body string) (status int, answer string) {
	t.Helper()
	response, err := e.Client.Post(e.URL+path, "application/json", strings.NewReader(body))
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

func TestBareEnvoyServesAndIsObservable(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{NoWasm: true, Upstream: echo(t), Concurrency: 2})

	if status, answer := post(t, e, "/v1/chat/completions", "hello"); status != 200 || answer != "hello" {
		t.Fatalf("got %d %q through Envoy, want the echo", status, answer)
	}
	e.AccessLog(1)[0].Want(t, map[string]string{
		"method": "POST", "path": "/v1/chat/completions", "status": "200", "bytes_received": "5", "decision": "",
	})
	if got := e.Stats("http.gateway.")["http.gateway.downstream_rq_total"]; got != 1 {
		t.Errorf("Envoy counted %d requests, want 1", got)
	}
	samples := e.Samples("envoy_http_downstream_rq_total")
	harness.Await(t, harness.Patience, "Prometheus has the request", func() bool {
		samples = e.Samples("envoy_http_downstream_rq_total")
		return len(samples) > 0
	})
	for _, sample := range samples {
		if sample.Labels["envoy_http_conn_manager_prefix"] == "gateway" && sample.Value != 1 {
			t.Errorf("Prometheus has %v requests, want 1", sample.Value)
		}
	}
	if rss := e.MemoryRSS(); rss < 10<<20 || rss > 4<<30 {
		t.Errorf("memory is %d bytes: not Envoy's", rss)
	}
	if cpu := e.CPU(); cpu <= 0 || cpu > time.Minute {
		t.Errorf("CPU time is %v: not Envoy's", cpu)
	}
}

func TestStopEndsEnvoyAndWhatItStarted(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{NoWasm: true})
	e.Stop()
	e.Stop() // a second time does no harm
	select {
	case <-e.Exited():
	default:
		t.Error("Stop returned before Envoy ended")
	}
	if err := syscall.Kill(-e.PID(), 0); err != syscall.ESRCH {
		t.Errorf("Envoy's process group is still there: %v", err)
	}
}

// A listener whose filter refuses its configuration is refused whole, with the reason in the log; the one before serves on.
func TestReconfigure(t *testing.T) {
	t.Parallel()
	e := harness.Start(t, harness.Options{Upstream: echo(t), Concurrency: 2})
	serve := func() {
		t.Helper()
		if status, _ := post(t, e, "/other", "hello"); status != 200 {
			t.Fatalf("got status %d, want 200", status)
		}
	}
	serve()
	if err := e.Reconfigure(`{"bogus": 1}`); err == nil {
		t.Error("an unknown key was taken")
	} else if !strings.Contains(err.Error(), envoyproc.WasmFilter) {
		t.Errorf("the refusal does not say what was refused: %v", err)
	}
	serve()
	if err := e.Reconfigure(`{"mode": "shadow"}`); err != nil {
		t.Errorf("a good configuration after a refused one: %v", err)
	}
	serve()
	e.AccessLog(3)
}

// The Makefile fetches Envoy, and the harness looks for what it fetched.
func TestEnvoyVersionIsTheMakefiles(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(harness.InRepository(t, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`(?m)^ENVOY_VERSION\s*:?=\s*(\S+)`).FindSubmatch(text)
	if match == nil || string(match[1]) != envoyproc.EnvoyVersion {
		t.Errorf("the Makefile's ENVOY_VERSION is %q, envoyproc.EnvoyVersion %q", match, envoyproc.EnvoyVersion)
	}
}
