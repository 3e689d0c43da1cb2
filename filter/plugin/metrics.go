package plugin

import (
	"slices"

	"github.com/proxy-wasm/proxy-wasm-go-sdk/proxywasm"

	"github.com/spillway-proxy/spillway/filter/internal/admit"
)

// definition is a metric's name and its labels. The host knows no labels: they are written into the name, as
// name;label=value;label=value, and become Prometheus labels by the stats_tags of envoy/standalone.yaml.
type definition struct {
	name   string
	labels []string
}

// definitions is the one place that names metrics.
var definitions = [...]definition{
	admit.Requests:  {"spillway_requests_total", []string{"decision", "gate", "priority", "model"}},
	admit.Tokens:    {"spillway_tokens_total", []string{"type", "source", "model"}},
	admit.Uncharged: {"spillway_uncharged_total", []string{"reason"}},
	admit.Evictions: {"spillway_evictions_total", []string{"reason"}},
	admit.Errors:    {"spillway_errors_total", []string{"reason"}},
	admit.Warnings:  {"spillway_warnings_total", []string{"gate", "upstream"}},

	admit.Passthrough: {"spillway_passthrough_total", []string{"upstream", "reason"}},

	admit.QueueDepth:        {"spillway_queue_depth", []string{"upstream", "priority"}},
	admit.InFlight:          {"spillway_inflight", []string{"upstream"}},
	admit.RetreatState:      {"spillway_retreat_state", []string{"upstream"}},
	admit.RetreatAlarm:      {"spillway_retreat_alarm", []string{"upstream"}},
	admit.EffectiveRPM:      {"spillway_effective_rpm", []string{"upstream"}},
	admit.LimitedShare:      {"spillway_upstream_429_ratio", []string{"upstream"}},
	admit.Pressure:          {"spillway_pressure", []string{"kind"}},
	admit.PressureInstances: {"spillway_pressure_instances", []string{"kind"}},
	admit.PressureAge:       {"spillway_pressure_age_milliseconds", nil},
	admit.BreakerState:      {"spillway_breaker_state", []string{"upstream", "model"}},
	admit.GateState:         {"spillway_gate_state", []string{"gate", "upstream", "model"}},
	admit.LatencyAverage:    {"spillway_latency_average_milliseconds", []string{"kind", "upstream", "model"}},
	admit.ThrottleSeverity:  {"spillway_throttle_severity", []string{"upstream"}},

	admit.QueueWait: {"spillway_queue_wait_milliseconds", []string{"priority"}},
	admit.TTFT:      {"spillway_ttft_milliseconds", []string{"streaming", "priority"}},
	admit.ITL:       {"spillway_itl_milliseconds", []string{"streaming", "priority"}},
}

// metrics defines each metric when it is first counted, once a VM: the host gives a new id for each definition. The label
// values are bounded by the core.
type metrics struct {
	ids [len(definitions)][]defined
}

// defined is a metric with its id. A worker has few of a name, and mostly one at a time: the last one used comes first.
type defined struct {
	labels [4]string
	id     uint32
}

// add adds to a counter. The host refuses to add nothing.
func (m *metrics) add(c admit.Count) {
	if c.N <= 0 {
		return
	}
	proxywasm.MetricCounter(m.id(&c, defineCounter)).Increment(uint64(c.N))
}

// set sets a gauge. The SDK knows only how to add to one; the host's call that records a histogram's sample sets gauges.
func (m *metrics) set(c admit.Count) {
	proxywasm.MetricHistogram(m.id(&c, defineGauge)).Record(uint64(c.N))
}

// record takes a sample into a histogram.
func (m *metrics) record(c admit.Count) {
	proxywasm.MetricHistogram(m.id(&c, defineHistogram)).Record(uint64(c.N))
}

// retire sets the gauges of upstreams to 0 that are not kept: a gauge can't be taken back, and nobody sets these any more.
func (m *metrics) retire(kept func(upstream string) bool) {
	for i, d := range definitions {
		at := slices.Index(d.labels, "upstream")
		if at < 0 || !admit.Counter(i).Gauge() {
			continue
		}
		for _, gauge := range m.ids[i] {
			if !kept(gauge.labels[at]) {
				proxywasm.MetricHistogram(gauge.id).Record(0)
			}
		}
	}
}

func defineCounter(name string) uint32   { return uint32(proxywasm.DefineCounterMetric(name)) }
func defineGauge(name string) uint32     { return uint32(proxywasm.DefineGaugeMetric(name)) }
func defineHistogram(name string) uint32 { return uint32(proxywasm.DefineHistogramMetric(name)) }

func (m *metrics) id(c *admit.Count, define func(name string) uint32) uint32 {
	list := m.ids[c.Counter]
	for i := range list {
		if list[i].labels == c.Labels {
			list[0], list[i] = list[i], list[0]
			return list[0].id
		}
	}
	d := definitions[c.Counter]
	name := d.name
	for i, label := range d.labels {
		name += ";" + label + "=" + c.Labels[i]
	}
	id := define(name)
	m.ids[c.Counter] = append(list, defined{c.Labels, id})
	return id
}

func (m *metrics) configError() {
	proxywasm.DefineCounterMetric("spillway_config_errors_total;reason=invalid").Increment(1)
}
