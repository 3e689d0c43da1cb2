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
	s.handler, s.node, s.state, s.depth, s.bom = handler, root, stStart, 0, 0
	s.arrays, s.text = s.arrays[:0], s.text[:0]
}

// Write takes the next piece of the document.
//
// Strings, colons and commas, which are most of a document, are handled here: a call is what costs most in Go's
// WebAssembly.
func (s *Scanner) Write(p []byte) {
	for i := 0; i < len(p); {
		c := p[i]
		switch s.state {
		case stString:
			start := i
			for i < len(p) && plain[p[i]] {
				i++
			}
			if s.keep == 0 && s.high == 0 {
				s.size += i - start
			} else if i > start {
				s.add(p[start:i])
			}
			if i == len(p) {
				return
			}
			s.special(p[i])
			i++
		case stColon:
			i++
			if c == ':' {
				s.state = stValue
			} else {
				s.space(c)
			}
		case stAfter:
			i++
			if c == ',' {
				s.next()
			} else {
				s.close(c)
			}
		case stEscape:
			i++
			s.escape(c)
		case stUnicode:
			i++
			s.hex(c)
		case stNumber:
			if s.number.next(c) {
				i++
				s.keepByte(c)
				continue
			}
			s.endNumber()
		case stLiteral:
			i++
			s.letter(c)
		case stFailed:
			return
		default:
			i++
			s.structure(c)
		}
	}
}

// plain are the bytes that stand for themselves inside a string.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = c >= ' ' && c != '"' && c != '\\'
	}
	return t
}()

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

// space takes a byte that has to be white space.
func (s *Scanner) space(c byte) {
	if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
		s.state = stFailed
	}
}

// structure takes one byte where a value, a name or the end of a container must come.
func (s *Scanner) structure(c byte) {
	switch {
	case s.state == stStart && s.skipBOM(c):
	case c == ' ' || c == '\t' || c == '\n' || c == '\r':
	case s.state == stValue, s.state == stStart:
		s.begin(c)
	case s.state == stElementOrEnd && c == ']', s.state == stMemberOrEnd && c == '}':
		s.pop()
	case s.state == stElementOrEnd:
		s.begin(c)
	case c == '"' && (s.state == stMember || s.state == stMemberOrEnd):
		s.isName, s.keep, s.size, s.high = true, 0, 0, 0
		s.text = s.text[:0]
		if s.container() != nil {
			s.keep = maxKey
		}
		s.state = stString
	default:
		s.state = stFailed
	}
}

// begin starts a value.
func (s *Scanner) begin(c byte) {
	s.text, s.keep, s.size, s.high = s.text[:0], 0, 0, 0
	if s.node != nil {
		s.keep = s.node.keep
	}
	switch c {
	case '"':
		s.isName = false
		s.state = stString
	case '{':
		s.push(Object)
	case '[':
		s.push(Array)
	case 't':
		s.literal, s.matched, s.state = "true", 1, stLiteral
	case 'f':
		s.literal, s.matched, s.state = "false", 1, stLiteral
	case 'n':
		s.literal, s.matched, s.state = "null", 1, stLiteral
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

// next goes on behind a comma.
func (s *Scanner) next() {
	if !s.inArray() {
		s.state = stMember
		return
	}
	s.enterElement()
	s.state = stValue
}

func (s *Scanner) enterElement() {
	s.node = nil
	if parent := s.container(); parent != nil {
		s.node = parent.element
	}
}

// close takes what is no comma behind a value inside a container.
func (s *Scanner) close(c byte) {
	switch {
	case c == '}' && !s.inArray(), c == ']' && s.inArray():
		s.pop()
	default:
		s.space(c)
	}
}
