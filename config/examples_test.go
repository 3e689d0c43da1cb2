package config

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// readExample is an example as JSON, the way that Kubernetes makes it of YAML.
func readExample(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("examples", name))
	if err != nil {
		t.Fatal(err)
	}
	json, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return json
}

func TestExamples(t *testing.T) {
	files, err := filepath.Glob("examples/*.yaml")
	if err != nil || len(files) < 9 {
		t.Fatalf("got the examples %v, %v", files, err)
	}
	for _, file := range files {
		if _, err := Parse(readExample(t, filepath.Base(file))); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func parseExample(t *testing.T, name string) Config {
	t.Helper()
	return mustParse(t, string(readExample(t, name)))
}

// The presets carry the numbers that the documentation names.
func TestPresets(t *testing.T) {
	wantEqual(t, parseExample(t, "minimal.yaml").Limits, []Limit{{
		Name: "user-completion-tokens", Per: []string{"user"}, Unit: CompletionTokens, Quantity: 300, Window: time.Hour, Refill: RefillContinuous, Burst: 300,
		Admission: Lenient, Mode: Enforce, Scope: ScopeProxy,
	}})

	provider := defaultUpstream("nvidia")
	provider.Models = []string{"nvidia", "nvidia/*"}
	provider.Budget = Budget{Requests: 40, Window: time.Minute, Burst: 40}
	wantEqual(t, parseExample(t, "provider-40rpm.yaml").Upstreams, []Upstream{provider})

	conservative := defaultUpstream("default")
	conservative.Pressure.Mode, conservative.Pressure.ActiveDecodeBlocks, conservative.Pressure.ActivePrefillTokens = Enforce, 0.7, 5000
	wantEqual(t, parseExample(t, "pressure-conservative.yaml").Upstreams, []Upstream{conservative})

	aggressive := defaultUpstream("default")
	aggressive.Pressure.Mode, aggressive.Pressure.ActiveDecodeBlocks, aggressive.Pressure.ActivePrefillTokens = Enforce, 0.95, 20000
	wantEqual(t, parseExample(t, "pressure-aggressive.yaml").Upstreams, []Upstream{aggressive})

	latency := defaultUpstream("default")
	latency.Latency.Mode = Enforce
	wantEqual(t, parseExample(t, "latency.yaml").Upstreams, []Upstream{latency})

	strict := defaultUpstream("default")
	strict.Breaker.Mode, strict.Breaker.ErrorRate, strict.Breaker.OpenFor, strict.Breaker.Probes = Enforce, 0.05, 30*time.Second, 5
	wantEqual(t, parseExample(t, "breaker-strict.yaml").Upstreams, []Upstream{strict})

	watching := defaultUpstream("default")
	watching.Breaker.Mode, watching.Latency.Mode, watching.Throttle.Mode = Shadow, Shadow, Shadow
	watching.Latency.TTFT, watching.Latency.TimeConstant = time.Second/2, 5*time.Second
	wantEqual(t, parseExample(t, "gates-shadow.yaml").Upstreams, []Upstream{watching})
}

func TestFullExampleHasEveryKey(t *testing.T) {
	var document any
	if err := yaml.Unmarshal(readExample(t, "full.yaml"), &document); err != nil {
		t.Fatal(err)
	}
	s := Describe()
	for _, missing := range missingKeys(&s, "", []any{document}) {
		t.Errorf("full.yaml lacks %s", missing)
	}
}

// missingKeys lists the described keys that none of values, all found at the same path, has.
func missingKeys(s *Schema, path string, values []any) (missing []string) {
	if s.Items != nil && s.Items.Properties != nil {
		var entries []any
		for _, value := range values {
			entries = append(entries, value.([]any)...)
		}
		return missingKeys(s.Items, path+"[]", entries)
	}
	for _, p := range s.Properties {
		var found []any
		for _, value := range values {
			if member, ok := value.(map[string]any)[p.Name]; ok {
				found = append(found, member)
			}
		}
		if found == nil {
			missing = append(missing, join(path, p.Name))
		}
		missing = append(missing, missingKeys(&p.Schema, join(path, p.Name), found)...)
	}
	return missing
}

func TestEveryFieldIsDescribed(t *testing.T) {
	s := Describe()
	var walk func(path string, s *Schema)
	walk = func(path string, s *Schema) {
		if len(s.Description) < 10 {
			t.Errorf("%s has no description", path)
		}
		names := []string{}
		properties := s.Properties
		if s.Items != nil {
			properties = s.Items.Properties
		}
		for _, p := range properties {
			if slices.Contains(names, p.Name) {
				t.Errorf("%s is described twice", join(path, p.Name))
			}
			names = append(names, p.Name)
			walk(join(path, p.Name), &p.Schema)
		}
	}
	walk("configuration", &s)
}
