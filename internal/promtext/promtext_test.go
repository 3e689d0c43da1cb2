package promtext

import (
	"strings"
	"testing"
)

const text = `# HELP requests_total What came.
# TYPE requests_total counter
requests_total{model="a \"b\", c}",code="200"} 3
requests_total{model="other",code="200"} 4
requests_total{model="other",code="500"} 5
# TYPE wait histogram
wait_bucket{le="1"} 1
wait_bucket{le="+Inf"} 2
wait_sum 7.5
wait_count 2
untyped 1e3
`

func TestParse(t *testing.T) {
	t.Parallel()
	all, err := Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name       string
		labels     []string
		count, sum float64
	}{
		{"requests_total", nil, 3, 12},
		{"requests_total", []string{"code", "200"}, 2, 7},
		{"requests_total", []string{"code", "200", "model", "other"}, 1, 4},
		{"requests_total", []string{"model", `a "b", c}`}, 1, 3},
		{"requests_total", []string{"model", "none"}, 0, 0},
		{"requests", nil, 0, 0},
		{"wait_bucket", []string{"le", "1"}, 1, 1},
		{"wait_sum", nil, 1, 7.5},
		{"wait_count", nil, 1, 2},
		{"untyped", nil, 1, 1000},
	} {
		some := all.Of(test.name, test.labels...)
		if float64(len(some)) != test.count || some.Sum() != test.sum {
			t.Errorf("%s%q: got %v, want %g samples with a sum of %g", test.name, test.labels, some, test.count, test.sum)
		}
	}
}

// A test must not take a page that Prometheus would refuse for one without the metric.
func TestParseRefusesWhatPrometheusWould(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"a{b=\"c\" 1\n", "a b\n", "# TYPE a counter\na 1\n# TYPE a gauge\na 1\n", "<html>\n"} {
		if all, err := Parse(strings.NewReader(wrong)); err == nil {
			t.Errorf("%q gave %v", wrong, all)
		}
	}
}
