package usage

import (
	"bytes"
	"slices"

	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
)

// OpenAI's chats and completions say what a stream used only if the request has stream_options.include_usage
// (https://platform.openai.com/docs/api-reference/chat/create#chat_create-stream_options), in an event of its own behind
// all others, whose choices are empty. What is here asks in the client's place, and hides that event from a client that
// did not ask.

// Edit is a change to a request's body. The zero Edit changes nothing.
type Edit struct {
	At, Drop int64  // where (0: behind the document's first bracket), and how many bytes are taken out there
	Text     string // what comes in their place
	Member   bool   // Text is a new first member of the object that begins before At
}

// None says that there is nothing to change.
func (e Edit) None() bool { return e.Text == "" }

// Apply adds the changed body to what is there. The body must be the whole one that the Edit was found in.
func (e Edit) Apply(changed, body []byte) []byte {
	at := e.At
	if at == 0 { // blanks or a byte order mark may precede it
		at = int64(bytes.IndexByte(body, '{')) + 1
	}
	if at <= 0 || at+e.Drop > int64(len(body)) {
		return append(changed, body...)
	}
	changed = slices.Grow(changed, len(body)+len(e.Text)+1)
	changed = append(append(changed, body[:at]...), e.Text...)
	rest := body[at+e.Drop:]
	if next := bytes.TrimLeft(rest, " \t\r\n"); e.Member && len(next) > 0 && next[0] != '}' {
		changed = append(changed, ',')
	}
	return append(changed, rest...)
}

// Ask gives what has to be changed in the body, which Close has ended, for the stream to report its usage.
func (r *RequestReader) Ask() Edit {
	if !r.draft.Read || !r.draft.Stream || !r.dialect.AsksForUsage || !r.editable() {
		return Edit{}
	}
	return r.draft.options.ask()
}

// place is where a value stands.
type place struct {
	kind  jsonscan.Kind
	at    int64
	there bool
}

// streamOptions is what a request has of the member that asks. Of repeated ones it is the last, which servers go by, and
// strict servers refuse repeated ones: so what is there is changed, and only what is missing is added.
type streamOptions struct {
	options, include place
}

// ask gives what has to be changed for the usage to be reported. What the server will refuse anyway is left to it.
func (s streamOptions) ask() Edit {
	const include = `"include_usage":true`
	switch o, i := s.options, s.include; {
	case !o.there:
		return Edit{Text: `"stream_options":{` + include + `}`, Member: true}
	case o.kind == jsonscan.Null:
		return Edit{At: o.at, Drop: int64(len("null")), Text: `{` + include + `}`}
	case o.kind != jsonscan.Object:
		return Edit{}
	case !i.there:
		return Edit{At: o.at + 1, Text: include, Member: true}
	case i.kind == jsonscan.Null:
		return Edit{At: i.at, Drop: int64(len("null")), Text: "true"}
	case i.kind == jsonscan.False:
		return Edit{At: i.at, Drop: int64(len("false")), Text: "true"}
	default:
		return Edit{}
	}
}

// usageOnly says that the event is the one that include_usage adds.
func (d *document) usageOnly() bool {
	return d.reports[standardPlace].there && !d.choice && d.failure == 0
}

// mostHeld bounds the bytes of an event that are kept back while it may still turn out to be one of usage alone, which
// have a few hundred. A longer one is let through.
const mostHeld = 64 << 10

// hider holds an event back until it is known that it brings more than usage: mostly not at all, since an event comes in
// one piece; else until its first choice.
type hider struct {
	held    []byte // of the event or line that is not decided
	out     []byte
	passing bool // the rest of the event goes through
	dropped bool // what ended last was taken out
	cr      bool // it ended with a CR: an LF belongs to it
}

// reset keeps no more memory than a usual stream needs: streams that have ended are used again.
func (h *hider) reset() {
	const most = 16 << 10
	if cap(h.held)+cap(h.out) > most {
		*h = hider{}
	}
	*h = hider{held: h.held[:0], out: h.out[:0]}
}

func (h *hider) release() {
	h.out = append(h.out, h.held...)
	h.held = h.held[:0]
}

// settle ends an event or a line, and says whether it was taken out.
func (h *hider) settle(drop bool) bool {
	h.dropped, h.passing = drop, false
	if drop {
		h.held = h.held[:0]
	}
	h.release()
	return drop
}

// Hide reads the next piece of a body, as Write does, and gives what of it goes on: without the events that bring nothing but
// usage, and every other byte as it came. changed says that it is not p; it is valid until the next call. At the end of the
// body nothing is kept back.
func (r *ResponseReader) Hide(p []byte, end bool) (out []byte, changed bool) {
	h := &r.hider
	r.bytes += int64(len(p))
	piece, rest := p, r.skip(p)
	if len(rest) == 0 && len(p) > 0 && !end {
		return p, false
	}
	changed = len(h.held) > 0
	h.out, p = append(h.out[:0], p[:len(p)-len(rest)]...), rest
	if r.form == undecided && len(r.lead) == 0 {
		n := blanks(p)
		h.out, p = append(h.out, p[:n]...), p[n:]
	}
	rest = r.look(p)
	h.held = append(h.held, p[:len(p)-len(rest)]...)
	if r.form == events {
		changed = r.hideEvents(rest) || changed
	} else {
		h.held = append(h.held, rest...)
		r.read(rest)
	}
	if r.form == documents {
		h.release()
	}
	if end && len(h.held) > 0 {
		r.framer.Close()
		changed = h.settle(r.usage && !h.passing) || changed
	}
	if changed = changed || len(h.held) > 0; !changed {
		return piece, false
	}
	return h.out, true
}

// hideEvents takes a piece of a stream of events, and says whether something was taken out.
func (r *ResponseReader) hideEvents(p []byte) (changed bool) {
	h := &r.hider
	for i := 0; i < len(p); {
		lineFeed := h.cr && p[i] == '\n'
		n := r.readEvent(p[i:])
		h.held = append(h.held, p[i:i+n]...)
		i += n
		h.cr = p[i-1] == '\r'
		switch {
		case r.framer.Open():
			if h.passing = h.passing || r.bringsMore(); h.passing {
				h.release()
			}
		case lineFeed && n == 1:
			changed = h.settle(h.dropped) || changed
		default:
			changed = h.settle(r.usage && !h.passing) || changed
		}
		r.usage = false
	}
	return changed
}

// bringsMore says of the event under way that it is not one of usage alone, or is too large to wait for that.
func (r *ResponseReader) bringsMore() bool {
	return r.document.choice || r.scanner.Failed() || len(r.hider.held) > mostHeld
}
