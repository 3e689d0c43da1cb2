// Package promtext reads metrics in Prometheus's text format, for tests and measurements.
package promtext

import (
	"fmt"
	"io"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Sample is one value. A histogram has several, under its name with _bucket, _sum and _count.
type Sample struct {
	Name   string
	Labels map[string]string
	Value  float64
}

// Samples are those of one scrape, or some of them.
type Samples []Sample

// Parse reads all samples of a text. It is an error if anything in it is not what Prometheus takes.
func Parse(r io.Reader) (all Samples, err error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(r)
	if err != nil {
		return nil, fmt.Errorf("read metrics: %w", err)
	}
	for _, family := range families {
		vector, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, family)
		if err != nil {
			return nil, fmt.Errorf("read metric %s: %w", family.GetName(), err)
		}
		for _, v := range vector {
			labels := make(map[string]string, len(v.Metric))
			for name, value := range v.Metric {
				if name != model.MetricNameLabel {
					labels[string(name)] = string(value)
				}
			}
			all = append(all, Sample{Name: string(v.Metric[model.MetricNameLabel]), Labels: labels, Value: float64(v.Value)})
		}
	}
	return all, nil
}

// Of are the samples of that name that have the labels, and may have others: name, value, name, value, ...
func (s Samples) Of(name string, labels ...string) (some Samples) {
	for _, sample := range s {
		same := sample.Name == name
		for i := 0; i < len(labels); i += 2 {
			same = same && sample.Labels[labels[i]] == labels[i+1]
		}
		if same {
			some = append(some, sample)
		}
	}
	return some
}

// Sum adds up the samples' values; 0 if there are none.
func (s Samples) Sum() (sum float64) {
	for _, sample := range s {
		sum += sample.Value
	}
	return sum
}
