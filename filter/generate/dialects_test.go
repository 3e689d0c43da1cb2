package main

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

func TestCountsAreGroupedByObject(t *testing.T) {
	got := counts([]string{"usage.a", "usage.b", "x.usage.a", "x.usage.b", "y.a", "c"})
	if want := "`usage`, `x.usage`: `a`, `b`; `y`: `a`; `c`"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := list(nil); got != "–" {
		t.Errorf("an empty list is %s", got)
	}
}

func TestATableHasOneRowForEachDialect(t *testing.T) {
	got := dialectTable([]usage.Description{{
		Name: "a.b", Provider: "p", Operations: []string{"o"}, Paths: []string{"…/x", "…/y"}, Reports: []string{"usage.n"},
	}})
	_, rows, _ := strings.Cut(got, "|---|---|---|---|---|---|\n")
	if want := "| `a.b` | `…/x`, `…/y` | `o` | `p` | – | `usage`: `n` |\n"; rows != want {
		t.Errorf("got %s, want %s", rows, want)
	}
}

func TestNamesStandOnceAndBesideThoseWithoutADialect(t *testing.T) {
	got := dialectNames([]usage.Description{{Name: "a.b", Operations: []string{"o", "p"}}, {Name: "c", Operations: []string{"o"}}})
	for _, want := range []string{"{\n\t\"a.b\",\n\t\"c\",\n\t\"other\",\n}\n", "{\n\t\"o\",\n\t\"p\",\n\t\"models\",\n\t\"other\",\n}\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
