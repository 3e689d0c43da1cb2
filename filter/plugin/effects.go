package plugin

import (
	"strconv"
	"unsafe"

	"github.com/spillway-proxy/spillway/filter/abi"
	"github.com/spillway-proxy/spillway/filter/internal/admit"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// carryOut does what an event has brought about, and says whether the message goes on that it came with. own is the stream whose event it
// was, where the host is; nil: it was no stream's.
func (p *plugin) carryOut(own *admit.Stream) abi.Action {
	action, at := abi.Continue, own
	for f := p.engine.Next(); f != nil; f = p.engine.Next() {
		if f.Stream != nil && f.Stream != at {
			if !p.turnTo(f.Stream) {
				continue
			}
			at = f.Stream
		}
		if f.Stream == own && f.Kind == admit.Resume { // its turn came while its own event was handled, since another stream was found gone
			action = abi.Continue
			continue
		}
		p.do(f)
		switch {
		case f.Kind == admit.Fetch || f.Kind == admit.Ask:
			at = nil // the host stands at the plugin
		case f.Stream == own && (f.Kind == admit.Pause || f.Kind == admit.Answer):
			action = abi.Pause
		}
	}
	p.wantTick()
	return action
}

// turnTo has the host stand at a stream. A stream that is gone makes this fail and leaves another one in force: nothing may be done to it then,
// but what it holds is given back.
func (p *plugin) turnTo(s *admit.Stream) bool {
	if abi.SetEffectiveContext(s.ID) == abi.OK {
		return true
	}
	p.vm.metrics.add(metric.Errors("stream_gone"))
	p.engine.Gone(s, now())
	return false
}

// do does one thing. The host stands at its stream.
func (p *plugin) do(f *admit.Effect) {
	status := abi.OK
	switch f.Kind {
	case admit.UpdateMetric:
		p.vm.metrics.update(&f.Metric)
	case admit.LogInfo:
		abi.Log(abi.Info, "spillway: "+f.Value)
	case admit.LogWarning:
		abi.Log(abi.Warn, "spillway: "+f.Value)
	case admit.Fetch:
		p.fetch()
	case admit.Ask:
		p.ask()
	case admit.SetProperty:
		status = abi.SetProperty(f.Name, bytesOf(f.Value))
	case admit.SetNumber:
		p.vm.digits = strconv.AppendInt(p.vm.digits[:0], f.Number, 10)
		status = abi.SetProperty(f.Name, p.vm.digits)
	case admit.SetRequestHeader:
		status = setHeader(abi.RequestHeaders, f.Name, f.Value)
	case admit.EditRequest:
		status = p.editRequest(f.Stream)
	case admit.ChooseRoute:
		status = chooseRoute()
	case admit.SetResponseHeader:
		status = setHeader(abi.ResponseHeaders, f.Name, f.Value)
	case admit.ReplaceResponse:
		status = abi.ReplaceBody(abi.ResponseBody, f.Stream.Body())
	case admit.Resume:
		f.Stream.Resumed = true
		status = abi.ResumeRequest()
	case admit.BreakOff: // as the host does with an answer to what has one already
		status = abi.SendResponse(503, nil, nil)
	case admit.Answer:
		r := f.Stream.Reply()
		status = abi.SendResponse(r.Status, r.Headers, r.Body)
	}
	if status != abi.OK {
		p.vm.host.failed(calls[f.Kind], status)
	}
}

// calls are the names of what the host can refuse, as they are counted.
var calls = [...]string{
	admit.SetProperty: "set_property", admit.SetNumber: "set_property", admit.SetRequestHeader: "set_header", admit.EditRequest: "edit_body", admit.ChooseRoute: "clear_route_cache",
	admit.SetResponseHeader: "set_header", admit.ReplaceResponse: "replace_body", admit.Resume: "resume", admit.BreakOff: "break_off", admit.Answer: "send_response",
}

func setHeader(m abi.Map, name, value string) abi.Status {
	if value == "" {
		return abi.RemoveHeader(m, name)
	}
	return abi.ReplaceHeader(m, name, value)
}

// chooseRoute has the host choose the route anew. Before Envoy 1.33 the change of a header did it, and there is no such function.
func chooseRoute() abi.Status {
	status := abi.CallForeignFunction("clear_route_cache")
	if status == abi.NotFound {
		return abi.OK
	}
	return status
}

// editRequest changes the request's body, all of which the host holds, and its announced length if there is one.
func (p *plugin) editRequest(s *admit.Stream) abi.Status {
	body, status := p.vm.host.whole()
	if status != abi.OK {
		return status
	}
	const mostKept = 64 << 10 // what is larger comes seldom, and would be kept for ever
	edit, sized := s.Edit()
	body = edit.Apply(p.vm.edited[:0], body)
	if cap(body) <= mostKept {
		p.vm.edited = body
	}
	if status = abi.ReplaceBody(abi.RequestBody, body); status != abi.OK || !sized {
		return status
	}
	p.vm.digits = strconv.AppendInt(p.vm.digits[:0], int64(len(body)), 10)
	return abi.ReplaceHeader(abi.RequestHeaders, "content-length", inplace.String(p.vm.digits))
}

// bytesOf gives a string's bytes without copying them: the host reads them during the call.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
