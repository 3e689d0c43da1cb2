package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestLinksThatLeadNowhere(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"README.md":        "[a](docs/README.md#all) [b](docs/gone.md) [c](docs/README.md#none) [d](https://example.com/x)\n",
		"docs/README.md":   "# All\n[listed](listed.md) [here](#all) [out](../README.md)\n",
		"docs/listed.md":   "<!-- tested by TestGone -->\n```sh\nx\n```\n<!-- tested by TestHere -->\n```sh\nx\n```\n",
		"docs/unlisted.md": "",
		"a_test.go":        "package a\n\nfunc TestHere(t *testing.T) {}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	findings, err := checkDocs(root)
	if err != nil {
		t.Fatal(err)
	}
	const want = `README.md:1: docs/gone.md: there is no such file
README.md:1: docs/README.md#none: there is no such heading
docs/listed.md:3: there is no TestGone: name the test that runs these commands
docs/unlisted.md: docs/README.md has no link to it: give it a place in the order`
	if got := strings.Join(findings, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestThePagesOfThisRepository(t *testing.T) {
	findings, err := checkDocs("../..")
	if err != nil || len(findings) > 0 {
		t.Errorf("%v\n%s", err, strings.Join(findings, "\n"))
	}
}

// The figures of the first page are those of the benchmarks.
func TestFiguresOfTheFirstPage(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	benchmarks, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, peers, _ := strings.Cut(string(benchmarks), "## Peers")
	for peer, form := range map[string]string{"Spillway": "%.1f", "Envoy AI Gateway": "%.1f", "LiteLLM, a limit": "%.0f"} {
		m := regexp.MustCompile(`(?m)^\| ` + peer + ` \| \d+ \| \*\*([\d.]+)\*\*`).FindStringSubmatch(peers)
		if m == nil {
			t.Errorf("docs/benchmarks.md has no CPU of %s", peer)
			continue
		}
		ratio, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(form+" times", ratio); !strings.Contains(string(readme), want) {
			t.Errorf("README.md lacks %q, of %s, as docs/benchmarks.md has it", want, peer)
		}
	}
}
