package config

import (
	"slices"
	"strings"
)

// Schema describes a value of the configuration in the terms of JSON Schema (draft 2020-12). The zero value of a field
// says nothing.
type Schema struct {
	Type        string // "" where Enum or AnyOf says it all
	Description string
	Default     any // a bool, int64, float64, string or []any

	// The same as people read it, which isn't in the JSON Schema.
	Doc   string // Description, without what Want says
	Want  string // type and range
	Fixed string // why no override changes it; "": one may
	Since string // the release that had it first

	Enum    []any
	Pattern string

	Minimum, Maximum, ExclusiveMinimum, ExclusiveMaximum *float64

	AnyOf []Schema // forms that it can have

	Items       *Schema // of an array
	MinItems    int
	UniqueItems bool

	Properties []Property // of an object with known keys, in the documentation's order; no others are allowed
	Required   []string
	Exclusions []Exclusion
	Needs      []Need
	Values     *Schema // of an object with free keys
	Keys       *Schema
}

// FirstRelease is the one that had all keys which don't say otherwise.
const FirstRelease = "0.1.0"

// Property is one key of an object.
type Property struct {
	Name   string
	Schema Schema
}

// Exclusion says of some keys that they aren't allowed where another one has one of some values.
type Exclusion struct {
	Where string
	Is    []any
	Keys  []string
}

// Need says that a key is required where none of the exclusions applies.
type Need struct {
	Key    string
	Unless []Exclusion
}

// Describe is the description of the whole configuration, from the same fields that Parse works by.
func Describe() Schema {
	s := Schema{Description: "Configuration of the spillway filter."}
	describeSection(&s, &Config{})
	return s
}

func describeSection(s *Schema, of section) {
	s.Type = "object"
	for _, f := range of.fields() {
		doc := strings.TrimSpace(f.doc.text())
		p := Schema{Description: doc, Doc: doc, Want: f.value.want(), Fixed: f.fixed, Since: f.since.text()}
		if p.Since == "" {
			p.Since = FirstRelease
		}
		f.value.describe(&p)
		switch {
		case f.unless != nil:
			s.exclude(&f)
		case f.required:
			s.Required = append(s.Required, f.name)
		}
		if f.required || f.derived {
			p.Default = nil
		}
		s.Properties = append(s.Properties, Property{f.name, p})
	}
}

// exclude adds a field's exclusions to those of its section.
func (s *Schema) exclude(f *field) {
	need := Need{Key: f.name}
	for _, x := range f.unless {
		one := Exclusion{Where: x.key}
		for _, word := range x.words {
			if word == truth {
				one.Is = append(one.Is, true)
			} else {
				one.Is = append(one.Is, word)
			}
		}
		need.Unless = append(need.Unless, one)
		i := slices.IndexFunc(s.Exclusions, func(other Exclusion) bool { return other.Where == one.Where && slices.Equal(other.Is, one.Is) })
		if i < 0 {
			i = len(s.Exclusions)
			s.Exclusions = append(s.Exclusions, one)
		}
		s.Exclusions[i].Keys = append(s.Exclusions[i].Keys, f.name)
	}
	if f.required {
		s.Needs = append(s.Needs, need)
	}
}

func (s scalar[T]) describe(d *Schema) {
	s.kind.describe(d)
	d.Default = s.kind.plain(s.standard)
}

func (p pointer[T]) describe(d *Schema) { p.kind.describe(d) }

func (l list[T]) describe(d *Schema) {
	d.Type, d.MinItems, d.UniqueItems = "array", l.least, l.unique
	d.Items = &Schema{}
	l.kind.describe(d.Items)
	values := make([]any, len(l.standard))
	for i, value := range l.standard {
		values[i] = l.kind.plain(value)
	}
	d.Default = values
}

func (d dictionary) describe(s *Schema) {
	s.Type = "object"
	s.Keys, s.Values = &Schema{}, &Schema{}
	s.Keys.Pattern = d.key.pattern
	d.value.describe(s.Values)
}

func (n nested) describe(d *Schema) { describeSection(d, n.section) }

func (s sections[T, P]) describe(d *Schema) {
	d.Type, d.Default = "array", []any{}
	d.Items = &Schema{}
	describeSection(d.Items, P(new(T)))
}

func (boolKind) describe(s *Schema) { s.Type = "boolean" }

func (k textKind) describe(s *Schema) { s.Type, s.Pattern = "string", k.rule.pattern }

// describe lists false, too, where Parse takes it for "off".
func (k enumKind) describe(s *Schema) {
	for _, word := range k.words {
		s.Enum = append(s.Enum, word)
	}
	if slices.Contains(k.words, "off") {
		s.Enum = append(s.Enum, false)
		s.Description += " YAML reads an unquoted off as false, which is the same here."
		return
	}
	s.Type = "string"
}

func (k integerKind[T]) describe(s *Schema) {
	lowest, highest := float64(k.min), float64(k.max)
	s.Type, s.Minimum, s.Maximum = "integer", &lowest, &highest
}

func (slotsKind) describe(s *Schema) {
	var number, word Schema
	someSlots.describe(&number)
	enumKind{[]string{auto}}.describe(&word)
	s.AnyOf = []Schema{number, word}
}

func (k numberKind) describe(s *Schema) {
	s.Type = "number"
	s.Minimum, s.Maximum = &k.in.min, &k.in.max
	if k.in.openMin {
		s.Minimum, s.ExclusiveMinimum = nil, s.Minimum
	}
	if k.in.openMax {
		s.Maximum, s.ExclusiveMaximum = nil, s.Maximum
	}
}

// durationPattern is that of all durations.
const durationPattern = `(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)`

// describe states the range in words: JSON Schema can't compare durations.
func (k durationKind) describe(s *Schema) {
	s.Type = "string"
	s.Pattern = "^" + durationPattern + "$"
	s.Description += " A duration from " + brief(k.min) + " to " + brief(k.max) + "."
}

func (priorityKind) describe(s *Schema) {
	s.Type = "string"
	words := []string{"medium"}
	for _, p := range priorities {
		words = append(words, p.key())
	}
	s.Pattern = `^[ \t\r\n]*(` + anyCase(strings.Join(words, "|")) + `)[ \t\r\n]*$`
}

// anyCase is the pattern of words in upper and lower case: JSON Schema's patterns have no flag for that.
func anyCase(words string) string {
	var b strings.Builder
	for _, c := range words {
		if c < 'a' || c > 'z' {
			b.WriteRune(c)
			continue
		}
		b.WriteString("[" + string(c) + string(c-'a'+'A') + "]")
	}
	return b.String()
}
