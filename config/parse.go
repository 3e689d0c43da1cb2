package config

import (
	"strconv"
	"strings"
)

// Parse reads the plugin's configuration, JSON. Nothing at all, {} and null are the default configuration. The error
// names everything wrong at once: unknown and duplicate keys, wrong types, values out of range, and
// fields that contradict each other. It never shows what stands in admin.tokens.
func Parse(data []byte) (Config, error) {
	r := reader{}
	root, problem := parseJSON(string(data))
	if problem != "" {
		return Config{}, fieldErrors{{problem: problem}}
	}
	if root != nil && root.kind == isNull {
		root = nil
	}
	var c Config
	r.section("", &c, root)
	if len(r.errs) > 0 {
		return Config{}, r.all()
	}
	return c, nil
}

// parseJSON returns nil for white space. The problem doesn't repeat any of the text.
func parseJSON(s string) (*jsonValue, string) {
	if strings.Trim(s, " \t\r\n") == "" {
		return nil, ""
	}
	return parseSyntax(s)
}

// reader collects what is wrong while values are read.
type reader struct {
	errs  fieldErrors // the first maxErrors
	count int         // of all errors
	hide  bool        // the value being read is a secret
}

// all is everything collected.
func (r *reader) all() fieldErrors {
	if r.count > len(r.errs) {
		return append(r.errs, fieldError{problem: strconv.Itoa(r.count-len(r.errs)) + " more errors are not shown"})
	}
	return r.errs
}

// problem records an error at path; found is "" where nothing found can be shown.
func (r *reader) problem(path, found, problem string) {
	if r.hide {
		found = ""
	}
	if r.count++; len(r.errs) < maxErrors {
		r.errs = append(r.errs, fieldError{path: path, value: found, problem: problem})
	}
}

// fail records that v is wrong.
func (r *reader) fail(path string, v *jsonValue, problem string) {
	r.problem(path, show(v), problem)
}

// list is v's entries.
func (r *reader) list(path string, v *jsonValue, want string) ([]*jsonValue, bool) {
	if v.kind != isArray {
		r.problem(path, showType(v), "want "+want)
		return nil, false
	}
	return v.list, true
}

// members is v's keys, each once, in their order.
func (r *reader) members(path string, v *jsonValue, want string) []member {
	if v.kind != isObject {
		r.problem(path, showType(v), "want "+want)
		return nil
	}
	var members []member
	seen := map[string]bool{}
	for _, m := range v.members {
		if seen[m.key] {
			r.problem(join(path, m.key), "", "duplicate key; want each key once")
			continue
		}
		seen[m.key] = true
		members = append(members, m)
	}
	return members
}

// section reads v into s, the whole of s: what v lacks gets its default. A nil v lacks everything.
func (r *reader) section(path string, s section, v *jsonValue) {
	before := r.count
	fields := s.fields()
	given := map[string]*jsonValue{}
	if v != nil {
		for _, m := range r.members(path, v, "an object") {
			given[m.key] = m.value
			if !has(fields, m.key) {
				r.problem(join(path, m.key), "", unknown(m.key, fields))
			}
		}
	}
	isObject := v != nil && v.kind == isObject
	for _, f := range fields {
		value := given[f.name]
		switch barred := f.barredBy(given); {
		case barred != nil && value != nil:
			r.fail(join(path, f.name), value, barred.why)
			value = nil
		case barred == nil && value == nil && f.required && isObject:
			r.problem(join(path, f.name), "", "missing; want "+f.value.want())
		}
		f.value.read(r, join(path, f.name), value)
	}
	if s, ok := s.(finisher); ok && r.count == before {
		s.finish(r, path)
	}
}

func has(fields []field, name string) bool {
	for _, f := range fields {
		if f.name == name {
			return true
		}
	}
	return false
}

// unknown says what could have been meant by key.
func unknown(key string, fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if near := nearest(key, names); near != "" {
		return "unknown key; did you mean " + strconv.Quote(near) + "?"
	}
	return "unknown key; want " + oneOf(names)
}
