package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/internal/docpages"
)

// group is a chapter of the reference: top-level keys that an operator thinks of together.
type group struct {
	title, intro string
	keys         []string
}

// groups are in the order in which they are met. A key that none of them has is in the last.
var groups = []group{
	{"The plugin", "What holds for all of it.", []string{"namespace", "mode", "requestHold"}},
	{"Who asks", "[Identity](identity.md) has examples.", []string{"identity"}},
	{"What is asked for", "The dialect follows from the [path](dialects.md).", []string{"operations", "unknown", "models"}},
	{"What it costs", "How tokens are counted, estimated and priced.", []string{"usage", "prices", "unpriced"}},
	{"Limits", "What a caller may use. [Limits](limits.md) helps to choose; a limit of a [fleet](fleet.md) needs `fleet`, too.", []string{"limits", "fleet"}},
	{"Priority", "Who goes first where something waits: [priority](priority.md).", []string{"priority"}},
	{"Upstreams", "What is protected. Queue, slots, budget and retreat: [priority](priority.md). Latency, throttle and breaker: [gates](gates.md). [Pressure](pressure.md).",
		[]string{"upstreams"}},
	{"Where pressure is read", "[Pressure](pressure.md) says how to run the exporter.", []string{"pressureSource"}},
	{"What clients are told", "[Reasons](reasons.md) has each refusal; [clients](clients.md) what they make of it.",
		[]string{"statusCode", "errorFormat", "retry", "rateLimitHeaders", "rateLimitStyle"}},
	{"What operators see", "[The admin surface](admin.md), and the [filter state](filter-state.md).", []string{"publish", "admin"}},
	{"More", "", nil},
}

// reference is the reference of all keys, in Markdown. Its examples are those of full.yaml, which has every key.
type reference struct {
	b       strings.Builder
	example *yaml.Node
	written []table
}

// table is one that was written, of an object's keys.
type table struct {
	at   string
	keys []config.Property
}

// configurationReference makes it of what the configuration says of itself.
func configurationReference(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "config/examples/full.yaml"))
	if err != nil {
		return "", err
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		return "", err
	}
	if len(document.Content) == 0 {
		return "", errors.New("full.yaml is empty: want an example of each key")
	}
	r := reference{example: document.Content[0]}
	s := config.Describe()
	for _, g := range groups {
		r.group(&g, &s)
	}
	return r.b.String(), nil
}

// group writes a chapter: the keys in a table, and then what has keys of its own.
func (r *reference) group(g *group, s *config.Schema) {
	own := *s
	own.Properties = nil
	for _, p := range s.Properties {
		if slices.Contains(g.keys, p.Name) || g.keys == nil && !grouped(p.Name) {
			own.Properties = append(own.Properties, p)
		}
	}
	if own.Properties == nil {
		return
	}
	slices.SortStableFunc(own.Properties, func(a, b config.Property) int {
		return cmp.Compare(slices.Index(g.keys, a.Name), slices.Index(g.keys, b.Name))
	})
	fmt.Fprintf(&r.b, "\n## %s\n", g.title)
	if g.intro != "" {
		fmt.Fprintf(&r.b, "\n%s\n", g.intro)
	}
	r.section("", &own)
}

func grouped(key string) bool {
	return slices.ContainsFunc(groups, func(g group) bool { return slices.Contains(g.keys, key) })
}

// section writes the table of one object's keys, and after it those of the objects in it.
func (r *reference) section(path string, s *config.Schema) {
	same := slices.IndexFunc(r.written, func(t table) bool { return reflect.DeepEqual(t.keys, s.Properties) })
	if same >= 0 {
		at := r.written[same].at
		fmt.Fprintf(&r.b, "\nThe keys are those of [`%s`](#%s).\n", at, docpages.Anchor(at))
		return
	}
	r.written = append(r.written, table{path, s.Properties})
	if path != "" || len(s.Properties) > 1 {
		r.b.WriteString("\n| Key | Value | Default | Example | |\n|---|---|---|---|---|\n")
		for _, p := range s.Properties {
			r.row(path, s, &p)
		}
	}
	for _, p := range s.Properties {
		inner, at := within(join(path, p.Name), &p.Schema)
		if inner == nil {
			continue
		}
		fmt.Fprintf(&r.b, "\n### `%s`\n\n%s\n", at, p.Schema.Doc)
		r.section(at, inner)
	}
}

// within is the object with known keys that a value is, or a list of; nil: it is neither.
func within(path string, s *config.Schema) (*config.Schema, string) {
	switch {
	case s.Properties != nil:
		return s, path
	case s.Items != nil && s.Items.Properties != nil:
		return s.Items, path + "[]"
	default:
		return nil, ""
	}
}

// row writes one key's.
func (r *reference) row(path string, of *config.Schema, p *config.Property) {
	inner, at := within(join(path, p.Name), &p.Schema)
	value, example, doc := cell(want(&p.Schema)), "", cell(p.Schema.Doc)
	if inner != nil {
		value = fmt.Sprintf("[%s](#%s)", p.Schema.Want, docpages.Anchor(at))
	} else if node := find(r.example, strings.Split(join(path, p.Name), ".")); node != nil {
		example = code(flow(p.Name, node))
	}
	if p.Schema.Fixed != "" {
		reason, _, _ := strings.Cut(p.Schema.Fixed, "; want")
		doc += " No [override](admin.md#change-the-configuration-while-it-runs) changes it: it " + reason + "."
	}
	if p.Schema.Since != config.FirstRelease {
		doc += " Since " + p.Schema.Since + "."
	}
	fmt.Fprintf(&r.b, "| `%s` | %s | %s | %s | %s |\n", p.Name, value, standard(of, p, inner != nil), example, doc)
}

// want is a value's type and range, without the examples that the example's column has.
func want(s *config.Schema) string {
	text := strings.Replace(s.Want, ` such as "300ms", "2s" or "1h"`, "", 1)
	return strings.ReplaceAll(text, "a whole number", "an integer")
}

// standard is a key's default, or that it must be given.
func standard(of *config.Schema, p *config.Property, object bool) string {
	needed := slices.ContainsFunc(of.Needs, func(n config.Need) bool { return n.Key == p.Name })
	switch {
	case needed || slices.Contains(of.Required, p.Name):
		return "**required**"
	case p.Schema.Default == nil && p.Schema.Values != nil:
		return "`{}`"
	case object && p.Schema.Properties != nil, p.Schema.Default == nil:
		return ""
	case p.Schema.Default == "":
		return "`\"\"`"
	}
	var node yaml.Node
	if err := node.Encode(p.Schema.Default); err != nil {
		return ""
	}
	return code(inline(&node))
}

// find gives the first value of a path in the example; nil: it has none.
func find(node *yaml.Node, path []string) *yaml.Node {
	if len(path) == 0 {
		return node
	}
	key, listed := strings.CutSuffix(path[0], "[]")
	for i := 0; node.Kind == yaml.MappingNode && i < len(node.Content); i += 2 {
		if node.Content[i].Value != key {
			continue
		}
		value := node.Content[i+1]
		if !listed {
			return find(value, path[1:])
		}
		for _, entry := range value.Content {
			if found := find(entry, path[1:]); found != nil {
				return found
			}
		}
	}
	return nil
}

// flow is a key and its value on one line of YAML.
func flow(key string, value *yaml.Node) string { return key + ": " + inline(value) }

func inline(node *yaml.Node) string {
	bare(node)
	text, err := yaml.Marshal(node)
	if err != nil {
		return err.Error()
	}
	return strings.Join(strings.Fields(string(text)), " ")
}

// bare makes a node one line without comments.
func bare(node *yaml.Node) {
	node.HeadComment, node.LineComment, node.FootComment = "", "", ""
	if node.Kind != yaml.ScalarNode {
		node.Style = yaml.FlowStyle
	}
	for _, child := range node.Content {
		bare(child)
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// code is a text as code in a table's cell.
func code(text string) string { return "`" + strings.ReplaceAll(text, "|", "\\|") + "`" }

// cell is a text in a table's cell: what looks like HTML or a border is escaped.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;", "*", "\\*").Replace(text)
}
