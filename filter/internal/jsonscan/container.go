package jsonscan

import "github.com/spillway-proxy/spillway/filter/internal/inplace"

// push enters an object or array.
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

// enterMember goes on behind a member's name.
func (s *Scanner) enterMember(text []byte) {
	s.node, s.folded, s.state = nil, false, stColon
	parent := s.container()
	if parent == nil || len(text) > maxKey {
		return
	}
	name := inplace.String(text)
	if s.node = parent.member(name); s.node == nil && s.lenient {
		s.node = parent.folded(name)
		s.folded = s.node != nil
	}
}
