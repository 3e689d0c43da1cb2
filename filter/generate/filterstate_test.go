package main

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config/filterstate"
)

func TestATableHasOneRowForEachValue(t *testing.T) {
	got := stateTable(filterstate.Table())
	for _, want := range []string{"| `spillway.priority` | `URGENT`, `HIGH`, `NORMAL` or `LOW` |  |  |\n", "| `gen_ai.total.tokens` | both | yes |  |\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if rows := strings.Count(got, "\n"); rows != int(filterstate.Count)+2 {
		t.Errorf("%d lines for %d values", rows, filterstate.Count)
	}
}
