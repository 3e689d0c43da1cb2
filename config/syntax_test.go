package config

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// plain is a value as encoding/json has it.
func (v *jsonValue) plain() any {
	switch v.kind {
	case isFalse, isTrue:
		return v.kind == isTrue
	case isNumber:
		return json.Number(v.text)
	case isString:
		return v.text
	case isArray:
		list := []any{}
		for _, entry := range v.list {
			list = append(list, entry.plain())
		}
		return list
	case isObject:
		object := map[string]any{}
		for _, m := range v.members {
			object[m.key] = m.value.plain()
		}
		return object
	}
	return nil
}

// agrees checks that a text is read as encoding/json reads it, or refused as it does.
func agrees(t interface{ Errorf(string, ...any) }, text string) {
	v, problem := parseSyntax(text)
	if strings.Contains(problem, "nested deeper") {
		return
	}
	var want any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	valid := json.Valid([]byte(text)) && utf8.ValidString(text)
	if (problem == "") != valid {
		t.Errorf("%q: %q, but it is valid: %v", text, problem, valid)
	}
	if valid && (decoder.Decode(&want) != nil || !reflect.DeepEqual(v.plain(), want)) {
		t.Errorf("%q: got %v, want %v", text, v.plain(), want)
	}
	if valid {
		if again, problem := parseSyntax(string(appendValue(nil, v))); problem != "" || !reflect.DeepEqual(again.plain(), v.plain()) {
			t.Errorf("%q is written as %s: %s", text, appendValue(nil, v), problem)
		}
	}
}

func TestJSONIsReadAsTheLibraryReadsIt(t *testing.T) {
	for _, text := range []string{`"\ud83d\ude00"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"\ud83d"`, `"\ude00\ud83d"`, `"\uD83D\uDE0"`, `"a\"b\\c\/d\b\f\n\r\t\u00e9é"`, `"\x"`, `"\`, `"\u12`, `[1,2.5e3,-0,0.1E+2]`, `01`, `-`, `1.`,
		`{"a":{"b":[null,true,false]},"a":1}`, `{"":""}`, `{"a"}`, `{,}`, `[1,]`, `{"\u0061":1}`, "\"\xff\"", "nul", "", " ", "1 2", "\"a\x01\""} {
		agrees(t, text)
	}
	rapid.Check(t, func(t *rapid.T) {
		text, _ := json.Marshal(someJSON(4).Draw(t, "document"))
		agrees(t, string(text))
		if at := rapid.IntRange(0, len(text)).Draw(t, "cut"); at < len(text) {
			agrees(t, string(text[:at]))
			text[at] = rapid.SampledFrom([]byte(`"\{}[]:,x0u `)).Draw(t, "byte")
			agrees(t, string(text))
		}
	})
}

func FuzzSyntax(f *testing.F) {
	f.Add(`{"a":["\ud83d\ude00",1e5,null]}`)
	f.Fuzz(func(t *testing.T, text string) { agrees(t, text) })
}
