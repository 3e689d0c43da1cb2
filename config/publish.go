package config

import (
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/config/filterstate"
)

// published is a choice of filter-state values: a preset, or a list of values.
type published struct{ to *filterstate.Set }

// presets are the words for a choice, the default first.
var presets = [...]struct {
	word string
	set  filterstate.Set
}{{"all", filterstate.All}, {"tokens", filterstate.Tokens}, {"minimal", filterstate.Minimal}}

func (p published) words() (words []string) {
	for _, preset := range presets {
		words = append(words, preset.word)
	}
	return words
}

func (p published) want() string {
	return strings.Join(p.words(), ", ") + " or a list of values, such as [" + filterstate.CompletionTokens.Name() + "]"
}

func (p published) read(r *reader, path string, v *jsonValue) {
	*p.to = presets[0].set
	if v == nil {
		return
	}
	switch v.kind {
	case isString:
		for _, preset := range presets {
			if v.text == preset.word {
				*p.to = preset.set
				return
			}
		}
		r.fail(path, v, "want "+p.want())
	case isArray:
		var names []string
		list[string]{to: &names, kind: stateKind{}, unique: true}.read(r, path, v)
		*p.to = 0
		for _, name := range names {
			value, _ := filterstate.Named(name)
			*p.to = p.to.With(value)
		}
	default:
		r.problem(path, showType(v), "want "+p.want())
	}
}

// describe gives a schema for either form.
func (p published) describe(s *Schema) {
	var preset, values Schema
	enumKind{p.words()}.describe(&preset)
	list[string]{kind: stateKind{}, unique: true}.describe(&values)
	values.Default = nil
	s.AnyOf, s.Default = []Schema{preset, values}, presets[0].word
}

// stateKind is the name of a filter-state value.
type stateKind struct{}

func (stateKind) plain(name string) any { return name }
func (stateKind) want() string          { return oneOf(filterstate.Names()) }

// parse looks for what was meant without the prefix that names have in Envoy's access log, too.
func (stateKind) parse(v *jsonValue) (string, string) {
	if v.kind != isString {
		return "", wrong
	}
	name := v.text
	if _, known := filterstate.Named(name); known {
		return name, ""
	}
	if near := nearest(strings.TrimPrefix(name, "wasm."), filterstate.Names()); near != "" {
		return "", "unknown (did you mean " + strconv.Quote(near) + "?)"
	}
	return "", "unknown"
}

func (stateKind) describe(s *Schema) { enumKind{filterstate.Names()}.describe(s) }
