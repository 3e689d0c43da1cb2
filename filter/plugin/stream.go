package plugin

import (
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/spillway-proxy/spillway/filter/internal/admit"
)

// stream is one HTTP stream.
type stream struct {
	types.DefaultHttpContext
	plugin *plugin
	state  admit.Stream
	broken bool // a callback panicked: the stream is left alone
	held   bool // the last body callback was answered with a pause: the buffer still holds what was seen
	seen   int  // bytes of the buffer that have been read
}

func (s *stream) reset(p *plugin, id uint32) {
	s.plugin, s.broken, s.held, s.seen = p, false, false, 0
	s.state.Reset(id)
}

// contain ends a panic in a callback: the stream passes untouched from then on.
func (s *stream) contain(callback string, action *types.Action) {
	if s.plugin.vm.panicked(callback, recover()) {
		s.broken, *action = true, types.ActionContinue
		s.plugin.engine.Fault(&s.state)
	}
}

// OnHttpRequestHeaders implements types.HttpContext.
func (s *stream) OnHttpRequestHeaders(_ int, end bool) (action types.Action) {
	if s.broken {
		return types.ActionContinue
	}
	defer s.contain("request_headers", &action)
	s.plugin.vm.host.at(request, 0, 0)
	s.plugin.engine.RequestHeaders(&s.state, monotonic(), end)
	return s.plugin.carryOut(&s.state)
}

// OnHttpRequestBody implements types.HttpContext. While the body is held, size is that of the whole buffer; after it was
// let go, that of the new piece alone.
func (s *stream) OnHttpRequestBody(size int, end bool) (action types.Action) {
	if s.broken {
		return types.ActionContinue
	}
	defer s.contain("request_body", &action)
	if !s.held || s.state.Resumed { // what the buffer held has gone on
		s.seen, s.state.Resumed = 0, false
	}
	fresh := max(size-s.seen, 0)
	s.plugin.vm.host.at(request, s.seen, fresh)
	s.seen = size
	s.plugin.engine.RequestBody(&s.state, monotonic(), fresh, end)
	action = s.plugin.carryOut(&s.state)
	s.held = action == types.ActionPause
	return action
}

// OnHttpRequestTrailers implements types.HttpContext.
func (s *stream) OnHttpRequestTrailers(int) (action types.Action) {
	if s.broken {
		return types.ActionContinue
	}
	defer s.contain("request_trailers", &action)
	s.plugin.engine.RequestTrailers(&s.state, monotonic())
	return s.plugin.carryOut(&s.state)
}

// OnHttpResponseHeaders implements types.HttpContext.
func (s *stream) OnHttpResponseHeaders(_ int, end bool) (action types.Action) {
	if s.broken {
		return types.ActionContinue
	}
	defer s.contain("response_headers", &action)
	s.plugin.vm.host.at(response, 0, 0)
	s.plugin.engine.ResponseHeaders(&s.state, monotonic(), end)
	return s.plugin.carryOut(&s.state)
}

// OnHttpResponseBody implements types.HttpContext. Responses are never paused, so size is that of the new piece.
func (s *stream) OnHttpResponseBody(size int, end bool) (action types.Action) {
	if s.broken {
		return types.ActionContinue
	}
	defer s.contain("response_body", &action)
	s.plugin.vm.host.at(response, 0, size)
	s.plugin.engine.ResponseBody(&s.state, monotonic(), size, end)
	return s.plugin.carryOut(&s.state)
}

// OnHttpResponseTrailers implements types.HttpContext.
func (s *stream) OnHttpResponseTrailers(int) (action types.Action) {
	if s.broken {
		return types.ActionContinue
	}
	defer s.contain("response_trailers", &action)
	s.plugin.engine.ResponseTrailers(&s.state, monotonic())
	return s.plugin.carryOut(&s.state)
}

// OnHttpStreamDone implements types.HttpContext. It may be a stream's only callback, and it comes for a broken one too:
// what that one holds must be given back.
func (s *stream) OnHttpStreamDone() {
	s.broken = false
	s.done()
	s.plugin.vm.recycle(s)
}

func (s *stream) done() {
	var action types.Action
	defer s.contain("stream_done", &action)
	s.plugin.engine.Done(&s.state, monotonic())
	s.plugin.carryOut(&s.state)
}
