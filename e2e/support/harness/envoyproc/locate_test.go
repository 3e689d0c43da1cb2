package envoyproc

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Else go test would take results that it has kept for those of another filter.
func TestTheRepositoryIsReadByNamesWithinTheTestsModule(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	own, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(root, own+string(filepath.Separator)) {
		t.Errorf("the repository is found at %q, want a name within %q", root, own)
	}
	if _, err := os.Stat(filepath.Join(root, StandaloneYAML)); err != nil {
		t.Error(err)
	}
}

// What is missing is never skipped: the error says which make target provides it.
func TestLocateSaysWhatToRun(t *testing.T) {
	empty := t.TempDir()
	t.Setenv("ENVOY", "")
	t.Setenv("XDG_CACHE_HOME", empty)
	t.Setenv("SPILLWAY_WASM", filepath.Join(empty, "a.wasm"))
	t.Setenv("SPILLWAY_TRAP_WASM", filepath.Join(empty, "b.wasm"))
	t.Setenv("SPILLWAY_GPUEXPORTER", filepath.Join(empty, "c"))

	_, _, err := Locate()
	for _, want := range []string{"make envoy", "make wasm"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Locate: error %v, want one that says %q", err, want)
		}
	}
	if _, err := LocateTrapWasm(); err == nil || !strings.Contains(err.Error(), "make wasm-trap") {
		t.Errorf("LocateTrapWasm: error %v, want one that says %q", err, "make wasm-trap")
	}
	if _, err := LocateExporter(); err == nil || !strings.Contains(err.Error(), "make gpuexporter") {
		t.Errorf("LocateExporter: error %v, want one that says %q", err, "make gpuexporter")
	}
	t.Setenv("ENVOY", filepath.Join(empty, "envoy"))
	if _, err := LocateEnvoy(); err == nil || !strings.Contains(err.Error(), "ENVOY=") {
		t.Errorf("LocateEnvoy: error %v, want one that names the variable", err)
	}
}
