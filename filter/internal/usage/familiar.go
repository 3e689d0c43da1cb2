package usage

import (
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
	"github.com/spillway-proxy/spillway/filter/internal/swar"
)

// familiar is how the events of a stream begin. Nearly all begin alike, with three quarters of their bytes: what one of them has told up to
// there, the next one tells as well, and need not be read again, only compared.
//
// Whatever an upstream sends, the same is read: what differs in a byte is read from its beginning. What is looked at in vain is bounded by mostLooks
// events of a stream, and memory by some kilobytes.
type familiar struct {
	text  []byte        // how they begin; empty: that isn't known
	told  []value       // what the scanner tells of it
	after jsonscan.Mark // where it is then
	kept  []byte        // what texts of told are parts of
	last  []byte        // how the last event began that was looked at
	looks int           // how many were
}

const (
	leastFamiliar = 32  // bytes: less isn't worth while
	mostFamiliar  = 512 // bytes
	mostLooks     = 6
	firstLooks    = 3 // events that are looked at in any case: the second and the third mostly have more in common than the first two
)

func (f *familiar) reset() { f.text, f.last, f.looks = f.text[:0], f.last[:0], 0 }

// begins says that p begins as is known.
func (f *familiar) begins(p []byte) bool {
	return len(f.text) > 0 && swar.Common(f.text, p) == len(f.text)
}

// more is how much p has in common with how the event before began, up to a value, if that is to be known instead of what is; else 0.
func (f *familiar) more(p []byte) int {
	n := swar.Common(f.last, p)
	for n > 0 && p[n-1] != ':' && p[n-1] != '{' && p[n-1] != '[' {
		n--
	}
	if n < leastFamiliar || n <= len(f.text) && f.begins(p) {
		return 0
	}
	return n
}

// Begin implements jsonscan.Handler.
func (f *familiar) Begin(id int, kind jsonscan.Kind) {
	f.told = append(f.told, value{id: id, kind: kind})
}

// Value implements jsonscan.Handler.
func (f *familiar) Value(id int, kind jsonscan.Kind, text []byte, size int) {
	from := len(f.kept)
	f.kept = append(f.kept, text...)
	f.told = append(f.told, value{id: id, kind: kind, text: f.kept[from:], size: size})
}

// recognize reads how an event begins, of which p has come, if that is known, and gives what is left to be read. Else it looks at it.
func (r *ResponseReader) recognize(p []byte) (rest []byte) {
	f := &r.familiar
	if f.looks >= firstLooks && f.begins(p) {
		for i := range f.told {
			r.dialect.response(&r.document, f.told[i])
		}
		r.scanner.Resume(&f.after)
		r.document.size = int64(len(f.text))
		return p[len(f.text):]
	}
	if f.looks < mostLooks {
		f.looks++
		r.learn(p)
	}
	return p
}

// learn looks at how an event begins.
func (r *ResponseReader) learn(p []byte) {
	f := &r.familiar
	n := f.more(p)
	f.last = append(f.last[:0], p[:min(len(p), mostFamiliar)]...)
	if n == 0 {
		return
	}
	f.text, f.told, f.kept = append(f.text[:0], p[:n]...), f.told[:0], f.kept[:0]
	r.scanner.Reset(r.dialect.responsePaths, f)
	r.scanner.Write(f.text)
	var ok bool
	if f.after, ok = r.scanner.Mark(); !ok {
		f.text = f.text[:0]
	}
	r.scanner.Reset(r.dialect.responsePaths, (*documentHandler)(r))
}
