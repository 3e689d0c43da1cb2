// Package oneline makes of a text, whoever wrote it, one that may stand in the filter state, in logs and on pages, which copy it as it is. Clients
// and upstreams choose names of models and users, and must not write lines of the log, or be shown as somebody else.
//
// What begins a line somewhere, turns the direction of writing, or is no UTF-8, is a "_" each. Marks that only a page or a format gives a meaning to,
// such as quotes and angle brackets, stay: who writes that format escapes them.
package oneline

import "unicode/utf8"

// Of gives a text so. An ordinary one is given as it is.
func Of(s string) string {
	if plain(s) {
		return s
	}
	return string(appendClean(make([]byte, 0, len(s)), s, len(s)))
}

// cut is what stands at the end of a text of which more is left out.
const cut = "…"

// Append appends a text so, and no more than most bytes, which are at least three. Of a longer one the beginning is appended, and a "…".
func Append(b []byte, s string, most int) []byte {
	switch {
	case len(s) > most:
		return append(appendClean(b, s, most-len(cut)), cut...)
	case plain(s):
		return append(b, s...)
	default:
		return appendClean(b, s, most)
	}
}

func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// appendClean appends as many of a text's characters as begin and end in its first bytes.
func appendClean(b []byte, s string, most int) []byte {
	for i := 0; i < min(len(s), most); {
		if s[i] >= ' ' && s[i] < 0x7f {
			b = append(b, s[i])
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if i+size > most {
			break
		}
		if breaksLine(r) || r == utf8.RuneError && size == 1 {
			b = append(b, '_')
		} else {
			b = append(b, s[i:i+size]...)
		}
		i += size
	}
	return b
}

// breaksLine says that a character is a control, a separator of lines, or one that changes the order in which others are shown.
func breaksLine(r rune) bool {
	return r < ' ' || 0x7f <= r && r <= 0x9f || 0x2028 <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
}
