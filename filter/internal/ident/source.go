package ident

import (
	"strings"

	"github.com/spillway-proxy/spillway/config"
)

// Attributes tells what the proxy knows of the request that is being read.
type Attributes interface {
	// Attribute gives one by the parts of its path, joined by zeros. It is good for as long as the call to Read lasts.
	Attribute(path string) (value string, known bool)
}

// source is a config.Source: the places where a part of an identity is looked for, in their order.
type source struct {
	places []place
	hash   bool

	decides bool // something depends on it: what can't be read as one value is refused
	asks    bool // the proxy is asked for attributes
	all     bool // and what clients give must agree, or it isn't known who asks
}

// place is one header, attribute, parameter or cookie.
type place struct {
	kind kind
	name string // a header's, parameter's or cookie's; of an attribute the path, whose parts are told apart by zeros
	slot Slot   // of the header in which it stands
	key  bool   // the header carries API keys
}

type kind uint8

const (
	inHeader kind = iota
	inAttribute
	inQuery
	inCookie
)

func newSource(p *Picker, c *config.Source) source {
	s := source{hash: c.Hash}
	for _, from := range c.Places() {
		for _, name := range from.Headers {
			s.places = append(s.places, place{inHeader, name, p.Want(name), credentials[name]})
		}
		if len(from.Property) > 0 {
			s.places = append(s.places, place{kind: inAttribute, name: strings.Join(from.Property, "\x00")})
		}
		for _, name := range from.Query {
			s.places = append(s.places, place{kind: inQuery, name: name, slot: p.Want(":path")})
		}
		for _, name := range from.Cookie {
			s.places = append(s.places, place{kind: inCookie, name: name, slot: p.Want("cookie")})
		}
	}
	return s
}

// read gives the first value that is present and not blank, or why there can't be one. Where nothing depends on it, a name is what
// it looks like, commas and all, and of repeated ones the first; a key that isn't one is none: any traffic has credentials, of schemes that nobody knows here.
//
// An attribute is the proxy's word, and no upstream looks at it: what clients give need not agree with it. Whichever comes first in the order counts.
func (s *source) read(h *Headers, attributes Attributes) (value string, fault *Refusal) {
	var from *place
	for i := range s.places {
		p := &s.places[i]
		if p.kind == inAttribute && (from != nil || !s.asks) {
			continue
		}
		v, one := p.value(h, attributes)
		switch {
		case s.decides && !one:
			return "", &Refusal{Reason: "repeated_header", Header: p.title()}
		case v == "" || v == value:
		case from != nil:
			return "", &Refusal{Reason: "conflicting_keys", Header: from.title() + " and " + p.title()}
		case !s.all || p.kind == inAttribute:
			return v, nil
		default:
			value, from = v, p
		}
	}
	return value, nil
}

// value gives what stands at the place, and says whether that is one value. "" is none.
func (p *place) value(h *Headers, attributes Attributes) (value string, one bool) {
	switch p.kind {
	case inHeader:
		return p.header(h)
	case inAttribute:
		v, known := attributes.Attribute(p.name)
		if !known || v == "" {
			return "", true
		}
		return attribute(h, p.name, v)
	case inQuery:
		path := h.Get(p.slot)
		if strings.IndexByte(path, '?') < 0 {
			return "", true
		}
		v, more := parameter(path, p.name)
		if more {
			return "", false
		}
		return strings.TrimFunc(v, blank), true
	default:
		return cookie(h, p.slot, p.name)
	}
}

// header gives the value of a header.
func (p *place) header(h *Headers) (value string, one bool) {
	value = h.Get(p.slot)
	switch {
	case value == "":
		return "", !h.Repeated(p.slot)
	case !p.key:
		return strings.TrimSpace(value), !list(value) && !h.Repeated(p.slot)
	case h.Repeated(p.slot):
		return "", false
	}
	return credential(p.name, value)
}

// title is how a client is told of the first place.
func (s *source) title() string {
	if len(s.places) == 0 {
		return ""
	}
	return s.places[0].title()
}

// title is how a client is told of the place. What of an attribute the proxy's own names are isn't its business.
func (p *place) title() string {
	switch p.kind {
	case inAttribute:
		return "attribute " + p.name[strings.LastIndexByte(p.name, 0)+1:]
	case inQuery:
		return "?" + p.name
	case inCookie:
		return "cookie " + p.name
	}
	return p.name
}
