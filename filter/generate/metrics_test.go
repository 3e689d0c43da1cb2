package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

func TestATableHasOneRowForEachMetric(t *testing.T) {
	got := metricTable([]metric.Row{
		{Name: "spillway_a_total", Kind: metric.KindCounter, Unit: "errors", Labels: []string{"x", "y"}, Help: "What."},
		{Name: "spillway_b", Kind: metric.KindGauge, Unit: "state", Help: "0 or 1."},
	})
	_, rows, _ := strings.Cut(got, "|---|---|---|---|---|\n")
	want := "| `spillway_a_total` | counter | errors | `x`, `y` | What. |\n| `spillway_b` | gauge | state | – | 0 or 1. |\n"
	if rows != want {
		t.Errorf("got %s, want %s", rows, want)
	}
}

// The regexes take the labels out of the names that the filter gives to its metrics, in any order of the rules.
func TestTagsTakeTheLabelsOutOfTheNames(t *testing.T) {
	series := metric.GateState("latency", "local", "m").Set(1).Series
	name := "wasmcustom." + series.Name()
	found := map[string]string{}
	for _, label := range slices.Backward(metric.Labels()) {
		at := regexp.MustCompile(tagRegex(label)).FindStringSubmatchIndex(name)
		if at == nil {
			continue
		}
		found[label] = name[at[4]:at[5]]
		name = name[:at[2]] + name[at[3]:]
	}
	if name != "wasmcustom.spillway_gate_state" || len(found) != 3 || found["gate"] != "latency" || found["upstream"] != "local" || found["model"] != "m" {
		t.Errorf("%s is left, and found is %v", name, found)
	}
}

func TestTheSameRulesInYAMLAndJSON(t *testing.T) {
	labels := []string{"a", "b"}
	if got, want := tagsInYAML("    ", labels), "    - {tag_name: a, regex: '^wasmcustom\\..*?(;a=([^;]*))'}\n    - {tag_name: b, regex: '^wasmcustom\\..*?(;b=([^;]*))'}\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	var rules []map[string]string
	if err := json.Unmarshal([]byte("["+tagsInJSON(labels)+"]"), &rules); err != nil {
		t.Fatal(err)
	}
	if len(rules) != 2 || rules[1]["tag_name"] != "b" || rules[1]["regex"] != tagRegex("b") {
		t.Errorf("got %v", rules)
	}
}

// What is written by hand about metrics, in pages and alerts, speaks of metrics and labels that there are.
func TestPagesAndAlertsNameMetricsThatThereAre(t *testing.T) {
	labels := map[string][]string{"spillway_rejected_requests": nil} // the rate that the alerts' rules record
	for _, row := range metric.Table() {
		labels[row.Name] = row.Labels
		if row.Kind == metric.KindHistogram {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				labels[row.Name+suffix] = append(slices.Clone(row.Labels), "le")
			}
		}
	}
	target := []string{"instance", "job", "namespace", "pod"} // Prometheus's own labels
	mention := regexp.MustCompile(`\b(spillway_[a-z0-9_]+)(?:\{([^{}]*)\})?`)
	label := regexp.MustCompile(`(?:^|,)\s*([a-z_]+)`)
	for _, pattern := range []string{"*.md", "docs/*.md", "envoy/*", "istio/*.md", "istio/*/*.yaml", "istio/*/*.json"} {
		files, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			text, _ := os.ReadFile(file) // of a folder: nothing
			for _, m := range mention.FindAllStringSubmatch(string(text), -1) {
				known, is := labels[m[1]]
				if !is {
					t.Errorf("%s: there is no metric %s", file, m[1])
				}
				for _, l := range label.FindAllStringSubmatch(m[2], -1) {
					if is && !slices.Contains(known, l[1]) && !slices.Contains(target, l[1]) {
						t.Errorf("%s: %s has no label %s, only %v", file, m[1], l[1], known)
					}
				}
			}
		}
	}
}
