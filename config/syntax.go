package config

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonValue is a value of a JSON document.
type jsonValue struct {
	kind    jsonKind
	loose   bool   // a string may stand for a number (FromYAML)
	text    string // of a string, without escapes; of a number and a word, as it stands there
	list    []*jsonValue
	members []member // in their order; a key may be there twice
}

// member is one key of an object with its value.
type member struct {
	key   string
	value *jsonValue
}

type jsonKind uint8

const (
	isNull jsonKind = iota
	isFalse
	isTrue
	isNumber
	isString
	isArray
	isObject
)

// words are what the first kinds are written as.
var words = [...]string{isNull: "null", isFalse: "false", isTrue: "true"}

// get is the value of an object's key; nil: it has none.
func (v *jsonValue) get(key string) *jsonValue {
	for i := range v.members {
		if v.members[i].key == key {
			return v.members[i].value
		}
	}
	return nil
}

// called is the text of an object's key, by which it is known; "": it has none.
func (v *jsonValue) called(key string) string {
	if name := v.get(key); name != nil && name.kind == isString {
		return name.text
	}
	return ""
}

// set gives a key of an object a value.
func (v *jsonValue) set(key string, value *jsonValue) {
	for i := range v.members {
		if v.members[i].key == key {
			v.members[i].value = value
			return
		}
	}
	v.members = append(v.members, member{key, value})
}

// remove takes keys out of an object.
func (v *jsonValue) remove(gone func(*member) bool) {
	kept := v.members[:0]
	for i := range v.members {
		if !gone(&v.members[i]) {
			kept = append(kept, v.members[i])
		}
	}
	v.members = kept
}

// maxDepth bounds the nesting of a configuration, well below what any parser or the Wasm stack takes; the deepest
// valid one has five levels.
const maxDepth = 64

// parseSyntax reads JSON (RFC 8259), or reports the first departure from it, by line and column. It doesn't repeat any of the text, which may have
// secrets. A library would be less code, and make the module larger by a twentieth: fastjson brings fmt along.
func parseSyntax(s string) (v *jsonValue, problem string) {
	c := syntax{s: s}
	if !utf8.ValidString(s) {
		for r, size := utf8.DecodeRuneInString(s); r != utf8.RuneError || size > 1; r, size = utf8.DecodeRuneInString(s[c.at:]) {
			c.at += size
		}
		problem = "want UTF-8"
	} else if v, problem = c.value(0); problem == "" {
		if c.space(); c.at < len(s) {
			problem = "want nothing after the end of the configuration"
		}
	}
	if problem == "" {
		return v, ""
	}
	before := s[:c.at]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return nil, "invalid JSON at line " + strconv.Itoa(line) + ", column " + strconv.Itoa(column) + ": " + problem
}

// syntax reads JSON text. Its methods return what is wrong at position at, or "".
type syntax struct {
	s  string
	at int
}

// peek is the next byte, 0 at the end.
func (c *syntax) peek() byte {
	if c.at < len(c.s) {
		return c.s[c.at]
	}
	return 0
}

// take steps over b if it is next.
func (c *syntax) take(b byte) bool {
	if c.peek() != b || c.at >= len(c.s) {
		return false
	}
	c.at++
	return true
}

func (c *syntax) space() {
	for c.at < len(c.s) && strings.IndexByte(" \t\r\n", c.s[c.at]) >= 0 {
		c.at++
	}
}

func (c *syntax) value(depth int) (*jsonValue, string) {
	if depth > maxDepth {
		return nil, "nested deeper than " + strconv.Itoa(maxDepth) + " levels"
	}
	c.space()
	v := &jsonValue{}
	start := c.at
	switch b := c.peek(); {
	case b == '{':
		v.kind = isObject
		return v, c.object(v, depth)
	case b == '[':
		v.kind = isArray
		return v, c.array(v, depth)
	case b == '"':
		v.kind = isString
		var problem string
		v.text, problem = c.text()
		return v, problem
	case b == '-' || '0' <= b && b <= '9':
		problem := c.number()
		v.kind, v.text = isNumber, c.s[start:c.at]
		return v, problem
	}
	for kind, word := range words {
		if strings.HasPrefix(c.s[c.at:], word) {
			c.at += len(word)
			v.kind, v.text = jsonKind(kind), word
			return v, ""
		}
	}
	return nil, "want a value (strings and keys are in double quotes)"
}

func (c *syntax) object(v *jsonValue, depth int) string {
	c.at++
	if c.space(); c.take('}') {
		return ""
	}
	for {
		if c.space(); c.peek() != '"' {
			return "want a key in double quotes"
		}
		key, problem := c.text()
		if problem != "" {
			return problem
		}
		if c.space(); !c.take(':') {
			return `want ":" after the key`
		}
		value, problem := c.value(depth + 1)
		if problem != "" {
			return problem
		}
		v.members = append(v.members, member{key, value})
		if c.space(); c.take('}') {
			return ""
		}
		if !c.take(',') {
			return `want "," or "}" after the value`
		}
	}
}

func (c *syntax) array(v *jsonValue, depth int) string {
	c.at++
	if c.space(); c.take(']') {
		return ""
	}
	for {
		value, problem := c.value(depth + 1)
		if problem != "" {
			return problem
		}
		v.list = append(v.list, value)
		if c.space(); c.take(']') {
			return ""
		}
		if !c.take(',') {
			return `want "," or "]" after the value`
		}
	}
}

// text reads a string.
func (c *syntax) text() (text, problem string) {
	start := c.at + 1
	var b []byte
	for c.at++; c.at < len(c.s); c.at++ {
		switch next := c.s[c.at]; {
		case next == '"':
			c.at++
			return string(append(b, c.s[start:c.at-1]...)), ""
		case next < 0x20:
			return "", "want control characters in strings escaped"
		case next == '\\':
			b = append(b, c.s[start:c.at]...)
			if b, problem = c.escape(b); problem != "" {
				return "", problem
			}
			start = c.at + 1
		}
	}
	return "", `want a closing double quote`
}

// escape reads a backslash sequence and stops on its last byte.
func (c *syntax) escape(b []byte) ([]byte, string) {
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	if c.at++; c.peek() != 'u' {
		i := strings.IndexByte(from, c.peek())
		if i < 0 || c.at >= len(c.s) {
			return b, wantEscape
		}
		return append(b, to[i]), ""
	}
	r, sound := c.hexadecimal()
	if !sound {
		return b, wantEscape
	}
	if utf16.IsSurrogate(r) { // half a character, whose other half must follow
		other := syntax{s: c.s, at: c.at + 2}
		low := rune(utf8.RuneError)
		if strings.HasPrefix(c.s[c.at+1:], `\u`) {
			low, _ = other.hexadecimal()
		}
		if r = utf16.DecodeRune(r, low); r != utf8.RuneError {
			c.at = other.at
		}
	}
	return utf8.AppendRune(b, r), ""
}

const wantEscape = `want one of the escapes \" \\ \/ \b \f \n \r \t \uXXXX`

// hexadecimal reads four digits behind the u of an escape.
func (c *syntax) hexadecimal() (r rune, sound bool) {
	for range 4 {
		c.at++
		digit := c.peek()
		if !isHexadecimal(digit) {
			return utf8.RuneError, false
		}
		r = r<<4 | rune(digit&0xf)
		if digit > '9' {
			r += 9
		}
	}
	return r, true
}

func (c *syntax) number() string {
	c.take('-')
	if !c.take('0') && !c.digits() {
		return "want a digit"
	}
	if c.take('.') && !c.digits() {
		return "want a digit after the decimal point"
	}
	if c.take('e') || c.take('E') {
		if !c.take('+') {
			c.take('-')
		}
		if !c.digits() {
			return "want a digit in the exponent"
		}
	}
	return ""
}

// digits steps over a run of digits and says whether there was one.
func (c *syntax) digits() bool {
	start := c.at
	for b := c.peek(); '0' <= b && b <= '9'; b = c.peek() {
		c.at++
	}
	return c.at > start
}
