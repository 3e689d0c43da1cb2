package llmsim

import (
	"compress/gzip"
	"errors"
	"net/http"
)

// sink cuts a body into writes.
type sink struct {
	w     http.ResponseWriter
	ctl   *http.ResponseController
	chunk chunking
	zip   *gzip.Writer
	// held is what waits for the end of the body (whole) or for a full write
	// (bytes:N).
	held []byte
}

// Write takes what the compressor puts out.
func (k *sink) Write(p []byte) (int, error) { return len(p), k.cut(p) }

// write takes one event, or all of a JSON answer.
func (k *sink) write(p []byte) error {
	if k.zip == nil {
		if err := k.cut(p); err != nil {
			return err
		}
	} else {
		if _, err := k.zip.Write(p); err != nil {
			return err
		}
		// Without a flush the client would see no token before the end.
		if err := k.zip.Flush(); err != nil {
			return err
		}
	}
	if k.chunk != (chunking{}) {
		return nil
	}
	return k.flush()
}

func (k *sink) cut(p []byte) error {
	if k.chunk == (chunking{}) {
		_, err := k.w.Write(p)
		return err
	}
	k.held = append(k.held, p...)
	if k.chunk.whole {
		return nil
	}
	size, sent := k.chunk.bytes, 0
	for len(k.held)-sent >= size {
		if _, err := k.w.Write(k.held[sent : sent+size]); err != nil {
			return err
		}
		if err := k.flush(); err != nil {
			return err
		}
		sent += size
	}
	k.held = k.held[:copy(k.held, k.held[sent:])]
	return nil
}

// drain writes what is held.
func (k *sink) drain() error {
	if len(k.held) == 0 {
		return nil
	}
	_, err := k.w.Write(k.held)
	k.held = k.held[:0]
	if err != nil {
		return err
	}
	return k.flush()
}

// finish ends the body.
func (k *sink) finish() error {
	if k.zip != nil {
		if err := k.zip.Close(); err != nil {
			return err
		}
	}
	return k.drain()
}

// flush sends what net/http has buffered. A writer that cannot flush, as some test
// recorders, is no reason to fail.
func (k *sink) flush() error {
	err := k.ctl.Flush()
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

// stream is an answer in server-sent events.
type stream struct {
	c      *call
	g      *generation
	form   form
	out    sink
	buf    []byte
	events int
	held   int // tokens that the sink holds back
	begun  bool
}

// form is how an API puts an answer into events. Its methods send them.
type form interface {
	// start comes before the first token.
	start() error
	// token sends the i-th token of every choice.
	token(i int) error
	// finish comes after the last token.
	finish() error
	// fail ends the stream with an error.
	fail(*apiError) error
}

// stream answers in server-sent events, one for each token.
func (c *call) stream(g *generation) error {
	t := &stream{c: c, g: g, buf: c.buf.out[:0]}
	switch g.endpoint {
	case responses:
		t.form = newResponseEvents(t)
	case messages:
		t.form = &messageEvents{stream: t}
	case ollamaChat, ollamaGenerate:
		t.form = &lines{stream: t}
	default:
		t.form = newChunks(t)
	}
	err := t.run()
	c.buf.out = t.buf
	return err
}

// run holds a slot for as long as tokens are generated. The headers leave before,
// while the request may still wait for its slot.
func (t *stream) run() error {
	c := t.c
	if c.script.hang == 0 {
		if err := t.begin(); err != nil {
			return err
		}
	}
	if err := c.acquire(); err != nil {
		return err
	}
	defer c.s.slots.release()
	if err := c.pace.hang(c.script.hang); err != nil {
		return err
	}
	if err := t.begin(); err != nil {
		return err
	}
	if err := t.form.start(); err != nil {
		return err
	}
	for i := 0; ; i++ {
		ended, err := t.step(i)
		if err != nil {
			return err
		}
		if ended {
			break
		}
	}
	if err := t.out.finish(); err != nil {
		return err
	}
	c.sent(t.held)
	return nil
}

// begin sends the headers.
func (t *stream) begin() error {
	if t.begun {
		return nil
	}
	t.begun = true
	c := t.c
	h := c.w.Header()
	h["Content-Type"] = streamType
	if t.g.endpoint.ollama() {
		h["Content-Type"] = linesType
	}
	h.Set("Cache-Control", "no-cache")
	t.out = sink{w: c.w, ctl: http.NewResponseController(c.w), chunk: c.script.chunk}
	if c.script.gzip {
		h["Content-Encoding"] = gzipCoding
		t.out.zip = gzip.NewWriter(&t.out)
	}
	c.status = http.StatusOK
	c.s.hist.update(c.rec, func(r *Request) { r.Status = http.StatusOK })
	c.w.WriteHeader(http.StatusOK)
	return t.out.flush()
}

// step sends the i-th token of every choice, or, after the last, the end of the
// stream.
func (t *stream) step(i int) (ended bool, err error) {
	c := t.c
	latency := c.script.ttft
	if i > 0 {
		latency = c.itl()
	}
	if i > 0 && i == t.g.tokens {
		latency = 0
	}
	if err := c.pace.wait(latency); err != nil {
		return false, err
	}
	switch {
	case i == c.script.abortAfter:
		return true, t.abort()
	case i == c.script.errorAfter:
		c.failed = true
		return true, t.form.fail(simulatedFailure(i))
	case i == t.g.tokens:
		return true, t.form.finish()
	}
	return false, t.form.token(i)
}

// counted counts a token that was given to the sink.
func (t *stream) counted() {
	if t.c.script.chunk.whole {
		t.held++
	} else {
		t.c.sent(1)
	}
}

// abort cuts the connection once all tokens so far have left.
func (t *stream) abort() error {
	if t.out.drain() == nil {
		t.c.sent(t.held)
	}
	return errAborted
}

// open begins an event. A comment is a line of that event: an event of its own,
// with no data, would confuse some clients.
func (t *stream) open() []byte {
	b := t.buf[:0]
	if n := t.c.script.comments; n > 0 && t.events%n == 0 {
		b = append(b, ": comment"...)
		b = append(b, t.c.script.eol...)
	}
	t.events++
	return b
}

// named begins an event that has a name; its data follows.
func (t *stream) named(name string) []byte {
	b := append(append(t.open(), "event: "...), name...)
	return append(append(b, t.c.script.eol...), "data: "...)
}

// send ends the event in the buffer and writes it.
func (t *stream) send(last bool) error {
	t.buf = append(t.buf, t.c.script.eol...)
	if !last || !t.c.script.noTrailingBlank {
		t.buf = append(t.buf, t.c.script.eol...)
	}
	return t.out.write(t.buf)
}
