package jsonscan

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"

	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// Text brings a document that comes in pieces into UTF-8. Its encoding is told by its first four bytes, as Python's
// json.detect_encoding does: by a byte order mark, or by the zeros that the first characters of JSON have in UTF-16 and
// UTF-32. UTF-8 goes through as it is, with its mark. The zero Text is ready.
//
// Worst moments: halves of pairs and what is no character become U+FFFD; an incomplete character at the end is left out.
type Text struct {
	order binary.ByteOrder // nil: UTF-8, or not known yet
	width int              // bytes of a unit; 0: not known yet
	held  [4]byte          // the first bytes, or those of a unit that is not complete
	holds int
	high  rune // a high surrogate that waits for its other half
	out   []byte
}

// Plain says that the document is UTF-8: its text is what came.
func (t *Text) Plain() bool { return t.width <= 1 }

// Write takes the next piece and gives its text, which is valid until the next call.
func (t *Text) Write(p []byte) []byte {
	if t.width == 0 {
		if t.holds+len(p) < len(t.held) {
			t.holds += copy(t.held[t.holds:], p)
			return nil
		}
		if t.holds > 0 {
			p = append(append([]byte(nil), t.held[:t.holds]...), p...)
			t.holds = 0
		}
		p = p[t.detect(p):]
	}
	if t.width == 1 {
		return p
	}
	return t.units(p)
}

// Close gives what of a document of less than four bytes was held.
func (t *Text) Close() []byte {
	if t.width != 0 {
		return nil
	}
	t.width = 1
	return t.held[:t.holds]
}

// marks are the byte order marks, those that begin like others first.
var marks = []struct {
	mark  string
	order binary.ByteOrder
	width int
}{
	{"\x00\x00\xfe\xff", binary.BigEndian, 4}, {"\xff\xfe\x00\x00", binary.LittleEndian, 4},
	{"\xfe\xff", binary.BigEndian, 2}, {"\xff\xfe", binary.LittleEndian, 2},
}

// detect tells the encoding, and gives the length of its mark.
func (t *Text) detect(p []byte) int {
	for _, m := range marks {
		if strings.HasPrefix(inplace.String(p), m.mark) {
			t.order, t.width = m.order, m.width
			return len(m.mark)
		}
	}
	switch {
	case p[0] == 0 && p[1] == 0:
		t.order, t.width = binary.BigEndian, 4
	case p[0] == 0:
		t.order, t.width = binary.BigEndian, 2
	case p[1] != 0:
		t.width = 1
	case p[2] == 0 && p[3] == 0:
		t.order, t.width = binary.LittleEndian, 4
	default:
		t.order, t.width = binary.LittleEndian, 2
	}
	return 0
}

// units takes text of two or four bytes a unit.
func (t *Text) units(p []byte) []byte {
	t.out = t.out[:0]
	for len(p) > 0 {
		n := copy(t.held[t.holds:t.width], p)
		p, t.holds = p[n:], t.holds+n
		if t.holds < t.width {
			break
		}
		t.holds = 0
		if t.width == 4 {
			t.add(rune(min(t.order.Uint32(t.held[:]), utf8.MaxRune+1)))
		} else {
			t.unit(rune(t.order.Uint16(t.held[:])))
		}
	}
	return t.out
}

// unit takes a UTF-16 unit.
func (t *Text) unit(unit rune) {
	high := t.high
	t.high = 0
	switch {
	case high != 0 && isLow(unit):
		unit = pair(high, unit)
	case high != 0:
		t.add(utf8.RuneError)
	}
	if isHigh(unit) {
		t.high = unit
		return
	}
	t.add(unit)
}

func (t *Text) add(c rune) { t.out = utf8.AppendRune(t.out, c) }

// The halves of a UTF-16 pair (RFC 8259, section 7).
const highMin, lowMin, lowMax = 0xd800, 0xdc00, 0xdfff

func isHigh(unit rune) bool { return unit >= highMin && unit < lowMin }
func isLow(unit rune) bool  { return unit >= lowMin && unit <= lowMax }

func pair(high, low rune) rune { return (high-highMin)<<10 | (low - lowMin) + 0x10000 }
