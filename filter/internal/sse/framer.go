// Package sse splits a stream of server-sent events into events, whatever the chunks it arrives in.
//
// It follows the WHATWG's event stream grammar (https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream):
// lines end in LF, CRLF or CR, a byte order mark is skipped, comments and unknown fields are ignored, several data lines
// are joined by LF, and an empty line ends an event. One difference: an event that the end of the stream cuts off behind
// its last line is delivered, since several servers leave out the final empty line.
//
// The data is handed on as it comes and never held, so an endless line costs no memory.
package sse

import (
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/swar"
)

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
	bounded bool // Next has come to a bound
	bom     int
	one     [1]byte // a piece of data of its own
}

// Reset makes the framer ready for a new stream.
func (f *Framer) Reset(handler Handler) {
	*f = Framer{handler: handler, field: f.field[:0], name: f.name[:0]}
}

// Write takes the next piece of the stream.
func (f *Framer) Write(p []byte) {
	for len(p) > 0 {
		p = p[f.Next(p):]
	}
}

// Next takes as much of the next piece of the stream as belongs together, and gives its length: the end of an event, up to
// and including its empty line; a comment or another line that is no part of an event; or what there is of either. An LF
// whose CR ended the one before is taken by itself. Open tells which it was.
func (f *Framer) Next(p []byte) int {
	f.bounded = false
	i := 0
	for i < len(p) && !f.bounded {
		if f.cr {
			f.cr = false
			if p[i] == '\n' {
				i++
				f.bounded = !f.Open()
				continue
			}
		}
		if f.state == stData || f.state == stIgnore {
			i += f.run(p[i:])
			continue
		}
		if rest := p[i:]; f.state == stLineStart && len(rest) >= len(common) && inplace.String(rest[:len(common)]) == common {
			f.startData()
			i += len(common)
			continue
		}
		f.byte(p[i])
		i++
	}
	return i
}

// Open says that what has passed ends inside an event or a line.
func (f *Framer) Open() bool { return f.state != stLineStart || f.under() || f.bom%len(mark) != 0 }

// Between says that something has passed, and nothing is under way: no event, no line, and no line's end.
func (f *Framer) Between() bool { return f.bom == len(mark) && !f.cr && !f.Open() }

// under says that the lines since the last event make up a part of one.
func (f *Framer) under() bool { return f.data || len(f.name) > 0 }

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
	end := lineEnd(p)
	if f.state == stData && end > 0 {
		f.handler.Data(p[:end])
	}
	if end == len(p) {
		return end
	}
	f.endLine(p[end])
	return end + 1
}

// lineEnd gives the index of the first LF or CR, or the length.
func lineEnd(p []byte) int {
	i := 0
	for ; i+swar.Size <= len(p); i += swar.Size {
		word := swar.Word(p[i:])
		if swar.Below(word, max('\n', '\r')+1) == 0 { // as in nearly all of a text
			continue
		}
		if marks := swar.Equal(word, '\n') | swar.Equal(word, '\r'); marks != 0 {
			return i + swar.First(marks)
		}
	}
	for i < len(p) && p[i] != '\n' && p[i] != '\r' {
		i++
	}
	return i
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
				f.bounded = f.bom == len(mark)
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
			f.dataByte(c)
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

func (f *Framer) dataByte(c byte) {
	f.one[0] = c
	f.handler.Data(f.one[:])
}

func (f *Framer) nameByte(c byte) {
	if len(f.name) < maxName {
		f.name = append(f.name, c)
	}
}

// startValue begins the value of the field just named.
func (f *Framer) startValue() {
	switch inplace.String(f.field) {
	case "data":
		f.startData()
	case "event":
		f.name, f.state = f.name[:0], stName
	default: // a comment's name is empty
		f.state = stIgnore
	}
	f.field = f.field[:0]
}

// startData begins the value of a data field.
func (f *Framer) startData() {
	if f.data {
		f.dataByte('\n')
	}
	f.data, f.state = true, stData
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
	f.bounded = !f.under()
}

func (f *Framer) dispatch() {
	if f.data {
		f.handler.Event(f.name)
	}
	f.data, f.name = false, f.name[:0]
}
