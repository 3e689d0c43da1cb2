package wasmhost

import (
	"errors"
	"slices"
	"time"
)

// calloutIDStep is how Envoy numbers HTTP callouts.
const calloutIDStep = 4

// Callout is an HTTP request that the filter sent of its own accord.
type Callout struct {
	Token    uint32
	Cluster  string
	Headers  [][2]string
	Body     []byte
	Trailers [][2]string
	Timeout  time.Duration

	owner *wasmContext
}

// calloutAnswer is what the guest may read while it is told of the answer.
type calloutAnswer struct {
	headers  *headerMap
	body     []byte
	trailers *headerMap
}

// Callouts returns the callouts that wait for an answer, oldest first.
func (v *VM) Callouts() []*Callout { return slices.Clone(v.callouts) }

// errNoCallout is the answer to a callout that is answered or cancelled.
var errNoCallout = errors.New("wasmhost: the callout isn't waiting for an answer")

// AnswerCallout delivers a response, on the plugin context that owns the callout.
func (v *VM) AnswerCallout(c *Callout, headers [][2]string, body []byte, trailers [][2]string) error {
	a := &calloutAnswer{headers: newHeaderMap(headers), body: body}
	if len(trailers) > 0 {
		a.trailers = newHeaderMap(trailers)
	}
	return v.answer(c, a, len(headers), len(body), len(trailers))
}

// FailCallout tells the filter that there was no response: no headers, no body,
// no trailers, and no maps to read them from.
func (v *VM) FailCallout(c *Callout) error { return v.answer(c, nil, 0, 0, 0) }

func (v *VM) answer(c *Callout, a *calloutAnswer, headers, body, trailers int) error {
	i := slices.Index(v.callouts, c)
	if i < 0 {
		return errNoCallout
	}
	v.callouts = slices.Delete(v.callouts, i, i+1)
	if v.err != nil {
		return ErrDead
	}
	c.owner.answer = a
	v.callback(c.owner, "proxy_on_http_call_response", uint64(c.owner.id), uint64(c.Token),
		uint64(headers), uint64(body), uint64(trailers))
	c.owner.answer = nil
	return nil
}

// cancelCallouts drops those of a plugin context that is gone.
func (v *VM) cancelCallouts(owner *wasmContext) {
	v.callouts = slices.DeleteFunc(v.callouts, func(c *Callout) bool { return c.owner == owner })
}

// proxyHTTPCall records a callout; the plugin context owns it, also when a stream
// sends it, so that it outlives the stream.
func proxyHTTPCall(v *VM, a []uint64) uint64 {
	cluster, ok1 := v.readString(a[0], a[1])
	headers, ok2 := v.read(a[2], a[3])
	body, ok3 := v.read(a[4], a[5])
	trailers, ok4 := v.read(a[6], a[7])
	if !ok1 || !ok2 || !ok3 || !ok4 || !v.writeU32(a[9], 0) {
		return uint64(statusInvalidMemoryAccess)
	}
	timeout := int32(a[8])
	m := newHeaderMap(unmarshalPairs(headers))
	if timeout < 0 || !v.knowsCluster(cluster) {
		return uint64(statusBadArgument)
	}
	for _, required := range []string{":path", ":method", ":authority"} {
		if _, ok := m.get(required); !ok {
			return uint64(statusBadArgument)
		}
	}
	v.nextCallout += calloutIDStep
	v.callouts = append(v.callouts, &Callout{
		Token: v.nextCallout, Cluster: cluster, Headers: m.pairs, Body: body,
		Trailers: unmarshalPairs(trailers), Timeout: time.Duration(timeout) * time.Millisecond,
		owner: v.context().root,
	})
	v.writeU32(a[9], v.nextCallout)
	return uint64(statusOK)
}

func (v *VM) knowsCluster(name string) bool {
	known := v.host.opts.Clusters
	return known == nil || slices.Contains(known, name)
}
