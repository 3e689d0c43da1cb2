package admit

import (
	"maps"
	"slices"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// Before the wall: what becomes of a request that its limits let pass while little is left of one (config.Nearly). Its headers are set and its
// route is chosen by them, as long as they have not gone on; the client is told by its answer. What clients send under these names is taken out
// of every request, whatever mode it is, and the route that it may have brought about is chosen again: else anybody could have the cheaper model.

// nearlyHeader is the name of the answer's header that names the limits.
const nearlyHeader = "x-spillway-nearly"

// routeHeader is a header that is set while little is left of a limit.
type routeHeader struct {
	limit, name, value string
	slot               ident.Slot
}

// listRouteHeaders lists them, in the order of the limits.
func listRouteHeaders(limits []config.Limit, p *ident.Picker) (all []routeHeader) {
	for i := range limits {
		l := &limits[i]
		for _, name := range slices.Sorted(maps.Keys(l.Nearly.RequestHeader)) {
			all = append(all, routeHeader{l.Name, name, l.Nearly.RequestHeader[name], p.Want(name)})
		}
	}
	return all
}

// hideRouteHeaders takes these headers out of what a client sends. One without a value counts as well: a route may ask whether it is there.
func (e *Engine) hideRouteHeaders(s *Stream) {
	hidden := false
	for i := range e.routeHeaders {
		if h := &e.routeHeaders[i]; s.headers.Has(h.slot) {
			e.out.setRequestHeader(s, h.name, "")
			hidden = true
		}
	}
	if hidden {
		e.out.add(ChooseRoute, s)
	}
}

// nearly does what the limits say of which little is left, and notes the first of them, if there is nothing else to be said of the request.
func (e *Engine) nearly(s *Stream, v *gate.Verdict) {
	s.nearly = true
	for i := range s.charges {
		l := s.charges[i].Nearly()
		if l == nil {
			continue
		}
		result := metric.NearlyRouted
		switch {
		case l.Mode != config.Enforce:
			result = metric.NearlyShadow
		case len(l.Nearly.RequestHeader) == 0:
			result = metric.NearlyNoted
		case s.upload.passes:
			result = metric.NearlyLate
		}
		e.out.count(metric.Nearly(l.Name, result), 1)
		if v.Reason == "" {
			*v = gate.Because(gate.Allowed, gate.Limits, gate.NearlySpent)
			v.Limit = l
		}
	}
	if s.upload.passes {
		return
	}
	routes := false
	for i := len(e.routeHeaders) - 1; i >= 0; i-- { // backwards: of two limits that set one header the first has the last word
		if h := &e.routeHeaders[i]; s.nearlySpent(h.limit) {
			e.out.setRequestHeader(s, h.name, h.value)
			routes = true
		}
	}
	if routes {
		e.out.add(ChooseRoute, s)
	}
}

// nearlySpent says that little is left of an enforced limit that the request is charged to.
func (s *Stream) nearlySpent(name string) bool {
	for i := range s.charges {
		if l := s.charges[i].Nearly(); l != nil && l.Name == name {
			return l.Mode == config.Enforce
		}
	}
	return false
}

// tellNearly tells the client of which limits little is left, as a list.
func (e *Engine) tellNearly(s *Stream) {
	from := len(e.out.text)
	for i := range s.charges {
		l := s.charges[i].Nearly()
		if l == nil || !l.Nearly.ResponseHeader || l.Mode != config.Enforce {
			continue
		}
		if len(e.out.text) > from {
			e.out.text = append(e.out.text, ", "...)
		}
		e.out.text = append(e.out.text, l.Name...)
	}
	if len(e.out.text) > from {
		e.out.setResponseHeader(s, nearlyHeader, inplace.String(e.out.text[from:]))
	}
}
