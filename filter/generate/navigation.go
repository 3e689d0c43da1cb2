package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// pageLink is a link of the index to another page of docs, as a whole.
var pageLink = regexp.MustCompile(`\[([^\]]+)\]\(([a-z0-9-]+\.md)\)`)

// navigationParts are the last lines of the pages of docs: the way back to the index, and to the pages before and after, in the order of the
// index's table. Pages that have no place for that, such as one that another program writes, have none.
func navigationParts(root string) (parts []part, err error) {
	const begin, end = "<!-- navigation:begin -->\n", "<!-- navigation:end -->\n"
	index, err := os.ReadFile(filepath.Join(root, "docs/README.md"))
	if err != nil {
		return nil, err
	}
	pages := order(string(index))
	for i, p := range pages {
		file := "docs/" + p.file
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, err
		}
		if !strings.Contains(string(text), begin) {
			continue
		}
		parts = append(parts, part{file, begin, end, way(pages, i)})
	}
	return parts, nil
}

// place is a page of docs, by its name in the index and its file.
type place struct{ name, file string }

// order are the pages that the index's table has, each at its first place.
func order(index string) (pages []place) {
	for line := range strings.Lines(index) {
		if !strings.HasPrefix(line, "|") {
			continue
		}
		for _, m := range pageLink.FindAllStringSubmatch(line, -1) {
			if !slices.ContainsFunc(pages, func(p place) bool { return p.file == m[2] }) {
				pages = append(pages, place{strings.ToUpper(m[1][:1]) + m[1][1:], m[2]})
			}
		}
	}
	return pages
}

// way is the line with the links.
func way(pages []place, i int) string {
	text := "[All pages](README.md)"
	if i > 0 {
		text += fmt.Sprintf(" · before: [%s](%s)", pages[i-1].name, pages[i-1].file)
	}
	if i+1 < len(pages) {
		text += fmt.Sprintf(" · next: [%s](%s)", pages[i+1].name, pages[i+1].file)
	}
	return text + "\n"
}
