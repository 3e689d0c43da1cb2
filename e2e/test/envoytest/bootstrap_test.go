package envoytest

import (
	"maps"
	"net/http"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// The bootstrap does what it says, with the configurations as they are written there, in YAML.
func TestTheBootstrapRunsAsItIs(t *testing.T) {
	t.Parallel()
	file, err := envoyproc.Load(harness.InRepository(t, envoyproc.StandaloneYAML))
	if err != nil {
		t.Fatal(err)
	}
	configurations := map[string]any{}
	file.Edit(func(root map[string]any) {
		harness.Visit(root, func(object map[string]any) {
			if name, is := object["name"].(string); is && object["configuration"] != nil {
				configurations[name] = maps.Clone(object["configuration"].(map[string]any))
			}
		})
	})
	g := start(t, harness.Options{Surface: "{}", Edit: func(b *envoyproc.Bootstrap) {
		b.Edit(func(root map[string]any) {
			harness.Visit(root, func(object map[string]any) {
				if name, is := object["name"].(string); is && object["configuration"] != nil {
					object["configuration"] = configurations[name]
				}
			})
		})
	}}, llmsim.Options{})
	if len(configurations) != 2 {
		t.Fatalf("the file has the configurations of %d plugins, want 2", len(configurations))
	}
	if got := statuses(5, func() answer { return g.chat(t, user("bo")) }); got != "200 200 200 200 429" {
		t.Errorf("got %s, want 200 200 200 200 429", got)
	}
	wantStatus(t, g.do(t, newRequest(t, http.MethodGet, g.Surface+"/spillway/healthz", nil, nil)), http.StatusOK)
}

// Envoy makes texts of numbers in YAML that have a point, or more than 32 bits. They are numbers all the same.
func TestNumbersInYAML(t *testing.T) {
	t.Parallel()
	g := start(t, harness.Options{Edit: func(b *envoyproc.Bootstrap) {
		b.Edit(func(root map[string]any) {
			harness.Visit(root, func(object map[string]any) {
				if object["name"] == "spillway" && object["configuration"] != nil {
					object["configuration"] = map[string]any{"@type": "type.googleapis.com/google.protobuf.Struct", "value": map[string]any{
						"limits":    []any{map[string]any{"name": "large", "unit": "requests", "quantity": "10000000000", "window": "1h"}},
						"upstreams": []any{map[string]any{"name": "llm", "retreat": map[string]any{"factor": ".5"}}},
					}}
				}
			})
		})
	}}, llmsim.Options{})
	a := g.chat(t, user("bo"))
	wantStatus(t, a, http.StatusOK)
	if got := a.header.Get("x-ratelimit-limit-requests"); got != "10000000000" {
		t.Errorf("the limit is %q", got)
	}
}
