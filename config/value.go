package config

import (
	"slices"
	"strconv"
)

// scalar is a single value.
type scalar[T any] struct {
	to       *T
	standard T
	kind     kind[T]
}

func (s scalar[T]) want() string { return s.kind.want() }
func (s scalar[T]) read(r *reader, path string, v *jsonValue) {
	*s.to = s.standard
	if v == nil {
		return
	}
	if value, ok := one(r, path, v, s.kind); ok {
		*s.to = value
	}
}

// assigned is a word for a variable of a type of its own.
type assigned struct {
	scalar[string]
	assign func(word string)
	word   func() string // that is assigned
}

func (a assigned) read(r *reader, path string, v *jsonValue) {
	a.scalar.read(r, path, v)
	a.assign(*a.to)
}

// one reads a single value.
func one[T any](r *reader, path string, v *jsonValue, k kind[T]) (T, bool) {
	value, problem := k.parse(v)
	if problem == "" {
		return value, true
	}
	if problem == wrong {
		r.fail(path, v, "want "+k.want())
	} else {
		r.fail(path, v, problem+"; want "+k.want())
	}
	return value, false
}

// pointer is a single value that may be left out.
type pointer[T any] struct {
	to   **T
	kind kind[T]
}

func (p pointer[T]) want() string { return p.kind.want() }
func (p pointer[T]) read(r *reader, path string, v *jsonValue) {
	*p.to = nil
	if v == nil {
		return
	}
	if value, ok := one(r, path, v, p.kind); ok {
		*p.to = &value
	}
}

// hidden is a value that no error shows.
type hidden struct{ value }

func (h hidden) read(r *reader, path string, v *jsonValue) {
	before := r.hide
	r.hide = true
	h.value.read(r, path, v)
	r.hide = before
}

// list is a list of single values.
type list[T comparable] struct {
	to       *[]T
	standard []T
	kind     kind[T]
	least    int  // entries
	unique   bool // no entry twice
}

func (l list[T]) want() string {
	if l.least > 0 {
		return "a list of at least " + strconv.Itoa(l.least) + " entry, each " + l.kind.want()
	}
	return "a list, each entry " + l.kind.want()
}

func (l list[T]) read(r *reader, path string, v *jsonValue) {
	*l.to = slices.Clone(l.standard)
	if v == nil {
		return
	}
	entries, ok := r.list(path, v, l.want())
	if !ok {
		return
	}
	if len(entries) < l.least {
		r.problem(path, "an empty list", "want "+l.want())
	}
	var values []T
	for i, entry := range entries {
		value, ok := one(r, index(path, i), entry, l.kind)
		if ok && l.unique && slices.Contains(values, value) {
			r.fail(index(path, i), entry, "given twice; want each entry once")
		}
		if ok {
			values = append(values, value)
		}
	}
	*l.to = values
}

// dictionary is a map of strings, empty by default.
type dictionary struct {
	to    *map[string]string
	key   rule
	value kind[string]
}

func (d dictionary) want() string {
	return "an object, each key " + d.key.want + ", each value " + d.value.want()
}

func (d dictionary) read(r *reader, path string, v *jsonValue) {
	*d.to = nil
	if v == nil {
		return
	}
	members := r.members(path, v, d.want())
	if len(members) == 0 {
		return
	}
	*d.to = make(map[string]string, len(members))
	for _, m := range members {
		at := join(path, m.key)
		key, ok := d.key.accept(m.key)
		if !ok {
			r.problem(at, "", "wrong key; want "+d.key.want)
			continue
		}
		if _, twice := (*d.to)[key]; twice {
			r.problem(at, "", "given twice, in upper and lower case; want each key once")
		}
		if value, ok := one(r, at, m.value, d.value); ok {
			(*d.to)[key] = value
		}
	}
}

// nested is a section within a section.
type nested struct{ section section }

func (n nested) want() string                              { return "an object" }
func (n nested) read(r *reader, path string, v *jsonValue) { r.section(path, n.section, v) }

// sections is a list of sections.
type sections[T any, P interface {
	*T
	section
}] struct {
	to       *[]T
	unique   string // the key that tells an entry from the others; "" if none does
	identity func(T) string
	empty    bool // an empty list is not the same as none
}

func (s sections[T, P]) want() string { return "a list of objects" }
func (s sections[T, P]) read(r *reader, path string, v *jsonValue) {
	*s.to = nil
	if v == nil {
		return
	}
	entries, _ := r.list(path, v, s.want())
	if len(entries) == 0 && !s.empty {
		return
	}
	*s.to = make([]T, len(entries))
	r.sections(path, entries, s.unique, func(i int) (section, func() string) {
		item := &(*s.to)[i]
		return P(item), func() string { return s.identity(*item) }
	})
}

// sections reads the entries of a list; at gives what takes one, and what tells it from others then.
func (r *reader) sections(path string, entries []*jsonValue, unique string, at func(i int) (section, func() string)) {
	seen := map[string]int{}
	for i, entry := range entries {
		item, identify := at(i)
		r.section(index(path, i), item, entry)
		if unique == "" {
			continue
		}
		identity := identify()
		if first, twice := seen[identity]; twice {
			r.problem(join(index(path, i), unique), quote(identity), "already used by "+index(path, first)+"; want another")
		} else if identity != "" {
			seen[identity] = i
		}
	}
}
