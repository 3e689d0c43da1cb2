// Package jsonscan reads JSON that arrives in pieces, keeps nothing of it but the values asked for, and decides whether
// the whole is valid by RFC 8259.
//
// A Scanner takes a document in chunks of any size and tells a Handler of the values at the paths of a Node. What was
// not asked for is checked and skipped, so memory is bounded by the Keep of the paths and by MaxDepth bits, however
// large the document or a string in it is. The same document gives the same calls however it is split. A repeated member
// is reported each time: a Handler that overwrites takes the last one, as the common servers do; Begin lets it forget
// what an earlier object of that name held.
//
// Worst moments: input that isn't JSON stops the scanner at its first wrong byte, and the rest is ignored; nesting
// beyond MaxDepth is treated the same. A byte order mark before the document is skipped. Text that is not UTF-8 is
// passed on as it is.
//
// What is to be read of a request is what its server reads of it, and servers differ. ResetLenient makes a scanner that
// reads what any of the common ones does: Python's NaN, Infinity and -Infinity; control characters inside strings; a
// document with something behind it, as Go's Decoder does; and member names in any case, as encoding/json does (Folded).
// Text brings a document into UTF-8, from whichever encoding Python's json finds it in.
package jsonscan

import "github.com/spillway-proxy/spillway/filter/internal/swar"

// MaxDepth is the deepest nesting that is read; it is encoding/json's own limit.
const MaxDepth = 10000

const (
	maxTracked = 16 // levels that a Node can reach
	maxKey     = 64 // bytes of a member name that can still match
	maxNumber  = 64 // bytes of a number's literal that are kept

	mark = "\xef\xbb\xbf" // a UTF-8 byte order mark
)

// Kind is the type of a JSON value.
type Kind uint8

// The kinds.
const (
	Null Kind = iota
	False
	True
	Number
	String
	Object
	Array
)

// Handler is told of the wanted values, in the order of the document.
type Handler interface {
	// Begin says that an object or array starts at a wanted path.
	Begin(id int, kind Kind)
	// Value gives a scalar. text is a string's unescaped text or a number's literal, cut to what the path keeps; it is
	// valid during the call only. size is a string's whole unescaped length in bytes.
	Value(id int, kind Kind, text []byte, size int)
}

type state uint8

// The states up to stAfter lie between values.
const (
	stStart        state = iota // a byte order mark or a value must come
	stValue                     // a value must come
	stElementOrEnd              // after "[": a value or "]"
	stMemberOrEnd               // after "{": a name or "}"
	stMember                    // after "," in an object: a name
	stColon                     // after a name
	stAfter                     // after a value: "," or the end of its container
	stString                    // inside a string
	stEscape                    // after a backslash
	stUnicode                   // inside the four digits of \u
	stNumber                    // inside a number
	stLiteral                   // inside true, false or null
	stDone                      // after the document: only white space may come
	stFailed                    // not JSON
)

// Scanner reads one document. Its zero value is not ready: call Reset.
type Scanner struct {
	handler Handler
	lenient bool
	folded  bool // the last member's name was a wanted one only but for its case
	state   state
	depth   int
	arrays  []uint64          // a bit per level: 1 is an array
	nodes   [maxTracked]*Node // the node of the container at each tracked level
	node    *Node             // the node of the value being read or awaited; nil: not wanted
	end     int64             // bytes of the document up to the end of the piece being read
	at      int64             // where the last value with a node begins

	isName  bool // the string being read is a member's name
	text    []byte
	keep    int
	size    int
	unicode rune // the \u escape being read
	hexes   int  // digits of it that were read
	high    rune // a high surrogate waiting for its other half

	number  numberState
	literal string
	matched int
	bom     int
}

// Reset makes the scanner ready for a new document.
func (s *Scanner) Reset(root *Node, handler Handler) {
	s.handler, s.node, s.state, s.depth, s.bom, s.end = handler, root, stStart, 0, 0, 0
	s.arrays, s.text = s.arrays[:0], s.text[:0]
	s.lenient, s.folded = false, false
}

// ResetLenient is Reset for a document that is read as leniently as any common server does.
func (s *Scanner) ResetLenient(root *Node, handler Handler) {
	s.Reset(root, handler)
	s.lenient = true
}

// Write takes the next piece of the document.
func (s *Scanner) Write(p []byte) {
	for i := s.Next(p); i < len(p) && s.state == stDone && !s.lenient; i++ {
		s.space(p[i])
	}
}

// Next takes as much of the next piece as belongs to the document, up to its last byte, and gives its length.
func (s *Scanner) Next(p []byte) int {
	s.end += int64(len(p))
	i := 0
	for i < len(p) && s.state != stDone {
		switch s.state {
		case stString:
			i += s.string(p[i:])
		case stEscape:
			s.escape(p[i])
			i++
		case stUnicode:
			s.hex(p[i])
			i++
		case stNumber:
			i += s.digits(p[i:])
		case stLiteral:
			s.letter(p[i])
			i++
		case stFailed:
			return i
		default:
			i += s.structure(p[i:])
		}
	}
	s.end -= int64(len(p) - i)
	return i
}

// Done says that the document is whole.
func (s *Scanner) Done() bool { return s.state == stDone }

// space takes a byte that has to be white space.
func (s *Scanner) space(c byte) {
	if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
		s.state = stFailed
	}
}

// Close ends the document and says whether it was valid JSON.
func (s *Scanner) Close() bool {
	if s.state == stNumber && s.depth == 0 { // inside a container it may have been cut off
		s.endNumber()
	}
	if s.state != stDone {
		s.state = stFailed
		return false
	}
	return true
}

// At gives where the value begins that the Handler is being told of, in bytes from the start of the document.
func (s *Scanner) At() int64 { return s.at }

// Folded says that the value which the Handler is being told of belongs to a member whose name differs in case from the
// wanted one.
func (s *Scanner) Folded() bool { return s.folded }

// Partial gives the wanted string that is being read: its path's id, its text as far as it is kept, and its size so far. The id
// is 0 if there is none.
func (s *Scanner) Partial() (id int, text []byte, size int) {
	inside := s.state == stString || s.state == stEscape || s.state == stUnicode
	if !inside || s.isName || s.node == nil {
		return 0, nil, 0
	}
	return s.node.id, s.text, s.size
}

// Failed says that the input so far can't be the beginning of JSON.
func (s *Scanner) Failed() bool { return s.state == stFailed }

// structure takes what lies outside strings, numbers and literals, and with it all of these that are whole in p and
// simple; it stops where one isn't. A call is what costs most in Go's WebAssembly, hence one loop and few of them.
func (s *Scanner) structure(p []byte) int {
	i := 0
	for i < len(p) && s.state <= stAfter {
		if s.state == stStart && s.skipBOM(p[i]) {
			i++
			continue
		}
		n := 1
		switch c := p[i]; c {
		case ' ', '\t', '\n', '\r':
		case '"':
			if s.state == stMember || s.state == stMemberOrEnd {
				n = s.name(p[i:])
			} else {
				n = s.begin(p[i:])
			}
		case ':':
			s.expect(stColon, stValue)
		case ',':
			s.comma()
		case '}', ']':
			s.close(c)
		default:
			n = s.begin(p[i:])
		}
		i += n
	}
	return i
}

// expect goes on to the next state from the only one that is right.
func (s *Scanner) expect(now, next state) {
	if s.state != now {
		next = stFailed
	}
	s.state = next
}

// comma goes on to the next member or element.
func (s *Scanner) comma() {
	if s.state != stAfter {
		s.state = stFailed
		return
	}
	s.state = stMember
	if s.inArray() {
		s.enterElement()
		s.state = stValue
	}
}

// close ends the container being read.
func (s *Scanner) close(c byte) {
	array := c == ']'
	empty := stMemberOrEnd
	if array {
		empty = stElementOrEnd
	}
	if s.state != empty && (s.state != stAfter || s.inArray() != array) {
		s.state = stFailed
		return
	}
	s.depth--
	s.ended()
}

// name takes a member's name, if it is simple, else its first quote.
func (s *Scanner) name(p []byte) int {
	end := simple(p)
	if end == 0 {
		s.isName, s.keep, s.size, s.high, s.text = true, 0, 0, 0, s.text[:0]
		if s.container() != nil {
			s.keep = maxKey
		}
		s.state = stString
		return 1
	}
	s.enterMember(p[1:end])
	return end + 1
}

// begin takes a value, if it is simple, else its first byte.
func (s *Scanner) begin(p []byte) int {
	if s.state > stElementOrEnd {
		s.state = stFailed
		return 0
	}
	if s.node != nil {
		s.at = s.end - int64(len(p))
	}
	switch c := p[0]; c {
	case '"':
		if end := simple(p); end > 0 {
			s.report(String, p[1:end], end-1)
			return end + 1
		}
		s.start(stString)
	case '{':
		s.push(Object)
	case '[':
		s.push(Array)
	case 't':
		s.literal = "true"
		s.start(stLiteral)
	case 'f':
		s.literal = "false"
		s.start(stLiteral)
	case 'n':
		s.literal = "null"
		s.start(stLiteral)
	case 'N', 'I':
		if !s.lenient {
			s.state = stFailed
			return 0
		}
		s.start(stLiteral)
		s.literal = notFinite(c)
	default:
		if end := integer(p); end > 0 {
			s.report(Number, p[:end], 0)
			return end
		}
		if !s.number.start(c) {
			s.state = stFailed
			return 0
		}
		s.start(stNumber)
		s.keepByte(c)
	}
	return 1
}

// start begins a value that comes in several steps.
func (s *Scanner) start(st state) {
	s.text, s.keep, s.size, s.high, s.isName, s.matched = s.text[:0], 0, 0, 0, false, 1
	if s.node != nil {
		s.keep = s.node.keep
		if st == stNumber {
			s.keep = maxNumber
		}
	}
	s.state = st
}

// report gives a scalar that was taken in one step.
func (s *Scanner) report(kind Kind, text []byte, size int) {
	if node := s.node; node != nil && node.id != 0 {
		keep := node.keep
		if kind == Number {
			keep = maxNumber
		}
		s.handler.Value(node.id, kind, text[:min(len(text), keep)], size)
	}
	s.ended()
}

// simple gives the index of the quote that ends the string p begins with; 0 if it has escapes or isn't whole.
func simple(p []byte) int {
	if end := 1 + Plain(p[1:]); end < len(p) && p[end] == '"' {
		return end
	}
	return 0
}

// Plain gives how many bytes p begins with that stand for themselves inside a string.
func Plain(p []byte) int {
	i := 0
	for ; i+swar.Size <= len(p); i += swar.Size {
		word := swar.Word(p[i:])
		if marks := swar.Below(word, ' ') | swar.Equal(word, '"') | swar.Equal(word, '\\'); marks != 0 {
			return i + swar.First(marks)
		}
	}
	for i < len(p) && plain[p[i]] {
		i++
	}
	return i
}

// integer gives the length of the integer p begins with; 0 if it is another kind of number or isn't whole.
func integer(p []byte) int {
	for i, c := range p {
		if c >= '0' && c <= '9' {
			continue
		}
		if c != '.' && c != 'e' && c != 'E' && (p[0] != '0' || i == 1) {
			return i
		}
		return 0
	}
	return 0
}

// plain are the bytes that stand for themselves inside a string.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return t
}()

// skipBOM takes the three bytes of a UTF-8 byte order mark at the very start. Whatever else comes first, none can follow;
// half a one is an error.
func (s *Scanner) skipBOM(c byte) bool {
	if s.bom < len(mark) && c == mark[s.bom] {
		s.bom++
		return true
	}
	if s.bom%len(mark) != 0 {
		s.state = stFailed
		return true
	}
	s.bom = len(mark)
	return false
}

// letter takes the next letter of true, false or null.
func (s *Scanner) letter(c byte) {
	if c != s.literal[s.matched] {
		s.state = stFailed
		return
	}
	if s.matched++; s.matched == len(s.literal) {
		s.endLiteral()
	}
}

// digits takes what continues a number.
func (s *Scanner) digits(p []byte) int {
	for i, c := range p {
		if !s.number.next(c) {
			if s.lenient && s.number == numMinus && c == 'I' {
				s.state, s.literal, s.matched = stLiteral, notFinite(c), 1
				return i + 1
			}
			s.endNumber()
			return i
		}
		s.keepByte(c)
	}
	return len(p)
}

func (s *Scanner) endLiteral() {
	kind := Null
	switch s.literal {
	case "true":
		kind = True
	case "false":
		kind = False
	case infinity, notANumber:
		kind = Number
		if s.node != nil {
			s.text = append(s.text, s.literal...) // behind its sign
		}
	}
	s.value(kind)
}

// What Python's json takes for numbers.
const infinity, notANumber = "Infinity", "NaN"

// notFinite is the one of them that begins with the letter.
func notFinite(c byte) string {
	if c == 'N' {
		return notANumber
	}
	return infinity
}

func (s *Scanner) endNumber() {
	if !s.number.complete() {
		s.state = stFailed
		return
	}
	s.value(Number)
}

// value reports a scalar and goes on behind it.
func (s *Scanner) value(kind Kind) {
	if s.node != nil && s.node.id != 0 {
		s.handler.Value(s.node.id, kind, s.text, s.size)
	}
	s.ended()
}
