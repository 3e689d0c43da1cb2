package config

import (
	"slices"
	"time"
)

// field describes one key of the configuration and is bound to the variable that takes its value.
type field struct {
	name     string
	doc      doc
	value    value
	required bool // the key must be given
	derived  bool // left out, the value follows from others; the doc says how
	unless   []exclusion
	fixed    string // why no override changes it; "": one may
	since    doc    // the release that had it first; "": the first one
	kept     bool   // no override adds entries to the list, takes some out or renames them
}

// exclusion says beside which words of another key a key makes no sense, and why, and what would be right. Beside those it isn't missed,
// either.
type exclusion struct {
	key   string
	words []string
	why   string
}

// barredBy gives the exclusion that applies, as what is given has it; nil: none does.
func (f *field) barredBy(given map[string]*jsonValue) *exclusion {
	for i := range f.unless {
		x := &f.unless[i]
		v := given[x.key]
		if v != nil && (v.kind == isString && slices.Contains(x.words, v.text) || v.kind == isTrue && slices.Contains(x.words, truth)) {
			return x
		}
	}
	return nil
}

// truth is the word of a key that is true or false.
const truth = "true"

// value is a place for a value: a single one, a list, a map, or a section.
type value interface {
	// read stores v, or the default if v is nil. Whatever is wrong goes to r, at path.
	read(r *reader, path string, v *jsonValue)
	want() string
	describe(s *Schema)
	// show appends what is stored, as JSON: nothing, if the key is to be left out.
	show(b []byte) []byte
}

// section is a part of the configuration with keys of its own. It may have a finish method, too.
type section interface {
	fields() []field
}

// finisher is a section with derived values or with fields that can contradict each other. finish is called only if
// all its fields are valid in themselves.
type finisher interface {
	finish(r *reader, path string)
}

// part is a section that is spelled out in place.
type part []field

func (p part) fields() []field { return p }

func required(f field) field { f.required = true; return f }
func derived(f field) field  { f.derived = true; return f }

// unless bars a key beside some words of another one.
func unless(key string, words []string, f field, why string) field {
	f.unless = append(f.unless, exclusion{key, words, why})
	return f
}

// secret hides the value of f from all errors, and from who looks at the configuration in force.
func secret(f field) field {
	f.value = hidden{f.value}
	return fixed(f, "is a secret, which is no business of an override; want it changed in the file")
}

// fixed bars overrides of f, and says why.
func fixed(f field, why string) field { f.fixed = why; return f }

// kept bars overrides that add entries to the list f, take some out, or rename them.
func kept(f field) field { f.kept = true; return f }

func single[T any](name string, to *T, standard T, k kind[T], doc string) field {
	return field{name: name, doc: docOf(doc), value: scalar[T]{to, standard, k}}
}

func boolean(name string, to *bool, standard bool, doc string) field {
	return single[bool](name, to, standard, boolKind{}, doc)
}

func str(name string, to *string, standard string, r rule, doc string) field {
	return single[string](name, to, standard, textKind{r}, doc)
}

// text is a string of a type of its own.
func text[T ~string](name string, to *T, standard T, r rule, doc string) field {
	read := scalar[string]{new(string), string(standard), textKind{r}}
	return field{name: name, doc: docOf(doc), value: assigned{read, func(s string) { *to = T(s) }, func() string { return string(*to) }}}
}

// enum is read as a string and handed on: to read each type by itself would cost the module 8 KB for each.
func enum[T ~string](name string, to *T, standard T, values []T, doc string) field {
	words := make([]string, len(values))
	for i, value := range values {
		words[i] = string(value)
	}
	read := scalar[string]{new(string), string(standard), enumKind{words}}
	return field{name: name, doc: docOf(doc), value: assigned{read, func(word string) { *to = T(word) }, func() string { return string(*to) }}}
}

func integer[T ~int | ~int64](name string, to *T, standard, lowest, highest T, doc string) field {
	return single[T](name, to, standard, integerKind[T]{lowest, highest}, doc)
}

func float(name string, to *float64, standard float64, in interval, doc string) field {
	return single[float64](name, to, standard, numberKind{in}, doc)
}

func duration(name string, to *time.Duration, standard, shortest, longest time.Duration, doc string) field {
	return single[time.Duration](name, to, standard, durationKind{min: shortest, max: longest}, doc)
}

func priority(name string, to *Priority, standard Priority, doc string) field {
	return single[Priority](name, to, standard, priorityKind{}, doc)
}

// maybe is true, false, or nil where it is left out.
func maybe(name string, to **bool, doc string) field {
	return field{name: name, doc: docOf(doc), value: pointer[bool]{to, boolKind{}}}
}

// maybePriority is a priority that stays nil where it is left out.
func maybePriority(name string, to **Priority, doc string) field {
	return field{name: name, doc: docOf(doc), value: pointer[Priority]{to, priorityKind{}}}
}

func strs(name string, to *[]string, standard []string, r rule, doc string) field {
	return field{name: name, doc: docOf(doc), value: list[string]{to: to, standard: standard, kind: textKind{r}}}
}

// someStrs is a list of at least one string.
func someStrs(name string, to *[]string, standard []string, r rule, doc string) field {
	return field{name: name, doc: docOf(doc), value: list[string]{to: to, standard: standard, kind: textKind{r}, least: 1}}
}

// stringSet is a list of strings without repetitions.
func stringSet(name string, to *[]string, r rule, doc string) field {
	return field{name: name, doc: docOf(doc), value: list[string]{to: to, kind: textKind{r}, unique: true}}
}

func prioritySet(name string, to *[]Priority, doc string) field {
	return field{name: name, doc: docOf(doc), value: list[Priority]{to: to, kind: priorityKind{}, unique: true}}
}

func strMap(name string, to *map[string]string, key, value rule, doc string) field {
	return field{name: name, doc: docOf(doc), value: dictionary{to, key, textKind{value}}}
}

func object(name string, s section, doc string) field {
	return field{name: name, doc: docOf(doc), value: nested{s}}
}

// objects is a list of sections, empty by default. No two of them share the value of the field called unique, which
// identity returns.
func objects[T any, P interface {
	*T
	section
}](name string, to *[]T, unique string, identity func(T) string, doc string) field {
	return field{name: name, doc: docOf(doc), value: sections[T, P]{to: to, unique: unique, identity: identity}}
}

// maybeObjects is a list of sections that stays nil where it is left out; an empty list is one.
func maybeObjects[T any, P interface {
	*T
	section
}](name string, to *[]T, doc string) field {
	return derived(field{name: name, doc: docOf(doc), value: sections[T, P]{to: to, empty: true}})
}
