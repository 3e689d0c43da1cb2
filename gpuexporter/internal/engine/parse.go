package engine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
)

// maxLine bounds a line of the text. vLLM's longest, which describe its configuration, have about 1.5 KB.
const maxLine = 64 << 10

// maxInstances bounds the instances that one address may speak for.
const maxInstances = 1024

// errNothingKnown is the error for text without a single metric of the table.
var errNothingKnown = errors.New("none of its metrics is one that vLLM, SGLang, TensorRT-LLM, Triton or Dynamo tells its load by")

// Parse reads Prometheus text. It gives one instance for a server, under the name ""; an address that speaks for several
// gives each under its own name. Text without any known metric, or with a line that tells of load but can't be read, is an
// error; all other lines, HELP and TYPE too, are skipped unread, so they can't do harm.
func Parse(text io.Reader) ([]pressure.Instance, error) {
	families, err := read(text)
	if err != nil {
		return nil, err
	}
	if len(families) == 0 {
		return nil, errNothingKnown
	}
	return instances(families)
}

// read parses the lines whose metric is in the table, by the table's names.
func read(text io.Reader) (map[string]*dto.MetricFamily, error) {
	var kept bytes.Buffer
	lines := bufio.NewScanner(text)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	for lines.Scan() {
		line := lines.Bytes()
		end := bytes.IndexAny(line, "{ \t")
		if end <= 0 {
			continue
		}
		if name := canonical(string(line[:end])); known[name] {
			kept.WriteString(name)
			kept.Write(line[end:])
			kept.WriteByte('\n')
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading its metrics: %w", err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(&kept)
	if err != nil {
		return nil, fmt.Errorf("reading its metrics: %w", err)
	}
	return families, nil
}

func canonical(name string) string {
	return strings.TrimPrefix(strings.ReplaceAll(name, ":", "_"), "ray_")
}

// instances applies the table.
func instances(families map[string]*dto.MetricFamily) ([]pressure.Instance, error) {
	servers := map[string]*[meanings]*float64{}
	for _, m := range metrics {
		for name, value := range m.values(families) {
			s := servers[name]
			if s == nil {
				s = new([meanings]*float64)
				servers[name] = s
			}
			if s[m.meaning] == nil {
				s[m.meaning] = &value
			}
		}
	}
	switch {
	case len(servers) == 0:
		return nil, errNothingKnown
	case len(servers) > maxInstances:
		return nil, fmt.Errorf("it speaks for %d servers: at most %d are read from one address", len(servers), maxInstances)
	}
	list := make([]pressure.Instance, 0, len(servers))
	for _, name := range slices.Sorted(maps.Keys(servers)) {
		list = append(list, instance(name, servers[name]))
	}
	return list, nil
}

func instance(name string, values *[meanings]*float64) pressure.Instance {
	i := pressure.Instance{Name: name}
	if v := values[kvShare]; v != nil {
		i.ActiveDecodeBlocks = pressure.Share(*v)
	}
	count := func(m meaning) *int64 {
		if values[m] == nil {
			return nil
		}
		return pressure.Count(*values[m])
	}
	i.ActivePrefillTokens, i.Running, i.Waiting = count(prefillTokens), count(running), count(waiting)
	return i
}

// values gives the metric's value for each server: under "" where it isn't split.
func (m *metric) values(families map[string]*dto.MetricFamily) map[string]float64 {
	divisor := 1.0
	if m.of != "" {
		total, ok := m.total(families)
		if !ok {
			return nil
		}
		divisor = total
	}
	parts := map[string]map[string]float64{}
	for s := range series(families[m.name], m.labels) {
		server := s.label(m.split)
		if m.split != "" && !pressure.ValidName(server) {
			continue
		}
		if parts[server] == nil {
			parts[server] = map[string]float64{}
		}
		part := s.part()
		parts[server][part] = max(parts[server][part], s.value/divisor)
	}
	values := make(map[string]float64, len(parts))
	for server, of := range parts {
		for _, v := range of {
			if m.meaning == kvShare {
				values[server] = max(values[server], v)
			} else {
				values[server] += v
			}
		}
	}
	return values
}

// total is what a share is counted from: where parts differ, the smallest, which errs towards full.
func (m *metric) total(families map[string]*dto.MetricFamily) (total float64, ok bool) {
	for s := range series(families[m.of], m.ofLabels) {
		if s.value > 0 && (!ok || s.value < total) {
			total, ok = s.value, true
		}
	}
	return total, ok
}

// sample is one series' value. What can't be a load (negative, not a number) is not given out.
type sample struct {
	labels []*dto.LabelPair
	value  float64
}

func series(family *dto.MetricFamily, labels map[string]string) func(yield func(sample) bool) {
	return func(yield func(sample) bool) {
		for _, m := range family.GetMetric() {
			s := sample{labels: m.GetLabel(), value: m.GetUntyped().GetValue()}
			if s.value < 0 || math.IsNaN(s.value) || math.IsInf(s.value, 0) || !s.has(labels) {
				continue
			}
			if !yield(s) {
				return
			}
		}
	}
}

func (s sample) label(name string) string {
	for _, l := range s.labels {
		if l.GetName() == name {
			return l.GetValue()
		}
	}
	return ""
}

func (s sample) has(labels map[string]string) bool {
	for name, value := range labels {
		if s.label(name) != value {
			return false
		}
	}
	return true
}

// part names what the sample is a part of: all its labels but those of copies.
func (s sample) part() string {
	var b strings.Builder
	for _, l := range s.labels {
		if !copyLabels[l.GetName()] {
			fmt.Fprintf(&b, "%q=%q,", l.GetName(), l.GetValue())
		}
	}
	return b.String()
}
