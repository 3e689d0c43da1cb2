package plugin

import (
	"math"
	"strconv"
	"unsafe"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"
	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm/types"

	"github.com/spillway-proxy/spillway/filter/internal/admit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// carryOut does what an event has brought about, and says whether the message goes on that it came with. own is the stream whose event it
// was, where the host is; nil: it was no stream's.
func (p *plugin) carryOut(own *admit.Stream) types.Action {
	action, at := types.ActionContinue, own
	for f := p.engine.Next(); f != nil; f = p.engine.Next() {
		if f.Stream != nil && f.Stream != at {
			if !p.turnTo(f.Stream) {
				continue
			}
			at = f.Stream
		}
		p.do(f)
		switch {
		case f.Kind == admit.Fetch:
			at = nil // the host stands at the plugin
		case f.Stream == own && (f.Kind == admit.Pause || f.Kind == admit.Answer):
			action = types.ActionPause
		}
	}
	p.wantTick()
	return action
}

// turnTo has the host stand at a stream. A stream that is gone makes this fail and leaves another one in force: nothing may be done to it then,
// but what it holds is given back.
func (p *plugin) turnTo(s *admit.Stream) bool {
	if proxywasm.SetEffectiveContext(s.ID) == nil {
		return true
	}
	p.vm.metrics.add(metric.Errors("stream_gone"))
	p.engine.Gone(s, monotonic())
	return false
}

// do does one thing. The host stands at its stream.
func (p *plugin) do(f *admit.Effect) {
	var err error
	switch f.Kind {
	case admit.UpdateMetric:
		p.vm.metrics.update(&f.Metric)
	case admit.LogInfo:
		proxywasm.LogInfo("spillway: " + f.Value)
	case admit.LogWarning:
		proxywasm.LogWarn("spillway: " + f.Value)
	case admit.Fetch:
		p.fetch()
	case admit.SetProperty:
		p.vm.path[0] = f.Name
		err = proxywasm.SetProperty(p.vm.path[:], bytesOf(f.Value))
	case admit.SetNumber:
		p.vm.path[0], p.vm.digits = f.Name, strconv.AppendInt(p.vm.digits[:0], f.Number, 10)
		err = proxywasm.SetProperty(p.vm.path[:], p.vm.digits)
	case admit.SetRequestHeader:
		err = setRequestHeader(f.Name, f.Value)
	case admit.EditRequest:
		err = editRequest(f.Stream)
	case admit.ChooseRoute:
		err = chooseRoute()
	case admit.SetResponseHeader:
		err = setResponseHeader(f.Name, f.Value)
	case admit.ReplaceResponse:
		err = proxywasm.ReplaceHttpResponseBody(f.Stream.Body())
	case admit.Resume:
		f.Stream.Resumed = true
		err = proxywasm.ResumeHttpRequest()
	case admit.Answer:
		r := f.Stream.Reply()
		err = proxywasm.SendHttpResponse(uint32(r.Status), r.Headers, r.Body, -1)
	}
	if err != nil {
		p.vm.host.failed(calls[f.Kind], err)
	}
}

// calls are the names of what the host can refuse, as they are counted.
var calls = [...]string{
	admit.SetProperty: "set_property", admit.SetNumber: "set_property", admit.SetRequestHeader: "set_header", admit.EditRequest: "edit_body", admit.ChooseRoute: "clear_route_cache",
	admit.SetResponseHeader: "set_header", admit.ReplaceResponse: "replace_body", admit.Resume: "resume", admit.Answer: "send_response",
}

func setRequestHeader(name, value string) error {
	if value == "" {
		return proxywasm.RemoveHttpRequestHeader(name)
	}
	return proxywasm.ReplaceHttpRequestHeader(name, value)
}

func setResponseHeader(name, value string) error {
	if value == "" {
		return proxywasm.RemoveHttpResponseHeader(name)
	}
	return proxywasm.ReplaceHttpResponseHeader(name, value)
}

// chooseRoute has the host choose the route anew. Before Envoy 1.33 the change of a header did it, and there is no such function.
func chooseRoute() error {
	_, err := proxywasm.CallForeignFunction("clear_route_cache", nil)
	if err == types.ErrorStatusNotFound {
		return nil
	}
	return err
}

// editRequest changes the request's body, all of which the host holds, and its announced length if there is one.
func editRequest(s *admit.Stream) error {
	body, err := proxywasm.GetHttpRequestBody(0, math.MaxInt32)
	if err != nil {
		return err
	}
	edit, sized := s.Edit()
	body = edit.Apply(body)
	if err := proxywasm.ReplaceHttpRequestBody(body); err != nil || !sized {
		return err
	}
	return proxywasm.ReplaceHttpRequestHeader("content-length", strconv.Itoa(len(body)))
}

// bytesOf gives a string's bytes without copying them: the host reads them during the call.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
