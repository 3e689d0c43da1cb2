package main

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// dashboard is what matters of a Grafana dashboard.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr, LegendFormat string }
	}
	Templating struct {
		List []struct{ Name, Definition string }
	}
}

// The dashboard shows every metric, sums it up by labels that it has, and names what it shows by those. `make check-promtool` parses its expressions,
// and TestPagesAndAlertsNameMetricsThatThereAre looks at what it selects by.
func TestTheDashboardShowsEveryMetricByItsLabels(t *testing.T) {
	text, err := os.ReadFile("../../istio/monitoring/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	var (
		mention  = regexp.MustCompile(`\bspillway_[a-z0-9_]+`)
		grouping = regexp.MustCompile(`by \(([^)]*)\)`)
		legend   = regexp.MustCompile(`\{\{(\w+)\}\}`)
		variable = regexp.MustCompile(`\$(\w+)`)
		rows     = map[string]metric.Row{}
		missing  = map[string]bool{}
		known    = []string{"__rate_interval"}
	)
	for _, row := range metric.Table() {
		rows[row.Name], missing[row.Name] = row, true
	}
	for _, v := range d.Templating.List {
		known = append(known, v.Name)
	}
	for _, panel := range d.Panels {
		for _, target := range panel.Targets {
			var labels []string
			for _, by := range grouping.FindAllStringSubmatch(target.Expr, -1) {
				labels = append(labels, strings.Split(by[1], ", ")...)
			}
			for _, m := range mention.FindAllString(target.Expr, -1) {
				row, is := rows[strings.TrimSuffix(m, "_bucket")]
				if delete(missing, row.Name); !is {
					t.Errorf("%s: there is no metric %s", panel.Title, m)
				}
				for _, label := range labels {
					if !slices.Contains(row.Labels, label) && label != "instance" && !(label == "le" && row.Kind == metric.KindHistogram) {
						t.Errorf("%s: %s has no label %s, only %v", panel.Title, m, label, row.Labels)
					}
				}
			}
			for _, m := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				if !slices.Contains(labels, m[1]) {
					t.Errorf("%s: its legend names the label %s, by which nothing is summed up", panel.Title, m[1])
				}
			}
			for _, m := range variable.FindAllStringSubmatch(target.Expr, -1) {
				if !slices.Contains(known, m[1]) {
					t.Errorf("%s: there is no variable $%s", panel.Title, m[1])
				}
			}
		}
	}
	for name := range missing {
		t.Errorf("%s is not shown", name)
	}
}
