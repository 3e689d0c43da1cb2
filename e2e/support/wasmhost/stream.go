package wasmhost

import (
	"maps"
	"slices"
)

// Stream is one HTTP request and its response on their way through the filter.
// The test plays the client (RequestHeaders, RequestBody, RequestTrailers), the
// upstream (ResponseHeaders, ResponseBody, ResponseTrailers) and the client's
// leaving (Done). The fields say what each side has seen so far.
type Stream struct {
	// UpstreamHeaders is what went upstream, nil before ForwardedHeaders.
	UpstreamHeaders  [][2]string
	UpstreamBody     []byte
	UpstreamTrailers [][2]string
	// ForwardedHeaders says that the upstream has seen the request.
	ForwardedHeaders bool
	// UpstreamEnd says that the upstream has seen the request's end.
	UpstreamEnd bool
	// UpstreamReset says that a request which the upstream had seen was cut off.
	UpstreamReset bool

	// ClientStatus is the status that the client got, "" before the headers.
	ClientStatus   string
	ClientHeaders  [][2]string
	ClientBody     []byte
	ClientTrailers [][2]string
	// ClientEnd says that the client has got the whole response.
	ClientEnd bool
	// ClientReset says that the response broke off after its headers.
	ClientReset bool

	// LocalReply says that the response is the proxy's or the filter's own.
	LocalReply bool
	// Hung says that the stream waited to be resumed by a VM that died: nobody
	// answers it before Envoy's stream_idle_timeout.
	Hung bool
	// Finished says that the filter has been told of the stream's end.
	Finished bool

	// FilterState holds what the filter set with proxy_set_property, under
	// "wasm." and the path, whose elements are joined by NUL.
	FilterState map[string]string
	// Properties overrides the host's for this stream.
	Properties map[string]string
	// Calls counts the host calls that concerned the stream, and Callbacks the
	// guest's functions called for it.
	Calls, Callbacks map[string]int

	vm       *VM
	ctx      *wasmContext
	received int // bytes of the request's body, shown to the filter or not
	request  *leg
	response *leg
	// replied says that a local reply was begun, failed that it was because of the
	// VM's death; the guest sees nothing of the response then.
	replied, failed bool
	logging         bool
	held            *heldRequest
}

// NewStream begins a stream on the VM's present plugin context. The guest learns
// of it with the request's headers.
func (v *VM) NewStream() *Stream {
	s := &Stream{
		FilterState: map[string]string{},
		Properties:  maps.Clone(v.host.opts.Properties),
		Calls:       map[string]int{}, Callbacks: map[string]int{},
		vm: v,
	}
	if s.Properties == nil {
		s.Properties = map[string]string{}
	}
	s.ctx = v.newContext(v.root, s)
	s.request = newRequestLeg(s)
	s.response = newResponseLeg(s)
	if v.host.opts.BufferFilterAfter {
		s.held = &heldRequest{}
	}
	return s
}

// ContextID is the id by which the guest knows the stream.
func (s *Stream) ContextID() uint32 { return s.ctx.id }

// ProxyCalls is the number of proxy-wasm host calls that concerned the stream.
func (s *Stream) ProxyCalls() int { return ProxyCalls(s.Calls) }

// Paused says that the request waits for the filter to resume it.
func (s *Stream) Paused() bool { return !s.Finished && s.request.held() }

// ResponsePaused is Paused for the response.
func (s *Stream) ResponsePaused() bool { return !s.Finished && s.response.held() }

// RequestHeaders delivers the request's headers; end says that no body follows.
func (s *Stream) RequestHeaders(headers [][2]string, end bool) Action {
	if s.Finished {
		return NotCalled
	}
	s.ctx.create()
	return s.request.onHeaders(headers, end)
}

// RequestBody delivers a piece of the request's body.
func (s *Stream) RequestBody(chunk []byte, end bool) Action {
	s.received += len(chunk)
	return s.deliver(s.request, chunk, end)
}

// RequestTrailers delivers the request's trailers, which end it.
func (s *Stream) RequestTrailers(trailers [][2]string) Action {
	if s.Finished || s.replied {
		return NotCalled
	}
	return s.request.onTrailers(trailers)
}

// ResponseHeaders delivers the upstream's response headers, ":status" first among
// them. An answer that comes after a local reply is dropped.
func (s *Stream) ResponseHeaders(headers [][2]string, end bool) Action {
	if s.Finished || s.replied {
		return NotCalled
	}
	return s.response.onHeaders(headers, end)
}

// ResponseBody delivers a piece of the upstream's response body.
func (s *Stream) ResponseBody(chunk []byte, end bool) Action {
	return s.deliver(s.response, chunk, end)
}

// ResponseTrailers delivers the upstream's trailers, which end the response.
func (s *Stream) ResponseTrailers(trailers [][2]string) Action {
	if s.Finished || s.replied {
		return NotCalled
	}
	return s.response.onTrailers(trailers)
}

// deliver gives a piece of a body to a leg, its end apart if so configured.
func (s *Stream) deliver(l *leg, chunk []byte, end bool) Action {
	if s.Finished || s.replied {
		return NotCalled
	}
	chunk = slices.Clone(chunk)
	if !end || len(chunk) == 0 || !s.vm.host.opts.SeparateEndOfStream {
		return l.onData(chunk, end)
	}
	a := l.onData(chunk, false)
	if s.Finished || s.replied {
		return a
	}
	return l.onData(nil, true)
}

// Done ends the stream: proxy_on_log, proxy_on_done and proxy_on_delete, in
// Envoy's order. It is what happens when the client leaves. A stream whose
// response is complete has ended by itself, and Done does nothing then. On a
// stream that never began, proxy_on_log is the first the guest hears of it.
func (s *Stream) Done() {
	if s.Finished {
		return
	}
	s.Finished = true
	s.Hung = false
	if s.ForwardedHeaders && !s.ClientEnd {
		s.UpstreamReset = true
	}
	v, id := s.vm, uint64(s.ctx.id)
	s.ctx.create()
	s.logging = true
	v.callback(s.ctx, "proxy_on_log", id)
	s.logging = false
	v.callback(s.ctx, "proxy_on_done", id)
	v.callback(s.ctx, "proxy_on_delete", id)
	s.ctx.remove()
}

// heldRequest is what Envoy's buffer filter keeps back.
type heldRequest struct {
	headers [][2]string
	body    []byte
}

// toUpstreamHeaders, toUpstreamData and toUpstreamTrailers take what the filter
// lets pass, to the upstream or to the buffer filter before it.
func (s *Stream) toUpstreamHeaders(m *headerMap, end bool) {
	if s.held != nil && !end {
		// Only what has a body waits for its end.
		s.held.headers = m.clone()
		return
	}
	s.UpstreamHeaders = m.clone()
	s.ForwardedHeaders = true
	s.UpstreamEnd = end
}

func (s *Stream) toUpstreamData(b []byte, end bool) {
	if s.held != nil {
		s.held.body = append(s.held.body, b...)
		if !end {
			return
		}
		b = s.releaseHeld()
	}
	s.UpstreamBody = append(s.UpstreamBody, b...)
	s.UpstreamEnd = end
}

func (s *Stream) toUpstreamTrailers(m *headerMap) {
	if s.held != nil {
		s.UpstreamBody = append(s.UpstreamBody, s.releaseHeld()...)
	}
	s.UpstreamTrailers = m.clone()
	s.UpstreamEnd = true
}

// releaseHeld lets the headers go and returns the body.
func (s *Stream) releaseHeld() []byte {
	s.UpstreamHeaders, s.ForwardedHeaders = s.held.headers, true
	b := s.held.body
	s.held = nil
	return b
}

// toClient functions take what the filter lets pass of a response. Its end is the
// stream's.
func (s *Stream) toClientHeaders(m *headerMap, end bool) {
	s.ClientHeaders = m.clone()
	s.ClientStatus, _ = m.get(":status")
	s.clientEnd(end)
}

func (s *Stream) toClientData(b []byte, end bool) {
	s.ClientBody = append(s.ClientBody, b...)
	s.clientEnd(end)
}

func (s *Stream) toClientTrailers(m *headerMap) {
	s.ClientTrailers = m.clone()
	s.clientEnd(true)
}

func (s *Stream) clientEnd(end bool) {
	if !end {
		return
	}
	s.ClientEnd = true
	if s.ForwardedHeaders && (!s.UpstreamEnd || s.LocalReply) {
		s.UpstreamReset = true
	}
	s.Done()
}

// reset breaks the stream off on both sides.
func (s *Stream) reset() {
	if s.Finished {
		return
	}
	s.ClientReset = true
	s.Done()
}
