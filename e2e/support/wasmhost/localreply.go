package wasmhost

import "strconv"

// streamType is the direction in proxy_continue_stream and proxy_close_stream.
type streamType uint64

const (
	streamRequest    streamType = 0
	streamResponse   streamType = 1
	streamDownstream streamType = 2
	streamUpstream   streamType = 3
)

// localReply answers the client in the upstream's place, as Envoy's filter
// manager does: through the filter's response callbacks if no response has begun,
// past them if one has begun but nothing of it was sent, and by breaking the
// stream off if the client has headers already.
func (s *Stream) localReply(code uint32, headers [][2]string, body []byte) {
	switch {
	case s.Finished:
		return
	case s.response.continued:
		s.reset()
		return
	}
	direct := s.response.headers != nil
	s.replied, s.LocalReply = true, true
	m := newHeaderMap([][2]string{{":status", strconv.Itoa(int(code))}})
	for _, h := range headers {
		m.add(h[0], h[1])
	}
	if len(body) > 0 {
		m.set("content-length", strconv.Itoa(len(body)))
		if _, ok := m.get("content-type"); !ok {
			m.add("content-type", "text/plain")
		}
	}
	if direct {
		s.response.headers, s.response.continued = m, true
		s.response.state = iterating
		s.toClientHeaders(m, len(body) == 0)
		if len(body) > 0 {
			s.toClientData(body, true)
		}
		return
	}
	s.response.onHeaders(m.pairs, len(body) == 0)
	if len(body) > 0 && !s.Finished {
		s.response.onData(body, true)
	}
}

// failClosed answers a stream whose VM is dead with 503, once; the guest isn't
// asked about it.
func (s *Stream) failClosed() {
	if s.failed || s.Finished {
		return
	}
	s.failed, s.Hung = true, false
	s.localReply(503, nil, nil)
}

// proxySendLocalResponse puts the reply off until the guest's call returns. The
// callback in progress counts as paused, whichever stream the reply is for.
func proxySendLocalResponse(v *VM, a []uint64) uint64 {
	_, ok1 := v.read(a[1], a[2])
	body, ok2 := v.read(a[3], a[4])
	pairs, ok3 := v.read(a[5], a[6])
	if !ok1 || !ok2 || !ok3 {
		return uint64(statusInvalidMemoryAccess)
	}
	code, headers := uint32(a[0]), unmarshalPairs(pairs)
	if s := v.context().stream; s != nil {
		v.later(func() {
			if s.Finished && v.err == nil {
				v.host.violate("context %d: local response %d to a stream that is over", s.ctx.id, code)
			}
			s.localReply(code, headers, body)
		})
	}
	v.stopIteration = true
	return uint64(statusOK)
}

// proxyContinueStream puts the resumption off until the guest's call returns. In
// both directions it takes the request's headers, body and trailers out of reach
// at once, so edits must come before it.
func proxyContinueStream(v *VM, a []uint64) uint64 {
	t := streamType(a[0])
	c := v.context()
	switch t {
	case streamDownstream:
		return uint64(statusOK)
	case streamUpstream:
		return uint64(statusUnimplemented)
	case streamRequest, streamResponse:
	default:
		return uint64(statusBadArgument)
	}
	s := c.stream
	if s == nil {
		return uint64(statusOK)
	}
	l := s.request
	if t == streamResponse {
		l = s.response
	}
	v.later(func() {
		if l.over() {
			return
		}
		if !l.held() {
			v.host.violate("context %d: resumed a stream that isn't paused", c.id)
			return
		}
		l.resume()
	})
	s.request.visibleHeaders, s.request.visibleTrailers, s.request.chunk = nil, nil, nil
	return uint64(statusOK)
}

// proxyCloseStream breaks the stream off once the guest's call has returned.
func proxyCloseStream(v *VM, a []uint64) uint64 {
	t := streamType(a[0])
	if t > streamUpstream {
		return uint64(statusBadArgument)
	}
	if s := v.context().stream; s != nil && t <= streamResponse {
		v.later(s.reset)
	}
	return uint64(statusOK)
}
