package jsonscan

// Paths gives the paths that the node was compiled from, for documentation. Those that begin alike stand together.
func (n *Node) Paths() []string { return n.paths("", nil) }

func (n *Node) paths(prefix string, paths []string) []string {
	if n.id != 0 {
		paths = append(paths, prefix)
	}
	if prefix != "" {
		prefix += "."
	}
	for _, m := range n.members {
		paths = m.node.paths(prefix+m.name, paths)
	}
	if n.element != nil {
		paths = n.element.paths(prefix+"*", paths)
	}
	return paths
}
