package harness

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/freeport"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// Serve runs a server until the test ends, and returns its URL. What it is still answering by then is cut off.
func Serve(t testing.TB, handler http.Handler) (url string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	return server.URL
}

// FreePorts returns ports of 127.0.0.1 for programs that are told theirs: nobody listens there, nor is given them, until the
// test's process ends.
func FreePorts(t testing.TB, n int) (ports []int) {
	t.Helper()
	for range n {
		port, err := freeport.Take()
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}

// Simulate runs an LLM simulator on a port of an IP address, until the test ends, and returns its host:port, too.
func Simulate(t testing.TB, ip string, options llmsim.Options) (sim *llmsim.Server, address string) {
	t.Helper()
	sim = llmsim.New(options)
	address, err := sim.Start(ip + ":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	return sim, address
}

// PythonPackages is the folder of Python packages that `make NAME` fetches, and their version, which the working directory's
// file requirements pins: SPILLWAY_NAME, or else the one in the cache. module is a package in it.
func PythonPackages(t testing.TB, name, module, requirements string) (dir, version string) {
	t.Helper()
	version = pinned(t, module, requirements)
	dir = os.Getenv("SPILLWAY_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")))
	if dir == "" {
		dir = envoyproc.Cached(name + "-" + version)
	}
	if _, err := os.Stat(filepath.Join(dir, module, "__init__.py")); err != nil {
		t.Fatalf("no Python package %s at %q: run `make %s` to fetch it", module, dir, name)
	}
	return dir, version
}

func pinned(t testing.TB, module, requirements string) string {
	t.Helper()
	text, err := os.ReadFile(requirements)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if version, found := strings.CutPrefix(strings.TrimSpace(line), module+"=="); found {
			return version
		}
	}
	t.Fatalf("%s does not pin %s", requirements, module)
	return ""
}
