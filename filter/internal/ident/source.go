package ident

import (
	"strings"

	"github.com/spillway-proxy/spillway/config"
)

// source is a config.Source with its slots.
type source struct {
	slots []Slot
	names []string
	keys  []bool // which of them carry API keys
	path  Slot
	query []string
	hash  bool

	decides bool // something depends on it: what can't be read as one value is refused
	all     bool // and what is given must agree, or it isn't known who asks
}

func newSource(p *Picker, c config.Source) source {
	s := source{hash: c.Hash, names: c.Headers, query: c.Query}
	for _, name := range c.Headers {
		s.slots, s.keys = append(s.slots, p.Want(name)), append(s.keys, credentials[name])
	}
	if len(c.Query) > 0 {
		s.path = p.Want(":path")
	}
	return s
}

// read gives the first value that is present and not blank, or why there can't be one. Where nothing depends on it, a name is what
// it looks like, commas and all, and of repeated ones the first; a key that isn't one is none: any traffic has credentials, of schemes that nobody knows here.
func (s *source) read(h *Headers) (value string, fault *Refusal) {
	from := ""
	for i, slot := range s.slots {
		v, one := s.only(i, h.Get(slot))
		switch {
		case s.decides && (!one || h.Repeated(slot)):
			return "", &Refusal{Reason: "repeated_header", Header: s.names[i]}
		case v == "" || v == value || s.keys[i] && h.Repeated(slot):
		case value != "":
			return "", &Refusal{Reason: "conflicting_keys", Header: from + " and " + s.names[i]}
		case !s.all:
			return v, nil
		default:
			value, from = v, s.names[i]
		}
	}
	if len(s.query) == 0 {
		return value, nil
	}
	path := h.Get(s.path)
	if strings.IndexByte(path, '?') < 0 {
		return value, nil
	}
	for _, name := range s.query {
		v, more := parameter(path, name)
		v = strings.TrimFunc(v, blank)
		switch {
		case more && s.decides:
			return "", &Refusal{Reason: "repeated_header", Header: "?" + name}
		case v == "" || v == value || more:
		case value != "":
			return "", &Refusal{Reason: "conflicting_keys", Header: from + " and ?" + name}
		case !s.all:
			return v, nil
		default:
			value, from = v, "?"+name
		}
	}
	return value, nil
}

// only gives the one value that the i-th header may have here, and says whether it is one.
func (s *source) only(i int, value string) (string, bool) {
	if value == "" {
		return "", true
	}
	if s.keys[i] {
		return credential(s.names[i], value)
	}
	return strings.TrimSpace(value), !list(value)
}
