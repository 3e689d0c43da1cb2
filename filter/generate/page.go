package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spillway-proxy/spillway/config"
)

// The dashboard's sources, and what is made of them: one page, compressed, and what goes with it into the answer's headers.
const (
	pageSources = "filter/internal/page/src"
	pageFile    = "filter/internal/page/page.html.gz"
)

// scripts are the page's, in the order in which they are joined.
var scripts = []string{"dom.js", "text.js", "chart.js", "proxy.js", "dialog.js", "overview.js", "people.js", "tuning.js", "main.js"}

// tunable are the sections whose values the dashboard shows for tuning.
var tunable = []string{"mode", "limits", "upstreams", "pressureSource", "usage", "retry", "statusCode", "rateLimitHeaders", "rateLimitStyle", "unknown", "unpriced"}

// page is the dashboard as it is served.
type page struct {
	html, policy string // policy: its Content-Security-Policy
}

// buildPage joins the sources: a page with one style and one script, whose hashes are all that its policy allows.
func buildPage(sources fs.FS) (page, error) {
	var failed error
	read := func(name string) string {
		b, err := fs.ReadFile(sources, name)
		failed = errors.Join(failed, err)
		return string(b)
	}
	style := shorten(read("style.css"))
	var script strings.Builder
	script.WriteString("'use strict';\nconst schema = " + fieldsTable(config.Describe()) + ";\n")
	for _, name := range scripts {
		script.WriteString(shorten(read(name)))
	}
	html := read("index.html")
	for _, tag := range []struct{ name, text string }{{"style", style}, {"script", script.String()}} {
		before, after, found := strings.Cut(html, "<"+tag.name+"></"+tag.name+">")
		if !found || strings.Contains(strings.ToLower(tag.text), "</"+tag.name) {
			failed = errors.Join(failed, fmt.Errorf("the page has no empty <%s>, or it would end early", tag.name))
		}
		html = before + "<" + tag.name + ">" + tag.text + "</" + tag.name + ">" + after
	}
	policy := "default-src 'none'; style-src '" + hash(style) + "'; script-src '" + hash(script.String()) + "'; connect-src 'self'; img-src data:; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return page{html, policy}, failed
}

// header declares what goes with the page, in Go.
func (p page) header() string {
	return fmt.Sprintf("\n// Policy is the page's Content-Security-Policy: its own style and script, and nothing else.\nconst Policy = %q\n\n", p.policy)
}

// shorten takes indentation, empty lines, and comments that have a line of their own. More would save little of what is compressed.
func shorten(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// fieldsTable is what the dashboard knows of the configuration's keys, in JSON: an object for a section, a list of one for a list of
// named things, [kind, doc, default, least, most, words] for a value that can be written in one field; other values are left out.
func fieldsTable(s config.Schema) string {
	table := object{}
	for _, name := range tunable {
		for _, p := range s.Properties {
			if p.Name == name {
				table.add(p)
			}
		}
	}
	b, err := json.Marshal(table)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	return string(b)
}

// object is a JSON object that keeps its order.
type object []member

type member struct {
	name  string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func (o *object) add(p config.Property) {
	s := p.Schema
	switch {
	case len(s.Properties) > 0:
		if inner := section(s); len(inner) > 0 {
			*o = append(*o, member{p.Name, inner})
		}
	case s.Type == "array" && s.Items != nil && len(s.Items.Properties) > 0:
		if s.Items.Properties[0].Name == "name" {
			*o = append(*o, member{p.Name, []any{section(*s.Items)}})
		}
	case s.Type != "array" && s.Type != "object" && p.Name != "name":
		*o = append(*o, member{p.Name, valueField(s)})
	}
}

func section(s config.Schema) (o object) {
	for _, p := range s.Properties {
		o.add(p)
	}
	return o
}

// valueField describes a value, without what is absent at the end.
func valueField(s config.Schema) []any {
	kind := s.Type
	if len(s.AnyOf) > 0 && s.AnyOf[0].Minimum != nil { // a number, or a word, which is sent as it is typed
		kind, s.Minimum, s.Maximum = s.AnyOf[0].Type, s.AnyOf[0].Minimum, s.AnyOf[0].Maximum
	}
	if kind == "" {
		kind = "word"
	}
	var words []string
	for _, word := range s.Enum {
		if text, is := word.(string); is {
			words = append(words, text)
		}
	}
	const aboutYAML = " YAML reads an unquoted off as false, which is the same here." // and not in JSON, which the page sends
	doc := strings.TrimSuffix(s.Description, aboutYAML)
	field := []any{kind, doc, s.Default, bound(s.Minimum, s.ExclusiveMinimum), bound(s.Maximum, s.ExclusiveMaximum), nil}
	if words != nil {
		field[len(field)-1] = words
	}
	for field[len(field)-1] == nil {
		field = field[:len(field)-1]
	}
	return field
}

// bound is the end of a range; nil if there is none that says anything.
func bound(ends ...*float64) any {
	const endless = 1e15
	for _, end := range ends {
		if end != nil && *end < endless && *end > -endless {
			return *end
		}
	}
	return nil
}

// write writes the compressed page, or compares what it holds: other versions of Go may compress it in another way.
func (p page) write(check bool, root string) error {
	file := filepath.Join(root, pageFile)
	have, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch {
	case unzipped(have) == p.html:
		return nil
	case check:
		return fmt.Errorf("%q is out of date; run: make docs", file)
	}
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, p.html); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}

// unzipped is what a compressed file holds; "" if it isn't one.
func unzipped(b []byte) string {
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return ""
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return ""
	}
	return string(text)
}
