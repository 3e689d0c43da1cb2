package usage

import (
	"bytes"
	"strings"

	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
	"github.com/spillway-proxy/spillway/filter/internal/sse"
)

// form is what a response's body is made of. Its first bytes tell: content types are wrong too often.
type form uint8

const (
	undecided form = iota
	events         // server-sent events
	documents      // JSON: one document, or several in a row
)

// ResponseReader reads a response's body. Its zero value is not ready: call Reset.
type ResponseReader struct {
	dialect  *Dialect
	typed    bool // its content type is that of events
	form     form
	lead     []byte // the first bytes, while they don't tell
	several  bool   // there was an event, or more than one document
	array    bool   // the document is one array
	framer   sse.Framer
	scanner  jsonscan.Scanner
	document document
	whole    document // what whole events have left for the next one
	names    names
	familiar familiar
	response Response
	bytes    int64
	place    int  // of the report
	usage    bool // the last event brought a report and nothing else
	hider    hider
}

// Reset makes the reader ready for a body. events says that its content type is text/event-stream.
func (r *ResponseReader) Reset(dialect *Dialect, events bool) {
	r.dialect, r.typed, r.form, r.lead = dialect, events, undecided, r.lead[:0]
	r.response, r.bytes = Response{Tokens: none}, 0
	r.whole, r.place, r.usage, r.several, r.array = document{}, places, false, false, false
	r.hider.reset()
	r.familiar.reset()
	r.whole.reports[standardPlace] = noReport
	r.framer.Reset((*eventHandler)(r))
	r.next()
}

// next makes ready for a document.
func (r *ResponseReader) next() {
	d := &r.document
	*d = document{} // and no more is copied than has to be: a stream comes here with each event
	d.names, d.model, d.delta, d.roled, d.before = &r.names, r.whole.model, r.whole.delta, r.whole.roled || r.whole.role, r.response.Outputs
	if r.dialect.Cumulative {
		d.reports, d.parts, d.iterations = r.whole.reports, r.whole.parts, r.whole.iterations
	} else {
		d.reports[standardPlace] = noReport
	}
	r.familiar.spoke = 0
	r.scanner.Reset(r.dialect.responsePaths, (*documentHandler)(r))
}

// Write takes the next piece of the body.
func (r *ResponseReader) Write(p []byte) {
	r.bytes += int64(len(p))
	r.read(r.look(p))
}

func (r *ResponseReader) read(p []byte) {
	switch r.form {
	case events:
		for p = r.skip(p); len(p) > 0; p = r.skip(p) {
			p = p[r.readEvent(p):]
		}
	case documents:
		r.readDocuments(p)
	}
}

// fields are what lines of events begin with.
var fields = []string{"data:", "event:", "id:", "retry:", ":"}

// blanks are what may stand before the first bytes that tell: white space, and a byte order mark.
func blanks(p []byte) int {
	for i, c := range p {
		if c > ' ' && c != 0xef && c != 0xbb && c != 0xbf {
			return i
		}
	}
	return len(p)
}

// look decides on the form of the body by its first bytes, and gives what there is to read of the piece.
func (r *ResponseReader) look(p []byte) []byte {
	if r.form != undecided {
		return p
	}
	if len(r.lead) == 0 {
		p = p[blanks(p):]
	}
	before := len(r.lead)
	for i := range p {
		r.lead = append(r.lead, p[i])
		if r.decide(r.lead); r.form != undecided {
			r.read(r.lead[:before])
			return p
		}
	}
	return nil
}

// decide takes the first bytes that are not blank.
func (r *ResponseReader) decide(lead []byte) {
	switch {
	case lead[0] == '{' || lead[0] == '[':
		r.form, r.array = documents, lead[0] == '['
		return
	case r.typed:
		r.form = events
		return
	}
	start := inplace.String(lead)
	for _, field := range fields {
		if strings.HasPrefix(start, field) {
			r.form = events
			return
		}
		if strings.HasPrefix(field, start) {
			return
		}
	}
	r.form = documents
}

// readDocuments takes a piece of JSON. Whatever follows a document that is whole is the next one: some servers stream a
// document a line.
func (r *ResponseReader) readDocuments(p []byte) {
	for len(p) > 0 {
		if r.scanner.Done() {
			if p = bytes.TrimLeft(p, " \t\r\n"); len(p) == 0 {
				return
			}
			r.several = true
			r.endDocument()
			r.merge()
			r.next()
		}
		n := r.scanner.Next(p)
		r.document.size += int64(n)
		p = p[n:]
		if r.scanner.Failed() {
			return
		}
	}
}

// Close ends the body.
func (r *ResponseReader) Close() {
	if r.form == undecided {
		r.form = documents
		r.read(r.lead)
	}
	if r.form == events {
		r.framer.Close()
		return
	}
	if r.scanner.Close() || !r.several {
		r.endDocument()
		r.merge()
	}
	r.document.output = output{}
}

// Wanting says whether more of the body can still tell anything.
func (r *ResponseReader) Wanting() bool { return r.form != documents || !r.scanner.Failed() }

// Whole says that the body so far is one document, from its first byte to its last.
func (r *ResponseReader) Whole() bool { return r.form == documents && !r.several && r.scanner.Done() }

// Streams says whether the body is a stream, as far as that has shown; expected is what was thought before.
func (r *ResponseReader) Streams(expected bool) bool {
	if r.several || r.document.begun {
		return true
	}
	if r.array {
		return expected
	}
	return expected && r.form != documents
}

// Events says that the body is server-sent events, as far as it is known.
func (r *ResponseReader) Events() bool { return r.form == events }

// Until reads of the next piece of events what belongs to the one that is under way, as who gets the body sees it, and gives that. whole says that
// it ends there, so that another one can follow. hides says that the pieces before went through Hide: what is held back nobody has seen.
func (r *ResponseReader) Until(p []byte, hides bool) (out []byte, whole bool) {
	if hides && !r.hider.passing {
		return nil, true
	}
	n := 0
	for n < len(p) && r.framer.Open() {
		n += r.framer.Next(p[n:])
	}
	r.bytes += int64(n)
	return p[:n], !r.framer.Open()
}

// Bytes is the size of the body so far.
func (r *ResponseReader) Bytes() int64 { return r.bytes }

// Unread says of a body that has passed that it was none of those that the dialect has: not JSON, and no events. Where
// sound and transcripts may come as bytes and text, or whatever, nothing is amiss.
func (r *ResponseReader) Unread() bool {
	const most = 4096 // bytes without an event; there may be comments at first
	switch {
	case r.dialect.anyForm || r.several || r.response.Reported:
		return false
	case r.form == events:
		return r.bytes > most
	default:
		return r.bytes > 0 && r.scanner.Failed()
	}
}

// Outputs is how many pieces of output came so far, as Response has it.
func (r *ResponseReader) Outputs() int64 {
	if r.form == documents {
		return r.response.Outputs + r.document.outputs
	}
	return r.response.Outputs
}

// Response gives what came so far. Of events it knows whole ones; a stream in one growing document is counted as it comes.
func (r *ResponseReader) Response() Response {
	response := r.response
	if r.form == documents {
		response.Outputs += r.document.outputs
		response.Text += r.document.text
	}
	return response
}

// endDocument has the dialect say what a finished document says as a whole.
func (r *ResponseReader) endDocument() {
	if r.dialect.end != nil {
		r.dialect.end(&r.document)
	}
}

// merge adds a finished document to the response.
func (r *ResponseReader) merge() {
	d := &r.document
	if d.calls {
		d.text = max(d.text, d.size-envelope)
	}
	if d.instead.outputs > 0 {
		if d.bare = true; !d.delta {
			d.output = d.instead
		}
	}
	r.response.Model = d.model
	r.response.Outputs += d.outputs
	r.response.Text += d.text
	r.response.Final = r.response.Final || d.final
	r.response.Absurd = r.response.Absurd || d.absurd
	if r.response.Failure == 0 {
		r.response.Failure = d.failure
	}
	r.believe(d)
	if r.several && d.outputs == 0 && d.failure == 0 && !r.dialect.silent(d) {
		r.unknown()
	}
	if r.whole.model, r.whole.delta, r.whole.roled, r.whole.role = d.model, d.delta, d.roled, d.role; r.dialect.Cumulative {
		r.whole.reports, r.whole.parts, r.whole.iterations = d.reports, d.parts, d.iterations
	}
}

// believe takes the report of a finished document, unless an earlier one stood in a better place.
func (r *ResponseReader) believe(d *document) {
	for place := range d.reports {
		report := &d.reports[place]
		if !report.there || place > r.place {
			continue
		}
		if report.Completion == Absent && !r.dialect.Outputs {
			report.Completion = 0
		}
		r.response.Tokens, r.response.Reported = report.meant(r.dialect.Outputs), true
		r.place = place
	}
}

// envelope is what is around an output: some hundred bytes.
const envelope = 512

// unknown counts an event that may have brought output.
func (r *ResponseReader) unknown() {
	r.response.Unknown++
	r.response.UnknownText += max(r.document.size-envelope, 0)
}

type documentHandler ResponseReader

func (h *documentHandler) Begin(id int, kind jsonscan.Kind) {
	h.dialect.response(&h.document, value{id: id, kind: kind})
}

func (h *documentHandler) Value(id int, kind jsonscan.Kind, text []byte, size int) {
	before := h.document.outputs
	h.dialect.response(&h.document, value{id: id, kind: kind, text: text, size: size})
	if h.document.outputs > before && kind == jsonscan.String && len(text) == 0 {
		h.familiar.spoke = int(h.scanner.At())
	}
}

type eventHandler ResponseReader

func (h *eventHandler) Data(p []byte) {
	if h.document.size == 0 {
		p = (*ResponseReader)(h).recognize(p)
	}
	h.document.size += int64(len(p))
	h.scanner.Write(p)
}

func (h *eventHandler) Event(name []byte) {
	const done = "[DONE]"
	r := (*ResponseReader)(h)
	r.several = true
	r.document.bare = r.document.bare || inplace.String(name) == "ping"
	if r.scanner.Close() {
		r.usage = r.document.usageOnly()
		r.endDocument()
		r.compare()
		r.merge()
	} else if r.document.size > int64(len(done)) {
		r.unknown()
	}
	r.next()
}
