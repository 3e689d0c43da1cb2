package jsonscan

// Mark is how far a Scanner has come in a document, between two values of it: where another document begins with the same bytes, a Scanner
// that goes on from there reads that one, too.
type Mark struct {
	state  state
	depth  int
	arrays uint64
	nodes  [maxTracked]*Node
	node   *Node
	end    int64
}

// Mark gives how far the document has come. ok is false inside of a string, number or literal, and deeper than paths reach.
func (s *Scanner) Mark() (m Mark, ok bool) {
	if s.state == stStart || s.state > stAfter || s.depth > maxTracked {
		return m, false
	}
	m = Mark{state: s.state, depth: s.depth, nodes: s.nodes, node: s.node, end: s.end}
	if len(s.arrays) > 0 {
		m.arrays = s.arrays[0]
	}
	return m, true
}

// Resume goes on from a mark, which a Scanner has made that was reset with the same Node, instead of from the beginning. The Handler isn't told
// again of what stands before it.
func (s *Scanner) Resume(m *Mark) {
	s.state, s.depth, s.nodes, s.node, s.end = m.state, m.depth, m.nodes, m.node, m.end
	if s.arrays = s.arrays[:0]; cap(s.arrays) == 0 {
		s.arrays = make([]uint64, 0, 1)
	}
	s.arrays = s.arrays[:1]
	s.arrays[0] = m.arrays
}
