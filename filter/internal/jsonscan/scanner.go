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
package jsonscan

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

const (
	stValue        state = iota // a value must come
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
	state   state
	depth   int
	arrays  []uint64          // a bit per level: 1 is an array
	nodes   [maxTracked]*Node // the node of the container at each tracked level
	node    *Node             // the node of the value being read or awaited; nil: not wanted

	isName  bool // the string being read is a member's name
	text    []byte
	keep    int
	size    int
	unicode rune // the \u escape being read
	digits  int
	high    rune // a high surrogate waiting for its other half

	number  numberState
	literal string
	matched int
	bom     int
}

// Reset makes the scanner ready for a new document.
func (s *Scanner) Reset(root *Node, handler Handler) {
	arrays, text := s.arrays[:0], s.text[:0]
	*s = Scanner{handler: handler, node: root, arrays: arrays, text: text}
}

// Write takes the next piece of the document.
func (s *Scanner) Write(p []byte) {
	for i := 0; i < len(p); {
		switch s.state {
		case stFailed:
			return
		case stString:
			i += s.string(p[i:])
		case stEscape:
			s.escape(p[i])
			i++
		case stUnicode:
			s.hex(p[i])
			i++
		case stNumber:
			if s.number.next(p[i]) {
				s.keepByte(p[i])
				i++
				continue
			}
			s.endNumber()
		case stLiteral:
			if p[i] != s.literal[s.matched] {
				s.state = stFailed
				return
			}
			i++
			if s.matched++; s.matched == len(s.literal) {
				s.endLiteral()
			}
		default:
			s.structure(p[i])
			i++
		}
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

// Failed says that the input so far can't be the beginning of JSON.
func (s *Scanner) Failed() bool { return s.state == stFailed }

// structure takes one byte outside strings, numbers and literals.
func (s *Scanner) structure(c byte) {
	if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
		s.noBOM()
		return
	}
	switch s.state {
	case stValue:
		s.begin(c)
	case stElementOrEnd:
		if c == ']' {
			s.pop()
			return
		}
		s.begin(c)
	case stMemberOrEnd:
		if c == '}' {
			s.pop()
			return
		}
		s.name(c)
	case stMember:
		s.name(c)
	case stColon:
		if c != ':' {
			s.state = stFailed
			return
		}
		s.state = stValue
	case stAfter:
		s.after(c)
	default:
		s.state = stFailed
	}
}

func (s *Scanner) name(c byte) {
	if c != '"' {
		s.state = stFailed
		return
	}
	s.isName, s.keep, s.size, s.high = true, 0, 0, 0
	s.text = s.text[:0]
	if s.container() != nil {
		s.keep = maxKey
	}
	s.state = stString
}

// begin starts a value.
func (s *Scanner) begin(c byte) {
	if s.skipBOM(c) {
		return
	}
	if s.noBOM(); s.state == stFailed {
		return
	}
	s.text, s.keep, s.size, s.high = s.text[:0], 0, 0, 0
	if s.node != nil {
		s.keep = s.node.keep
	}
	switch c {
	case '{':
		s.push(Object)
	case '[':
		s.push(Array)
	case '"':
		s.isName = false
		s.state = stString
	case 't':
		s.startLiteral("true")
	case 'f':
		s.startLiteral("false")
	case 'n':
		s.startLiteral("null")
	default:
		if !s.number.start(c) {
			s.state = stFailed
			return
		}
		if s.node != nil {
			s.keep = maxNumber
		}
		s.keepByte(c)
		s.state = stNumber
	}
}

// skipBOM takes the three bytes of a UTF-8 byte order mark at the very start.
func (s *Scanner) skipBOM(c byte) bool {
	if s.bom == len(mark) || c != mark[s.bom] {
		return false
	}
	s.bom++
	return true
}

// noBOM says that no byte order mark can come any more; half a one is an error.
func (s *Scanner) noBOM() {
	if s.bom != 0 && s.bom != len(mark) {
		s.state = stFailed
	}
	s.bom = len(mark)
}

func (s *Scanner) startLiteral(word string) {
	s.literal, s.matched, s.state = word, 1, stLiteral
}

func (s *Scanner) endLiteral() {
	kind := Null
	switch s.literal {
	case "true":
		kind = True
	case "false":
		kind = False
	}
	s.value(kind)
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

func (s *Scanner) push(kind Kind) {
	if s.depth == MaxDepth {
		s.state = stFailed
		return
	}
	if s.node != nil && s.node.id != 0 {
		s.handler.Begin(s.node.id, kind)
	}
	word, bit := s.depth/64, uint64(1)<<(s.depth%64)
	if word == len(s.arrays) {
		s.arrays = append(s.arrays, 0)
	}
	if s.depth < maxTracked {
		s.nodes[s.depth] = s.node
	}
	s.depth++
	if kind == Array {
		s.arrays[word] |= bit
		s.enterElement()
		s.state = stElementOrEnd
		return
	}
	s.arrays[word] &^= bit
	s.node = nil
	s.state = stMemberOrEnd
}

func (s *Scanner) pop() {
	s.depth--
	s.ended()
}

// ended goes on after a complete value.
func (s *Scanner) ended() {
	if s.depth == 0 {
		s.state = stDone
		return
	}
	s.state = stAfter
}

func (s *Scanner) inArray() bool { return s.arrays[(s.depth-1)/64]>>((s.depth-1)%64)&1 == 1 }

// container is the node of the container being read.
func (s *Scanner) container() *Node {
	if s.depth == 0 || s.depth > maxTracked {
		return nil
	}
	return s.nodes[s.depth-1]
}

func (s *Scanner) enterElement() {
	s.node = nil
	if parent := s.container(); parent != nil {
		s.node = parent.element
	}
}

// after takes the byte behind a value inside a container.
func (s *Scanner) after(c byte) {
	array := s.inArray()
	switch {
	case c == ',' && array:
		s.enterElement()
		s.state = stValue
	case c == ',':
		s.state = stMember
	case c == ']' && array, c == '}' && !array:
		s.pop()
	default:
		s.state = stFailed
	}
}
