package wasmhost_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// probe builds and compiles the probe guest once for all tests.
var probe = sync.OnceValues(func() (*wasmhost.Module, error) {
	dir, err := os.MkdirTemp("", "wasmhost")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	out := filepath.Join(dir, "probe.wasm")
	// No paths and no build id: the same source gives the same file, which the
	// cache of compiled code knows again.
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
		"-buildmode=c-shared", "-o", out, "./probe")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return wasmhost.Compile(context.Background(), out)
})

// newHost starts a process for the probe.
func newHost(t *testing.T, opts wasmhost.Options) *wasmhost.Host {
	t.Helper()
	m, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	opts.Logf = t.Logf
	return wasmhost.NewHost(m, opts)
}

func startVM(t *testing.T, h *wasmhost.Host, conf string) *wasmhost.VM {
	t.Helper()
	v, err := h.StartVM([]byte("vm"), []byte(conf))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// begin opens a stream that asks the probe to do something.
func begin(t *testing.T, v *wasmhost.VM, do string, end bool) (*wasmhost.Stream, wasmhost.Action) {
	t.Helper()
	s := v.NewStream()
	a := s.RequestHeaders([][2]string{{":method", "POST"}, {":path", "/p?q"}, {"x-do", do}, {"x-name", do}}, end)
	return s, a
}

// wantLog fails unless the probe has logged the line.
func wantLog(t *testing.T, h *wasmhost.Host, line string) {
	t.Helper()
	if !h.Logged(wasmhost.LevelInfo, line) {
		t.Errorf("no log line contains %q", line)
	}
}

func noViolations(t *testing.T, h *wasmhost.Host) {
	t.Helper()
	if got := h.Violations(); len(got) > 0 {
		t.Errorf("violations: %s", strings.Join(got, "; "))
	}
	if h.Logged(wasmhost.LevelError, "unexpected: ") {
		t.Error("the probe met an error that it didn't expect")
	}
}

func check[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

var okHeaders = [][2]string{{":status", "200"}, {"content-type", "text/plain"}}

func header(headers [][2]string, name string) string {
	for _, h := range headers {
		if h[0] == name {
			return h[1]
		}
	}
	return ""
}
