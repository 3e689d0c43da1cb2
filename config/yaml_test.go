package config

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"sigs.k8s.io/yaml"
)

// asEnvoy does to numbers what Envoy does to those in its own YAML: what isn't an integer of 32 bits becomes text.
func asEnvoy(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, x := range v {
			v[key] = asEnvoy(x)
		}
	case []any:
		for i, x := range v {
			v[i] = asEnvoy(x)
		}
	case float64:
		if v != math.Trunc(v) || math.Abs(v) > math.MaxInt32 {
			return strconv.FormatFloat(v, 'g', -1, 64)
		}
	}
	return v
}

// What Envoy makes of the examples is what is written there.
func TestWhatEnvoyMakesOfYAML(t *testing.T) {
	files, err := filepath.Glob("examples/*.yaml")
	if err != nil || len(files) < 7 {
		t.Fatalf("found the examples %v, %v", files, err)
	}
	refused := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		plain, _ := json.Marshal(v)
		want, err := Parse(plain)
		if err != nil {
			t.Fatal(err)
		}
		given, _ := json.Marshal(asEnvoy(v))
		if _, err := Parse(given); err != nil {
			refused++
		}
		got, err := Parse(FromYAML(given))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v", file, err)
		}
	}
	if refused == 0 {
		t.Error("no example has a number that Envoy makes text of")
	}
}

func TestOnlyNumbersThatAreWantedAreMadeOfText(t *testing.T) {
	for text, want := range map[string]string{
		`{"namespace":"1.5"}`:                           `{"namespace":"1.5"}`,
		limit(`,"burst":"10000000000","x":"1.5"`):       limit(`,"burst":10000000000,"x":"1.5"`),
		upstream(`"retreat":{"factor":".5"}`):           upstream(`"retreat":{"factor":0.5}`),
		upstream(`"retreat":{"factor":"5e-1"}`):         upstream(`"retreat":{"factor":0.5}`),
		upstream(`"retreat":{"factor":"0x1p-1"}`):       upstream(`"retreat":{"factor":"0x1p-1"}`),
		upstream(`"retreat":{"factor":".nan"}`):         upstream(`"retreat":{"factor":".nan"}`),
		upstream(`"retreat":{"factor":"-.inf"}`):        upstream(`"retreat":{"factor":"-.inf"}`),
		upstream(`"retreat":{"factor":"1e999"}`):        upstream(`"retreat":{"factor":"1e999"}`),
		upstream(`"retreat":{"factor":""}`):             upstream(`"retreat":{"factor":""}`),
		upstream(`"concurrency":{"max":"auto"}`):        upstream(`"concurrency":{"max":"auto"}`),
		upstream(`"concurrency":{"max":"3000000000"}`):  upstream(`"concurrency":{"max":3000000000}`), // which is refused as one that is too large
		`{"prices":[{"models":["a"],"prompt":"0.15"}]}`: `{"prices":[{"models":["a"],"prompt":0.15}]}`,
		`{`: `{`, ``: ``, `[]`: `[]`,
	} {
		if got := string(FromYAML([]byte(text))); got != want && !equal(got, want) {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func equal(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}
