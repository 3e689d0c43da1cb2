package usage

import (
	"bytes"
	"strings"
)

// A path is not always read as it is written. Python's servers decode %2F to a slash, Java's take ;parameters out, some
// proxies decode twice, and some routers forgive a slash, a dot or a blank at the end, or look at no case. Whoever serves a
// request by a reading of its own must not serve it ungoverned, so a path is looked up in every reading that a server may
// have of it: governing what nobody serves does no harm.
//
// That the readings are few is due to what is looked for: a suffix of plain letters, which no further decoding, merging or
// resolving of what stands before it can take away.

// readings are a path's, in the order of how likely they are.
type readings [4]string

// read gives the readings of a path without its query.
func read(path string) (r readings) {
	whole := decode(path)
	cut := whole
	if end := strings.IndexAny(whole, "?#"); end >= 0 { // decoded a second time, they end the path
		cut = whole[:end]
	}
	r[0] = trim(resolve(whole, false))
	r[1] = trim(resolve(whole, true))
	r[2] = trim(resolve(cut, false))
	r[3] = r[2]
	if formatted(r[2]) {
		r[3] = r[2][:strings.LastIndexByte(r[2], '.')]
	}
	return r
}

// formatted says that a path may end in a format: completions.json.
func formatted(path string) bool {
	return strings.LastIndexByte(path, '.') > strings.LastIndexByte(path, '/')
}

// plain says that there is one reading of a path, itself, unless it ends in a format.
func plain(path string) bool {
	for i := range len(path) {
		switch c := path[i]; {
		case c <= ' ' || c >= 0x7f || c == '%' || c == '\\' || c == ';' || c == '#':
			return false
		case c == '.' && (i+1 == len(path) || i > 0 && path[i-1] == '/'):
			return false
		case c == '/' && (i+1 == len(path) || path[i+1] == '/'):
			return false
		}
	}
	return true
}

// decode takes all escapes out of a path, escapes of escapes too, and control characters with them; a backslash is a slash,
// and slashes in a row are one. What ends a path where strings end with a zero becomes the fragment's sign. To decode again
// changes nothing.
func decode(path string) string {
	out := make([]byte, 0, len(path))
	for i := range len(path) {
		out = append(out, path[i])
		for n := len(out); n >= 3 && out[n-3] == '%'; n = len(out) {
			high, low := unhex(out[n-2]), unhex(out[n-1])
			if high > 15 || low > 15 {
				break
			}
			out = settle(append(out[:n-3], high<<4|low))
		}
		out = settle(out)
	}
	return string(out)
}

// settle takes the last byte for what it means.
func settle(out []byte) []byte {
	n := len(out)
	if n == 0 {
		return out
	}
	switch c := out[n-1]; {
	case c == 0:
		out[n-1] = '#'
	case c == '\\' || c == '/':
		out[n-1] = '/'
		if n > 1 && out[n-2] == '/' {
			out = out[:n-1]
		}
	case c < ' ' || c == 0x7f:
		out = out[:n-1]
	}
	return out
}

// unhex is a hexadecimal digit's value; above 15 for another byte.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 0xff
}

// resolve takes . and .. out of a decoded path, and the parameters of its segments unless they are kept as parts of names.
func resolve(path string, parameters bool) string {
	out := make([]byte, 0, len(path))
	for segment := range strings.SplitSeq(path, "/") {
		name, _, _ := strings.Cut(segment, ";")
		if !parameters {
			segment = name
		}
		switch name {
		case "", ".":
		case "..":
			out = out[:max(bytes.LastIndexByte(out, '/'), 0)]
		default:
			out = append(append(out, '/'), segment...)
		}
	}
	return string(out)
}

// trim takes off what routers forgive at a path's end.
func trim(path string) string { return strings.TrimRight(path, "/. ") }

// lower is ASCII's lower case; without capitals it is s itself.
func lower(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for j, c := range b {
				if 'A' <= c && c <= 'Z' {
					b[j] = c | 0x20
				}
			}
			return string(b)
		}
	}
	return s
}

// hasSuffixFold looks at the first byte before all: most of those that it is asked for are no suffix.
func hasSuffixFold(s, suffix string) bool {
	at := len(s) - len(suffix)
	return at >= 0 && (suffix == "" || s[at]|0x20 == suffix[0]|0x20) && strings.EqualFold(s[at:], suffix)
}
