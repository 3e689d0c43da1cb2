package envoytest

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// The bootstrap does what it says, with the configurations as they are written there, in YAML.
func TestTheBootstrapRunsAsItIs(t *testing.T) {
	t.Parallel()
	written, count := harness.AsWritten(t, envoyproc.StandaloneYAML)
	g := start(t, harness.Options{Surface: "{}", Edit: written}, llmsim.Options{})
	if count != 2 {
		t.Fatalf("the file has the configurations of %d plugins, want 2", count)
	}
	for began, n := time.Now(), 1; ; n++ {
		asked := time.Now()
		got := statuses(5, func() answer { return g.chat(t, user(fmt.Sprint("bo-", n))) })
		if got == "200 200 200 200 429" {
			break
		}
		if time.Since(asked) < 40*time.Second || time.Since(began) > patience { // after 48 s what comes back of the file's limit lets the fifth pass
			t.Fatalf("got %s, want 200 200 200 200 429", got)
		}
	}
	wantStatus(t, g.do(t, newRequest(t, http.MethodGet, g.Surface+"/spillway/healthz", nil, nil)), http.StatusOK)
}

// What a request has not is left out of its line of the access log. (Before 1.40 Envoy writes null there.)
func TestAbsentValuesAreNotLogged(t *testing.T) {
	t.Parallel()
	g := start(t, harness.Options{}, llmsim.Options{})
	wantStatus(t, g.chat(t, user("bo")), http.StatusOK)
	g.AccessLog(1)
	if text, err := os.ReadFile(g.AccessLogFile()); err != nil || strings.Contains(string(text), "null") {
		t.Errorf("%v: %s", err, text)
	}
}

// Envoy takes each bootstrap of the repository as it lies there, to the last byte.
func TestEnvoyFindsTheBootstrapsRight(t *testing.T) {
	t.Parallel()
	binary, err := envoyproc.LocateEnvoy()
	if err != nil {
		t.Fatal(err)
	}
	wasm, err := envoyproc.LocateWasm()
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir() // whence they name the filter
	if err := os.Mkdir(filepath.Join(root, "build"), 0o700); err != nil {
		t.Fatal(err)
	}
	if wasm, err = filepath.Abs(wasm); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(wasm, filepath.Join(root, "build", "spillway.wasm")); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(harness.InRepository(t, "envoy/*.yaml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("found the bootstraps %v, %v", files, err)
	}
	for _, file := range files {
		if file, err = filepath.Abs(file); err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), binary, "--mode", "validate", "--disable-hot-restart", "-c", file)
		command.Dir = root
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", file, err, output)
		}
	}
}

// Every example is taken as Envoy's own YAML has it, and requests are answered.
func TestEveryExampleRunsInEnvoysYAML(t *testing.T) {
	t.Parallel()
	g := start(t, harness.Options{}, llmsim.Options{})
	files, err := filepath.Glob(harness.InRepository(t, "config/examples/*.yaml"))
	if err != nil || len(files) < 10 {
		t.Fatalf("found the examples %v, %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var config map[string]any
		if err := yaml.Unmarshal(text, &config); err != nil {
			t.Fatal(err)
		}
		if err := g.ReconfigureYAML(config); err != nil {
			t.Errorf("%s: %v", filepath.Base(file), err)
			continue
		}
		a := g.chat(t, user("bo", "x-tenant-id", "acme", "authorization", "Bearer key", "x-session-id", "s", "x-gateway-inference-fairness-id", "acme"))
		if want := map[string]int{"jwt-teams.yaml": http.StatusUnauthorized, "team-dollars.yaml": http.StatusUnauthorized}[filepath.Base(file)]; a.status != max(want, http.StatusOK) {
			t.Errorf("%s: got %d %s", filepath.Base(file), a.status, a.body)
		}
	}
}

// Envoy makes texts of numbers in YAML that have a point, or more than 32 bits. They are numbers all the same.
func TestNumbersInYAML(t *testing.T) {
	t.Parallel()
	g := start(t, harness.Options{}, llmsim.Options{})
	err := g.ReconfigureYAML(map[string]any{
		"limits":    []any{map[string]any{"name": "large", "unit": "requests", "quantity": "10000000000", "window": "1h"}},
		"upstreams": []any{map[string]any{"name": "llm", "retreat": map[string]any{"factor": ".5"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	a := g.chat(t, user("bo"))
	wantStatus(t, a, http.StatusOK)
	if got := a.header.Get("x-ratelimit-limit-requests"); got != "10000000000" {
		t.Errorf("the limit is %q", got)
	}
}
