package admit

import "unicode/utf8"

// OneLine gives a text as it may stand in the filter state and in logs, which copy it as it is: what begins a line somewhere, turns
// the direction of writing, or is no UTF-8, is a "_" each. Clients and upstreams choose names of models, and must not write lines
// of the log. An ordinary text is given as it is.
func OneLine(s string) string {
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			return clean(s)
		}
	}
	return s
}

func clean(s string) string {
	b := make([]byte, 0, len(s))
	for i, size := 0, 0; i < len(s); i += size {
		var r rune
		if r, size = utf8.DecodeRuneInString(s[i:]); breaksLine(r) || r == utf8.RuneError && size == 1 {
			b = append(b, '_')
			continue
		}
		b = append(b, s[i:i+size]...)
	}
	return string(b)
}

// breaksLine says that a character is a control, a separator of lines, or one that changes the order in which others are shown.
func breaksLine(r rune) bool {
	return r < ' ' || 0x7f <= r && r <= 0x9f || 0x2028 <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069
}
