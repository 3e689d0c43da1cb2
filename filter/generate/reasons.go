package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// reasonTables are the tables of refusals in Markdown, one for each gate.
func reasonTables(rows []gate.Row) string {
	var b strings.Builder
	last := ""
	for _, row := range rows {
		if row.Gate != last {
			fmt.Fprintf(&b, "\n### %s\n\n| `x-spillway-reason`; `spillway.reason`, if not the same | Status | It is refused when | What to do |\n|---|---|---|---|\n", row.Gate)
			last = row.Gate
		}
		never := ""
		if row.Never {
			never = ", never retry"
		}
		form := ""
		if row.Forms != nil {
			form = "; " + list(row.Forms)
		}
		fmt.Fprintf(&b, "| `%s/%s`%s | %s%s | %s | %s |\n", row.Gate, row.Reason, form, status(row.Status), never, row.When, row.Do)
	}
	return b.String()
}

// status is a status, or a key of statusCode with its default.
func status(key string) string {
	if _, err := strconv.Atoi(key); err == nil {
		return key
	}
	for _, top := range config.Describe().Properties {
		if top.Name != "statusCode" {
			continue
		}
		for _, p := range top.Schema.Properties {
			if p.Name == key {
				return fmt.Sprintf("%v (`statusCode.%s`)", p.Schema.Default, key)
			}
		}
	}
	return "?"
}
