// Package envoyproc runs a real Envoy with the compiled filter: it finds both, adapts a bootstrap file of this repository
// to free ports and other settings without keeping a second copy of it, and supervises the process.
//
// It knows nothing of tests. Package harness builds on it for tests, and spillway-run for `make run`.
package envoyproc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// EnvoyVersion is the version of Envoy that the Makefile fetches when ENVOY names no other.
const EnvoyVersion = "1.40.0"

// What the go.mod at the root of the repository says, and the one in e2e.
const (
	rootModule = "module github.com/spillway-proxy/spillway"
	ownModule  = rootModule + "/e2e"
)

// rootLink leads from e2e to the root of the repository.
const rootLink = "testdata/repository"

// The bootstraps of this repository, relative to its root: what most things here start from, and one Envoy of a fleet.
const (
	StandaloneYAML = "envoy/standalone.yaml"
	FleetYAML      = "envoy/fleet.yaml"
)

// Root returns the root of the repository, from any working directory in it. Within e2e, where tests run, that is a link inside e2e:
// go test runs a test again, in place of a result that it has kept, when a file has changed that the test has read, but only looks
// at those whose names begin with the folder of the test's module.
func Root() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil {
			switch lines := strings.Split(string(text), "\n"); {
			case slices.Contains(lines, rootModule):
				return dir, nil
			case slices.Contains(lines, ownModule):
				return filepath.Join(dir, rootLink), nil
			}
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the repository: no directory above %q has a go.mod that says %q", start, rootModule)
		}
	}
}

// LocateEnvoy returns the Envoy binary: ENVOY (a path, or a name on PATH), or else the one that `make envoy` put into the
// cache. The error says what to run.
func LocateEnvoy() (string, error) {
	if name := os.Getenv("ENVOY"); name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("ENVOY=%q is not a program that can be run (unset it to use the one of `make envoy`): %w", name, err)
		}
		return filepath.Abs(path)
	}
	path := filepath.Join(Cached("envoy-"+EnvoyVersion), "envoy", "_bin", "envoy")
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no Envoy at %q: run `make envoy` to fetch it, or set ENVOY to one you have", path)
	}
	return path, nil
}

// Cached is where the Makefile keeps something of that name, on every system.
func Cached(name string) string {
	cache := os.Getenv("XDG_CACHE_HOME")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	return filepath.Join(cache, "spillway", name)
}

// LocateWasm returns the compiled filter: SPILLWAY_WASM, or else build/spillway.wasm. The error says what to run.
func LocateWasm() (string, error) {
	return locateBuild("SPILLWAY_WASM", "spillway.wasm", "compiled filter", "make wasm")
}

// LocateTrapWasm returns the filter built with a deliberate trap: SPILLWAY_TRAP_WASM, or else build/spillway-trap.wasm.
// The error says what to run.
func LocateTrapWasm() (string, error) {
	return locateBuild("SPILLWAY_TRAP_WASM", "spillway-trap.wasm", "compiled filter", "make wasm-trap")
}

// LocateExporter returns the exporter of pressure: SPILLWAY_GPUEXPORTER, or else build/gpuexporter. The error says what to
// run.
func LocateExporter() (string, error) {
	return locateBuild("SPILLWAY_GPUEXPORTER", "gpuexporter", "exporter", "make gpuexporter")
}

// Locate returns the Envoy binary and the compiled filter; the error names everything that is missing.
func Locate() (envoy, wasm string, err error) {
	envoy, envoyErr := LocateEnvoy()
	wasm, wasmErr := LocateWasm()
	return envoy, wasm, errors.Join(envoyErr, wasmErr)
}

func locateBuild(variable, file, what, command string) (string, error) {
	path, origin := os.Getenv(variable), variable
	if path == "" {
		root, err := Root()
		if err != nil {
			return "", err
		}
		path, origin = filepath.Join(root, "build", file), "the default of "+variable
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", origin, err)
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("no %s at %q (%s): run `%s`", what, path, origin, command)
	}
	return path, nil
}
