package harness

import (
	"maps"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// AsWritten gives the plugins of a bootstrap the configurations that the repository's file of it has, in YAML, as who takes that file has them. count is how
// many there are.
func AsWritten(t testing.TB, file string) (edit func(*envoyproc.Bootstrap), count int) {
	t.Helper()
	b, err := envoyproc.Load(InRepository(t, file))
	if err != nil {
		t.Fatal(err)
	}
	written := map[string]any{}
	b.Edit(func(root map[string]any) {
		configured(root, func(name string, plugin map[string]any) {
			written[name] = maps.Clone(plugin["configuration"].(map[string]any))
		})
	})
	return func(b *envoyproc.Bootstrap) {
		b.Edit(func(root map[string]any) {
			configured(root, func(name string, plugin map[string]any) { plugin["configuration"] = written[name] })
		})
	}, len(written)
}

// ReconfigureYAML is Reconfigure with a configuration as Envoy's own YAML has it.
func (e *Envoy) ReconfigureYAML(config map[string]any) error {
	e.t.Helper()
	return e.ReplaceListeners(func(listeners []map[string]any) {
		configured(listeners, func(name string, plugin map[string]any) {
			if name == envoyproc.WasmFilter {
				plugin["configuration"] = map[string]any{"@type": "type.googleapis.com/google.protobuf.Struct", "value": config}
			}
		})
	})
}

// configured visits the plugins that have a configuration.
func configured(node any, visit func(name string, plugin map[string]any)) {
	Visit(node, func(object map[string]any) {
		if name, is := object["name"].(string); is && object["configuration"] != nil {
			visit(name, object)
		}
	})
}
