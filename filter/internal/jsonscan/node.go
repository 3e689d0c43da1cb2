package jsonscan

import (
	"strings"

	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// Path asks for the value at one place in a document.
type Path struct {
	ID   int    // what the Handler is told; any number but 0
	Path string // member names joined by "."; "*" is every element of an array
	Keep int    // bytes of a string's text to keep; 0: only its length is of interest
}

// Node is a compiled set of paths. It is immutable and may be shared by any number of scanners.
type Node struct {
	id      int
	keep    int
	members []member
	element *Node
}

type member struct {
	name string
	node *Node
}

// Compile builds the tree that a Scanner walks beside the document.
func Compile(paths ...Path) *Node {
	root := &Node{}
	for _, path := range paths {
		node := root
		for name := range strings.SplitSeq(path.Path, ".") {
			node = node.grow(name)
		}
		node.id, node.keep = path.ID, path.Keep
	}
	return root
}

func (n *Node) grow(name string) *Node {
	if name == "*" {
		if n.element == nil {
			n.element = &Node{}
		}
		return n.element
	}
	if child := n.member(name); child != nil {
		return child
	}
	child := &Node{}
	n.members = append(n.members, member{name, child})
	return child
}

// member is linear: the documents read here have few wanted names a level, and most names differ in length.
func (n *Node) member(name string) *Node {
	for i := range n.members {
		if m := &n.members[i]; len(m.name) == len(name) && m.name == name { // TinyGo calls a function to compare
			return m.node
		}
	}
	return nil
}

// folded is member for names that differ in case, as encoding/json compares them.
func (n *Node) folded(name string) *Node {
	for i := range n.members {
		if foldable(n.members[i].name, name) && strings.EqualFold(n.members[i].name, name) {
			return n.members[i].node
		}
	}
	return nil
}

// foldable says, at the price of a look, whether two names may differ in case only. Letters beyond ASCII that are some
// letter of ASCII in another case, as the Kelvin sign is a k, are longer.
func foldable(wanted, name string) bool {
	return len(name) >= len(wanted) && len(name) > 0 && (name[0]|0x20 == wanted[0]|0x20 || name[0] >= 0x80) &&
		(len(name) == len(wanted) || !ascii(name))
}

func ascii(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}

// Top gives the id and the Keep of a member of the document itself; the id is 0 if it is not wanted.
func (n *Node) Top(name []byte) (id, keep int) {
	if child := n.member(inplace.String(name)); child != nil {
		return child.id, child.keep
	}
	return 0, 0
}
