package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spillway-proxy/spillway/config/filterstate"
)

// JSON is the configuration as Parse would take it, complete: defaults and what follows from other values are filled in. Secrets are masked.
func (c *Config) JSON() []byte { return showSection(nil, c) }

// masked stands for a secret.
const masked = `"***"`

// showSection appends a section.
func showSection(b []byte, s section) []byte {
	fields := s.fields()
	b = append(b, '{')
	begin := len(b)
	for _, f := range fields {
		if f.leftOut(fields) {
			continue
		}
		before := len(b)
		if before > begin {
			b = append(b, ',')
		}
		b = append(appendString(b, f.name), ':')
		from := len(b)
		b = f.value.show(b)
		if shown := string(b[from:]); shown == "" || f.derived && (shown == "0" || shown == `"0s"`) { // what nothing is known of, or what there is none of
			b = b[:before]
		}
	}
	return append(b, '}')
}

// leftOut says that the key makes no sense, in the section as it stands.
func (f *field) leftOut(fields []field) bool {
	return slices.ContainsFunc(f.unless, func(x exclusion) bool {
		return slices.ContainsFunc(fields, func(other field) bool {
			if other.name != x.key {
				return false
			}
			shown := strings.Trim(string(other.value.show(nil)), `"`)
			return slices.Contains(x.words, shown)
		})
	})
}

func (s scalar[T]) show(b []byte) []byte { return appendPlain(b, s.kind.plain(*s.to)) }

func (a assigned) show(b []byte) []byte { return appendString(b, a.word()) }

func (p pointer[T]) show(b []byte) []byte {
	if *p.to == nil {
		return b
	}
	return appendPlain(b, p.kind.plain(**p.to))
}

// show masks what there is: of a list, each entry.
func (h hidden) show(b []byte) []byte {
	shown := string(h.value.show(nil))
	v, problem := parseJSON(shown)
	switch {
	case problem != "" || v == nil:
		return b
	case v.kind == isArray:
		return appendList(b, v.list, func(b []byte, _ *jsonValue) []byte { return append(b, masked...) })
	case shown == `""`:
		return append(b, shown...)
	default:
		return append(b, masked...)
	}
}

func (l list[T]) show(b []byte) []byte {
	return appendList(b, *l.to, func(b []byte, value T) []byte { return appendPlain(b, l.kind.plain(value)) })
}

func (d dictionary) show(b []byte) []byte {
	b = append(b, '{')
	for i, key := range slices.Sorted(maps.Keys(*d.to)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(appendString(b, key), ':'), (*d.to)[key])
	}
	return append(b, '}')
}

func (n nested) show(b []byte) []byte { return showSection(b, n.section) }

func (s sections[T, P]) show(b []byte) []byte {
	if s.empty && *s.to == nil {
		return b
	}
	return showSections(b, len(*s.to), func(i int) section { return P(&(*s.to)[i]) })
}

// showSections appends a list of so many sections.
func showSections(b []byte, n int, at func(i int) section) []byte {
	b = append(b, '[')
	for i := range n {
		if i > 0 {
			b = append(b, ',')
		}
		b = showSection(b, at(i))
	}
	return append(b, ']')
}

func (p published) show(b []byte) []byte {
	var names []string
	for _, preset := range presets {
		if *p.to == preset.set {
			return appendString(b, preset.word)
		}
	}
	for _, name := range filterstate.Names() {
		if value, _ := filterstate.Named(name); p.to.Has(value) {
			names = append(names, name)
		}
	}
	return appendList(b, names, appendString)
}

// appendList appends a list, entry by entry.
func appendList[T any](b []byte, entries []T, one func([]byte, T) []byte) []byte {
	b = append(b, '[')
	for i, entry := range entries {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, entry)
	}
	return append(b, ']')
}

// appendPlain appends a value that a kind gave in its plain form.
func appendPlain(b []byte, value any) []byte {
	switch v := value.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return append(b, number(v)...)
	case string:
		return appendString(b, v)
	default:
		return append(b, "null"...)
	}
}

// appendValue appends a value that was parsed.
func appendValue(b []byte, v *jsonValue) []byte {
	switch v.kind {
	case isString:
		return appendString(b, v.text)
	case isArray:
		return appendList(b, v.list, appendValue)
	case isObject:
		b = append(b, '{')
		for i, m := range v.members {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(append(appendString(b, m.key), ':'), m.value)
		}
		return append(b, '}')
	default:
		return append(b, v.text...)
	}
}

// appendString appends a string. What a page could take for markup is escaped.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ' || r == '<' || r == '>' || r == '&' || r == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
