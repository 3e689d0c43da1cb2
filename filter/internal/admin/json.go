package admin

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// JSON writes a JSON text, value by value: commas are its own. It doesn't check that what is opened is closed.
type JSON struct {
	b []byte
}

// Reset begins anew in the memory of b, behind what stands there.
func (j *JSON) Reset(b []byte) { j.b = b }

// Bytes is what was written.
func (j *JSON) Bytes() []byte { return j.b }

// separate writes the comma before a key or a value, if one is due.
func (j *JSON) separate() {
	if n := len(j.b); n > 0 {
		switch j.b[n-1] {
		case '{', '[', ':', ',':
		default:
			j.b = append(j.b, ',')
		}
	}
}

// Object begins an object.
func (j *JSON) Object() { j.separate(); j.b = append(j.b, '{') }

// EndObject ends one.
func (j *JSON) EndObject() { j.b = append(j.b, '}') }

// Array begins an array.
func (j *JSON) Array() { j.separate(); j.b = append(j.b, '[') }

// EndArray ends one.
func (j *JSON) EndArray() { j.b = append(j.b, ']') }

// Key writes the key of the value that comes next.
func (j *JSON) Key(key string) { j.String(key); j.b = append(j.b, ':') }

// Int writes a whole number.
func (j *JSON) Int(n int64) { j.separate(); j.b = strconv.AppendInt(j.b, n, 10) }

// Bool writes true or false.
func (j *JSON) Bool(is bool) { j.separate(); j.b = strconv.AppendBool(j.b, is) }

// Null writes null.
func (j *JSON) Null() { j.separate(); j.b = append(j.b, "null"...) }

// Raw writes a value that is JSON already.
func (j *JSON) Raw(value []byte) { j.separate(); j.b = append(j.b, value...) }

// Float writes a number with four digits behind the point at most; what is none becomes null.
func (j *JSON) Float(f float64) {
	const most, digits = 1e11, 10_000
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0):
		j.Null()
	case math.Abs(f) > most:
		j.separate()
		j.b = strconv.AppendFloat(j.b, f, 'g', -1, 64)
	default:
		j.fixed(int64(math.Round(f*digits)), digits)
	}
}

// fixed writes a number of so many parts of a unit.
func (j *JSON) fixed(n, unit int64) {
	j.separate()
	if n < 0 {
		j.b, n = append(j.b, '-'), -n
	}
	j.b = strconv.AppendInt(j.b, n/unit, 10)
	if n %= unit; n == 0 {
		return
	}
	j.b = append(j.b, '.')
	for unit /= 10; n > 0; unit /= 10 {
		j.b = append(j.b, '0'+byte(n/unit))
		n %= unit
	}
}

// String writes a text. What a page could take for anything else is escaped; bytes that are no UTF-8 become the replacement character.
func (j *JSON) String(s string) {
	const hex = "0123456789abcdef"
	j.separate()
	j.b = append(j.b, '"')
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			j.b = append(j.b, '\\', c)
			i++
		case c < ' ' || c == '<' || c == '>' || c == '&' || c == 0x7f:
			j.b = append(j.b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			i++
		case c < utf8.RuneSelf:
			j.b = append(j.b, c)
			i++
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				j.b = append(j.b, `\ufffd`...)
			case r == '\u2028' || r == '\u2029': // ends of lines to JavaScript
				j.b = append(j.b, '\\', 'u', '2', '0', '2', hex[r&15])
			default:
				j.b = append(j.b, s[i:i+size]...)
			}
			i += size
		}
	}
	j.b = append(j.b, '"')
}

// Member writes a key with a text.
func (j *JSON) Member(key, value string) { j.Key(key); j.String(value) }

// MemberInt writes a key with a whole number.
func (j *JSON) MemberInt(key string, n int64) { j.Key(key); j.Int(n) }

// MemberAmount writes a key with a number of units, of money in dollars.
func (j *JSON) MemberAmount(key string, n int64, unit *config.Unit) {
	j.Key(key)
	j.b = unit.Append(j.b, n)
}

// MemberFloat writes a key with a number.
func (j *JSON) MemberFloat(key string, f float64) { j.Key(key); j.Float(f) }

// MemberBool writes a key with true or false.
func (j *JSON) MemberBool(key string, is bool) { j.Key(key); j.Bool(is) }

// Time writes a moment of the wall clock, in nanoseconds since 1970, as RFC 3339 has it, in UTC, to the millisecond.
func (j *JSON) Time(unix int64) {
	millis := max(unix, 0) / 1e6
	j.separate()
	j.b = append(clock.AppendDateTime(append(j.b, '"'), millis/1000), '.')
	j.b = append(j.b, '0'+byte(millis/100%10), '0'+byte(millis/10%10), '0'+byte(millis%10), 'Z', '"')
}
