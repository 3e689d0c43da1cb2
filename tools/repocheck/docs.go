package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/internal/docpages"
)

// checkDocs finds links of the pages below root that lead nowhere, pages that the index lacks, and blocks of commands that name a test which
// isn't there.
func checkDocs(root string) (findings []string, err error) {
	pages, err := docpages.Read(root)
	if err != nil {
		return nil, err
	}
	tests, err := testNames(root)
	if err != nil {
		return nil, err
	}
	anchors := map[string][]string{}
	for _, p := range pages {
		anchors[p.File] = p.Anchors
	}
	for _, p := range pages {
		for _, l := range p.Links {
			if problem := broken(root, p.File, l.Target, anchors); problem != "" {
				findings = append(findings, fmt.Sprintf("%s:%d: %s: %s", p.File, l.Line, l.Target, problem))
			}
		}
		for _, b := range p.Blocks {
			if strings.HasPrefix(b.By, "Test") && !tests[b.By] {
				findings = append(findings, fmt.Sprintf("%s:%d: there is no %s: name the test that runs these commands", p.File, b.Line, b.By))
			}
		}
	}
	return append(findings, unlisted(pages)...), nil
}

// broken says what is wrong with a link; "": nothing.
func broken(root, file, target string, anchors map[string][]string) string {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return ""
	}
	name, anchor, _ := strings.Cut(target, "#")
	to := file
	if name != "" {
		to = path.Join(path.Dir(file), name)
	}
	if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(to))); err != nil {
		return "there is no such file"
	}
	if anchor != "" && strings.HasSuffix(to, ".md") && !slices.Contains(anchors[to], anchor) {
		return "there is no such heading"
	}
	return ""
}

// unlisted finds pages of docs/ that its index has no link to.
func unlisted(pages []docpages.Page) (findings []string) {
	const folder, index = "docs", "docs/README.md"
	listed := map[string]bool{index: true}
	for _, p := range pages {
		if p.File != index {
			continue
		}
		for _, l := range p.Links {
			name, _, _ := strings.Cut(l.Target, "#")
			listed[path.Join(folder, name)] = true
		}
	}
	for _, p := range pages {
		if path.Dir(p.File) == folder && !listed[p.File] {
			findings = append(findings, p.File+": "+index+" has no link to it: give it a place in the order")
		}
	}
	return findings
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testNames are the names of all tests.
func testNames(root string) (map[string]bool, error) {
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		for _, m := range testFunction.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	return names, err
}
