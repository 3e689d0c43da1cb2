// Package metric has the filter's metrics: one table of what there is, and for each row a constructor that takes a value for
// each of its labels. What a constructor gives can only be used as what the metric is: a Counter is added to, a Gauge is set, a
// Histogram records. That makes an Update, which is for the host.
//
// The host's metrics have no labels, so Series.Name writes them into the name, as name;label=value;label=value. They become labels
// of Prometheus by the stats_tags of Envoy's bootstrap, which `make docs` writes from the table, as it does docs/metrics.md.
//
// The package has no state. Its values are copied, and point to nothing but the labels' texts: to count allocates nothing. How
// many series there are is bounded by who calls it: no label has values that a client can make up.
package metric

// ID is a metric's place in the table, less than Count.
type ID uint8

// Kind says what a metric is.
type Kind uint8

// The kinds.
const (
	KindCounter Kind = iota
	KindGauge
	KindHistogram
)

func (k Kind) String() string { return [...]string{"counter", "gauge", "histogram"}[k] }

// mostLabels is how many labels a metric has at most.
const mostLabels = 5

// Series is one metric with a value for each of its labels. It can be compared.
type Series struct {
	id     ID
	values [mostLabels]string // in the table's order
}

// ID is the metric's.
func (s *Series) ID() ID { return s.id }

// Kind is the metric's.
func (s *Series) Kind() Kind { return table[s.id].Kind }

// Name is what the host calls the series. A label without a value is left out, which is the same to Prometheus.
func (s *Series) Name() string {
	row := &table[s.id]
	name := row.Name
	for i, label := range row.Labels {
		if s.values[i] != "" {
			name += ";" + label + "=" + s.values[i]
		}
	}
	return name
}

// Value gives the value of a label, if the metric has it.
func (s *Series) Value(label string) (value string, has bool) {
	for i, name := range table[s.id].Labels {
		if name == label {
			return s.values[i], true
		}
	}
	return "", false
}

// Counter is a series that only grows.
type Counter struct{ series Series }

// Add makes the counter larger by n, which is more than 0.
func (c Counter) Add(n int64) Update { return Update{c.series, n} }

// Gauge is a series that is what it was set to last.
type Gauge struct{ series Series }

// Set makes the gauge n; there are no negative ones, so less than 0 is 0.
func (g Gauge) Set(n int64) Update { return Update{g.series, max(n, 0)} }

// Histogram is a series of samples.
type Histogram struct{ series Series }

// Record takes a sample; there are no negative ones, so less than 0 is 0.
func (h Histogram) Record(n int64) Update { return Update{h.series, max(n, 0)} }

// Update is a change of a series: what to add to a counter, a gauge's value, or a histogram's sample, as its kind says.
type Update struct {
	Series Series
	N      int64
}
