package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// metricTable is the table of metrics in Markdown.
func metricTable(rows []metric.Row) string {
	var b strings.Builder
	b.WriteString("| Metric | Kind | Unit | Labels | Meaning |\n|---|---|---|---|---|\n")
	for _, row := range rows {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", row.Name, row.Kind, row.Unit, list(row.Labels), row.Help)
	}
	return b.String()
}

// tagRegex finds a label in the name of a host's metric. Group 1 is cut out of the name, group 2 is the label's value.
func tagRegex(label string) string { return `^wasmcustom\..*?(;` + label + `=([^;]*))` }

// tagsInYAML are the stats_tags of a bootstrap, each on an indented line.
func tagsInYAML(indent string, labels []string) string {
	var b strings.Builder
	for _, label := range labels {
		fmt.Fprintf(&b, "%s- {tag_name: %s, regex: '%s'}\n", indent, label, tagRegex(label))
	}
	return b.String()
}

// tagsInJSON are the stats_tags of the bootstrap that Istio's agent merges, JSON in a text of YAML.
func tagsInJSON(labels []string) string {
	rules := make([]string, len(labels))
	for i, label := range labels {
		rules[i] = fmt.Sprintf(`          {"tag_name": "%s", "regex": %s}`, label, strconv.Quote(tagRegex(label)))
	}
	return strings.Join(rules, ",\n") + "\n"
}
