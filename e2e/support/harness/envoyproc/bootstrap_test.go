package envoyproc

import (
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// load returns the bootstrap that users get.
func load(t *testing.T) *Bootstrap {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Load(filepath.Join(root, StandaloneYAML))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// text is the bootstrap as JSON.
func text(t *testing.T, b *Bootstrap) string {
	t.Helper()
	encoded, err := b.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func TestChangesTakeEffect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*Bootstrap)
		want   string
	}{
		{"gateway port", func(b *Bootstrap) { b.SetPort(Gateway, 11000) }, `"port_value":11000`},
		{"admin port", func(b *Bootstrap) { b.SetAdminPort(0) }, `"admin":{"address":{"socket_address":{"address":"127.0.0.1","port_value":0}}}`},
		{"upstream", func(b *Bootstrap) { b.SetUpstream("llm.example:8080") }, `{"address":"llm.example","port_value":8080}`},
		{"upstream, IPv6", func(b *Bootstrap) { b.SetUpstream("[::1]:8080") }, `{"address":"::1","port_value":8080}`},
		{"upstream, TLS", func(b *Bootstrap) { b.SetUpstreamTLS("llm.example", "llm.example", "/roots.pem") }, `"trusted_ca":{"filename":"/roots.pem"}`},
		{"filter", func(b *Bootstrap) { b.SetWasm("/a.wasm") }, `"filename":"/a.wasm"`},
		{"VM", func(b *Bootstrap) { b.SetVMID("other") }, `"vm_id":"other"`},
		{"configuration", func(b *Bootstrap) { b.SetPluginConfig("{}") }, `"value":"{}"`},
		{"hold", func(b *Bootstrap) { b.SetAllowStopIteration(false) }, `"allow_on_headers_stop_iteration":false`},
		{"idle timeout", func(b *Bootstrap) { b.SetStreamIdleTimeout(1500 * time.Millisecond) }, `"stream_idle_timeout":"1.5s"`},
		{"delayed close", func(b *Bootstrap) { b.SetDelayedCloseTimeout(time.Minute) }, `"delayed_close_timeout":"60s"`},
		{"cluster", func(b *Bootstrap) { b.AddClusters(map[string]any{"name": "x"}) }, `},{"name":"x"}]`},
		{"anything", func(b *Bootstrap) { b.Set("1s", "stats_flush_interval") }, `"stats_flush_interval":"1s"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := load(t)
			before := text(t, b)
			test.change(b)
			after := text(t, b)
			if !strings.Contains(after, test.want) {
				t.Errorf("no %s in %s", test.want, after)
			}
			if strings.Contains(before, test.want) {
				t.Errorf("%s was there before", test.want)
			}
		})
	}
}

// filters are the names of the gateway's HTTP filters.
func filters(t *testing.T, b *Bootstrap) string {
	t.Helper()
	list, _ := b.object(connectionManager()...)["http_filters"].([]any)
	names := make([]string, len(list))
	for i, filter := range list {
		names[i], _ = filter.(map[string]any)["name"].(string)
	}
	return strings.Join(names, " ")
}

func TestFilters(t *testing.T) {
	t.Parallel()
	b := load(t)
	b.InsertAfterWasm(map[string]any{"name": "x"}, map[string]any{"name": "y"})
	if got, want := filters(t, b), "spillway x y envoy.filters.http.router"; got != want {
		t.Errorf("with more filters: %s, want %s", got, want)
	}
	b.RemoveWasm()
	if got, want := filters(t, b), "x y envoy.filters.http.router"; got != want {
		t.Errorf("without Spillway: %s, want %s", got, want)
	}
	b.SetWasm("/a.wasm")
	if _, err := b.JSON(); err == nil || !strings.Contains(err.Error(), "http_filters.spillway") {
		t.Errorf("a change of the filter that is gone: error %v, want one that says where", err)
	}
	b.SetAdminPort(0) // after an error, nothing
}

func TestMoveListeners(t *testing.T) {
	t.Parallel()
	b := load(t)
	listeners := b.MoveListeners("/lds.json")
	if len(listeners) == 0 || listeners[0]["name"] != Gateway {
		t.Fatalf("moved %v", listeners)
	}
	if got := text(t, b); strings.Contains(got, `"listeners"`) || !strings.Contains(got, `"path":"/lds.json"`) {
		t.Errorf("the bootstrap is now %s", got)
	}
	encoded, err := Resources("7", listeners)
	if err != nil {
		t.Fatal(err)
	}
	var response struct {
		Version   string           `json:"version_info"`
		Resources []map[string]any `json:"resources"`
	}
	if err := json.Unmarshal(encoded, &response); err != nil {
		t.Fatal(err)
	}
	if response.Version != "7" || len(response.Resources) != len(listeners) || response.Resources[0]["@type"] == nil {
		t.Errorf("the resources are %s", encoded)
	}
	if listeners[0]["@type"] != nil {
		t.Error("Resources changed what it was given")
	}
}

// A fleet's Envoy is a single one with ratelimit behind the filter; what else they have is the same in both files.
func TestTheFleetsBootstrapIsTheSingleOnesAndRatelimit(t *testing.T) {
	t.Parallel()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	single := load(t)
	fleet, err := Load(filepath.Join(root, FleetYAML))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := filters(t, fleet), "spillway envoy.filters.http.ratelimit envoy.filters.http.router"; got != want {
		t.Errorf("the filters are %s, want %s", got, want)
	}
	for _, key := range []string{"stats_config", "overload_manager", "admin"} {
		if !reflect.DeepEqual(single.root[key], fleet.root[key]) {
			t.Errorf("%s differs", key)
		}
	}
	format := append(connectionManager(), "access_log", 0, "typed_config", "log_format", "json_format")
	fields := fleet.object(format...)
	for name, value := range single.object(format...) {
		if fields[name] != value {
			t.Errorf("the access log's %s is %v, want %v", name, fields[name], value)
		}
	}
	fleet.SetRatelimit("ratelimit.example:8081")
	if got, want := text(t, fleet), `{"address":"ratelimit.example","port_value":8081}`; !strings.Contains(got, want) {
		t.Errorf("no %s in %s", want, got)
	}
	if got := fleet.PluginConfig(); !strings.Contains(got, `"limits"`) {
		t.Errorf("the filter's configuration is %s", got)
	}
}

func TestUnusableUpstreamIsAnError(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "host", ":80", "host:", "host:http", "host:0", "host:65536", "a:b:1"} {
		b := load(t)
		b.SetUpstream(address)
		if _, err := b.JSON(); err == nil {
			t.Errorf("%q was taken", address)
		}
	}
}
