//go:build mesh

package istiotest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// metric is the sum of a Prometheus endpoint's samples of that name whose labels include some: "name=\"value\"".
func metric(t *testing.T, url, name string, labels ...string) (sum float64) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := send(request)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(a.body) {
		sample, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
		lacks := func(label string) bool { return !strings.Contains(sample, label) }
		if !strings.HasPrefix(sample, name+"{") || slices.ContainsFunc(labels, lacks) {
			continue
		}
		number, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += number
	}
	return sum
}
