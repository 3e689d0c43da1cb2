package usage

import (
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
	"github.com/spillway-proxy/spillway/filter/internal/swar"
)

// familiar is how the events of a stream begin, and end. Nearly all begin alike, with three quarters of their bytes: what one of them has told up to
// there, the next one tells as well, and need not be read again, only compared (recognize). And most have nothing of their own but one text, the
// output: where what is before and behind it is the same, too, and has changed nothing the last time, such an event is one more piece of output,
// and nothing of it is read but the text's length (skip).
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

	head, tail []byte // an event, as it comes, up to its text and from there on; empty: that isn't known

	tries int // how often that was learned since an event was skipped last

	spoke int // where in the data of the event that is being read its last output begins, a text, with its quote; 0: that isn't known

	// Of the event that was read last.
	single bool // it is one more piece of output, a text, and nothing else
	size   int  // bytes of its data
	from   int  // where in it that text begins, behind its quote
	said   int  // bytes of the text
}

const (
	leastFamiliar = 32  // bytes: less isn't worth while
	mostFamiliar  = 512 // bytes
	mostLooks     = 6
	mostAhead     = mostFamiliar + 128 // bytes: other fields may stand before the data
	firstLooks    = 3                  // events that are looked at in any case: the second and the third mostly have more in common than the first two
)

func (f *familiar) reset() {
	f.text, f.last, f.looks, f.head, f.tail = f.text[:0], f.last[:0], 0, f.head[:0], f.tail[:0]
	f.tries, f.spoke, f.single = 0, 0, false
}

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

// Skip reads a piece of the body that is one event which is known but for its text, as most of a stream are. It says whether it was; of
// another one it has read nothing.
func (r *ResponseReader) Skip(p []byte) bool {
	n, text := r.known(p)
	if n == 0 || n < len(p) {
		return false
	}
	r.bytes += int64(n)
	r.spoken(text)
	return true
}

// skip reads of a piece of a stream the events that it begins with which are known but for their texts, and gives the rest.
func (r *ResponseReader) skip(p []byte) []byte {
	n, text := r.known(p)
	for n > 0 {
		r.spoken(text)
		p = p[n:]
		n, text = r.known(p)
	}
	return p
}

// known gives the length of the event that p begins with, and that of its text, if all else of it is known; 0: it isn't.
func (r *ResponseReader) known(p []byte) (n, text int) {
	f := &r.familiar
	if len(f.tail) == 0 || !r.framer.Between() || swar.Common(f.head, p) < len(f.head) {
		return 0, 0
	}
	text = jsonscan.Plain(p[len(f.head):])
	n = len(f.head) + text
	if text == 0 || swar.Common(f.tail, p[n:]) < len(f.tail) {
		return 0, 0
	}
	return n + len(f.tail), text
}

// spoken counts the text of an event that is known.
func (r *ResponseReader) spoken(text int) {
	r.familiar.tries = 0
	r.response.Outputs++
	r.response.Text += int64(text)
}

// readEvent reads of a piece of a stream what belongs together, an event or as much as has come of it, and gives its length.
func (r *ResponseReader) readEvent(p []byte) int {
	f := &r.familiar
	whole := r.framer.Between()
	f.single = false
	n := r.framer.Next(p)
	if whole && f.single {
		f.learnWhole(p[:n])
	}
	return n
}

// compare finds out, before the event that was just read is merged, whether another one like it can be skipped; and whether those that are
// known still can be: what an event changes depends on what those before it have told.
func (r *ResponseReader) compare() {
	f, d := &r.familiar, &r.document
	if !r.steady() {
		f.tail = f.tail[:0]
		return
	}
	// One byte may be of sound, too, of which more bytes count otherwise.
	f.single = f.tries < mostLooks && f.spoke > 0 && d.outputs == 1 && d.text > 1 && d.instead.outputs == 0 && !d.calls
	f.size, f.from, f.said = int(d.size), f.spoke+1, int(d.text)
}

// steady says that the event that was just read changes nothing of what is known of the stream, but for its output.
func (r *ResponseReader) steady() bool {
	d, w := &r.document, &r.whole
	if d.model != w.model || d.delta != w.delta || d.roled != w.roled || d.role != w.role || d.failure != 0 || d.absurd || d.final && !r.response.Final {
		return false
	}
	if r.dialect.Cumulative {
		return d.reports == w.reports && d.parts == w.parts && d.iterations == w.iterations
	}
	for i := range d.reports {
		if d.reports[i].there {
			return false
		}
	}
	return true
}

// learnWhole takes an event, as it came, whose data has to be one line.
func (f *familiar) learnWhole(event []byte) {
	const field, end = "data: ", "\n\n"
	data := len(event) - len(end) - f.size
	line, text := data-len(field), data+f.from
	if line < 0 || text > mostAhead || inplace.String(event[line:data]) != field || line > 0 && event[line-1] != '\n' || inplace.String(event[len(event)-len(end):]) != end {
		return
	}
	behind := text + f.said
	if behind >= len(event) || len(event)-behind > mostFamiliar || jsonscan.Plain(event[text:]) != f.said || event[behind] != '"' {
		return
	}
	f.tries++
	for _, c := range event[data : len(event)-len(end)] {
		if c == '\n' || c == '\r' {
			return
		}
	}
	f.head, f.tail = append(f.head[:0], event[:text]...), append(f.tail[:0], event[behind:]...)
}
