package main

import (
	"fmt"
	"strings"

	"github.com/spillway-proxy/spillway/config/filterstate"
)

// stateTable is the table of the filter state's values in Markdown.
func stateTable(rows []filterstate.Row) string {
	var b strings.Builder
	b.WriteString("| Value, after `wasm.` | | `tokens` | `minimal` |\n|---|---|---|---|\n")
	for i, row := range rows {
		v := filterstate.Value(i)
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", row.Name, row.Help, mark(filterstate.Tokens.Has(v)), mark(filterstate.Minimal.Has(v)))
	}
	return b.String()
}

func mark(yes bool) string {
	if yes {
		return "yes"
	}
	return ""
}
