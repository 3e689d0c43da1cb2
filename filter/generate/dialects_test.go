package main

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

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
	got := dialectTable([]usage.Description{{
		Name: "a.b", Provider: "p", Operation: "o", Paths: []string{"…/x", "…/y"}, Reports: []string{"usage.n"},
	}})
	_, rows, _ := strings.Cut(got, "|---|---|---|---|---|---|\n")
	if want := "| `a.b` | `…/x`, `…/y` | `o` | `p` | – | `usage`: `n` |\n"; rows != want {
		t.Errorf("got %s, want %s", rows, want)
	}
}
