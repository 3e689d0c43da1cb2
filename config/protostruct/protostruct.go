// Package protostruct reads the one message of protobuf that a configuration can come in: google.protobuf.Struct, which is what Envoy makes of a plugin's
// configuration that is written in YAML. Envoy hands it on as it is sent, not as JSON. It knows no other message, and keeps nothing.
//
// Worst moments: text that is JSON, which is not taken for a message, since a message begins with another byte than "{", and its lengths must add
// up to the last byte; text that isn't UTF-8, which makes it no message; values nested deeper than deepest, and numbers that JSON doesn't have, which are told.
package protostruct

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"unicode/utf8"
)

// JSON gives the JSON of a configuration that is a google.protobuf.Struct, in the form in which it is sent. So Envoy hands on what its own
// configuration has in YAML. is is false for everything else, JSON included; an error says what a Struct has that no configuration can.
func JSON(b []byte) (json []byte, is bool, err error) {
	if len(b) == 0 || b[0] != 1<<3|wireBytes { // the first entry
		return nil, false, nil
	}
	var r reader
	if json, is = r.appendStruct(nil, b, 0); r.err != nil {
		return nil, true, r.err
	}
	return json, is, nil
}

// reader reads one message.
type reader struct{ err error } // what can't be in a configuration

var (
	errDeep   = errors.New("the configuration, a Struct in the proxy's own, has values nested deeper than " + strconv.Itoa(deepest))
	errNumber = errors.New("the configuration, a Struct in the proxy's own, has a number that isn't finite (NaN or infinity)")
)

// The ways in which protobuf sends values: https://protobuf.dev/programming-guides/encoding/#structure
const (
	wireVarint = 0
	wireFixed  = 1 // 64 bits
	wireBytes  = 2
)

// deepest is how deep values may lie in each other: a configuration needs less.
const deepest = 64

// field is one of a message: bytes, or a number.
type field struct {
	number, wire uint64
	bytes        []byte
	value        uint64
}

// next takes a message's next field; ok is false if there is none that is right.
func next(b []byte) (f field, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return f, nil, false
	}
	b = b[n:]
	f.number, f.wire = tag>>3, tag&7
	if f.wire == wireFixed {
		if len(b) < 8 {
			return f, nil, false
		}
		f.value = binary.LittleEndian.Uint64(b)
		return f, b[8:], true
	}
	f.value, n = binary.Uvarint(b)
	if n <= 0 || f.wire != wireVarint && f.wire != wireBytes {
		return f, nil, false
	}
	if b = b[n:]; f.wire == wireVarint {
		return f, b, true
	}
	if f.value > uint64(len(b)) {
		return f, nil, false
	}
	f.bytes = b[:f.value]
	return f, b[f.value:], true
}

// appendStruct appends an object: entries of a key and a value.
func (r *reader) appendStruct(json, b []byte, depth int) (_ []byte, ok bool) {
	if depth > deepest {
		r.err = errDeep
		return nil, false
	}
	json = append(json, '{')
	for first := true; len(b) > 0; first = false {
		entry, rest, ok := next(b)
		if !ok || entry.number != 1 || entry.wire != wireBytes {
			return nil, false
		}
		if !first {
			json = append(json, ',')
		}
		if json, ok = r.appendEntry(json, entry.bytes, depth); !ok {
			return nil, false
		}
		b = rest
	}
	return append(json, '}'), true
}

func (r *reader) appendEntry(json, b []byte, depth int) (_ []byte, ok bool) {
	var key, value []byte
	for len(b) > 0 {
		f, rest, ok := next(b)
		if !ok || f.wire != wireBytes || f.number > 2 {
			return nil, false
		}
		if b = rest; f.number == 1 {
			key = f.bytes
		} else {
			value = f.bytes
		}
	}
	if !utf8.Valid(key) {
		return nil, false
	}
	json = append(appendText(json, key), ':')
	return r.appendValue(json, value, depth)
}

// appendValue appends a google.protobuf.Value, which has one field: null, number, text, truth, object or list.
func (r *reader) appendValue(json, b []byte, depth int) (_ []byte, ok bool) {
	f, rest, ok := next(b)
	if !ok || len(rest) > 0 {
		return nil, false
	}
	switch {
	case f.number == 1 && f.wire == wireVarint:
		return append(json, "null"...), true
	case f.number == 2 && f.wire == wireFixed:
		n := math.Float64frombits(f.value)
		if math.IsNaN(n) || math.IsInf(n, 0) {
			r.err = errNumber
			return nil, false
		}
		return strconv.AppendFloat(json, n, 'f', -1, 64), true
	case f.number == 3 && f.wire == wireBytes && utf8.Valid(f.bytes):
		return appendText(json, f.bytes), true
	case f.number == 4 && f.wire == wireVarint:
		return strconv.AppendBool(json, f.value != 0), true
	case f.number == 5 && f.wire == wireBytes:
		return r.appendStruct(json, f.bytes, depth+1)
	case f.number == 6 && f.wire == wireBytes:
		return r.appendList(json, f.bytes, depth+1)
	}
	return nil, false
}

func (r *reader) appendList(json, b []byte, depth int) (_ []byte, ok bool) {
	if depth > deepest {
		r.err = errDeep
		return nil, false
	}
	json = append(json, '[')
	for first := true; len(b) > 0; first = false {
		f, rest, ok := next(b)
		if !ok || f.number != 1 || f.wire != wireBytes {
			return nil, false
		}
		if !first {
			json = append(json, ',')
		}
		if json, ok = r.appendValue(json, f.bytes, depth); !ok {
			return nil, false
		}
		b = rest
	}
	return append(json, ']'), true
}

// appendText appends a text (RFC 8259, section 7).
func appendText(json, text []byte) []byte {
	const hex = "0123456789abcdef"
	json = append(json, '"')
	for _, c := range text {
		switch {
		case c == '"' || c == '\\':
			json = append(json, '\\', c)
		case c < ' ':
			json = append(json, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			json = append(json, c)
		}
	}
	return append(json, '"')
}
