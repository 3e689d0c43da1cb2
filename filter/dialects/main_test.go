package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

func TestTheTableIsUpToDate(t *testing.T) {
	if err := run(true, "../../README.md"); err != nil {
		t.Error(err)
	}
}

func TestTheTableIsReplacedAndNothingElse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "README.md")
	const before, after = "# Title\n\n", "\n<!-- dialects -->\nend"
	if err := os.WriteFile(file, []byte(before+begin+"old\n"+end+after), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(true, file); err == nil || !strings.Contains(err.Error(), "is out of date; run: go run ./filter/dialects") {
		t.Errorf("got %v", err)
	}
	for range 2 {
		if err := run(false, file); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := before + begin + render(usage.Describe()) + end + after; string(got) != want {
		t.Errorf("got %s", got)
	}
	if err := run(true, file); err != nil {
		t.Error(err)
	}
}

func TestAFileWithoutAPlaceForTheTable(t *testing.T) {
	for _, text := range []string{"", begin, end, end + begin} {
		if _, err := replace([]byte(text), "x"); err == nil || !strings.Contains(err.Error(), "no place for the table") {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestCountsAreGroupedByObject(t *testing.T) {
	got := counts([]string{"usage.a", "usage.b", "x.usage.a", "x.usage.b", "y.a", "c"})
	if want := "`usage`, `x.usage`: `a`, `b`; `y`: `a`; ``: `c`"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := list(nil); got != "–" {
		t.Errorf("an empty list is %s", got)
	}
}

func TestATableHasOneRowForEachDialect(t *testing.T) {
	got := render([]usage.Description{{
		Name: "a.b", Provider: "p", Operation: "o", Paths: []string{"…/x", "…/y"}, Reports: []string{"usage.n"},
	}})
	_, rows, _ := strings.Cut(got, "|---|---|---|---|---|---|\n")
	if want := "| `a.b` | `…/x`, `…/y` | `o` | `p` | – | `usage`: `n` |\n"; rows != want {
		t.Errorf("got %s, want %s", rows, want)
	}
}
