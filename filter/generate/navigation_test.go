package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestPagesLeadToTheNext(t *testing.T) {
	root := t.TempDir()
	const place = "<!-- navigation:begin -->\n<!-- navigation:end -->\n"
	for name, text := range map[string]string{
		"README.md": "[no](c.md)\n| **A** | [One](a.md) | about |\n| | [elsewhere](a.md#x), [two](b.md) | see [one](a.md) |\n| | [Three](c.md) | |\n",
		"a.md":      "# A\n" + place, "b.md": "# B\n", "c.md": "# C\n" + place,
	} {
		if err := os.MkdirAll(filepath.Join(root, "docs"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "docs", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	parts, err := navigationParts(root)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, p := range parts {
		got += fmt.Sprint(p.file, ": ", p.text)
	}
	const want = `docs/a.md: [All pages](README.md) · next: [Two](b.md)
docs/c.md: [All pages](README.md) · before: [Two](b.md)
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
