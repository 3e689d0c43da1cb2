package usage

import "github.com/spillway-proxy/spillway/filter/internal/jsonscan"

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
