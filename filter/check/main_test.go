package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// checkText runs the program on a file of that name.
func checkText(t *testing.T, name, text string) (status int, stdout, stderr string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	status = run([]string{path}, &out, &errs)
	return status, strings.ReplaceAll(out.String(), path, name), strings.ReplaceAll(errs.String(), path, name)
}

func TestShippedConfigurationsAreRight(t *testing.T) {
	for pattern, want := range map[string]int{
		"../../config/examples/*.yaml": 1, "../../envoy/standalone.yaml": 2, "../../envoy/fleet.yaml": 1, "../../istio/base/wasmplugin.yaml": 1, "../../envoygateway/spillway.yaml": 1,
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: no files (%v)", pattern, err)
		}
		for _, file := range files {
			var stdout, stderr bytes.Buffer
			if status := run([]string{file}, &stdout, &stderr); status != allRight {
				t.Errorf("%s: status %d: %s", file, status, stderr.String())
			}
			if got := strings.Count(stdout.String(), ": ok\n"); got != want {
				t.Errorf("%s: %d configurations found, want %d:\n%s", file, got, want, stdout.String())
			}
		}
	}
}

func TestErrorsNameTheLine(t *testing.T) {
	const limit = "name: a\nper: [user]\nunit: requests\nquantity: 0\nwindow: 1h\n"
	indent := func(by string) string { return by + strings.ReplaceAll(strings.TrimSpace(limit), "\n", "\n"+by) + "\n" }
	envoy := "static_resources:\n  listeners:\n  - config:\n      name: spillway\n      vm_config: {}\n      configuration:\n" +
		"        \"@type\": type.googleapis.com/google.protobuf.StringValue\n        value: "
	for _, c := range []struct{ name, file, text, want string }{
		{"YAML", "a.yaml", "# mine\nlimits:\n  -\n" + indent("    "), "a.yaml:7: limits[0].quantity: 0: "},
		{"JSON with tabs", "a.json", "{\n\t\"limits\": [],\n\t\"modee\": \"off\"\n}", `a.json:3: modee: unknown key; did you mean "mode"?`},
		{"JSON that isn't", "a.json", "{\n  \"mode\": \"off\",\n}", "a.json:3: configuration: invalid JSON at line 3"},
		{"characters of two halves", "a.json", "{\n  \"\\ud83d\\ude00\": 1}", "a.json:2: "},
		{"a key twice", "a.yaml", "mode: off\nnamespace: a\nmode: shadow\n", "a.yaml:3: mode: duplicate key"},
		{"a missing key", "a.yaml", "limits:\n  - name: a\n", "a.yaml:2: limits[0].unit: missing"},
		{"second document", "a.yaml", "apiVersion: v1\nkind: ConfigMap\n---\napiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nspec:\n" +
			"  pluginConfig:\n    mode: offf\n", "a.yaml:8: mode: \"offf\": "},
		{"text in Envoy's", "a.yaml", envoy + "|\n          {\n            \"mode\": 1}\n", "a.yaml:10: mode: 1: want"},
		{"text in Envoy's that isn't JSON", "a.yaml", envoy + "|\n          {\n            \"mode\": }\n", "a.yaml:10: configuration: invalid JSON"},
		{"YAML as text in Envoy's", "a.yaml", envoy + "|\n          mode: shadow\n", "a.yaml:8: the filter gets this text as it is"},
		{"Envoy's Struct", "a.yaml", strings.Replace(envoy, "StringValue", "Struct", 1) + "\n          limits:\n          -\n" + indent("            "),
			"a.yaml:14: limits[0].quantity: 0: "},
		{"a listener that Envoy is sent", "lds.yaml", "resources:\n- '@type': type.googleapis.com/envoy.config.listener.v3.Listener\n  filter_chains:\n  - filters:\n" +
			"    - typed_config:\n        http_filters:\n        - name: a\n          typed_config:\n            config:\n              name: mine\n" +
			"              vm_config: {code: {local: {filename: /etc/spillway.wasm}}}\n              configuration:\n" +
			"                '@type': type.googleapis.com/google.protobuf.Struct\n                value: {mode: wrong}\n", `lds.yaml:14: mode: "wrong": `},
		{"an EnvoyFilter", "a.yaml", "apiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: e}\nspec:\n  configPatches:\n  - applyTo: HTTP_FILTER\n" +
			"    patch:\n      operation: INSERT_BEFORE\n      value:\n        name: other\n        typed_config:\n          config:\n            root_id: spillway\n" +
			"            vm_config: {}\n            configuration:\n              '@type': type.googleapis.com/google.protobuf.Struct\n" +
			"              value:\n                upstreams:\n                - name: a\n                  concurency: {max: 1}\n", "a.yaml:20: upstreams[0].concurency: unknown key"},
		{"an EnvoyExtensionPolicy", "a.yaml", "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: EnvoyExtensionPolicy\nmetadata: {name: e}\nspec:\n  wasm:\n" +
			"  - name: spillway\n    code: {type: Image}\n    config:\n      retry: {longest: 1}\n", "a.yaml:9: retry.longest: 1: "},
		{"text on one line", "a.yaml", envoy + "'{\"mode\": 1}'\n", "a.yaml:8: mode: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, _, stderr := checkText(t, c.file, c.text)
			if status != isWrong || !strings.Contains(stderr, c.want) {
				t.Errorf("status %d, want %d, and %q in\n%s", status, isWrong, c.want, stderr)
			}
		})
	}
}

func TestWhatCannotBeToldIsTwo(t *testing.T) {
	if _, _, stderr := checkText(t, "a.yaml", "a: 1\nb: [\n"); !strings.Contains(stderr, "a.yaml:") || !strings.Contains(stderr, ": invalid YAML: ") {
		t.Errorf("not the line of what isn't YAML: %s", stderr)
	}
	for name, text := range map[string]string{
		"no YAML":                "a: [",
		"another plugin":         "static_resources: {a: {name: other, vm_config: {}, configuration: {}}}",
		"aliases of aliases":     "kind: EnvoyFilter\napiVersion: v1\na: &a [*a, *a]\n",
		"a key that isn't text":  "? [a]\n: b\n",
		"another resource alone": "apiVersion: v1\nkind: Pod\n",
	} {
		if status, stdout, stderr := checkText(t, "a.yaml", text); status != cantTell || stdout != "" || stderr == "" {
			t.Errorf("%s: status %d, %q, %q", name, status, stdout, stderr)
		}
	}
	var out bytes.Buffer
	for _, args := range [][]string{{}, {"--unknown"}, {"no-such-file"}} {
		if status := run(args, &out, &out); status != cantTell {
			t.Errorf("%q: status %d, want %d", args, status, cantTell)
		}
	}
	if status := run([]string{"--help"}, &out, &out); status != allRight {
		t.Errorf("--help: status %d", status)
	}
}

// The page shows what the program prints.
func TestThePageIsRight(t *testing.T) {
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if status := run([]string{"../../istio/base/wasmplugin.yaml"}, &stdout, &stderr); status != allRight {
		t.Fatal(stderr.String())
	}
	var explained bytes.Buffer
	if status := run([]string{"--explain", "../../config/examples/minimal.yaml"}, &explained, &stderr); status != allRight {
		t.Fatal(stderr.String())
	}
	head, _, _ := strings.Cut(strings.ReplaceAll(explained.String(), "../../", ""), "Upstreams: ")
	if !strings.Contains(string(page), "\n"+head+"...\n") {
		t.Errorf("docs/install.md lacks\n%s", head)
	}
	_, _, wrong := checkText(t, "my.yaml", "limits:\n- name: a\n  per: [user]\n  quantity: 0\n  unit: requests\n  window: 1h\n")
	if want := strings.ReplaceAll(stdout.String(), "../../", "") + wrong; !strings.Contains(string(page), "\n"+want) {
		t.Errorf("docs/install.md lacks\n%s", want)
	}
}

// A log is led through the gateway's configuration, of those that a bootstrap has.
func TestReplay(t *testing.T) {
	log := filepath.Join(t.TempDir(), "access.log")
	var lines string
	for second := range 6 {
		lines += fmt.Sprintf(`{"time":"2026-11-28T09:00:%02dZ","status":200,"duration_ms":10,"operation":"chat","request_model":"m","prompt_tokens":"20","completion_tokens":"76","user":"ann"}`+"\n", second)
	}
	if err := os.WriteFile(log, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	if status := run([]string{"--replay", log, "../../envoy/standalone.yaml"}, &stdout, &stderr); status != allRight || !strings.Contains(stdout.String(), "Refused would have been 2 (33.3 %)") {
		t.Errorf("status %d, %s%s", status, stdout.String(), stderr.String())
	}
	page, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	if shown, _, _ := strings.Cut(stdout.String(), "\nby hour"); !strings.Contains(string(page), shown+"...\n") {
		t.Errorf("docs/install.md lacks\n%s...", shown)
	}
	stdout.Reset()
	if run([]string{"--explain", "--replay", log, "../../envoy/standalone.yaml"}, &stdout, &stderr); !strings.Contains(stdout.String(), "Upstreams: ") || !strings.Contains(stdout.String(), "Refused would have been 2") {
		t.Errorf("both are asked for, and there is %s%s", stdout.String(), stderr.String())
	}
	for _, c := range []struct {
		status int
		args   []string
	}{
		{cantTell, []string{"--replay", "no-such-log", "../../envoy/standalone.yaml"}},
		{cantTell, []string{"--replay", log, "../../config/examples/minimal.yaml", "../../config/examples/latency.yaml"}},
		{cantTell, []string{"--replay", log, "no-such-file"}},
		{isWrong, []string{"--replay", log, "main_test.go.yaml"}},
	} {
		if c.status == isWrong {
			c.args[2] = filepath.Join(t.TempDir(), "wrong.yaml")
			if err := os.WriteFile(c.args[2], []byte("mode: wrong"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if status := run(c.args, &stdout, &stderr); status != c.status {
			t.Errorf("%q: status %d, want %d", c.args, status, c.status)
		}
	}
}
