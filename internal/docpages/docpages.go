// Package docpages reads this repository's Markdown pages as their readers do: headings that can be linked to, links, and blocks of commands.
package docpages

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Page is a page.
type Page struct {
	File    string // relative to the repository's root, with slashes
	Anchors []string
	Links   []Link
	Blocks  []Block
}

// Link is a reference from a page.
type Link struct {
	Line   int
	Target string
}

// Block is a fenced block of commands.
type Block struct {
	Line int // of its first command
	Text []string
	// Who sees to it that the commands are right: the name of a test, "by hand", or "" for the test that runs whatever nobody else does.
	By string
}

// Command is one command of a block, and what it prints according to the page.
type Command struct {
	Line   int
	Text   string
	Output []string
}

var (
	shells  = []string{"console", "sh", "bash", "shell"}
	fence   = regexp.MustCompile("^ *```([a-z]*)")
	heading = regexp.MustCompile(`^#{1,6} (.*)$`)
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	named   = regexp.MustCompile(`^\[[^\]]+\]: (\S+)`)
	code    = regexp.MustCompile("`[^`]*`")
	byTest  = regexp.MustCompile(`^ *<!-- (commands )?tested by (Test\w+)\b.*-->`)
	byHand  = regexp.MustCompile(`^ *<!-- by hand: .+ -->`)
)

// Read reads all pages below root but those of other people's, which lie in folders called testdata or build.
func Read(root string) (pages []Page, err error) {
	err = filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && name != root && slices.Contains([]string{".git", "build", "testdata"}, entry.Name()) {
			return fs.SkipDir
		}
		if filepath.Ext(name) != ".md" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		pages = append(pages, Parse(filepath.ToSlash(relative), string(text)))
		return err
	})
	return pages, err
}

// Parse reads one page.
func Parse(file, text string) Page {
	p := Page{File: file}
	var open *Block // that the lines belong to
	inFence, all, before := false, "", ""
	for i, line := range strings.Split(text, "\n") {
		if m := fence.FindStringSubmatch(line); m != nil {
			if inFence = !inFence; !inFence {
				open = nil
			} else if slices.Contains(shells, m[1]) {
				p.Blocks = append(p.Blocks, Block{Line: i + 2, By: by(before, all)})
				open = &p.Blocks[len(p.Blocks)-1]
			}
			continue
		}
		switch {
		case open != nil:
			open.Text = append(open.Text, line)
			continue
		case inFence:
			continue
		}
		if m := byTest.FindStringSubmatch(line); m != nil && m[1] != "" {
			all = m[2]
		}
		if strings.TrimSpace(line) != "" {
			before = line
		}
		p.plain(i+1, line)
	}
	return p
}

// plain takes a line outside of blocks.
func (p *Page) plain(number int, line string) {
	if m := heading.FindStringSubmatch(line); m != nil {
		anchor := Anchor(m[1])
		for n := 1; slices.Contains(p.Anchors, anchor); n++ {
			anchor = fmt.Sprint(Anchor(m[1]), "-", n)
		}
		p.Anchors = append(p.Anchors, anchor)
	}
	if m := named.FindStringSubmatch(line); m != nil {
		p.Links = append(p.Links, Link{number, m[1]})
	}
	for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(line, "x"), -1) {
		p.Links = append(p.Links, Link{number, m[1]})
	}
}

// by says who runs a block, by the line before it and the page's own word.
func by(before, all string) string {
	if m := byTest.FindStringSubmatch(before); m != nil && m[1] == "" {
		return m[2]
	}
	if byHand.MatchString(before) {
		return "by hand"
	}
	return all
}

// Anchor is the anchor that forges give a heading.
func Anchor(heading string) string {
	heading = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`).ReplaceAllString(heading, "$1")
	return strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '-', c == '_':
			return c
		case 'A' <= c && c <= 'Z':
			return c - 'A' + 'a'
		case c == ' ':
			return '-'
		default:
			return -1
		}
	}, heading)
}

// Commands are a block's: those after "$ ", with what they print, or, where no line begins so, all of it as one script.
func (b *Block) Commands() (list []Command) {
	indent := len(b.Text[0]) - len(strings.TrimLeft(b.Text[0], " "))
	console := slices.ContainsFunc(b.Text, func(line string) bool { return strings.HasPrefix(strings.TrimLeft(line, " "), "$ ") })
	if !console {
		return []Command{{Line: b.Line, Text: strings.Join(b.Text, "\n")}}
	}
	for i, line := range b.Text {
		line = line[min(indent, len(line)):]
		switch text, is := strings.CutPrefix(line, "$ "); {
		case is:
			list = append(list, Command{Line: b.Line + i, Text: text})
		case len(list) == 0:
		case unfinished(list[len(list)-1].Text) && len(list[len(list)-1].Output) == 0:
			list[len(list)-1].Text += "\n" + line
		default:
			list[len(list)-1].Output = append(list[len(list)-1].Output, line)
		}
	}
	return list
}

// unfinished says that a command goes on in the next line.
func unfinished(command string) bool {
	last := strings.TrimRight(command[strings.LastIndexByte(command, '\n')+1:], " ")
	loops := len(regexp.MustCompile(`\bdo\b`).FindAllString(command, -1)) - len(regexp.MustCompile(`\bdone\b`).FindAllString(command, -1))
	return strings.HasSuffix(last, "\\") || strings.HasSuffix(last, "|") || loops > 0
}
