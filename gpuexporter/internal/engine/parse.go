package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/lines"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
)

// maxInstances bounds the instances that one address may speak for.
const maxInstances = 1024

// maxSamples bounds the lines that are read: five metrics of each of maxInstances servers, and room.
const maxSamples = 8 * maxInstances

// errNothingKnown is the error for text without a single metric of the table.
var errNothingKnown = errors.New("none of its metrics is one that vLLM, SGLang, TensorRT-LLM, Triton or Dynamo tells its load by")

// Reading is what a server's text says.
type Reading struct {
	// Instances has one for a server, under the name ""; an address that speaks for several gives each under its own name.
	Instances []pressure.Instance
	// Skipped counts lines that tell of load, but not in a form that can be read, and values that can't be a load.
	Skipped int
	// Omitted counts servers beyond maxInstances.
	Omitted int
}

// Parse reads Prometheus text, of whatever format and version: of the lines whose metric is in the table it takes labels and
// value. Times and exemplars are not needed; a line that can't be read is skipped and counted; all others, HELP and TYPE too,
// are skipped unread. So no line does harm to what another one tells. Only text without any known value is an error.
func Parse(text []byte) (Reading, error) {
	var r Reading
	families, skipped := lines.Read(text, wanted, maxSamples)
	r.Skipped = skipped
	r.instances(families)
	switch {
	case len(r.Instances) > 0:
		return r, nil
	case r.Skipped > 0:
		return r, fmt.Errorf("none of the %d lines that tell of its load can be read", r.Skipped)
	}
	return r, errNothingKnown
}

// instances applies the table.
func (r *Reading) instances(families map[string][]lines.Sample) {
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
	names := slices.Sorted(maps.Keys(servers))
	r.Omitted = max(len(names)-maxInstances, 0)
	for _, name := range names[:len(names)-r.Omitted] {
		r.Instances = append(r.Instances, instance(name, servers[name]))
	}
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
func (m *metric) values(families map[string][]lines.Sample) map[string]float64 {
	divisor := 1.0
	if m.of != "" {
		total, ok := m.total(families)
		if !ok {
			return nil
		}
		divisor = total
	}
	parts := map[string]map[string]float64{}
	for _, s := range families[m.name] {
		if !has(s, m.labels) {
			continue
		}
		server := s.Label(m.split)
		if m.split != "" && !pressure.ValidName(server) {
			continue
		}
		if parts[server] == nil {
			parts[server] = map[string]float64{}
		}
		p := part(s)
		parts[server][p] = max(parts[server][p], s.Value/divisor)
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
func (m *metric) total(families map[string][]lines.Sample) (total float64, ok bool) {
	for _, s := range families[m.of] {
		if has(s, m.ofLabels) && s.Value > 0 && (!ok || s.Value < total) {
			total, ok = s.Value, true
		}
	}
	return total, ok
}

// wanted gives the table's name for a metric that is in it.
func wanted(metric string) string {
	name := strings.TrimPrefix(strings.ReplaceAll(metric, ":", "_"), "ray_")
	if !known[name] {
		return ""
	}
	return name
}

func has(s lines.Sample, labels map[string]string) bool {
	for name, value := range labels {
		if s.Label(name) != value {
			return false
		}
	}
	return true
}

// part names what the sample is a part of: all its labels but those of copies.
func part(s lines.Sample) string {
	var b strings.Builder
	for _, l := range s.Labels {
		if !copyLabels[l.GetName()] {
			fmt.Fprintf(&b, "%q=%q,", l.GetName(), l.GetValue())
		}
	}
	return b.String()
}
