package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// found is a plugin configuration in a file.
type found struct {
	what string     // such as "WasmPlugin spillway"
	line int        // where it begins
	json []byte     // what the filter is given
	tree *yaml.Node // by which lines are found; nil: it can't be read
	raw  bool       // json is text of the file: its lines are the file's, after base
	base int        // lines of the file before the tree's first
}

// errNone is what a file without a configuration gets.
var errNone = errors.New(": no configuration of Spillway: want one, or a WasmPlugin, EnvoyFilter, EnvoyExtensionPolicy or Envoy configuration with one")

// find returns the plugin configurations that a file holds, at least one. An error begins with the place: ":LINE: ", or ": ". What is said to be
// JSON isn't taken for YAML.
func find(text []byte, saidJSON bool) ([]found, error) {
	switch {
	case isJSON(text):
		text = plainJSON(text)
	case saidJSON:
		return []found{{what: "configuration", line: 1, json: text, raw: true}}, nil
	}
	var all []found
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for documents := 0; ; documents++ {
		var document yaml.Node
		err := decoder.Decode(&document)
		switch {
		case errors.Is(err, io.EOF) && documents == 0: // an empty file is the default configuration
			return []found{{what: "configuration", line: 1}}, nil
		case errors.Is(err, io.EOF) && len(all) == 0:
			return nil, errNone
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf(": invalid YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
		}
		more, err := inDocument(resolve(&document))
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
}

// inDocument finds what one document holds.
func inDocument(root *yaml.Node) ([]found, error) {
	kind, resource := text(get(root, "kind")), text(get(root, "apiVersion")) != ""
	switch {
	case root == nil || root.Kind != yaml.MappingNode:
		return one("configuration", root)
	case resource && kind == "WasmPlugin":
		return inResource(root, get(get(root, "spec"), "pluginConfig"))
	case !resource && !isEnvoy(root):
		return one("configuration", root)
	}
	var all []found
	w := walker{left: maxNodes, meet: func(plugin, configuration *yaml.Node) error {
		more, err := one(name(root, kind, plugin), configuration)
		all = append(all, more...)
		return err
	}}
	err := w.walk(root)
	return all, err
}

func inResource(root, configuration *yaml.Node) ([]found, error) {
	what := name(root, "WasmPlugin", nil)
	if configuration == nil {
		return []found{{what: what, line: root.Line, tree: root}}, nil
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
func one(what string, n *yaml.Node) ([]found, error) {
	switch kind := text(get(n, "@type")); {
	case strings.HasSuffix(kind, "/google.protobuf.StringValue"):
		if value := get(n, "value"); value != nil {
			return []found{embedded(what, value)}, nil
		}
		return []found{{what: what, line: n.Line, tree: n}}, nil
	case strings.HasSuffix(kind, "/google.protobuf.Struct"):
		n = get(n, "value")
	}
	if n == nil {
		return []found{{what: what, line: 1}}, nil
	}
	converted, err := toJSON(n)
	if err != nil {
		return nil, err
	}
	return []found{{what: what, line: n.Line, json: converted, tree: n}}, nil
}

// embedded is a configuration that is given as text. The lines of a literal block are those of the file.
func embedded(what string, value *yaml.Node) found {
	f := found{what: what, line: value.Line, json: []byte(value.Value)}
	if value.Style&yaml.LiteralStyle == 0 {
		f.tree = &yaml.Node{Line: value.Line}
		return f
	}
	f.raw, f.base = true, value.Line
	var document yaml.Node
	if yaml.Unmarshal(plainJSON([]byte(value.Value)), &document) == nil {
		f.tree = resolve(&document)
	}
	return f
}
