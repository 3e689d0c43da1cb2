package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// maxLines bounds a Go file: one that a reader can hold in mind.
const maxLines = 500

// host is the host's interface, which only the binding may use.
const host = "github.com/spillway-proxy/spillway/filter/abi"

// forbiddenInCore are the packages that reach outside of the program.
var forbiddenInCore = []string{"net", "net/http", "os", "os/exec", "os/signal", "syscall"}

// clocks are the functions of package time that read or wait for the real time.
var clocks = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

// checkSource reads every Go file below root, and finds those that break the rules of docs/design.md.
func checkSource(root string) (findings []string, err error) {
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name != root && (strings.HasPrefix(entry.Name(), ".") || entry.Name() == "build" || entry.Name() == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		found, err := checkFile(filepath.ToSlash(relative), text)
		findings = append(findings, found...)
		return err
	})
	return findings, err
}

// checkFile checks one file, whose path is relative to the root of the repository.
func checkFile(name string, text []byte) (findings []string, err error) {
	if lines := bytes.Count(text, []byte("\n")); lines > maxLines {
		findings = append(findings, fmt.Sprintf("%s: %d lines, more than %d: split it by subject", name, lines, maxLines))
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.SkipObjectResolution)
	if err != nil {
		return findings, err
	}
	c := fileCheck{name: name, files: files, file: file, findings: findings}
	c.imports()
	if c.inFilter() && !c.isTest() {
		ast.Inspect(file, c.visit)
	}
	return c.findings, nil
}

type fileCheck struct {
	name     string
	files    *token.FileSet
	file     *ast.File
	clock    string // what the file calls package time; "" when it may use the clock, or doesn't import it
	findings []string
}

func (c *fileCheck) isTest() bool { return strings.HasSuffix(c.name, "_test.go") }

// isCore says whether the file decides things: it gets time, state and traffic as arguments.
func (c *fileCheck) isCore() bool {
	if c.isTest() || c.file.Name.Name == "main" {
		return false
	}
	return strings.HasPrefix(c.name, "config/") || strings.HasPrefix(c.name, "filter/internal/")
}

// inFilter says whether the file may be a part of the compiled filter.
func (c *fileCheck) inFilter() bool {
	return c.isCore() || strings.HasPrefix(c.name, "filter/")
}

// binds says whether the file is the binding to the host.
func (c *fileCheck) binds() bool {
	folder := path.Dir(c.name)
	return folder == "filter/abi" || folder == "filter/plugin"
}

func (c *fileCheck) imports() {
	for _, spec := range c.file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue // the compiler says so
		}
		if imported == host && !c.binds() {
			c.find(spec, "imports the calls to the host: only filter/plugin may; pass what it needs as an argument")
		}
		if c.isCore() && slices.Contains(forbiddenInCore, imported) {
			c.find(spec, "imports %q, but the core reaches nothing outside: let the caller do it and pass the result", imported)
		}
		if c.isCore() && imported == "time" {
			c.clock = "time"
			if spec.Name != nil {
				c.clock = spec.Name.Name
			}
		}
	}
}

func (c *fileCheck) visit(node ast.Node) bool {
	switch node := node.(type) {
	case *ast.GoStmt:
		c.find(node, "starts a goroutine, which a Wasm VM can't run: work in the callback, or leave it for the next tick")
	case *ast.SelectorExpr:
		x, ok := node.X.(*ast.Ident)
		if ok && c.clock != "" && x.Name == c.clock && slices.Contains(clocks, node.Sel.Name) {
			c.find(node, "uses time.%s, but in the core time is an argument: take a now clock.Moment", node.Sel.Name)
		}
	}
	return true
}

func (c *fileCheck) find(at ast.Node, format string, args ...any) {
	position := c.files.Position(at.Pos())
	c.findings = append(c.findings, fmt.Sprintf("%s:%d: %s", c.name, position.Line, fmt.Sprintf(format, args...)))
}
