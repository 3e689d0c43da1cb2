package plugin

import (
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
}

// metrics defines each metric when it is first counted, once a VM: the host gives a new id for each definition. The label
// values are bounded by the core.
type metrics struct {
	ids [len(definitions)][]defined
}

// defined is a metric with its id. A worker has few of a name, and mostly one at a time: the last one used comes first.
type defined struct {
	labels [4]string
	id     proxywasm.MetricCounter
}

// add adds to a counter. The host refuses to add nothing.
func (m *metrics) add(c admit.Count) {
	if c.N <= 0 {
		return
	}
	m.id(&c).Increment(uint64(c.N))
}

func (m *metrics) id(c *admit.Count) proxywasm.MetricCounter {
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
	id := proxywasm.DefineCounterMetric(name)
	m.ids[c.Counter] = append(list, defined{c.Labels, id})
	return id
}

func (m *metrics) configError() {
	proxywasm.DefineCounterMetric("spillway_config_errors_total;reason=invalid").Increment(1)
}
