package find

import (
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/spillway-proxy/spillway/config"
)

// atLine is how the parser says where text isn't JSON.
var atLine = regexp.MustCompile(`^invalid JSON at line ([0-9]+)`)

// lineOf is the line of the file that a problem is about: that of the key or entry, or of the nearest that is there around it.
func (c *Configuration) lineOf(p *config.Problem) int {
	if m := atLine.FindStringSubmatch(p.Message); m != nil && c.raw {
		if line, err := strconv.Atoi(m[1]); err == nil {
			return c.base + line
		}
	}
	n, line := resolve(c.tree), 0
	for path := p.Path; n != nil; {
		line = max(n.Line, line)
		var step string
		if step, path = nextStep(path); step == "" {
			break
		}
		var at int
		if n, at = follow(n, step); at > 0 {
			line = at
		}
	}
	if line == 0 {
		return c.Line
	}
	return c.base + line
}

// nextStep takes the first step off a path such as limits[0].match["a b"]: a key, or an index in brackets.
func nextStep(path string) (step, rest string) {
	path = strings.TrimPrefix(path, ".")
	if quoted, ok := strings.CutPrefix(path, "["); ok {
		if key, err := strconv.QuotedPrefix(quoted); err == nil {
			word, _ := strconv.Unquote(key) // it was found to be one
			return word, strings.TrimPrefix(quoted[len(key):], "]")
		}
		index, rest, _ := strings.Cut(quoted, "]")
		return "[" + index, rest
	}
	if end := strings.IndexAny(path, ".["); end >= 0 {
		return path[:end], path[end:]
	}
	return path, ""
}

// follow is what lies one step further, and the line where it begins; of a key that is there twice, the later one.
func follow(n *yaml.Node, step string) (next *yaml.Node, line int) {
	if index, ok := strings.CutPrefix(step, "["); ok {
		if i, err := strconv.Atoi(index); err == nil && n.Kind == yaml.SequenceNode && i >= 0 && i < len(n.Content) {
			return resolve(n.Content[i]), n.Content[i].Line
		}
		return nil, 0
	}
	if n.Kind != yaml.MappingNode {
		return nil, 0
	}
	for i := len(n.Content) - 2; i >= 0; i -= 2 {
		if n.Content[i].Value == step {
			return resolve(n.Content[i+1]), n.Content[i].Line
		}
	}
	return nil, 0
}
