package plugin

import (
	"github.com/spillway-proxy/spillway/filter/abi"
	"github.com/spillway-proxy/spillway/filter/internal/admit"
)

// stream is one HTTP stream.
type stream struct {
	plugin *plugin
	broken bool       // a callback panicked: the stream is left alone
	ended  bool       // its end was told
	held   bool       // the last body callback was answered with a pause: the buffer still holds what was seen
	seen   int        // bytes of the buffer that have been read
	action abi.Action // what becomes of the message that was shown last
	state  admit.Stream
}

func (s *stream) reset(p *plugin, id uint32) {
	s.plugin, s.broken, s.ended, s.held, s.seen, s.action = p, false, false, false, 0, abi.Continue
	s.state.Reset(id)
}

// contain ends a panic in a callback: the stream passes untouched from then on.
func (s *stream) contain(callback string) {
	if s.plugin.vm.panicked(callback, recover()) {
		s.broken, s.action = true, abi.Continue
		if s.state.Kept() {
			s.action = abi.Pause
		}
		s.plugin.engine.Fault(&s.state)
	}
}

func (s *stream) requestHeaders(end bool) {
	if s.broken {
		return
	}
	defer s.contain("request_headers")
	s.plugin.vm.host.at(request, 0, 0)
	s.plugin.engine.RequestHeaders(&s.state, now(), end)
	s.action = s.plugin.carryOut(&s.state)
}

// requestBody takes a piece of the request's body. While the body is held, size is that of the whole buffer; after it was
// let go, that of the new piece alone.
func (s *stream) requestBody(size int, end bool) {
	if s.broken {
		return
	}
	drains := s.state.Drains()
	switch {
	case s.state.Uploaded():
		s.action, s.held = abi.Continue, false
		return
	case drains:
		if s.action, s.held, s.seen = abi.Pause, true, size; !end {
			return
		}
	}
	defer s.contain("request_body")
	if drains {
		s.plugin.engine.Drained(&s.state, true)
		s.plugin.carryOut(&s.state)
		return
	}
	if !s.held || s.state.Resumed { // what the buffer held has gone on
		s.seen, s.state.Resumed = 0, false
	}
	fresh := max(size-s.seen, 0)
	s.plugin.vm.host.at(request, s.seen, fresh)
	s.seen = size
	s.plugin.engine.RequestBody(&s.state, now(), fresh, end)
	s.action = s.plugin.carryOut(&s.state)
	s.held = s.action == abi.Pause
}

func (s *stream) requestTrailers() {
	if s.broken {
		return
	}
	defer s.contain("request_trailers")
	s.plugin.engine.RequestTrailers(&s.state, now())
	s.action = s.plugin.carryOut(&s.state)
}

func (s *stream) responseHeaders(end bool) {
	if s.broken || s.state.Over() {
		s.action = abi.Continue // an answer of ours
		return
	}
	defer s.contain("response_headers")
	s.plugin.vm.host.at(response, 0, 0)
	s.plugin.engine.ResponseHeaders(&s.state, now(), end)
	s.action = s.plugin.carryOut(&s.state)
}

// responseBody takes a piece of the response's body. Responses are never paused, so size is that of the new piece.
func (s *stream) responseBody(size int, end bool) {
	if s.broken || s.state.Over() {
		s.action = abi.Continue // an answer of ours, or the end of one that was whole
		return
	}
	defer s.contain("response_body")
	s.plugin.vm.host.at(response, 0, size)
	if s.action = abi.Continue; s.plugin.engine.ResponseBody(&s.state, now(), size, end) {
		s.action = s.plugin.carryOut(&s.state)
	}
}

func (s *stream) responseTrailers() {
	if s.broken {
		s.action = abi.Continue // an answer of ours to what was kept, for one
		return
	}
	defer s.contain("response_trailers")
	s.plugin.engine.ResponseTrailers(&s.state, now())
	s.action = s.plugin.carryOut(&s.state)
}

// end is the stream's. It may be its only event, and it comes for a broken one too: what that one holds must be given back. It comes once more
// if a fault has broken it off, and asks the host for nothing then.
func (s *stream) end() {
	if s.state.Settled() && !s.broken {
		s.ended = true
		s.plugin.engine.LetGo(&s.state)
		return
	}
	again := s.ended
	s.broken, s.ended = false, true
	defer s.contain("stream_done")
	if again {
		s.plugin.engine.Gone(&s.state, now())
	} else {
		s.plugin.engine.Done(&s.state, now())
	}
	s.plugin.carryOut(&s.state)
}
