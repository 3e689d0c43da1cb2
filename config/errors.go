package config

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// fieldError is one thing wrong with a configuration.
type fieldError struct {
	path    string // where, such as limits[0].window; "" is the configuration as a whole
	value   string // what was found, shortened; "" where there is nothing to show or it is a secret
	problem string // what is wrong and what would be right
}

// Error says where, what was found, and what would be right, on one line.
func (e fieldError) Error() string {
	text := "configuration: "
	if e.path != "" {
		text = e.path + ": "
	}
	if e.value != "" {
		text += e.value + ": "
	}
	return text + e.problem
}

// fieldErrors is everything wrong with a configuration, at least one entry.
type fieldErrors []fieldError

// Error has one line per entry.
func (e fieldErrors) Error() string {
	lines := make([]string, len(e))
	for i := range e {
		lines[i] = e[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Problem is one thing wrong with a configuration: where, such as limits[0].window ("": as a whole), and what.
type Problem struct{ Path, Message string }

// Problems is what an error of this package's functions names, one by one.
func Problems(err error) []Problem {
	all, known := err.(fieldErrors) //nolint:errorlint // as it was given
	if !known {
		return []Problem{{Message: err.Error()}}
	}
	problems := make([]Problem, len(all))
	for i, e := range all {
		problems[i] = Problem{Path: e.path, Message: e.problem}
		if e.value != "" {
			problems[i].Message = e.value + ": " + e.problem
		}
	}
	return problems
}

// The bounds of what an error shows: a configuration of garbage shall not flood the proxy's log.
const (
	maxErrors = 100
	maxShown  = 60 // bytes of a value or key
)

// show renders a found value. Objects and lists are never spelled out: what is in them may be a secret.
func show(v *jsonValue) string {
	switch v.kind {
	case isObject:
		return "an object"
	case isArray:
		return "a list"
	case isString:
		return quote(v.text)
	case isNumber:
		return shorten(v.text)
	default:
		return v.text
	}
}

// showType names the type of a found value where a value makes no sense, such as a string in an object's place.
func showType(v *jsonValue) string {
	switch v.kind {
	case isObject:
		return "an object"
	case isArray:
		return "a list"
	case isString:
		return "a string"
	case isNumber:
		return "a number"
	case isNull:
		return "null"
	default:
		return "a boolean"
	}
}

func quote(s string) string { return strconv.Quote(shorten(s)) }

// shorten cuts s to maxShown bytes, at a character's boundary.
func shorten(s string) string {
	if len(s) <= maxShown {
		return s
	}
	cut := maxShown
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "..."
}

// join appends a key to a path; a key that isn't a plain word is quoted, so that a path always is one line.
func join(path, key string) string {
	for i := 0; i < len(key); i++ {
		if !isNameByte(key[i]) || key[i] == '.' {
			return path + "[" + quote(key) + "]"
		}
	}
	if key == "" || len(key) > maxShown {
		return path + "[" + quote(key) + "]"
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
