package wasmhost

import (
	"slices"
	"strings"
)

// mapType says which header map a host call concerns.
type mapType uint64

const (
	mapRequestHeaders   mapType = 0
	mapRequestTrailers  mapType = 1
	mapResponseHeaders  mapType = 2
	mapResponseTrailers mapType = 3
	mapCalloutHeaders   mapType = 6
	mapCalloutTrailers  mapType = 7
	mapTypeMax          mapType = 7
)

// headerMap is a map of headers or trailers; names are in lower case.
type headerMap struct{ pairs [][2]string }

func newHeaderMap(pairs [][2]string) *headerMap {
	m := &headerMap{}
	for _, p := range pairs {
		m.add(p[0], p[1])
	}
	return m
}

func (m *headerMap) add(k, v string) {
	m.pairs = append(m.pairs, [2]string{strings.ToLower(k), v})
}

func (m *headerMap) get(k string) (string, bool) {
	k = strings.ToLower(k)
	for _, p := range m.pairs {
		if p[0] == k {
			return p[1], true
		}
	}
	return "", false
}

func (m *headerMap) remove(k string) {
	k = strings.ToLower(k)
	m.pairs = slices.DeleteFunc(m.pairs, func(p [2]string) bool { return p[0] == k })
}

// set replaces all values of a name by one.
func (m *headerMap) set(k, v string) {
	m.remove(k)
	m.add(k, v)
}

func (m *headerMap) clone() [][2]string {
	if m == nil {
		return nil
	}
	return slices.Clone(m.pairs)
}

// editable returns the map if the guest may change it now, else nil. Headers and
// trailers are in reach from their callback until it continues, or until the
// stream is resumed.
func (c *wasmContext) editable(t mapType) *headerMap {
	s := c.stream
	if s == nil {
		return nil
	}
	switch t {
	case mapRequestHeaders:
		return s.request.visibleHeaders
	case mapRequestTrailers:
		return s.request.visibleTrailers
	case mapResponseHeaders:
		return s.response.visibleHeaders
	case mapResponseTrailers:
		return s.response.visibleTrailers
	}
	return nil
}

// readable is editable, but while the stream is being logged it is the access
// log's view: what was sent, without the request's trailers.
func (c *wasmContext) readable(t mapType) *headerMap {
	if a := c.root.answer; a != nil && t == mapCalloutHeaders {
		return a.headers
	} else if a != nil && t == mapCalloutTrailers {
		return a.trailers
	}
	s := c.stream
	if s == nil || !s.logging {
		return c.editable(t)
	}
	switch t {
	case mapRequestHeaders:
		return s.request.headers
	case mapResponseHeaders:
		return s.response.headers
	case mapResponseTrailers:
		return s.response.trailers
	}
	return nil
}

// proxyGetHeaderMapValue returns the first of repeated headers, as Envoy does.
func proxyGetHeaderMapValue(v *VM, a []uint64) uint64 {
	t := mapType(a[0])
	if t > mapTypeMax {
		return uint64(statusBadArgument)
	}
	key, ok := v.readString(a[1], a[2])
	if !ok {
		return uint64(statusInvalidMemoryAccess)
	}
	m := v.context().readable(t)
	if m == nil {
		return uint64(statusBadArgument)
	}
	value, ok := m.get(key)
	if !ok {
		return uint64(statusNotFound)
	}
	if !v.returnBytes([]byte(value), a[3], a[4]) {
		return uint64(statusInvalidMemoryAccess)
	}
	return uint64(statusOK)
}

// proxyGetHeaderMapPairs answers OK with nothing for a map out of reach, which
// the SDK turns into "not found".
func proxyGetHeaderMapPairs(v *VM, a []uint64) uint64 {
	t := mapType(a[0])
	if t > mapTypeMax {
		return uint64(statusBadArgument)
	}
	var b []byte
	if m := v.context().readable(t); m != nil && len(m.pairs) > 0 {
		b = marshalPairs(m.pairs)
	}
	if !v.returnBytes(b, a[1], a[2]) {
		return uint64(statusInvalidMemoryAccess)
	}
	return uint64(statusOK)
}

func proxySetHeaderMapPairs(v *VM, a []uint64) uint64 {
	t := mapType(a[0])
	if t > mapTypeMax {
		return uint64(statusBadArgument)
	}
	b, ok := v.read(a[1], a[2])
	if !ok {
		return uint64(statusInvalidMemoryAccess)
	}
	m := v.context().editable(t)
	if m == nil {
		return uint64(statusBadArgument)
	}
	m.pairs = newHeaderMap(unmarshalPairs(b)).pairs
	v.context().edited(t)
	return uint64(statusOK)
}

func proxyAddHeaderMapValue(v *VM, a []uint64) uint64 {
	return v.editHeader(a, true, (*headerMap).add)
}

func proxyReplaceHeaderMapValue(v *VM, a []uint64) uint64 {
	return v.editHeader(a, true, (*headerMap).set)
}

func proxyRemoveHeaderMapValue(v *VM, a []uint64) uint64 {
	return v.editHeader(a, false, func(m *headerMap, k, _ string) { m.remove(k) })
}

// editHeader is what the calls that change one header have in common.
func (v *VM) editHeader(a []uint64, withValue bool, edit func(m *headerMap, k, val string)) uint64 {
	t := mapType(a[0])
	if t > mapTypeMax {
		return uint64(statusBadArgument)
	}
	key, ok := v.readString(a[1], a[2])
	var value string
	if ok && withValue {
		value, ok = v.readString(a[3], a[4])
	}
	if !ok {
		return uint64(statusInvalidMemoryAccess)
	}
	m := v.context().editable(t)
	if m == nil {
		return uint64(statusBadArgument)
	}
	edit(m, key, value)
	v.context().edited(t)
	return uint64(statusOK)
}

// edited notes an edit of a request that has its answer. It changes nothing any
// more, and Envoy reports a bug: the edit would have it choose the route again.
func (c *wasmContext) edited(t mapType) {
	if t == mapRequestHeaders && c.stream.response.headers != nil {
		c.vm.host.violate("context %d: request headers edited after the response began", c.id)
	}
}
