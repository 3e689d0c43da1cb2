// Package ident says who asks: user, tenant, API key and priority, from a request's headers and the configuration.
//
// Headers are read once: every part of the configuration that names one asks for a Slot when it is built, and one pass
// over a request's headers fills all slots. A header that a caller sends twice is seen twice: for those that something depends on
// that is a refusal, since another hop may take the other one. So are lists in them, which proxies make of repeated headers, and two
// different keys, of which nobody here knows which one the upstream looks at: whichever was taken, a caller could add a new one to
// each request, and be somebody else each time.
package ident

import (
	"strings"

	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// Slot is the place of one header's value.
type Slot int

// Picker knows which headers are wanted. It is built with the configuration and then only read.
//
// A header is looked for among the wanted ones of its length: nearly every header of a request is of no interest, and is
// told by its length alone, where a map would have to hash it.
type Picker struct {
	wanted [longest + 1][]want
	excess []want // longer ones
	slots  int
}

type want struct {
	name string
	slot Slot
}

const longest = 40

// Want asks for a header, by its lower-case name.
func (p *Picker) Want(name string) Slot {
	list := p.list(name)
	if slot := find(*list, name); slot >= 0 {
		return slot
	}
	slot := Slot(p.slots)
	p.slots++
	*list = append(*list, want{name, slot})
	return slot
}

func (p *Picker) list(name string) *[]want {
	if len(name) > longest {
		return &p.excess
	}
	return &p.wanted[len(name)]
}

func find(list []want, name string) Slot {
	for i := range list {
		if list[i].name == name {
			return list[i].slot
		}
	}
	return -1
}

// Headers holds the wanted headers of one message, as copies: they are good until the next Pick into it, which uses their memory again.
type Headers struct {
	values []string
	counts []uint8
	more   []another // values of repeated headers after their first ones
	text   []byte    // what the values are parts of
}

type another struct {
	slot  Slot
	value string
}

// Pick takes the wanted headers from all of a message's, whose names are lower case as HTTP/2 has them. all may be anywhere.
func (p *Picker) Pick(all [][2]string, into *Headers) {
	if len(into.values) != p.slots {
		into.values, into.counts = make([]string, p.slots), make([]uint8, p.slots)
	}
	clear(into.values)
	clear(into.counts)
	into.more, into.text = into.more[:0], into.text[:0]
	for i := range all {
		list := p.list(all[i][0])
		if len(*list) == 0 {
			continue
		}
		slot := find(*list, all[i][0])
		if slot < 0 {
			continue
		}
		if into.counts[slot] == 0 {
			into.values[slot] = into.copied(all[i][1])
		} else {
			into.more = append(into.more, another{slot, into.copied(all[i][1])})
		}
		if into.counts[slot] < 2 {
			into.counts[slot]++
		}
	}
}

// copied copies a value into memory that is used again. Where that has to grow, those that were copied before keep the old one.
func (h *Headers) copied(value string) string {
	if value == "" {
		return ""
	}
	start := len(h.text)
	h.text = append(h.text, value...)
	return inplace.String(h.text[start:])
}

// Get gives a header's first value; "" if it is absent.
func (h *Headers) Get(slot Slot) string {
	if int(slot) >= len(h.values) {
		return ""
	}
	return h.values[slot]
}

// Has says that a header came at all, with a value or without.
func (h *Headers) Has(slot Slot) bool { return int(slot) < len(h.counts) && h.counts[slot] > 0 }

// Repeated says that a header came more than once.
func (h *Headers) Repeated(slot Slot) bool {
	return int(slot) < len(h.counts) && h.counts[slot] > 1
}

// Values goes through what a header was sent with: each of its values, whole, and each element of one that is a list. An absent header has
// none.
//
//	values := h.Values(slot)
//	for values.Next() {
//		// look at values.Value
//	}
type Values struct {
	Value string

	headers *Headers
	slot    Slot
	first   bool   // the header's first value is the next one
	more    int    // how many of the other ones were looked at
	list    string // what is left of a value that is a list
	inList  bool
}

// Values begins to go through a header's values.
func (h *Headers) Values(slot Slot) Values {
	return Values{headers: h, slot: slot, first: int(slot) < len(h.counts) && h.counts[slot] > 0}
}

// Next goes on to the next one, and says whether there is one.
func (v *Values) Next() bool {
	if v.inList {
		v.Value, v.list, v.inList = strings.Cut(v.list, ",")
		v.Value = strings.Trim(v.Value, " \t")
		return true
	}
	if !v.whole() {
		return false
	}
	if v.inList = strings.IndexByte(v.Value, ',') >= 0; v.inList {
		v.list = v.Value
	}
	return true
}

// whole goes on to the next whole value.
func (v *Values) whole() bool {
	if v.first {
		v.Value, v.first = v.headers.values[v.slot], false
		return true
	}
	for v.more < len(v.headers.more) {
		other := &v.headers.more[v.more]
		if v.more++; other.slot == v.slot {
			v.Value = other.value
			return true
		}
	}
	return false
}
