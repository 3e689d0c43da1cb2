// Package envoygateway tests the manifests of this folder, as far as that goes without a cluster: e2e/test/mesh/gatewaytest applies them to
// a real one.
package envoygateway

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/config"
)

// object is a part of a manifest that the tests look at.
type object struct {
	APIVersion, Kind string
	Metadata         struct{ Name, Namespace string }
	Spec             struct {
		Wasm []struct{ Config json.RawMessage }
		Path struct {
			EscapedSlashesAction string
			DisableMergeSlashes  bool
		}
		RateLimit struct {
			Global struct{ Rules []rule }
		}
	}
}

type rule struct {
	ClientSelectors any
	Limit           any
	Cost            struct{ Request, Response any }
}

// read parses all documents of a file. Keys that appear twice are refused.
func read(t *testing.T, file string) (objects []object) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var all map[string]any
		var o object
		if err := yaml.UnmarshalStrict(document, &all); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := yaml.Unmarshal(document, &o); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		objects = append(objects, o)
	}
	return objects
}

// of is the only object of a kind in a file.
func of(t *testing.T, file, kind string) object {
	t.Helper()
	for _, o := range read(t, file) {
		if o.Kind == kind {
			return o
		}
	}
	t.Fatalf("%s has no %s", file, kind)
	return object{}
}

func TestEveryObjectHasItsPlace(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no manifests", err)
	}
	for _, file := range files {
		for _, o := range read(t, file) {
			cluster := o.Kind == "GatewayClass" || o.Kind == "EnvoyGateway"
			if o.APIVersion == "" || o.Kind == "" || o.Metadata.Name == "" && o.Kind != "EnvoyGateway" || !cluster && o.Metadata.Namespace != "llm" {
				t.Errorf("%s: %s %q in namespace %q lacks something", file, o.Kind, o.Metadata.Name, o.Metadata.Namespace)
			}
		}
	}
}

// The filter takes its configuration, which in both forms is the same but for how requests are held.
func TestTheFiltersConfiguration(t *testing.T) {
	t.Parallel()
	want := map[string]config.Hold{"spillway.yaml": config.HoldStopIteration, "lua.yaml": config.HoldNone}
	var limits [][]config.Limit
	for file, hold := range want {
		policy := of(t, file, "EnvoyExtensionPolicy")
		if len(policy.Spec.Wasm) != 1 {
			t.Fatalf("%s has %d filters, want 1", file, len(policy.Spec.Wasm))
		}
		c, err := config.Parse(policy.Spec.Wasm[0].Config)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if c.RequestHold != hold {
			t.Errorf("%s: requestHold is %v, want %v", file, c.RequestHold, hold)
		}
		limits = append(limits, c.Limits)
	}
	if !reflect.DeepEqual(limits[0], limits[1]) {
		t.Errorf("the limits differ: %v", limits)
	}
}

// Both gateways' limits are one, but for the cost of a check, of which Alibaba Cloud's example says nothing.
func TestBothLimitsAreTheSame(t *testing.T) {
	t.Parallel()
	upstream := of(t, "limit.yaml", "BackendTrafficPolicy").Spec.RateLimit.Global.Rules
	ack := of(t, "limit-ack.yaml", "BackendTrafficPolicy").Spec.RateLimit.Global.Rules
	if ack[0].Cost.Request != nil || upstream[0].Cost.Request == nil {
		t.Errorf("costs of requests are %v and %v, want one upstream and none for ACK", upstream[0].Cost.Request, ack[0].Cost.Request)
	}
	upstream[0].Cost.Request = nil
	if !reflect.DeepEqual(upstream, ack) {
		t.Errorf("the limits are %v and %v", upstream, ack)
	}
}

// The patch names the gateway's listener and the policy by what their files call them.
func TestThePatchNamesWhatIsThere(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("patch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	gateway, policy := of(t, "gateway.yaml", "Gateway").Metadata, of(t, "spillway.yaml", "EnvoyExtensionPolicy").Metadata
	for name, n := range map[string]int{
		"name: " + gateway.Namespace + "/" + gateway.Name + "/http":                  3,
		"/envoyextensionpolicy/" + policy.Namespace + "/" + policy.Name + "/wasm/0'": 2,
	} {
		if got := strings.Count(string(text), name); got != n {
			t.Errorf("patch.yaml has %d times %q, want %d", got, name, n)
		}
	}
}

// What the filter sees of a path is what the server will see.
func TestPathsAreNormalized(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"spillway.yaml", "lua.yaml"} {
		if path := of(t, file, "ClientTrafficPolicy").Spec.Path; path.EscapedSlashesAction != "UnescapeAndForward" || path.DisableMergeSlashes {
			t.Errorf("%s: %+v", file, path)
		}
	}
}
