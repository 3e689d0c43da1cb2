package wasmhost

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// filterStatePrefix is where Envoy puts the properties that a filter sets.
const filterStatePrefix = "wasm."

// envoyAttributes are the first elements of the paths that Envoy answers itself;
// any other is a property that a filter has set.
var envoyAttributes = nameSet("metadata request response connection upstream node source " +
	"destination listener_direction listener_metadata cluster_name cluster_metadata route_name " +
	"route_metadata upstream_host_metadata connection_id filter_state plugin_name plugin_root_id " +
	"plugin_vm_id xds")

// headerAttributes are the attributes that Envoy takes from the request headers,
// and so only has while the filter may read those.
var headerAttributes = map[string]string{
	"request.path": ":path", "request.host": ":authority", "request.method": ":method",
	"request.scheme": ":scheme", "request.useragent": "user-agent",
	"request.referer": "referer", "request.id": "x-request-id",
}

// proxyGetProperty answers from what the test set, from the request's headers,
// and from the filter state.
func proxyGetProperty(v *VM, a []uint64) uint64 {
	path, ok := v.readString(a[0], a[1])
	if !ok {
		return uint64(statusInvalidMemoryAccess)
	}
	value, ok := v.context().property(path)
	if !ok {
		return uint64(statusNotFound)
	}
	if !v.returnBytes([]byte(value), a[2], a[3]) {
		return uint64(statusInvalidMemoryAccess)
	}
	return uint64(statusOK)
}

// property looks a path up, whose elements are joined by NUL.
func (c *wasmContext) property(path string) (string, bool) {
	opts, first := c.vm.host.opts, path
	if i := strings.IndexByte(path, 0); i >= 0 {
		first = path[:i]
	}
	switch path {
	case "plugin_name":
		return opts.PluginName, true
	case "plugin_root_id":
		return opts.RootID, true
	case "plugin_vm_id":
		return opts.VMID, true
	}
	if c.stream == nil {
		return "", false
	}
	if !envoyAttributes[first] {
		// A property that was set under a path of several elements can't be read
		// back: Envoy looks for the first element alone.
		value, ok := c.stream.FilterState[filterStatePrefix+path]
		return value, ok && first == path
	}
	if key, ok := strings.CutPrefix(path, "filter_state\x00"); ok {
		value, ok := c.stream.FilterState[key]
		return value, ok
	}
	return c.stream.attribute(strings.ReplaceAll(path, "\x00", "."))
}

// attribute looks up one of Envoy's own attributes.
func (s *Stream) attribute(path string) (string, bool) {
	if value, ok := s.Properties[path]; ok {
		return value, true
	}
	headers := s.ctx.readable(mapRequestHeaders)
	if headers != nil {
		if name, ok := headerAttributes[path]; ok {
			return headers.get(name)
		}
		if name, ok := strings.CutPrefix(path, "request.headers."); ok {
			return headers.get(name)
		}
		if path == "request.total_size" {
			size := s.received
			for _, pair := range headers.pairs {
				size += len(pair[0]) + len(pair[1])
			}
			return string(binary.LittleEndian.AppendUint64(nil, uint64(size))), true
		}
		if path == "request.url_path" {
			value, ok := headers.get(":path")
			value, _, _ = strings.Cut(value, "?")
			return value, ok
		}
	}
	switch path {
	case "source.address":
		return "192.0.2.1:40000", true
	case "destination.address":
		return "192.0.2.2:8080", true
	case "request.protocol":
		return "HTTP/1.1", true
	case "response.code":
		code, err := strconv.ParseUint(s.ClientStatus, 10, 64)
		return string(binary.LittleEndian.AppendUint64(nil, code)), err == nil
	}
	return "", false
}

// proxySetProperty writes to the filter state whatever the path: also a path that
// begins like one of Envoy's own attributes is only stored under "wasm.".
func proxySetProperty(v *VM, a []uint64) uint64 {
	path, ok1 := v.readString(a[0], a[1])
	value, ok2 := v.readString(a[2], a[3])
	if !ok1 || !ok2 {
		return uint64(statusInvalidMemoryAccess)
	}
	s := v.context().stream
	if s == nil {
		return uint64(statusNotFound)
	}
	s.FilterState[filterStatePrefix+path] = value
	return uint64(statusOK)
}
