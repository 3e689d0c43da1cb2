package ident

import "strings"

// cookie gives the value of a cookie, and says whether that is one value. Servers read what isn't quite a cookie each in their own way (RFC 6265 against
// RFC 2109, quotes, escapes): a value that one of them could take for another one is none, or a caller could have as many as there are ways.
func cookie(h *Headers, slot Slot, name string) (value string, one bool) {
	found := false
	headers := h.Values(slot)
	for headers.whole() {
		for rest, more := headers.Value, true; more; {
			var pair string
			pair, rest, more = strings.Cut(rest, ";")
			n, v, _ := strings.Cut(pair, "=")
			if strings.TrimFunc(n, blank) != name {
				continue
			}
			if found {
				return "", false
			}
			value, found = strings.TrimFunc(v, blank), true
		}
	}
	if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	if !octets(value) {
		return "", false
	}
	if strings.IndexByte(value, '%') >= 0 { // which some decode; a "+" they leave
		value = unescape(strings.ReplaceAll(value, "+", "%2B"))
	}
	return value, true
}

// octets says that a text is made of what a cookie's value may have in it.
func octets(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f || c == '"' || c == ',' || c == '\\' {
			return false
		}
	}
	return true
}
