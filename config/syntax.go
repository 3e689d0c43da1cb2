package config

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a configuration, well below what any parser or the Wasm stack takes; the deepest
// valid one has five levels.
const maxDepth = 64

// checkSyntax reports the first departure from JSON (RFC 8259), by line and column; "" is valid JSON. It stands in front
// of the parser, which is more lenient and whose errors quote the text around them, secrets included.
func checkSyntax(s string) string {
	c := syntax{s: s}
	problem := ""
	if !utf8.ValidString(s) {
		for r, size := utf8.DecodeRuneInString(s); r != utf8.RuneError || size > 1; r, size = utf8.DecodeRuneInString(s[c.at:]) {
			c.at += size
		}
		problem = "want UTF-8"
	} else if problem = c.value(0); problem == "" {
		if c.space(); c.at < len(s) {
			problem = "want nothing after the end of the configuration"
		}
	}
	if problem == "" {
		return ""
	}
	before := s[:c.at]
	line := strings.Count(before, "\n") + 1
	column := utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	return "invalid JSON at line " + strconv.Itoa(line) + ", column " + strconv.Itoa(column) + ": " + problem
}

// syntax walks over JSON text. Its methods return what is wrong at position at, or "".
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

func (c *syntax) value(depth int) string {
	if depth > maxDepth {
		return "nested deeper than " + strconv.Itoa(maxDepth) + " levels"
	}
	c.space()
	switch b := c.peek(); {
	case b == '{':
		return c.object(depth)
	case b == '[':
		return c.array(depth)
	case b == '"':
		return c.text()
	case b == '-' || '0' <= b && b <= '9':
		return c.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if strings.HasPrefix(c.s[c.at:], word) {
			c.at += len(word)
			return ""
		}
	}
	return "want a value (strings and keys are in double quotes)"
}

func (c *syntax) object(depth int) string {
	c.at++
	if c.space(); c.take('}') {
		return ""
	}
	for {
		if c.space(); c.peek() != '"' {
			return "want a key in double quotes"
		}
		if problem := c.text(); problem != "" {
			return problem
		}
		if c.space(); !c.take(':') {
			return `want ":" after the key`
		}
		if problem := c.value(depth + 1); problem != "" {
			return problem
		}
		if c.space(); c.take('}') {
			return ""
		}
		if !c.take(',') {
			return `want "," or "}" after the value`
		}
	}
}

func (c *syntax) array(depth int) string {
	c.at++
	if c.space(); c.take(']') {
		return ""
	}
	for {
		if problem := c.value(depth + 1); problem != "" {
			return problem
		}
		if c.space(); c.take(']') {
			return ""
		}
		if !c.take(',') {
			return `want "," or "]" after the value`
		}
	}
}

func (c *syntax) text() string {
	for c.at++; c.at < len(c.s); c.at++ {
		switch b := c.s[c.at]; {
		case b == '"':
			c.at++
			return ""
		case b < 0x20:
			return "want control characters in strings escaped"
		case b == '\\':
			if problem := c.escape(); problem != "" {
				return problem
			}
		}
	}
	return `want a closing double quote`
}

// escape checks a backslash sequence and stops on its last byte.
func (c *syntax) escape() string {
	const want = `want one of the escapes \" \\ \/ \b \f \n \r \t \uXXXX`
	if c.at++; c.peek() != 'u' {
		if b := c.peek(); b == 0 || strings.IndexByte(`"\/bfnrt`, b) < 0 {
			return want
		}
		return ""
	}
	for range 4 {
		if c.at++; !isHex(c.peek()) {
			return want
		}
	}
	return ""
}

func isHex(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F'
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
