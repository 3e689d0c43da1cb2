// Package sse splits a stream of server-sent events into events, whatever the chunks it arrives in.
//
// It follows the WHATWG's event stream grammar (https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream):
// lines end in LF, CRLF or CR, a byte order mark is skipped, comments and unknown fields are ignored, several data lines
// are joined by LF, and an empty line ends an event. One difference: an event that the end of the stream cuts off behind
// its last line is delivered, since several servers leave out the final empty line.
//
// The data is handed on as it comes and never held, so an endless line costs no memory.
package sse

const (
	maxField = 8  // bytes of a field's name that can still match
	maxName  = 64 // bytes of an event's name that are kept
	mark     = "\xef\xbb\xbf"
	common   = "data: " // what nearly all lines begin with
)

// Handler takes the events.
type Handler interface {
	// Data is a piece of the current event's data, valid during the call only.
	Data(p []byte)
	// Event ends the current event. name is its "event" field, cut to 64 bytes, valid during the call only. It is
	// called only for events with data.
	Event(name []byte)
}

type state uint8

const (
	stLineStart state = iota
	stField           // inside a field's name
	stSpace           // behind the colon: one space is skipped
	stData            // inside the value of a data field
	stName            // inside the value of an event field
	stIgnore          // inside a comment or the value of another field
)

// Framer reads one stream. Its zero value is not ready: call Reset.
type Framer struct {
	handler Handler
	state   state
	field   []byte
	name    []byte
	data    bool // the event has a data field
	cr      bool // the last byte was a CR: an LF belongs to it
	bom     int
}

// Reset makes the framer ready for a new stream.
func (f *Framer) Reset(handler Handler) {
	*f = Framer{handler: handler, field: f.field[:0], name: f.name[:0]}
}

// Write takes the next piece of the stream.
func (f *Framer) Write(p []byte) {
	for len(p) > 0 {
		if f.cr {
			f.cr = false
			if p[0] == '\n' {
				p = p[1:]
				continue
			}
		}
		if f.state == stData || f.state == stIgnore {
			p = p[f.run(p):]
			continue
		}
		if f.state == stLineStart && len(p) >= len(common) && string(p[:len(common)]) == common {
			f.field = append(f.field[:0], "data"...)
			f.startValue()
			p = p[len(common):]
			continue
		}
		f.byte(p[0])
		p = p[1:]
	}
}

// Close ends the stream.
func (f *Framer) Close() {
	if f.state == stField || f.state == stSpace {
		f.startValue()
	}
	f.dispatch()
	f.state = stLineStart
}

// run takes the bytes up to the end of the line, or all.
func (f *Framer) run(p []byte) int {
	end := 0
	for end < len(p) && p[end] != '\n' && p[end] != '\r' {
		end++
	}
	if f.state == stData && end > 0 {
		f.handler.Data(p[:end])
	}
	if end == len(p) {
		return end
	}
	f.endLine(p[end])
	return end + 1
}

func (f *Framer) byte(c byte) {
	if c == '\n' || c == '\r' {
		f.endLine(c)
		return
	}
	switch f.state {
	case stLineStart:
		if f.bom < len(mark) {
			if c == mark[f.bom] {
				f.bom++
				return
			}
			f.bom = len(mark)
		}
		f.state = stField
		f.fieldByte(c)
	case stField:
		f.fieldByte(c)
	case stSpace:
		f.startValue()
		if c == ' ' {
			return
		}
		if f.state == stName {
			f.nameByte(c)
		} else if f.state == stData {
			f.handler.Data([]byte{c})
		}
	case stName:
		f.nameByte(c)
	}
}

func (f *Framer) fieldByte(c byte) {
	if c == ':' {
		f.state = stSpace
		return
	}
	if len(f.field) < maxField {
		f.field = append(f.field, c)
	}
}

func (f *Framer) nameByte(c byte) {
	if len(f.name) < maxName {
		f.name = append(f.name, c)
	}
}

// startValue begins the value of the field just named.
func (f *Framer) startValue() {
	switch string(f.field) {
	case "data":
		if f.data {
			f.handler.Data([]byte{'\n'})
		}
		f.data, f.state = true, stData
	case "event":
		f.name, f.state = f.name[:0], stName
	default: // a comment's name is empty
		f.state = stIgnore
	}
	f.field = f.field[:0]
}

func (f *Framer) endLine(c byte) {
	f.cr = c == '\r'
	f.bom = len(mark)
	switch f.state {
	case stLineStart:
		f.dispatch()
	case stField, stSpace: // no value: "data" alone is an empty data line
		f.startValue()
	}
	f.state = stLineStart
}

func (f *Framer) dispatch() {
	if f.data {
		f.handler.Event(f.name)
	}
	f.data, f.name = false, f.name[:0]
}
