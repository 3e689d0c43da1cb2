//go:build mesh

package istiotest

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/internal/manifest"
)

// object is a manifest, a part of one, or a configuration.
type object map[string]any

// text is a value as JSON, which is YAML, too.
func text(t *testing.T, value any) string {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// rendered is the first object of a kind that a kustomization gives.
func rendered(t *testing.T, dir, kind string) object {
	t.Helper()
	return renderedAll(t, dir, kind)[0]
}

// renderedAll are all of that kind; there is one, at least.
func renderedAll(t *testing.T, dir, kind string) (all []object) {
	t.Helper()
	for document := range strings.SplitSeq(kubectl(t, "kustomize", manifests(dir)), "\n---\n") {
		var o object
		if err := yaml.UnmarshalStrict([]byte(document), &o); err != nil {
			t.Fatalf("%v: %s", err, document)
		}
		if o["kind"] == kind {
			all = append(all, o)
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s has no %s", dir, kind)
	}
	return all
}

// set puts a value into an object that is there.
func set(t *testing.T, o object, path string, value any) {
	t.Helper()
	parent, last := o, path
	if at := strings.LastIndexByte(path, '.'); at >= 0 {
		last = path[at+1:]
		node, ok := manifest.At(o, path[:at]).(map[string]any)
		if !ok {
			t.Fatalf("there is no %s to set %s in", path[:at], last)
		}
		parent = node
	}
	parent[last] = value
}
