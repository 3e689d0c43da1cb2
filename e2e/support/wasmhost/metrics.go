package wasmhost

import (
	"maps"
	"slices"
)

// metricKind is a metric's type; it is also the low two bits of its id.
type metricKind uint32

const (
	metricCounter   metricKind = 0
	metricGauge     metricKind = 1
	metricHistogram metricKind = 2

	metricKindMask = 3
	metricIDStep   = 4
)

// metrics are the process's stats. The host's mutex guards them.
type metrics struct {
	counters   map[string]uint64
	gauges     map[string]uint64
	histograms map[string][]uint64
}

func newMetrics() metrics {
	return metrics{counters: map[string]uint64{}, gauges: map[string]uint64{}, histograms: map[string][]uint64{}}
}

// Counter returns a counter's value over all VMs, and 0 for one that was never
// defined.
func (h *Host) Counter(name string) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.metrics.counters[name]
}

// Gauge returns a gauge's value; all VMs share it.
func (h *Host) Gauge(name string) int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return int64(h.metrics.gauges[name])
}

// Histogram returns the values recorded by all VMs, in order.
func (h *Host) Histogram(name string) []uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.metrics.histograms[name])
}

// MetricNames returns the names of all metrics defined so far, in order.
func (h *Host) MetricNames() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	names := slices.Collect(maps.Keys(h.metrics.counters))
	names = slices.AppendSeq(names, maps.Keys(h.metrics.gauges))
	names = slices.AppendSeq(names, maps.Keys(h.metrics.histograms))
	slices.Sort(names)
	return names
}

// define makes the stat exist, without touching one that does.
func (m *metrics) define(kind metricKind, name string) {
	switch kind {
	case metricCounter:
		m.counters[name] += 0
	case metricGauge:
		m.gauges[name] += 0
	case metricHistogram:
		if _, ok := m.histograms[name]; !ok {
			m.histograms[name] = nil
		}
	}
}

// proxyDefineMetric gives a new id at every call, but the stat behind the ids of
// one name is the same.
func proxyDefineMetric(v *VM, a []uint64) uint64 {
	kind := metricKind(a[0])
	name, ok := v.readString(a[1], a[2])
	if !ok {
		return uint64(statusInvalidMemoryAccess)
	}
	if kind > metricHistogram {
		return uint64(statusBadArgument)
	}
	v.metricIDs[kind] += metricIDStep
	id := v.metricIDs[kind]
	v.metricNames[id] = name
	v.host.mu.Lock()
	v.host.metrics.define(kind, name)
	v.host.mu.Unlock()
	if !v.writeU32(a[3], id) {
		return uint64(statusInvalidMemoryAccess)
	}
	return uint64(statusOK)
}

func proxyIncrementMetric(v *VM, a []uint64) uint64 {
	id, offset := uint32(a[0]), int64(a[1])
	kind := metricKind(id & metricKindMask)
	if kind > metricGauge {
		return uint64(statusBadArgument)
	}
	name, ok := v.metricNames[id]
	if !ok {
		return uint64(statusNotFound)
	}
	v.host.mu.Lock()
	defer v.host.mu.Unlock()
	if kind == metricGauge {
		v.host.metrics.gauges[name] += uint64(offset)
		return uint64(statusOK)
	}
	if offset <= 0 {
		return uint64(statusBadArgument)
	}
	v.host.metrics.counters[name] += uint64(offset)
	return uint64(statusOK)
}

// proxyRecordMetric sets a gauge, adds to a histogram, and (as in Envoy) adds to
// a counter.
func proxyRecordMetric(v *VM, a []uint64) uint64 {
	id, value := uint32(a[0]), a[1]
	name, ok := v.metricNames[id]
	if !ok {
		return uint64(statusNotFound)
	}
	v.host.mu.Lock()
	defer v.host.mu.Unlock()
	m := &v.host.metrics
	switch metricKind(id & metricKindMask) {
	case metricCounter:
		m.counters[name] += value
	case metricGauge:
		m.gauges[name] = value
	default:
		m.histograms[name] = append(m.histograms[name], value)
	}
	return uint64(statusOK)
}

func proxyGetMetric(v *VM, a []uint64) uint64 {
	id := uint32(a[0])
	kind := metricKind(id & metricKindMask)
	if kind > metricGauge {
		return uint64(statusBadArgument)
	}
	name, ok := v.metricNames[id]
	if !ok {
		return uint64(statusNotFound)
	}
	value := uint64(v.host.Gauge(name))
	if kind == metricCounter {
		value = v.host.Counter(name)
	}
	if !v.writeU64(a[1], value) {
		return uint64(statusInvalidMemoryAccess)
	}
	return uint64(statusOK)
}
