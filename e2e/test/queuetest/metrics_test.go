package queuetest

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// asDocumented checks that Prometheus gets the metrics of docs/metrics.md, each with all of its labels and no others; but what no limit has decided
// has no limit. A label for which Envoy has no rule would be in its metric's name.
func asDocumented(t *testing.T, g *gateway) {
	page, err := os.ReadFile(harness.InRepository(t, "docs/metrics.md"))
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
	for _, sample := range g.Scrape() {
		if !strings.HasPrefix(sample.Name, "spillway_") {
			continue
		}
		met++
		if want, is := labels[sample.Name]; !is {
			t.Errorf("%s is not in docs/metrics.md", sample.Name)
		} else if got := slices.Sorted(maps.Keys(sample.Labels)); !slices.Equal(got, want) && !slices.Equal(got, without(want, "limit")) {
			t.Errorf("%s has the labels %v, want %v", sample.Name, got, want)
		}
	}
	if met == 0 {
		t.Error("Prometheus gets none of them")
	}
}

func without(labels []string, label string) []string {
	return slices.DeleteFunc(slices.Clone(labels), func(one string) bool { return one == label })
}
