// Package find finds configurations of the filter in files: the plugin's own, JSON or YAML, and what holds one, a WasmPlugin, an EnvoyFilter, Envoy
// Gateway's EnvoyExtensionPolicy, Envoy's own configuration; and tells the line of the file that something wrong with one is about.
//
// Its bounds: a file's size, and the nodes of a document with all that its aliases repeat.
package find

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/spillway-proxy/spillway/config"
)

// Configuration is a plugin configuration in a file.
type Configuration struct {
	What string // such as "WasmPlugin spillway"
	Line int    // where it begins
	JSON []byte // what the filter is given
	file string
	tree *yaml.Node // by which lines are found; nil: it can't be read
	text bool       // JSON is a text in YAML
	raw  bool       // JSON is text of the file: its lines are the file's, after base
	base int        // lines of the file before the tree's first
}

// errNone is what a file without a configuration gets.
var errNone = errors.New(": no configuration of Spillway: want one, or a WasmPlugin, EnvoyFilter, EnvoyExtensionPolicy or Envoy configuration with one")

// maxFileBytes is the largest file that is read: it is held in memory some times over.
const maxFileBytes = 16 << 20

// File returns the plugin configurations that a file holds, at least one; "-" is standard input. An error names the file, and a line of it where
// there is one to name.
func File(name string) ([]Configuration, error) {
	text, err := read(name)
	if err != nil {
		return nil, err
	}
	all, err := find(text, filepath.Ext(name) == ".json")
	if err != nil {
		return nil, fmt.Errorf("%s%w", name, err)
	}
	for i := range all {
		all[i].file = name
	}
	return all, nil
}

func read(name string) ([]byte, error) {
	file := os.Stdin
	if name != "-" {
		var err error
		if file, err = os.Open(name); err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // it was read only
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err == nil && len(text) > maxFileBytes {
		err = fmt.Errorf("%s: larger than %d MiB", name, maxFileBytes>>20)
	}
	return text, err
}

// wantStruct is what somebody gets who gives YAML as text.
const wantStruct = "the filter gets this text as it is, and reads JSON; to write YAML, make its @type type.googleapis.com/google.protobuf.Struct, and take out the |"

// Check reads the configuration as the filter does, and says what is wrong with it: a line each, which begins with file and line.
func (c *Configuration) Check() (config.Config, []string) {
	cfg, err := config.Parse(c.JSON)
	if err == nil {
		return cfg, nil
	}
	problems := config.Problems(err)
	lines := make([]string, len(problems))
	for i := range problems {
		p := &problems[i]
		lines[i] = fmt.Sprintf("%s:%d: %s: %s", c.file, c.lineOf(p), cmp.Or(p.Path, "configuration"), p.Message)
	}
	if c.text && c.tree != nil && c.tree.Kind == yaml.MappingNode && !isJSON(c.JSON) {
		lines = append(lines, fmt.Sprintf("%s:%d: %s", c.file, c.Line, wantStruct))
	}
	return cfg, lines
}

// find returns the plugin configurations that a file holds, at least one. An error begins with the place: ":LINE: ", or ": ". What is said to be
// JSON isn't taken for YAML.
func find(text []byte, saidJSON bool) ([]Configuration, error) {
	switch {
	case isJSON(text):
		text = plainJSON(text)
	case saidJSON:
		return []Configuration{{What: "configuration", Line: 1, JSON: text, raw: true}}, nil
	}
	var all []Configuration
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for documents := 0; ; documents++ {
		var document yaml.Node
		err := decoder.Decode(&document)
		switch {
		case errors.Is(err, io.EOF) && documents == 0: // an empty file is the default configuration
			return []Configuration{{What: "configuration", Line: 1}}, nil
		case errors.Is(err, io.EOF) && len(all) == 0:
			return nil, errNone
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, invalidYAML(err)
		}
		more, err := inDocument(resolve(&document))
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
}

// atYAMLLine is how the reader of YAML says where.
var atYAMLLine = regexp.MustCompile(`^yaml: line ([0-9]+): `)

func invalidYAML(err error) error {
	text := err.Error()
	if m := atYAMLLine.FindStringSubmatch(text); m != nil {
		return fmt.Errorf(":%s: invalid YAML: %s", m[1], text[len(m[0]):])
	}
	return fmt.Errorf(": invalid YAML: %s", strings.TrimPrefix(text, "yaml: "))
}

// inDocument finds what one document holds.
func inDocument(root *yaml.Node) ([]Configuration, error) {
	kind, resource := text(get(root, "kind")), text(get(root, "apiVersion")) != ""
	switch {
	case root == nil || root.Kind != yaml.MappingNode:
		return one("configuration", root)
	case resource && kind == "WasmPlugin":
		return inResource(root, get(get(root, "spec"), "pluginConfig"))
	case !resource && !isEnvoy(root):
		return one("configuration", root)
	}
	var all []Configuration
	w := walker{left: maxNodes, meet: func(plugin, configuration *yaml.Node) error {
		more, err := one(name(root, kind, plugin), configuration)
		all = append(all, more...)
		return err
	}}
	err := w.walk(root)
	return all, err
}

func inResource(root, configuration *yaml.Node) ([]Configuration, error) {
	what := name(root, "WasmPlugin", nil)
	if configuration == nil {
		return []Configuration{{What: what, Line: root.Line, tree: root}}, nil
	}
	return one(what, configuration)
}

// name is what a configuration is called: the resource's kind and name, or Envoy's name of the plugin.
func name(root *yaml.Node, kind string, plugin *yaml.Node) string {
	if kind != "" {
		return kind + " " + text(get(get(root, "metadata"), "name"))
	}
	return "plugin " + text(get(plugin, "name"))
}

// isEnvoy tells whether a document is Envoy's: its own configuration, or listeners in a file.
func isEnvoy(root *yaml.Node) bool {
	return get(root, "static_resources") != nil || get(root, "resources") != nil || get(root, "dynamic_resources") != nil
}

// maxNodes is how many nodes a document may have, with all that its aliases repeat.
const maxNodes = 1 << 17

// errLarge is what a document gets that has more.
var errLarge = errors.New(": too much YAML for a configuration, or aliases that repeat each other")

// walker looks for Wasm plugins in a document.
type walker struct {
	left int // nodes that may still be met
	meet func(plugin, configuration *yaml.Node) error
}

func (w *walker) walk(n *yaml.Node) error {
	if n = resolve(n); n == nil {
		return nil
	}
	if w.left--; w.left < 0 {
		return errLarge
	}
	if configuration, ok := ofPlugin(n); ok {
		return w.meet(n, configuration)
	}
	for _, child := range n.Content {
		if err := w.walk(child); err != nil {
			return err
		}
	}
	return nil
}

// ofPlugin is the configuration of a Wasm plugin, Envoy's or Envoy Gateway's, that is called spillway or runs a module that is.
func ofPlugin(n *yaml.Node) (configuration *yaml.Node, ok bool) {
	switch {
	case get(n, "vm_config") != nil:
		return get(n, "configuration"), isSpillway(n, "name", "root_id", "vm_config")
	case get(n, "code") != nil && get(n, "name") != nil:
		return get(n, "config"), isSpillway(n, "name", "rootID", "code")
	}
	return nil, false
}

func isSpillway(plugin *yaml.Node, keys ...string) bool {
	for _, key := range keys {
		if mentions(get(plugin, key), 8) {
			return true
		}
	}
	return false
}

// mentions tells whether a value, down to a depth, holds the filter's name.
func mentions(n *yaml.Node, depth int) bool {
	if n = resolve(n); n == nil || depth == 0 {
		return false
	}
	if n.Kind == yaml.ScalarNode {
		return strings.Contains(strings.ToLower(n.Value), "spillway")
	}
	for _, child := range n.Content {
		if mentions(child, depth-1) {
			return true
		}
	}
	return false
}

// one is the configuration that a value holds: itself, or what is in Envoy's StringValue or Struct.
func one(what string, n *yaml.Node) ([]Configuration, error) {
	switch kind := text(get(n, "@type")); {
	case strings.HasSuffix(kind, "/google.protobuf.StringValue"):
		if value := get(n, "value"); value != nil {
			return []Configuration{embedded(what, value)}, nil
		}
		return []Configuration{{What: what, Line: n.Line, tree: n}}, nil
	case strings.HasSuffix(kind, "/google.protobuf.Struct"):
		n = get(n, "value")
	}
	if n == nil {
		return []Configuration{{What: what, Line: 1}}, nil
	}
	converted, err := toJSON(n)
	if err != nil {
		return nil, err
	}
	return []Configuration{{What: what, Line: n.Line, JSON: converted, tree: n}}, nil
}

// embedded is a configuration that is given as text. The lines of a literal block are those of the file.
func embedded(what string, value *yaml.Node) Configuration {
	c := Configuration{What: what, Line: value.Line, JSON: []byte(value.Value)}
	c.text = true
	if value.Style&yaml.LiteralStyle == 0 {
		c.tree = &yaml.Node{Line: value.Line}
		return c
	}
	c.raw, c.base = true, value.Line
	var document yaml.Node
	if yaml.Unmarshal(plainJSON([]byte(value.Value)), &document) == nil {
		c.tree = resolve(&document)
	}
	return c
}
