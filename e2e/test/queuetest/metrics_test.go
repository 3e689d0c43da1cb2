package queuetest

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// asDocumented checks that Prometheus gets the metrics of docs/metrics.md, each with all of its labels and no others. A label
// for which Envoy has no rule would be in its metric's name.
func asDocumented(t *testing.T, g *gateway) {
	root, err := envoyproc.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string][]string{} // by a sample's name, sorted
	for _, row := range regexp.MustCompile("(?m)^\\| `(spillway_\\w+)` \\| (\\w+) \\| [^|]* \\| ([^|]*) \\|").FindAllStringSubmatch(string(page), -1) {
		name, own := row[1], regexp.MustCompile(`\w+`).FindAllString(row[3], -1)
		slices.Sort(own)
		if row[2] != "histogram" {
			labels[name] = own
			continue
		}
		labels[name+"_sum"], labels[name+"_count"] = own, own
		labels[name+"_bucket"] = append([]string{"le"}, own...)
		slices.Sort(labels[name+"_bucket"])
	}
	met := 0
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		for _, sample := range g.Samples(name) {
			met++
			if got := slices.Sorted(maps.Keys(sample.Labels)); !slices.Equal(got, labels[name]) {
				t.Errorf("%s has the labels %v, want %v", name, got, labels[name])
			}
		}
	}
	if met == 0 {
		t.Error("Prometheus gets none of them")
	}
	for line := range strings.Lines(g.Prometheus()) {
		name := regexp.MustCompile(`^spillway_\w+`).FindString(line)
		if _, is := labels[name]; name != "" && !is {
			t.Errorf("%s is not in docs/metrics.md", name)
		}
	}
}
