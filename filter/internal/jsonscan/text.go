package jsonscan

import "unicode/utf8"

// string takes bytes of a string that isn't simple up to its end or its next escape, and says how many.
func (s *Scanner) string(p []byte) int {
	i := Plain(p)
	if i > 0 {
		s.add(p[:i])
	}
	if i == len(p) {
		return i
	}
	switch p[i] {
	case '"':
		s.endString()
	case '\\':
		s.state = stEscape
	default: // a bare control character
		if !s.lenient {
			s.state = stFailed
			break
		}
		s.add(p[i : i+1])
	}
	return i + 1
}

func (s *Scanner) endString() {
	if s.high != 0 {
		s.flushHigh()
	}
	if !s.isName {
		s.value(String)
		return
	}
	name := s.text
	if s.size > maxKey {
		name = nil // no wanted one is as long
	}
	s.enterMember(name)
}

// add appends text, as far as it is kept. A high surrogate that was not followed by its other half comes first.
func (s *Scanner) add(p []byte) {
	if s.high != 0 {
		s.flushHigh()
	}
	s.size += len(p)
	if room := s.keep - len(s.text); room > 0 {
		s.text = append(s.text, p[:min(room, len(p))]...)
	}
}

func (s *Scanner) keepByte(c byte) {
	if len(s.text) < s.keep {
		s.text = append(s.text, c)
	}
}

func (s *Scanner) escape(c byte) {
	s.state = stString
	switch c {
	case '"', '\\', '/':
	case 'b':
		c = '\b'
	case 'f':
		c = '\f'
	case 'n':
		c = '\n'
	case 'r':
		c = '\r'
	case 't':
		c = '\t'
	case 'u':
		s.unicode, s.hexes, s.state = 0, 0, stUnicode
		return
	default:
		s.state = stFailed
		return
	}
	s.add([]byte{c})
}

// hex takes one of the four digits of a \u escape.
func (s *Scanner) hex(c byte) {
	switch {
	case c >= '0' && c <= '9':
		c -= '0'
	case c >= 'a' && c <= 'f':
		c -= 'a' - 10
	case c >= 'A' && c <= 'F':
		c -= 'A' - 10
	default:
		s.state = stFailed
		return
	}
	s.unicode = s.unicode<<4 | rune(c)
	if s.hexes++; s.hexes == 4 {
		s.state = stString
		s.addUnit(s.unicode)
	}
}

// addUnit appends a UTF-16 unit, joining the two halves of a surrogate pair (RFC 8259, section 7).
func (s *Scanner) addUnit(unit rune) {
	high := s.high
	switch {
	case isHigh(unit):
		if high != 0 {
			s.flushHigh()
		}
		s.high = unit
		return
	case isLow(unit) && high != 0:
		s.high = 0
		unit = pair(high, unit)
	}
	var buf [utf8.UTFMax]byte
	s.add(buf[:utf8.EncodeRune(buf[:], unit)]) // a lone half becomes U+FFFD
}

func (s *Scanner) flushHigh() {
	s.high = 0
	s.add([]byte("\ufffd"))
}
