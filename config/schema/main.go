// Command schema writes the configuration's JSON Schema (draft 2020-12) to standard output:
//
//	go run ./config/schema > config/schema.json
//
// With -check it compares config/schema.json, or the file given, with what it would write, and exits with status 1 if
// they differ.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"

	"github.com/spillway-proxy/spillway/config"
)

func main() {
	check := flag.Bool("check", false, "compare the schema file with the fields and write nothing")
	flag.Parse()
	if err := run(*check, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run writes the schema, or compares it with the file if check is set.
func run(check bool, file string) error {
	want, err := render(config.Describe())
	if err != nil {
		return fmt.Errorf("cannot render the schema: %w", err)
	}
	if !check {
		_, err = os.Stdout.Write(want)
		return err
	}
	if file == "" {
		file = "config/schema.json"
	}
	have, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, want) {
		return fmt.Errorf("%q is out of date; run: go run ./config/schema > config/schema.json", file)
	}
	return nil
}

// render is the schema file, indented.
func render(s config.Schema) ([]byte, error) {
	root := ordered{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"title", "spillway"},
	}
	root = append(root, node(s)...)
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(root)
	return b.Bytes(), err
}

// node turns a description into JSON Schema's keywords.
func node(s config.Schema) ordered {
	var o ordered
	add := func(given bool, keyword string, value any) {
		if given {
			o = append(o, entry{keyword, value})
		}
	}
	add(s.Type != "", "type", s.Type)
	add(s.Description != "", "description", s.Description)
	add(s.Default != nil, "default", s.Default)
	add(s.Enum != nil, "enum", s.Enum)
	add(s.AnyOf != nil, "anyOf", forms(s.AnyOf))
	add(s.Pattern != "", "pattern", s.Pattern)
	add(s.Minimum != nil, "minimum", s.Minimum)
	add(s.ExclusiveMinimum != nil, "exclusiveMinimum", s.ExclusiveMinimum)
	add(s.Maximum != nil, "maximum", s.Maximum)
	add(s.ExclusiveMaximum != nil, "exclusiveMaximum", s.ExclusiveMaximum)
	add(s.MinItems > 0, "minItems", s.MinItems)
	add(s.UniqueItems, "uniqueItems", true)
	if s.Items != nil {
		add(true, "items", node(*s.Items))
	}
	if s.Values != nil {
		add(true, "propertyNames", node(*s.Keys))
		add(true, "additionalProperties", node(*s.Values))
	}
	if s.Properties != nil {
		properties := ordered{}
		for _, p := range s.Properties {
			properties = append(properties, entry{p.Name, node(p.Schema)})
		}
		add(true, "properties", properties)
		add(s.Required != nil, "required", s.Required)
		add(true, "additionalProperties", false)
		add(s.Exclusions != nil, "allOf", append(exclusions(s.Exclusions), needs(s.Needs)...))
	}
	return o
}

func forms(all []config.Schema) (nodes []ordered) {
	for _, s := range all {
		nodes = append(nodes, node(s))
	}
	return nodes
}

// exclusions says which keys don't go with the values of which others.
func exclusions(all []config.Exclusion) (conditions []ordered) {
	for _, x := range all {
		barred := ordered{}
		for _, key := range x.Keys {
			barred = append(barred, entry{key, false})
		}
		conditions = append(conditions, ordered{{"if", where(x)}, {"then", ordered{{"properties", barred}}}})
	}
	return conditions
}

// where says that a key has one of an exclusion's values.
func where(x config.Exclusion) ordered {
	return ordered{{"properties", ordered{{x.Where, ordered{{"enum", x.Is}}}}}, {"required", []string{x.Where}}}
}

// needs says which keys are required where they aren't excluded.
func needs(all []config.Need) (conditions []ordered) {
	for _, n := range all {
		forms := []ordered{{{"required", []string{n.Key}}}}
		for _, x := range n.Unless {
			forms = append(forms, where(x))
		}
		conditions = append(conditions, ordered{{"anyOf", forms}})
	}
	return conditions
}

// ordered is a JSON object that keeps its keys in order.
type ordered []entry

type entry struct {
	key   string
	value any
}

// MarshalJSON implements json.Marshaler.
func (o ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, e := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encoder.Encode(e.key); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encoder.Encode(e.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
