package wasmhost

// iteration is how far Envoy's filter manager may go with a message.
type iteration int

const (
	// iterating: the message passes.
	iterating iteration = iota
	// stoppedHere: what comes is still shown to the filter, but goes no further.
	stoppedHere
	// stoppedAll: what comes is buffered unseen until the filter resumes.
	stoppedAll
)

// leg is one direction of a stream: the filter manager's and the wasm context's
// state of a request or of a response.
type leg struct {
	s         *Stream
	callbacks struct{ headers, body, trailers string }
	forward   struct {
		headers  func(*headerMap, bool)
		data     func([]byte, bool)
		trailers func(*headerMap)
	}
	// tooLarge is the status of a body past the buffer limit.
	tooLarge uint32

	state     iteration
	headers   *headerMap
	trailers  *headerMap
	continued bool // The headers have gone on.
	ended     bool // The sender has sent all.

	// buffer is what the filter manager holds back; nil is no buffer, which isn't
	// the same as an empty one.
	buffer []byte
	// chunk is the piece of the callback in progress, nil when out of reach.
	chunk *[]byte
	// buffering says that the last body callback paused: the next one is shown the
	// buffer, with the new piece added.
	buffering bool

	// visibleHeaders and visibleTrailers are what the guest may read and edit.
	visibleHeaders, visibleTrailers *headerMap
}

func newRequestLeg(s *Stream) *leg {
	l := &leg{s: s, tooLarge: 413}
	l.callbacks.headers = "proxy_on_request_headers"
	l.callbacks.body = "proxy_on_request_body"
	l.callbacks.trailers = "proxy_on_request_trailers"
	l.forward.headers = s.toUpstreamHeaders
	l.forward.data = s.toUpstreamData
	l.forward.trailers = s.toUpstreamTrailers
	return l
}

func newResponseLeg(s *Stream) *leg {
	l := &leg{s: s, tooLarge: 500}
	l.callbacks.headers = "proxy_on_response_headers"
	l.callbacks.body = "proxy_on_response_body"
	l.callbacks.trailers = "proxy_on_response_trailers"
	l.forward.headers = s.toClientHeaders
	l.forward.data = s.toClientData
	l.forward.trailers = s.toClientTrailers
	return l
}

// held says that the message waits for the filter.
func (l *leg) held() bool { return l.state != iterating }

// over says that nothing may be done with the message any more: the stream has
// ended, or a request has been answered.
func (l *leg) over() bool {
	return l.s.Finished || l == l.s.request && l.s.replied
}

// skipped says that the guest is no longer asked: the reply is the one to the
// VM's death.
func (l *leg) skipped() bool { return l.s.failed }

// onHeaders is the filter's decodeHeaders or encodeHeaders.
func (l *leg) onHeaders(headers [][2]string, end bool) Action {
	l.headers, l.ended = newHeaderMap(headers), end
	if l.skipped() {
		l.continued = true
		l.forward.headers(l.headers, end)
		return NotCalled
	}
	l.visibleHeaders = l.headers
	replied := l.s.replied
	r := l.s.vm.callback(l.s.ctx, l.callbacks.headers,
		uint64(l.s.ctx.id), uint64(len(l.headers.pairs)), boolArg(end))
	if l.over() || l.s.replied != replied || l.s.failed {
		return r.action()
	}
	if r.stopped || r.value > 0 {
		l.state = stoppedAll
		if r.value == 1 && !r.stopped && l.s.vm.host.opts.AllowOnHeadersStopIteration {
			l.state = stoppedHere
		}
		return Pause
	}
	l.visibleHeaders = nil
	if !l.continued { // See resume: a stream resumed too early has gone on already.
		l.continued = true
		l.forward.headers(l.headers, end)
	}
	return Continue
}

// onData is the filter manager's decodeData or encodeData.
func (l *leg) onData(chunk []byte, end bool) Action {
	l.ended = end
	if l.state == stoppedAll {
		// The sender is slowed down rather than answered when this grows too large.
		l.hold(chunk)
		if l.s.vm.err != nil && !l.s.replied {
			l.s.Hung = true
		}
		return NotCalled
	}
	return l.filterData(chunk, end)
}

// filterData shows a piece of the body to the filter and does what it says.
func (l *leg) filterData(chunk []byte, end bool) Action {
	if l.skipped() {
		l.forward.data(chunk, end)
		return NotCalled
	}
	addedToBuffer := l.buffering
	if addedToBuffer {
		l.hold(chunk)
		chunk = []byte{}
		if l.limitExceeded() {
			return NotCalled
		}
	}
	l.chunk = &chunk
	replied := l.s.replied
	r := l.s.vm.callback(l.s.ctx, l.callbacks.body,
		uint64(l.s.ctx.id), uint64(len(*l.body())), boolArg(end))
	l.buffering = false
	if l.over() || l.s.replied != replied || l.s.failed {
		return r.action()
	}
	switch {
	case r.stopped || r.value > 2: // The piece is dropped.
		l.state, l.chunk = stoppedHere, nil
		return Pause
	case r.value > 0:
		l.buffering = r.value == 1
		l.state = stoppedHere
		l.hold(chunk)
		l.limitExceeded()
		return Pause
	}
	l.chunk = nil
	if l.state == stoppedHere {
		l.hold(chunk)
		l.resume()
		return Continue
	}
	if addedToBuffer {
		// The stream was resumed in the middle of a paused body: the piece has gone
		// by way of the buffer, but goes on at once.
		chunk, l.buffer = l.buffer, nil
	}
	l.forward.data(chunk, end)
	return Continue
}

// onTrailers is the filter manager's decodeTrailers or encodeTrailers.
func (l *leg) onTrailers(trailers [][2]string) Action {
	l.trailers, l.ended = newHeaderMap(trailers), true
	if l.state == stoppedAll {
		return NotCalled
	}
	return l.filterTrailers()
}

func (l *leg) filterTrailers() Action {
	if l.skipped() {
		l.forward.trailers(l.trailers)
		return NotCalled
	}
	l.visibleTrailers = l.trailers
	replied := l.s.replied
	r := l.s.vm.callback(l.s.ctx, l.callbacks.trailers,
		uint64(l.s.ctx.id), uint64(len(l.trailers.pairs)))
	if l.over() || l.s.replied != replied || l.s.failed {
		return r.action()
	}
	if r.stopped || r.value > 0 {
		if l.state == iterating {
			l.state = stoppedHere
		}
		return Pause
	}
	l.visibleTrailers = nil
	if l.state == stoppedHere {
		l.resume()
	} else {
		l.forward.trailers(l.trailers)
	}
	return Continue
}

// resume is the filter manager's commonContinue: all that was held goes on. After
// a stop of everything, body and trailers come to the filter first; after a stop
// here it has seen them.
func (l *leg) resume() {
	if l.over() {
		return
	}
	seen := l.state == stoppedHere
	l.state = iterating
	trailersHeld := l.trailers != nil
	if !l.continued && l.headers != nil {
		l.continued = true
		l.forward.headers(l.headers, l.ended && l.buffer == nil && !trailersHeld)
	}
	if l.buffer != nil && !l.over() {
		data, end := l.buffer, l.ended && !trailersHeld
		l.buffer = nil
		if seen {
			l.forward.data(data, end)
		} else {
			l.filterData(data, end)
		}
	}
	if !trailersHeld || l.over() {
		return
	}
	if seen {
		l.forward.trailers(l.trailers)
	} else {
		l.filterTrailers()
	}
}

// body is what the guest's body buffer is during a callback, or after it paused.
func (l *leg) body() *[]byte {
	if l.buffering {
		return &l.buffer
	}
	return l.chunk
}

// hold adds to the buffer, and makes one even of nothing.
func (l *leg) hold(b []byte) {
	if l.buffer == nil {
		l.buffer = []byte{}
	}
	l.buffer = append(l.buffer, b...)
}

// limitExceeded answers a message whose buffer has grown too large.
func (l *leg) limitExceeded() bool {
	limit := l.s.vm.host.opts.BufferLimit
	if limit == 0 || len(l.buffer) <= limit {
		return false
	}
	l.s.localReply(l.tooLarge, nil, nil)
	return true
}

// action is what a callback came to on a stream that is over.
func (r result) action() Action {
	if !r.called {
		return NotCalled
	}
	if r.stopped || r.value > 0 {
		return Pause
	}
	return Continue
}

func boolArg(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
