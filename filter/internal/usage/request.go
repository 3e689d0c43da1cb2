package usage

import (
	"bytes"

	"github.com/spillway-proxy/spillway/filter/internal/inflate"
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
)

// RequestReader reads a request's body. Its zero value is not ready: call Reset.
type RequestReader struct {
	dialect *Dialect
	path    Request // what the path says
	form    Form
	layers  []*inflate.Reader // the outermost first; nil: the body is read as it comes
	text    jsonscan.Text
	scanner jsonscan.Scanner
	parts   *multipart // nil: the body is one document
	draft   draft
	cut     draft // of a body that is looked at before its end
	names   names
	packed  bool // it is compressed
	broken  bool // it can't be decompressed, or not to its end
	most    int64
	decoded int64
}

// Reset makes the reader ready for a body in the dialect. path is what the request's path says; most bounds what a compressed body may be
// decompressed to.
func (r *RequestReader) Reset(dialect *Dialect, path Request, form Form, most int64) {
	r.dialect, r.path, r.form, r.most = dialect, path, form, most
	r.draft = draft{Request: r.path, names: &r.names, ambiguous: r.path.Unread == Ambiguous}
	r.layers, r.parts, r.text = nil, nil, jsonscan.Text{}
	r.packed, r.broken, r.decoded = false, false, 0
	r.scanner.ResetLenient(dialect.requestPaths, (*requestHandler)(r))
	if form.boundary != "" && dialect.uploads {
		r.parts = newMultipart(form.boundary, r)
	}
}

// Write takes the next piece of the body.
func (r *RequestReader) Write(p []byte) {
	if len(p) == 0 {
		return
	}
	if r.draft.Bytes == 0 && r.form.layers > 0 {
		r.unpack(p[0])
	}
	r.draft.Bytes += int64(len(p))
	switch {
	case !r.packed:
		r.plain(p)
	case !r.broken:
		r.broken = r.layers[0].Write(p) != nil
	}
}

// unpack makes ready for a compressed body, unless it begins as JSON does: many servers ignore the header.
func (r *RequestReader) unpack(first byte) {
	if bytes.IndexByte([]byte("{[\" \t\r\n\x00\xef\xfe\xff"), first) >= 0 {
		r.form.Odd = true // some server may decompress it all the same
		return
	}
	r.packed = true
	r.layers = make([]*inflate.Reader, r.form.layers)
	for i := range r.layers {
		r.layers[i] = &inflate.Reader{Accept: r.limited}
		if i > 0 {
			inner := r.layers[i]
			r.layers[i-1].Accept = func(p []byte) bool { return inner.Write(p) == nil }
		}
	}
}

// limited takes what was decompressed, up to a bound.
func (r *RequestReader) limited(p []byte) bool {
	r.plain(p)
	return r.decoded <= r.most
}

func (r *RequestReader) plain(p []byte) {
	r.decoded += int64(len(p))
	if r.parts != nil {
		r.parts.write(p)
		r.draft.Prompt.Text += int64(len(p))
		return
	}
	text := r.text.Write(p)
	r.draft.Prompt.Text += int64(len(text))
	r.scanner.Write(text)
}

// Cut gives what is known of a body before its end.
func (r *RequestReader) Cut() Request {
	d := r.draft
	d.OutputBound = d.outputBound()
	d.OutputLoose = d.OutputBound > 0 // another one may follow
	d.Prompt = r.prompt()
	d.Unread = r.unread(&d)
	if d.Unread == Missing {
		d.Unread = TooLarge
	}
	return r.withPath(d.Request)
}

// withPath is what is known of a body that was not read to its end: what the path says stands.
func (r *RequestReader) withPath(read Request) Request {
	if r.path.Route != "" {
		read.Model, read.Stream = r.path.Model, r.path.Stream || read.Stream
	}
	return read
}

// prompt is what the body has of the prompt so far: what it was cut inside of may be media.
func (r *RequestReader) prompt() Prompt {
	r.cut = r.draft
	so := &r.cut
	so.Prompt.seen = so.Bytes
	id, text, size := r.scanner.Partial()
	if id == 0 || r.parts != nil {
		return so.Prompt
	}
	r.dialect.request(so, value{id: id, kind: jsonscan.String, text: text, size: size})
	so.Prompt.open = so.Prompt.Text < r.draft.Prompt.Text
	return so.Prompt
}

// unread says why the model is not known for sure, as far as the body was read.
func (r *RequestReader) unread(d *draft) Unread {
	why := d.unread()
	switch {
	case r.path.Unread == Undescribed:
		return Undescribed
	case d.Route != "":
		return ""
	case r.form.Odd:
		return Encoded
	case r.failed():
		return Malformed
	case r.broken:
		return TooLarge
	}
	return why
}

// failed says that the body can't be what it should be.
func (r *RequestReader) failed() bool {
	if r.parts != nil {
		return r.parts.failed()
	}
	return r.scanner.Failed() || r.broken && r.decoded <= r.most
}

// FromPath gives what a request's path says, which is all that is known of one whose body is not read.
func FromPath(dialect *Dialect, path string) Request {
	if dialect.fromPath == nil {
		return Request{}
	}
	return dialect.fromPath(path)
}

// routed is the request for the model that its path names. sure says that every server reads that one.
func routed(model string, sure bool) (r Request) {
	r.Model = model
	switch {
	case !sure:
		r.Unread = Ambiguous
	case model == "":
		r.Unread = NoBody
	default:
		r.Route = model
	}
	return r
}

// Bytes is the size of the body so far.
func (r *RequestReader) Bytes() int64 { return r.draft.Bytes }

// Wanting says whether more of the body can still tell anything.
func (r *RequestReader) Wanting() bool { return !r.failed() && !r.broken }

// Upload says that the body is a form: beside the model it has nothing to wait for.
func (r *RequestReader) Upload() bool { return r.parts != nil }

// Model is the model that the body has named so far.
func (r *RequestReader) Model() (name string, unread Unread) {
	return r.draft.Model, r.unread(&r.draft)
}

// Close ends the body and gives what it asked for. A body that was not valid is given as not read.
func (r *RequestReader) Close() Request {
	valid := r.end()
	d := &r.draft
	d.Prompt.seen = d.Bytes
	d.OutputBound = d.outputBound()
	d.Read = valid && d.Bytes > 0
	d.OutputLoose = d.loose() || d.OutputBound > 0 && !valid
	d.Unread = r.unread(d)
	switch {
	case d.Route != "", d.Unread == Undescribed:
	case d.Bytes == 0:
		d.Unread = NoBody
	case !valid && d.Unread != TooLarge && d.Unread != Encoded:
		d.Unread = Malformed
	}
	if !d.Read {
		return r.withPath(d.Request)
	}
	return d.Request
}

// end says whether the body is valid and complete.
func (r *RequestReader) end() bool {
	layers := r.layers
	r.layers = nil // they are large
	if n := len(layers); n > 0 && (r.broken || !layers[n-1].Done()) {
		return false
	}
	if r.parts != nil {
		return r.parts.done()
	}
	rest := r.text.Close()
	r.draft.Prompt.Text += int64(len(rest))
	r.scanner.Write(rest)
	return r.scanner.Close()
}

// editable says that the body is one document of UTF-8, as it came.
func (r *RequestReader) editable() bool {
	return !r.packed && !r.form.Odd && r.parts == nil && r.text.Plain()
}

type requestHandler RequestReader

func (h *requestHandler) Begin(id int, kind jsonscan.Kind) { h.Value(id, kind, nil, 0) }

func (h *requestHandler) Value(id int, kind jsonscan.Kind, text []byte, size int) {
	h.dialect.request(&h.draft, value{id, kind, text, size, h.scanner.At(), h.scanner.Folded()})
}
