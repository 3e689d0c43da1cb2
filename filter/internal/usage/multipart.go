package usage

import (
	"bytes"
	"strings"

	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
)

// multipart reads the fields of a multipart/form-data body (RFC 7578) that comes in pieces: those that a JSON body would have
// as members of the same names. Files are counted and skipped. A body begins with its boundary, as all clients send it: what
// begins otherwise may be something else to its server.
type multipart struct {
	reader    *RequestReader
	delimiter string
	state     partState
	matched   int    // of the delimiter
	head      []byte // nil: the first boundary must come
	id        int    // of the field being read; 0: not wanted
	keep      int
	text      []byte
	size      int
}

type partState uint8

const (
	partBody   partState = iota
	partBehind           // behind a boundary: "--" ends the body, a line end begins a part
	partHead
	partEnd
	partFailed
)

// mostHead bounds the headers of a part.
const mostHead = 4 << 10

func newMultipart(boundary string, r *RequestReader) *multipart {
	m := &multipart{reader: r, delimiter: "\r\n--" + boundary}
	m.matched = len("\r\n") // a body begins as if a line had ended
	return m
}

func (m *multipart) failed() bool { return m.state == partFailed }
func (m *multipart) done() bool   { return m.state == partEnd }

func (m *multipart) write(p []byte) {
	for i := 0; i < len(p); {
		switch m.state {
		case partBody:
			i += m.body(p[i:])
		case partBehind, partHead:
			m.header(p[i])
			i++
		default:
			return
		}
	}
}

// body takes bytes of a part, up to the next boundary. Only the boundary's first byte is a CR, so that a match that fails can
// begin anew nowhere but there.
func (m *multipart) body(p []byte) int {
	if m.matched == 0 {
		n := bytes.IndexByte(p, '\r')
		if n < 0 {
			n = len(p)
		}
		if n > 0 {
			m.add(p[:n])
			return n
		}
	}
	c := p[0]
	if c == m.delimiter[m.matched] {
		if m.matched++; m.matched == len(m.delimiter) {
			m.endPart()
			m.matched, m.state, m.head = 0, partBehind, m.head[:0]
		}
		return 1
	}
	if m.head == nil { // not even the first boundary
		m.state = partFailed
		return 1
	}
	m.add([]byte(m.delimiter[:m.matched]))
	m.matched = 0
	return 0
}

func (m *multipart) add(p []byte) {
	m.size += len(p)
	if room := m.keep - len(m.text); room > 0 {
		m.text = append(m.text, p[:min(room, len(p))]...)
	}
}

// header takes a byte of what stands before a part's content.
func (m *multipart) header(c byte) {
	if m.head = append(m.head, c); len(m.head) > mostHead {
		m.state = partFailed
		return
	}
	if m.state == partBehind {
		switch {
		case string(m.head) == "--":
			m.state = partEnd
		case c == '\n':
			if strings.Trim(string(m.head), " \t") != "\r\n" { // to some no boundary, or an end of lines that they go on with
				m.state = partFailed
				return
			}
			m.state, m.head = partHead, append(m.head[:0], "\r\n"...)
		}
		return
	}
	if c == '\n' && m.head[len(m.head)-2] != '\r' {
		m.state = partFailed
		return
	}
	if bytes.HasSuffix(m.head, []byte("\r\n\r\n")) {
		m.begin()
	}
}

// begin starts a part whose headers are complete.
func (m *multipart) begin() {
	m.state, m.id, m.keep, m.size, m.text = partBody, 0, 0, 0, m.text[:0]
	name, file, sure := disposition(string(m.head))
	if !sure {
		m.state = partFailed
		return
	}
	if !file {
		m.id, m.keep = m.reader.dialect.requestPaths.Top([]byte(name))
		m.keep = max(m.keep, len("false"))
	}
}

// disposition gives the name of a part, and whether it is a file. It is not sure where servers read a head in different ways:
// they differ in what they make of several such lines, of parameters that are encoded (RFC 2231), and of odd characters in names;
// and a model in a file without a name is a field to some.
func disposition(head string) (name string, file, sure bool) {
	lines := 0
	for line := range strings.SplitSeq(head, "\r\n") {
		field, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(strings.TrimSpace(field), "content-disposition") {
			if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") { // it goes on with the line before
				return "", false, false
			}
			continue
		}
		lines++
		for value != "" {
			var key, text string
			key, text, value = parameter(value)
			switch {
			case key == "name":
				name = text
			case key == "filename" || key == "filename*":
				file = true
			case strings.HasPrefix(key, "name*"), strings.HasPrefix(key, "filename*"):
				return "", false, false
			}
		}
	}
	return name, file, lines == 1 && !strings.ContainsAny(name, "<>\\'%") && (!file || !strings.EqualFold(name, "model"))
}

// parameter takes the first parameter of a header's value, its name in lower case, and gives what follows it. A quote behind a
// backslash doesn't end a text.
func parameter(value string) (name, text, rest string) {
	quoted, end := false, len(value)
scan:
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case c == ';' && !quoted:
			end = i
			break scan
		}
	}
	name, text, _ = strings.Cut(value[:end], "=")
	return strings.ToLower(strings.TrimSpace(name)), strings.Trim(strings.TrimSpace(text), `"`), value[min(end+1, len(value)):]
}

// endPart hands on a field. What is true or false in JSON is a word here.
func (m *multipart) endPart() {
	switch {
	case m.head == nil: // the first boundary
		m.head = make([]byte, 0, 128)
		return
	case m.id == 0:
		m.reader.draft.Prompt.Text -= int64(m.size)
		m.reader.draft.Prompt.Media += int64(m.size)
		return
	}
	kind := jsonscan.String
	switch word := strings.ToLower(string(m.text)); {
	case m.size > len("false"):
	case word == "true" || word == "1" || word == "on" || word == "yes":
		kind = jsonscan.True
	case word == "false":
		kind = jsonscan.False
	}
	if name, _ := m.reader.dialect.requestPaths.Top([]byte("model")); m.id == name {
		kind = jsonscan.String
	}
	m.reader.dialect.request(&m.reader.draft, value{id: m.id, kind: kind, text: m.text, size: m.size})
}
