package envoyproc

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Gateway is the name of the listener that carries the traffic in this repository's bootstraps, Surface that of Spillway's admin surface, and
// WasmFilter that of the HTTP filter that is Spillway.
const (
	Gateway    = "gateway"
	Surface    = "admin"
	WasmFilter = "spillway"
)

// Bootstrap is an Envoy bootstrap that is changed by structure: what a caller does not touch stays as the file has it, so
// access log, statistics tags and timeouts are the ones that users get.
//
// The first change that does not fit the file is remembered and returned by JSON; those after it do nothing.
type Bootstrap struct {
	root map[string]any
	err  error
}

// Load reads a bootstrap, YAML or JSON.
func Load(path string) (*Bootstrap, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the bootstrap: %w", err)
	}
	b := &Bootstrap{}
	if err := yaml.Unmarshal(text, &b.root); err != nil {
		return nil, fmt.Errorf("parse the bootstrap %q: %w", path, err)
	}
	return b, nil
}

// JSON returns the bootstrap as Envoy takes it (in a .yaml or .json file, or by --config-yaml), or the first error of the
// changes before.
func (b *Bootstrap) JSON() ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	return json.Marshal(b.root)
}

// Edit changes anything else: change gets the whole bootstrap.
func (b *Bootstrap) Edit(change func(root map[string]any)) {
	if b.err == nil {
		change(b.root)
	}
}

// Set puts value at a path of map keys (string), list indexes (int), and names of list elements (Named), which must exist
// up to the last step.
func (b *Bootstrap) Set(value any, path ...any) {
	parent := b.object(path[:len(path)-1]...)
	if b.err == nil {
		parent[path[len(path)-1].(string)] = value
	}
}

// Named is a step of a path: the element of a list whose "name" this is.
type Named string

// SetPort makes a listener listen on 127.0.0.1 at port; 0 lets the kernel choose.
func (b *Bootstrap) SetPort(listener string, port int) {
	b.Set(socketAddress("127.0.0.1", port), "static_resources", "listeners", Named(listener), "address")
}

// SetAdminPort makes the admin interface listen on 127.0.0.1 at port; 0 lets the kernel choose.
func (b *Bootstrap) SetAdminPort(port int) {
	b.Set(socketAddress("127.0.0.1", port), "admin", "address")
}

// SetUpstream sends the traffic to address, host:port.
func (b *Bootstrap) SetUpstream(address string) { b.setCluster("llm", address) }

// SetUpstreamTLS has the traffic go over TLS, to who proves to be host by what the certificates in the file roots vouch for, with that authority as
// its Host header.
func (b *Bootstrap) SetUpstreamTLS(host, authority, roots string) {
	kind := "DNS"
	if net.ParseIP(host) != nil {
		kind = "IP_ADDRESS"
	}
	tls := map[string]any{
		"@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
		"common_tls_context": map[string]any{
			"alpn_protocols": []any{"http/1.1"},
			"validation_context": map[string]any{
				"trusted_ca":                    map[string]any{"filename": roots},
				"match_typed_subject_alt_names": []any{map[string]any{"san_type": kind, "matcher": map[string]any{"exact": host}}},
			},
		},
	}
	if kind == "DNS" {
		tls["sni"] = host
	}
	cluster := []any{"static_resources", "clusters", Named("llm")}
	b.Set(map[string]any{"name": "envoy.transport_sockets.tls", "typed_config": tls}, append(cluster, "transport_socket")...)
	b.Set("LOGICAL_DNS", append(cluster, "type")...) // a provider's name has many addresses, which change
	b.Set("5s", append(cluster, "connect_timeout")...)
	b.Set(authority, append(connectionManager(), "route_config", "virtual_hosts", 0, "routes", 0, "route", "host_rewrite_literal")...)
}

// SetExporter makes address, host:port, the one that is asked for pressure.
func (b *Bootstrap) SetExporter(address string) { b.setCluster("gpuexporter", address) }

// SetRatelimit makes address, host:port, the rate limit service; only the bootstrap of a fleet has one.
func (b *Bootstrap) SetRatelimit(address string) { b.setCluster("ratelimit", address) }

func (b *Bootstrap) setCluster(name, address string) {
	host, port, err := SplitAddress(address)
	if err != nil {
		b.fail(err)
		return
	}
	b.Set(socketAddress(host, port), "static_resources", "clusters", Named(name),
		"load_assignment", "endpoints", 0, "lb_endpoints", 0, "endpoint", "address")
}

// SplitAddress takes host:port apart.
func SplitAddress(address string) (host string, port int, err error) {
	host, portText, err := net.SplitHostPort(address)
	if err == nil {
		port, err = strconv.Atoi(portText)
	}
	if err != nil || host == "" || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("%q is not an address of the form host:port, such as 127.0.0.1:8000", address)
	}
	return host, port, nil
}

// SetWasm makes Envoy load the filter from path.
func (b *Bootstrap) SetWasm(path string) { b.setVM(path, "code", "local", "filename") }

// SetVMID sets the VM's id, which is the scope of the state that filters share.
func (b *Bootstrap) SetVMID(id string) { b.setVM(id, "vm_id") }

// setVM sets something of the VM, which is the same for the gateway and for the admin surface, where there is one.
func (b *Bootstrap) setVM(value any, path ...any) {
	path = append([]any{"vm_config"}, path...)
	b.Set(value, b.plugin(path...)...)
	if b.HasListener(Surface) {
		b.Set(value, pluginOf(Surface, path...)...)
	}
}

// HasListener says that there is a listener of that name.
func (b *Bootstrap) HasListener(name string) bool {
	resources, _ := child(b.root, "static_resources")
	listeners, _ := child(resources, "listeners")
	_, has := child(listeners, Named(name))
	return has
}

// RemoveListener takes a listener out, if there is one of that name.
func (b *Bootstrap) RemoveListener(name string) {
	resources := b.object("static_resources")
	if b.err != nil {
		return
	}
	list, _ := resources["listeners"].([]any)
	resources["listeners"] = slices.DeleteFunc(list, func(listener any) bool {
		object, _ := listener.(map[string]any)
		return object["name"] == name
	})
}

// SetSurfaceConfig sets the configuration of the admin surface's filter, JSON.
func (b *Bootstrap) SetSurfaceConfig(config string) {
	b.Set(Text(config), pluginOf(Surface, "configuration")...)
}

// SetPluginConfig sets the filter's own configuration, JSON.
func (b *Bootstrap) SetPluginConfig(config string) {
	b.Set(Text(config), b.plugin("configuration")...)
}

// PluginConfig is the filter's own configuration, JSON, as it is now.
func (b *Bootstrap) PluginConfig() string {
	value := b.object(b.plugin("configuration")...)["value"]
	if text, ok := value.(string); ok {
		return text
	}
	text, _ := json.Marshal(value) // it comes from JSON
	return string(text)
}

// Text is a plugin's configuration as Envoy takes it: the filter gets it as it is.
func Text(config string) map[string]any {
	return map[string]any{"@type": "type.googleapis.com/google.protobuf.StringValue", "value": config}
}

// SetAllowStopIteration sets whether Envoy calls the filter with the body while it holds the headers.
func (b *Bootstrap) SetAllowStopIteration(allow bool) {
	b.Set(allow, b.plugin("allow_on_headers_stop_iteration")...)
}

// SetStreamIdleTimeout sets how long a request may go without a byte in either direction.
func (b *Bootstrap) SetStreamIdleTimeout(d time.Duration) {
	b.Set(seconds(d), append(connectionManager(), "stream_idle_timeout")...)
}

// SetDelayedCloseTimeout sets how long a connection stays, once a request has its answer before all of it was read, for the client to read that: when it
// is closed, what the client hasn't read by then may be lost.
func (b *Bootstrap) SetDelayedCloseTimeout(d time.Duration) {
	b.Set(seconds(d), append(connectionManager(), "delayed_close_timeout")...)
}

// seconds is a duration as Envoy's JSON has it.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s" }

// RemoveWasm takes the filter out: bare Envoy, otherwise the same.
func (b *Bootstrap) RemoveWasm() { b.replaceWasm() }

// InsertAfterWasm puts HTTP filters directly behind the filter.
func (b *Bootstrap) InsertAfterWasm(filters ...any) {
	own := b.object(append(connectionManager(), "http_filters", Named(WasmFilter))...)
	b.replaceWasm(append([]any{own}, filters...)...)
}

// AddClusters adds clusters.
func (b *Bootstrap) AddClusters(clusters ...any) {
	resources := b.object("static_resources")
	if b.err == nil {
		list, _ := resources["clusters"].([]any)
		resources["clusters"] = append(list, clusters...)
	}
}

// MoveListeners takes the listeners out of the bootstrap and makes Envoy read them from a file (LDS), so that they can be
// replaced while it runs: Envoy reads it again whenever another file is renamed to path.
func (b *Bootstrap) MoveListeners(path string) (listeners []map[string]any) {
	resources := b.object("static_resources")
	if b.err != nil {
		return nil
	}
	list, _ := resources["listeners"].([]any)
	for _, listener := range list {
		object, ok := listener.(map[string]any)
		if !ok {
			b.fail(fmt.Errorf("bootstrap: a listener is a %T, not an object", listener))
			return nil
		}
		listeners = append(listeners, object)
	}
	delete(resources, "listeners")
	b.root["dynamic_resources"] = map[string]any{
		"lds_config": map[string]any{
			"resource_api_version": "V3",
			"path_config_source":   map[string]any{"path": path},
		},
	}
	return listeners
}

// Resources returns the file that MoveListeners announced: a discovery response with the listeners as JSON.
func Resources(version string, listeners []map[string]any) ([]byte, error) {
	typed := make([]map[string]any, len(listeners))
	for i, listener := range listeners {
		typed[i] = map[string]any{"@type": "type.googleapis.com/envoy.config.listener.v3.Listener"}
		for key, value := range listener {
			typed[i][key] = value
		}
	}
	return json.Marshal(map[string]any{"version_info": version, "resources": typed})
}

func (b *Bootstrap) replaceWasm(filters ...any) {
	manager := b.object(connectionManager()...)
	if b.err != nil {
		return
	}
	list, _ := manager["http_filters"].([]any)
	var changed []any
	for _, filter := range list {
		if object, ok := filter.(map[string]any); ok && object["name"] == WasmFilter {
			changed = append(changed, filters...)
			continue
		}
		changed = append(changed, filter)
	}
	manager["http_filters"] = changed
}

// connectionManager is the path to the HTTP connection manager of the gateway listener.
func connectionManager() []any { return connectionManagerOf(Gateway) }

func connectionManagerOf(listener string) []any {
	return []any{"static_resources", "listeners", Named(listener), "filter_chains", 0, "filters", 0, "typed_config"}
}

// plugin is a path below Envoy's configuration of the Wasm plugin.
func (b *Bootstrap) plugin(path ...any) []any { return pluginOf(Gateway, path...) }

func pluginOf(listener string, path ...any) []any {
	return append(append(connectionManagerOf(listener), "http_filters", Named(WasmFilter), "typed_config", "config"), path...)
}

func socketAddress(host string, port int) map[string]any {
	return map[string]any{"socket_address": map[string]any{"address": host, "port_value": port}}
}

// object returns the object at a path; nil after an error.
func (b *Bootstrap) object(path ...any) map[string]any {
	if b.err != nil {
		return nil
	}
	var node any = b.root
	for i, step := range path {
		next, ok := child(node, step)
		if !ok {
			b.fail(fmt.Errorf("bootstrap: nothing at %s", pathText(path[:i+1])))
			return nil
		}
		node = next
	}
	object, ok := node.(map[string]any)
	if !ok {
		b.fail(fmt.Errorf("bootstrap: %s is a %T, not an object", pathText(path), node))
	}
	return object
}

func child(node, step any) (any, bool) {
	switch step := step.(type) {
	case string:
		object, _ := node.(map[string]any)
		value, ok := object[step]
		return value, ok
	case int:
		list, _ := node.([]any)
		if step >= len(list) {
			return nil, false
		}
		return list[step], true
	case Named:
		list, _ := node.([]any)
		for _, element := range list {
			if object, ok := element.(map[string]any); ok && object["name"] == string(step) {
				return element, true
			}
		}
	}
	return nil, false
}

func pathText(path []any) string {
	steps := make([]string, len(path))
	for i, step := range path {
		steps[i] = fmt.Sprint(step)
	}
	return strings.Join(steps, ".")
}

func (b *Bootstrap) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}
