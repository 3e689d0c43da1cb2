package config

import (
	"strconv"
	"strings"
)

// FromYAML is what Envoy's own YAML meant, as JSON that Parse takes: Envoy carries a number that has a point or an exponent, or that 32 bits don't hold, as
// text, since it leaves the types to whoever knows them. So a text becomes a number where a number is wanted. What isn't JSON, or no such
// text, stays as it is, for Parse to say so.
func FromYAML(data []byte) []byte {
	root, problem := parseJSON(string(data))
	if problem != "" || root == nil {
		return data
	}
	loosen(root)
	var r reader
	r.section("", new(Config), root)
	return appendValue(nil, root)
}

// loosen lets all strings of a document stand for numbers.
func loosen(v *jsonValue) {
	v.loose = v.kind == isString
	for _, x := range v.list {
		loosen(x)
	}
	for i := range v.members {
		loosen(v.members[i].value)
	}
}

// isNumber says that v is a number, or makes it the one that its text stands for.
func (v *jsonValue) isNumber() bool {
	if v.loose && v.text != "" && strings.Trim(v.text, "0123456789+-.eE") == "" { // neither hexadecimal nor infinite
		if f, err := strconv.ParseFloat(v.text, 64); err == nil {
			v.kind, v.loose, v.text = isNumber, false, number(f)
		}
	}
	return v.kind == isNumber
}
