package plugin

import (
	"math"
	"strconv"
	"unsafe"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/spillway-proxy/spillway/filter/internal/admit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
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

// event runs one callback: it hands the event to the engine and carries out the step.
func (s *stream) event(callback string, handle func(now int64) *admit.Step) (action types.Action) {
	if s.broken {
		return types.ActionContinue
	}
	defer s.plugin.recovered(callback, func() {
		s.broken, action = true, types.ActionContinue
		s.state.Fault()
	})
	action = s.plugin.carryOut(handle(monotonic()))
	s.plugin.engine.After(s.plugin.later)
	s.plugin.wantTick()
	return action
}

// refused says that the stream's answer is owed: until it is given, nothing of it goes on.
func (s *stream) refused() bool {
	if len(s.plugin.owed) == 0 {
		return false
	}
	_, owed := s.plugin.owed[&s.state]
	return owed
}

// OnHttpRequestHeaders implements types.HttpContext.
func (s *stream) OnHttpRequestHeaders(_ int, end bool) types.Action {
	return s.event("request_headers", func(now int64) *admit.Step {
		s.plugin.vm.host.at(request, 0, 0)
		return s.plugin.engine.RequestHeaders(&s.state, now, end)
	})
}

// OnHttpRequestBody implements types.HttpContext. While the body is held, size is that of the whole buffer; after it was
// let go, that of the new piece alone.
func (s *stream) OnHttpRequestBody(size int, end bool) types.Action {
	if s.refused() {
		return types.ActionPause
	}
	action := s.event("request_body", func(now int64) *admit.Step {
		if !s.held || s.state.Resumed { // what the buffer held has gone on
			s.seen, s.state.Resumed = 0, false
		}
		fresh := max(size-s.seen, 0)
		s.plugin.vm.host.at(request, s.seen, fresh)
		s.seen = size
		return s.plugin.engine.RequestBody(&s.state, now, fresh, end)
	})
	s.held = action == types.ActionPause
	return action
}

// OnHttpRequestTrailers implements types.HttpContext.
func (s *stream) OnHttpRequestTrailers(int) types.Action {
	if s.refused() {
		return types.ActionPause
	}
	return s.event("request_trailers", func(now int64) *admit.Step {
		return s.plugin.engine.RequestTrailers(&s.state, now)
	})
}

// OnHttpResponseHeaders implements types.HttpContext.
func (s *stream) OnHttpResponseHeaders(_ int, end bool) types.Action {
	return s.event("response_headers", func(now int64) *admit.Step {
		s.plugin.vm.host.at(response, 0, 0)
		return s.plugin.engine.ResponseHeaders(&s.state, now, end)
	})
}

// OnHttpResponseBody implements types.HttpContext. Responses are never paused, so size is that of the new piece.
func (s *stream) OnHttpResponseBody(size int, end bool) types.Action {
	return s.event("response_body", func(now int64) *admit.Step {
		s.plugin.vm.host.at(response, 0, size)
		return s.plugin.engine.ResponseBody(&s.state, now, size, end)
	})
}

// OnHttpResponseTrailers implements types.HttpContext.
func (s *stream) OnHttpResponseTrailers(int) types.Action {
	return s.event("response_trailers", func(now int64) *admit.Step {
		return s.plugin.engine.ResponseTrailers(&s.state, now)
	})
}

// OnHttpStreamDone implements types.HttpContext. It may be a stream's only callback, and it comes for a broken one too:
// what that one holds must be given back.
func (s *stream) OnHttpStreamDone() {
	s.broken = false
	if s.refused() { // too late for the answer, not for the record
		step := s.plugin.owed[&s.state]
		delete(s.plugin.owed, &s.state)
		step.Action = admit.Continue
		s.plugin.carryOut(step)
	}
	s.event("stream_done", func(now int64) *admit.Step { return s.plugin.engine.Done(&s.state, now) })
	s.plugin.vm.recycle(s)
}

// carryOut does what a step says.
func (p *plugin) carryOut(step *admit.Step) types.Action {
	p.count(step)
	for _, property := range step.Properties {
		p.vm.path[0] = property.Name
		if err := proxywasm.SetProperty(p.vm.path[:], bytesOf(property.Value)); err != nil {
			p.vm.host.failed("set_property", err)
		}
	}
	if !step.Edit.None() {
		p.editRequest(step.Edit, step.Measure)
	}
	for _, header := range step.Asked {
		p.setHeader(header, proxywasm.ReplaceHttpRequestHeader, proxywasm.RemoveHttpRequestHeader)
	}
	if step.Reroute {
		p.reroute()
	}
	for _, header := range step.Headers {
		// The upstream's own header of that name speaks of the upstream's limit, not of the one that holds here.
		p.setHeader(header, proxywasm.ReplaceHttpResponseHeader, proxywasm.RemoveHttpResponseHeader)
	}
	if step.Replace {
		if err := proxywasm.ReplaceHttpResponseBody(step.Body); err != nil {
			p.vm.host.failed("replace_body", err)
		}
	}
	switch step.Action {
	case admit.Hold:
		return types.ActionPause
	case admit.Answer:
		r := step.Reply
		if err := proxywasm.SendHttpResponse(uint32(r.Status), r.Headers, r.Body, -1); err != nil {
			p.vm.host.failed("send_response", err)
		}
		return types.ActionPause
	default:
		return types.ActionContinue
	}
}

// reroute has the host choose the route anew. Before Envoy 1.33 the change of a header did it, and there is no such function.
func (p *plugin) reroute() {
	if _, err := proxywasm.CallForeignFunction("clear_route_cache", nil); err != nil && err != types.ErrorStatusNotFound {
		p.vm.host.failed("clear_route_cache", err)
	}
}

// setHeader sets a header, or takes it out if its value is empty.
func (p *plugin) setHeader(header [2]string, replace func(key, value string) error, remove func(key string) error) {
	var err error
	if header[1] == "" {
		err = remove(header[0])
	} else {
		err = replace(header[0], header[1])
	}
	if err != nil {
		p.vm.host.failed("set_header", err)
	}
}

// editRequest changes the request's body, all of which the host holds, and its announced length if there is one.
func (p *plugin) editRequest(edit usage.Edit, measure bool) {
	body, err := proxywasm.GetHttpRequestBody(0, math.MaxInt32)
	if err == nil {
		body = edit.Apply(body)
		err = proxywasm.ReplaceHttpRequestBody(body)
	}
	if err != nil {
		p.vm.host.failed("edit_body", err)
		return
	}
	if measure {
		p.setHeader([2]string{"content-length", strconv.Itoa(len(body))}, proxywasm.ReplaceHttpRequestHeader, nil)
	}
}

// bytesOf gives a string's bytes without copying them: the host reads them during the call.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// later carries out what a stream's event has changed beside it, but for answers to other streams: the host takes an answer
// that is given inside a callback for that callback's own, and stops its stream, so they wait for the next tick.
func (p *plugin) later(s *admit.Stream, step *admit.Step) {
	if s != nil && step.Action == admit.Answer {
		p.owed[s] = step
		return
	}
	p.aside(s, step)
}

// aside carries out a step that belongs to another stream than the one whose event it is, or to none.
func (p *plugin) aside(s *admit.Stream, step *admit.Step) {
	if s == nil || step.Action != admit.Answer && !step.Resume {
		p.count(step)
		if step.Fetch != nil {
			p.fetch(step.Fetch)
		}
		return
	}
	// A stream that is gone makes this fail and leaves another one in force: nothing may be done to it then, but what it
	// holds is given back.
	if err := proxywasm.SetEffectiveContext(s.ID); err != nil {
		p.vm.metrics.add(metric.Errors("stream_gone"))
		p.count(p.engine.Gone(s, monotonic()))
		return
	}
	if p.carryOut(step) == types.ActionContinue {
		s.Resumed = true
		if err := proxywasm.ResumeHttpRequest(); err != nil {
			proxywasm.LogError("spillway: a held request can't be resumed: " + err.Error())
		}
	}
}

// count writes a step's metrics and log lines.
func (p *plugin) count(step *admit.Step) {
	for i := range step.Metrics {
		p.vm.metrics.update(&step.Metrics[i])
	}
	for _, note := range step.Notes {
		proxywasm.LogWarn("spillway: " + note.Text)
	}
}
