// Package schematest tests that the configuration's schema says what the parser does. It is not in package config's own tests, because the
// filter's module does without a validator of schemas.
package schematest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile(harness.InRepository(t, "config/schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	const name = "schema.json"
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource(name, document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// validate checks JSON text against the schema.
func validate(t testing.TB, s *jsonschema.Schema, text []byte) error {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(document)
}

// examples are the shipped ones as JSON, the way that Kubernetes makes it of YAML, by their files.
func examples(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(harness.InRepository(t, "config/examples/*.yaml"))
	if err != nil || len(files) < 9 {
		t.Fatalf("got the examples %v, %v", files, err)
	}
	all := make(map[string][]byte)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if all[file], err = yaml.YAMLToJSONStrict(text); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	return all
}

func TestTheSchemaAcceptsTheExamples(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for file, json := range examples(t) {
		if err := validate(t, schema, json); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// What the schema refuses for its keys and types, Parse refuses, too; and what Parse accepts, the schema does.
func TestSchemaAgreesWithParse(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for _, text := range []string{
		`{"limit": []}`, `{"mode": "on"}`, `{"mode": true}`, `{"namespace": 1}`, `{"limits": {}}`, `{"limits": [{"name": "a"}]}`, `null`,
		`{"upstreams": [{"name": "u", "retreat": {"factor": 1}}]}`, `{"upstreams": [{"name": "u", "queue": {"maxwait": {}}}]}`,
		`{"identity": {"user": {"headers": ["x y"]}}}`, `{"statusCode": {"limits": 300.5}}`, `{"admin": {"tokens": ["short"]}}`,
		`{"pressureSource": {"interval": "1d"}}`, `{"priority": {"default": "top"}}`, `{"models": {"aliases": {"": "b"}}}`,
		`{"usage": {"cost": [{"models": []}]}}`, `{"pressureSource": {"path": "/a?b"}}`, `{"pressureSource": {"path": "/a b"}}`,
		`{"limits": [{"name": "a", "unit": "inflight", "quantity": 4, "window": "1h"}]}`, `{"limits": [{"name": "a", "unit": "inflight"}]}`,
		`{"limits": [{"name": "a", "unit": "inflight", "quantity": 4, "burst": 9}]}`,
		`{"limits": [{"name": "a", "unit": "inflight", "quantity": 4, "admission": "strict"}]}`,
		`{"limits": [{"name": "a", "unit": "inflight", "quantity": 4, "refund": ["5xx"]}]}`,
		`{"limits": [{"name": "a", "unit": "inflight", "quantity": 4, "refund": []}]}`,
		`{"limits": [{"name": "a", "unit": "inflight", "quantity": 0, "window": null}]}`,
		`{"limits": [{"name": "a", "unit": "requests", "quantity": 4}]}`,
		`{"publish": "some"}`, `{"publish": ["all"]}`, `{"publish": ["spillway.gate", "spillway.gate"]}`, `{"publish": null}`, `{"rateLimitHeaders": "none"}`,
	} {
		if validate(t, schema, []byte(text)) == nil {
			t.Errorf("the schema accepts %s", text)
		}
		if _, err := config.Parse([]byte(text)); err == nil && text != "null" {
			t.Errorf("Parse accepts %s", text)
		}
	}
	for _, text := range []string{
		`{}`, `{"mode": false}`, `{"statusCode": {"limits": 529.0}}`, `{"priority": {"default": " MeDium "}}`, `{"admin": {"tokens": ["sha256:` + strings.Repeat("0123456789abcdef", 4) + `"], "path": "/a/b-c_d"}}`,
		`{"upstreams": [{"name": "u", "breaker": {"slowCall": "0", "window": "1m0.5s"}}]}`, `{"priority": {"header": ""}}`,
		`{"limits": [{"name": "a", "per": ["header:X-A"], "unit": "cost", "quantity": 3e2, "window": "1h"}]}`, `{"models": {"labels": ["\n"]}}`,
		`{"limits": [{"name": "a", "unit": "inflight", "quantity": 4}]}`,
		`{"publish": "minimal", "rateLimitHeaders": false}`, `{"publish": []}`, `{"publish": ["spillway.gate", "gen_ai.itl.ms"]}`,
	} {
		if err := validate(t, schema, []byte(text)); err != nil {
			t.Errorf("the schema refuses %s: %v", text, err)
		}
		if _, err := config.Parse([]byte(text)); err != nil {
			t.Errorf("Parse refuses %s: %v", text, err)
		}
	}
}

func FuzzTheSchemaAcceptsWhatParseDoes(f *testing.F) {
	for _, json := range examples(f) {
		f.Add(json)
	}
	f.Add([]byte(`{"limits": [{"name": "a", "unit": "inflight", "quantity": 4}]}`))
	schema := compileSchema(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if text := strings.TrimSpace(string(data)); text == "" || text == "null" {
			return // no configuration, which the schema doesn't speak of
		}
		if _, err := config.Parse(data); err != nil {
			return
		}
		if err := validate(t, schema, data); err != nil {
			t.Errorf("the schema refuses what Parse accepts: %v", err)
		}
	})
}
