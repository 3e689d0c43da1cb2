package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	bootstrapWith = "static_resources:\n  a: {name: spillway, vm_config: {}, configuration: {'@type': x/google.protobuf.Struct, value: {namespace: gateway}}}\n" +
		"  b: {name: spillway-admin, vm_config: {}, configuration: {'@type': x/google.protobuf.Struct, value: {namespace: surface}}}\n"
	wasmPlugin = "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nspec: {pluginConfig: {namespace: mesh}}\n"
)

// Which configuration runs.
func TestConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, envoyproc.StandaloneYAML, bootstrapWith)
	for _, c := range []struct{ name, text, namespace string }{
		{"the bootstrap's", "", "gateway"},
		{"YAML", "namespace: mine\n", "mine"},
		{"JSON", `{"namespace": "mine"}`, "mine"},
		{"an empty file", "\n", "default"},
		{"a WasmPlugin's", wasmPlugin, "mesh"},
		{"another bootstrap's", bootstrapWith, "gateway"},
	} {
		var s settings
		if c.text != "" {
			s.config = write(t, dir, "mine.yaml", c.text)
		}
		got, err := s.configuration(dir)
		if err != nil || got.config.Namespace != c.namespace || (c.namespace != "default" && !strings.Contains(got.json, c.namespace)) {
			t.Errorf("%s: %s of %s, %v", c.name, got.json, got.file, err)
		}
	}
	write(t, dir, ownConfig, "namespace: beside\n")
	if got, err := new(settings).configuration(dir); err != nil || got.config.Namespace != "beside" {
		t.Errorf("spillway.yaml beside the bootstrap: %+v, %v", got, err)
	}
	s := settings{config: write(t, dir, "two.yaml", wasmPlugin+"---\n"+wasmPlugin)}
	if _, err := s.configuration(dir); err == nil || !strings.Contains(err.Error(), "two.yaml has several configurations") {
		t.Errorf("two configurations: %v", err)
	}
}

// A wrong one is said by file and line before anything is started.
func TestRunChecksTheConfigurationFirst(t *testing.T) {
	t.Parallel()
	mine := write(t, t.TempDir(), "mine.yaml", "limits:\n- name: a\n  unit: requests\n  quantity: 0\n  window: 1h\n")
	s := start(t, "CONFIG="+mine, "ENVOY=/nowhere")
	for line := range s.lines {
		t.Errorf("it said %q before it looked at the configuration", line)
	}
	if err := s.Wait(); err == nil {
		t.Error("it ended with exit status 0")
	}
	if want := "\n" + mine + ":4: limits[0].quantity: 0: want"; !strings.Contains(s.stderr.String(), want) {
		t.Errorf("it said %q, want %q in it", s.stderr, want)
	}
}
