package usage

import (
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
	"github.com/spillway-proxy/spillway/filter/internal/sse"
)

// RequestReader reads a request's body. Its zero value is not ready: call Reset.
type RequestReader struct {
	dialect Dialect
	path    Request // what the path says
	scanner jsonscan.Scanner
	draft   draft
}

// Reset makes the reader ready for a body in the dialect.
func (r *RequestReader) Reset(dialect Dialect, path string) {
	r.dialect = dialect
	r.path = FromPath(dialect, path)
	r.draft = draft{Request: r.path, choices: 1}
	r.scanner.Reset(dialect.requestPaths(), (*requestHandler)(r))
}

// Write takes the next piece of the body.
func (r *RequestReader) Write(p []byte) {
	r.draft.Bytes += int64(len(p))
	r.scanner.Write(p)
}

// Cut gives what is known of a body that is not read to its end, or can't be.
func (r *RequestReader) Cut() Request {
	r.path.Bytes = r.draft.Bytes
	return r.path
}

// FromPath gives what a request's path says, which is all that is known of one whose body is not read.
func FromPath(dialect Dialect, path string) Request {
	var r Request
	dialect.fromPath(path, &r)
	return r
}

// Bytes is the size of the body so far.
func (r *RequestReader) Bytes() int64 { return r.draft.Bytes }

// Wanting says whether more of the body can still tell anything.
func (r *RequestReader) Wanting() bool { return !r.scanner.Failed() }

// Close ends the body and gives what it asked for. A body that was not valid is given as not read: of a broken
// document nothing is believed.
func (r *RequestReader) Close() Request {
	if !r.scanner.Close() {
		return r.Cut()
	}
	r.draft.Read = true
	r.draft.OutputBound = outputBound(max(r.draft.bounds[0], r.draft.bounds[1], 0), max(r.draft.choices, 1))
	return r.draft.Request
}

// outputBound is the bound of all choices together, itself bounded so that sums of it can't overflow.
func outputBound(bound, choices int64) int64 {
	const most = 1e12
	if bound > most/choices {
		return most
	}
	return bound * choices
}

type requestHandler RequestReader

func (h *requestHandler) Begin(id int, kind jsonscan.Kind) { h.Value(id, kind, nil, 0) }

func (h *requestHandler) Value(id int, kind jsonscan.Kind, text []byte, size int) {
	h.dialect.request(&h.draft, value{id, kind, text, size, h.scanner.At()})
}

// ResponseReader reads a response's body. Its zero value is not ready: call Reset.
type ResponseReader struct {
	dialect  Dialect
	stream   bool
	framer   sse.Framer
	scanner  jsonscan.Scanner
	document document
	whole    document // what whole events have left for the next one
	response Response
	standard bool // the report came from the standard place
	usage    bool // the last event brought a report and nothing else
	hider    hider
}

// Reset makes the reader ready for a body: server-sent events if stream, else one JSON document.
func (r *ResponseReader) Reset(dialect Dialect, stream bool) {
	r.dialect, r.stream = dialect, stream
	r.response = Response{Tokens: none}
	r.whole, r.standard, r.usage = document{}, false, false
	r.hider.reset()
	if dialect.Cumulative() {
		r.whole.reports[standardPlace] = report{Tokens: none}
	}
	if stream {
		r.framer.Reset((*eventHandler)(r))
	}
	r.next()
}

// next makes ready for a document.
func (r *ResponseReader) next() {
	next := document{model: r.whole.model}
	if r.dialect.Cumulative() {
		next.reports, next.parts = r.whole.reports, r.whole.parts
	}
	r.document = next
	r.scanner.Reset(r.dialect.responsePaths(), (*documentHandler)(r))
}

// Write takes the next piece of the body.
func (r *ResponseReader) Write(p []byte) {
	if r.stream {
		r.framer.Write(p)
		return
	}
	r.scanner.Write(p)
}

// Close ends the body.
func (r *ResponseReader) Close() {
	if r.stream {
		r.framer.Close()
		return
	}
	r.scanner.Close()
	r.merge()
	r.document.outputs, r.document.text = 0, 0
}

// Wanting says whether more of the body can still tell anything.
func (r *ResponseReader) Wanting() bool { return r.stream || !r.scanner.Failed() }

// Response gives what came so far. Of a stream it knows whole events; a stream in one growing document is counted as it
// comes.
func (r *ResponseReader) Response() Response {
	response := r.response
	if !r.stream {
		response.Outputs += r.document.outputs
		response.Text += r.document.text
	}
	return response
}

// merge adds a finished document to the response.
func (r *ResponseReader) merge() {
	r.response.Model = r.document.model
	r.response.Outputs += r.document.outputs
	r.response.Text += r.document.text
	r.response.Final = r.response.Final || r.document.final
	if r.response.Failure == 0 {
		r.response.Failure = r.document.failure
	}
	for place := range r.document.reports {
		if report := &r.document.reports[place]; report.there && (place == standardPlace || !r.standard) {
			r.response.Tokens, r.response.Reported = report.Tokens, true
			r.standard = place == standardPlace
		}
	}
}

type documentHandler ResponseReader

func (h *documentHandler) Begin(id int, kind jsonscan.Kind) {
	h.dialect.response(&h.document, value{id: id, kind: kind})
}

func (h *documentHandler) Value(id int, kind jsonscan.Kind, text []byte, size int) {
	h.dialect.response(&h.document, value{id: id, kind: kind, text: text, size: size})
}

type eventHandler ResponseReader

func (h *eventHandler) Data(p []byte) { h.scanner.Write(p) }

func (h *eventHandler) Event([]byte) {
	r := (*ResponseReader)(h)
	if r.scanner.Close() {
		r.usage = r.document.usageOnly()
		r.merge()
		r.whole = r.document
	}
	r.next()
}
