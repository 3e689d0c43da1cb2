package find

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// resolve is what a document or an alias stands for; nil: nothing.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil {
		switch {
		case n.Kind == yaml.DocumentNode && len(n.Content) > 0:
			n = n.Content[0]
		case n.Kind == yaml.AliasNode:
			n = n.Alias
		case n.Kind == 0 || n.Kind == yaml.DocumentNode:
			return nil
		default:
			return n
		}
	}
	return nil
}

// get is the value of a mapping's key; nil: there is none.
func get(n *yaml.Node, key string) *yaml.Node {
	if n = resolve(n); n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return resolve(n.Content[i+1])
		}
	}
	return nil
}

// text is a scalar's text.
func text(n *yaml.Node) string {
	if n == nil || n.Kind != yaml.ScalarNode {
		return ""
	}
	return n.Value
}

// isJSON tells a JSON object from YAML.
func isJSON(text []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) && json.Valid(text)
}

// half is half of a character that JSON writes as two escapes, which YAML doesn't know.
var half = regexp.MustCompile(`\\u[dD][89a-fA-F][0-9a-fA-F]{2}`)

// plainJSON is JSON that YAML's reader takes too, of the same lines: without tabs, which its strings can't hold, and without those halves.
func plainJSON(text []byte) []byte {
	return half.ReplaceAll(bytes.ReplaceAll(text, []byte("\t"), []byte(" ")), []byte(`\u003f`))
}

// converter writes YAML as JSON, as Envoy and Kubernetes do before the filter gets it. Keys that are there twice stay, for the filter's parser to
// find them.
type converter struct {
	out  bytes.Buffer
	left int // nodes that may still be written
}

func toJSON(n *yaml.Node) ([]byte, error) {
	c := converter{left: maxNodes}
	err := c.value(n)
	return c.out.Bytes(), err
}

func (c *converter) value(n *yaml.Node) error {
	if n = resolve(n); n == nil {
		c.out.WriteString("null")
		return nil
	}
	if c.left--; c.left < 0 {
		return errLarge
	}
	switch n.Kind { //nolint:exhaustive // resolve leaves no others
	case yaml.MappingNode:
		return c.mapping(n)
	case yaml.SequenceNode:
		return c.sequence(n)
	default:
		c.scalar(n)
		return nil
	}
}

func (c *converter) mapping(n *yaml.Node) error {
	c.out.WriteByte('{')
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := resolve(n.Content[i])
		if key == nil || key.Kind != yaml.ScalarNode {
			return fmt.Errorf(":%d: a key that isn't a word", n.Content[i].Line)
		}
		if i > 0 {
			c.out.WriteByte(',')
		}
		c.string(key.Value)
		c.out.WriteByte(':')
		if err := c.value(n.Content[i+1]); err != nil {
			return err
		}
	}
	c.out.WriteByte('}')
	return nil
}

func (c *converter) sequence(n *yaml.Node) error {
	c.out.WriteByte('[')
	for i, child := range n.Content {
		if i > 0 {
			c.out.WriteByte(',')
		}
		if err := c.value(child); err != nil {
			return err
		}
	}
	c.out.WriteByte(']')
	return nil
}

// The words that Envoy's and Kubernetes' readers of YAML take for booleans.
var (
	yes = []string{"yes", "Yes", "YES", "on", "On", "ON"}
	no  = []string{"no", "No", "NO", "off", "Off", "OFF"}
)

func (c *converter) scalar(n *yaml.Node) {
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle|yaml.TaggedStyle) != 0
	var value any
	if !quoted && isNumber(n.Value) {
		c.out.WriteString(n.Value) // as it is written
		return
	}
	switch {
	case !quoted && slices.Contains(yes, n.Value):
		value = true
	case !quoted && slices.Contains(no, n.Value):
		value = false
	case n.ShortTag() == "!!timestamp" || n.Decode(&value) != nil:
		value = n.Value
	}
	switch v := value.(type) {
	case nil:
		c.out.WriteString("null")
	case bool:
		c.out.WriteString(strconv.FormatBool(v))
	case int, int64, uint64:
		fmt.Fprint(&c.out, v)
	default:
		if f, ok := v.(float64); ok {
			if number, err := json.Marshal(f); err == nil { // not infinite
				c.out.Write(number)
				return
			}
		}
		c.string(n.Value)
	}
}

// isNumber tells whether text is a number as JSON has them.
func isNumber(text string) bool {
	return text != "" && (text[0] == '-' || '0' <= text[0] && text[0] <= '9') && json.Valid([]byte(text))
}

func (c *converter) string(s string) {
	text, _ := json.Marshal(s) // a string is always one
	c.out.Write(text)
}
