// Package manifest reads what tests ask of Kubernetes manifests.
package manifest

import (
	"strconv"
	"strings"
)

// At is what stands at a path of a parsed document, such as spec.containers.0.name; nil if there is nothing. A number as a step is
// the index of a list.
func At(document map[string]any, path string) any {
	var node any = document
	for step := range strings.SplitSeq(path, ".") {
		switch n := node.(type) {
		case map[string]any:
			node = n[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i >= len(n) {
				return nil
			}
			node = n[i]
		default:
			return nil
		}
	}
	return node
}
