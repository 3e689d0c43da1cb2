// Package told is the frame of the records by which a worker tells of itself what whoever is asked puts together: of which worker it is, of when, and
// of what. All numbers are little-endian.
//
// A record belongs to the worker that writes it, and is copied when it is read. Whatever the shared data holds is read: what has an end too early,
// or isn't of the layout, makes the Reader unsound, and its record counts as none. Of two records of one worker, which has told from two
// configurations, the later one counts (Latest). A dead worker's last record stays, and says what was true then.
package told

import (
	"encoding/binary"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/oneline"
)

// HeaderSize is how many bytes a header has.
const HeaderSize = 1 + 8 + 8 + 8

// Header is how a record begins.
type Header struct {
	Layout uint8  // of what follows; no two kinds of records have the same
	Worker uint64 // no other worker's
	Of     uint64 // tells what it tells of, where there are several
	At     clock.Moment
}

// Append appends the header.
func (h *Header) Append(b []byte) []byte {
	b = append(b, h.Layout)
	for _, n := range [...]uint64{h.Worker, h.Of, uint64(h.At)} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

// AppendText appends a text of less than 256 bytes, behind its length.
func AppendText(b, text []byte) []byte { return append(append(b, uint8(len(text))), text...) }

// Reader reads what Append functions wrote.
type Reader struct {
	Sound bool // what was read was there

	rest []byte
}

// Part is a record whose header was read.
type Part struct {
	Header
	Reader
}

// Latest gives the records of a layout that tell of the same, the latest of each worker. Where two are of the same moment, the first stays.
func Latest(records [][]byte, layout uint8, of uint64) []Part {
	var parts []Part
	for _, record := range records {
		p := Part{Reader: Reader{true, record}}
		p.Header = Header{p.Byte(), p.Uint64(), p.Uint64(), clock.Moment(p.Uint64())}
		if !p.Sound || p.Layout != layout || p.Of != of {
			continue
		}
		n := 0
		for n < len(parts) && parts[n].Worker != p.Worker {
			n++
		}
		switch {
		case n == len(parts):
			parts = append(parts, p)
		case p.At > parts[n].At:
			parts[n] = p
		}
	}
	return parts
}

// Whole says that all was sound, and nothing is left.
func (r *Reader) Whole() bool { return r.Sound && len(r.rest) == 0 }

func (r *Reader) take(n int) []byte {
	if len(r.rest) < n {
		r.rest, r.Sound = nil, false
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

// Byte reads one; 0 if it isn't there.
func (r *Reader) Byte() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint64 reads a number; 0 if it isn't there.
func (r *Reader) Uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Text reads a text, as a copy that is one line (package oneline). One of more than so many bytes is unsound.
func (r *Reader) Text(most int) string {
	n := int(r.Byte())
	r.Sound = r.Sound && n <= most
	return oneline.Of(string(r.take(n)))
}
