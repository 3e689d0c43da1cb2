package export

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/dcgm"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// mebi is what dcgm-exporter counts memory in, in bytes.
const mebi = 1 << 20

// dcgmMetric is one of dcgm-exporter's metrics, and where a reading has its value.
type dcgmMetric struct {
	name, help string
	kind       prometheus.ValueType
	value      func(g gpu.Reading) (float64, bool)
}

// Help texts are those of dcgm-exporter's list of counters (etc/default-counters.csv), or in its words.
var dcgmMetrics = []dcgmMetric{
	{dcgm.Utilization, "GPU utilization (in %).", prometheus.GaugeValue, scaled(100, func(g gpu.Reading) *float64 { return g.Utilization })},
	{dcgm.MemoryUtilization, "Memory utilization (in %).", prometheus.GaugeValue, scaled(100, func(g gpu.Reading) *float64 { return g.MemoryUtilization })},
	{dcgm.MemoryUsed, "Framebuffer memory used (in MiB).", prometheus.GaugeValue, memoryUsed},
	{dcgm.MemoryFree, "Framebuffer memory free (in MiB).", prometheus.GaugeValue, memoryFree},
	{dcgm.Power, "Power draw (in W).", prometheus.GaugeValue, scaled(1, func(g gpu.Reading) *float64 { return g.Power })},
	{dcgm.PowerLimit, "Effective power limit (in W).", prometheus.GaugeValue, scaled(1, func(g gpu.Reading) *float64 { return g.PowerLimit })},
	{dcgm.Temperature, "GPU temperature (in C).", prometheus.GaugeValue, scaled(1, func(g gpu.Reading) *float64 { return g.Temperature })},
	{dcgm.ClockReasons, "Current clock event reasons (bitmask).", prometheus.GaugeValue, clockReasons},
	{dcgm.ECCCorrected, "Total number of single-bit volatile ECC errors.", prometheus.CounterValue, counted(func(g gpu.Reading) *uint64 { return g.ECCCorrected })},
	{dcgm.ECCUncorrected, "Total number of double-bit volatile ECC errors.", prometheus.CounterValue, counted(func(g gpu.Reading) *uint64 { return g.ECCUncorrected })},
	{dcgm.MIGMode, "MIG mode: 1 if it is on.", prometheus.GaugeValue, migMode},
}

func scaled(by float64, value func(gpu.Reading) *float64) func(gpu.Reading) (float64, bool) {
	return func(g gpu.Reading) (float64, bool) {
		v := value(g)
		if v == nil {
			return 0, false
		}
		return *v * by, true
	}
}

func counted(value func(gpu.Reading) *uint64) func(gpu.Reading) (float64, bool) {
	return func(g gpu.Reading) (float64, bool) {
		v := value(g)
		if v == nil {
			return 0, false
		}
		return float64(*v), true
	}
}

func memoryUsed(g gpu.Reading) (float64, bool) {
	if g.MemoryUsed == nil {
		return 0, false
	}
	return float64(*g.MemoryUsed / mebi), true
}

func memoryFree(g gpu.Reading) (float64, bool) {
	if g.MemoryUsed == nil || g.MemoryTotal == nil || *g.MemoryUsed > *g.MemoryTotal {
		return 0, false
	}
	return float64((*g.MemoryTotal - *g.MemoryUsed) / mebi), true
}

func clockReasons(g gpu.Reading) (float64, bool) {
	if g.Throttle == nil {
		return 0, false
	}
	return float64(*g.Throttle), true
}

func migMode(g gpu.Reading) (float64, bool) {
	if g.MIGEnabled == nil {
		return 0, false
	}
	return number(*g.MIGEnabled), true
}

// dcgmNames tell GPUs by dcgm-exporter's names and labels.
type dcgmNames struct {
	host         string
	pods         bool
	descriptions []*prometheus.Desc // of dcgmMetrics, in their order
}

func newDCGMNames(host string, pods bool) *dcgmNames {
	labels := []string{"gpu", "UUID", "device", "modelName", "Hostname"}
	if pods {
		labels = append(labels, "container", "namespace", "pod")
	}
	n := &dcgmNames{host: host, pods: pods}
	for _, m := range dcgmMetrics {
		n.descriptions = append(n.descriptions, prometheus.NewDesc(m.name, m.help, labels, nil))
	}
	return n
}

func (n *dcgmNames) describe(to chan<- *prometheus.Desc) {
	for _, d := range n.descriptions {
		to <- d
	}
}

// collect sends what was measured of a GPU. A GPU that no container has alone has empty labels for it, which are no labels to Prometheus.
func (n *dcgmNames) collect(to chan<- prometheus.Metric, g gpu.Reading, who map[string]source.Owner) {
	device := "nvidia" + strconv.Itoa(g.Index)
	labels := []string{strconv.Itoa(g.Index), g.UUID, device, g.Name, n.host}
	if n.pods {
		owner, ok := who[g.UUID]
		if !ok {
			owner = who[device]
		}
		labels = append(labels, owner.Container, owner.Namespace, owner.Pod)
	}
	for i, m := range dcgmMetrics {
		if value, ok := m.value(g); ok {
			send(to, n.descriptions[i], m.kind, value, labels...)
		}
	}
}

// ownersFor is how long it counts who had a GPU once the kubelet doesn't tell any more.
const ownersFor = time.Minute

// owners are who has which GPU, by UUID or device.
func owners(states []*source.State, now time.Time) map[string]source.Owner {
	for _, s := range states {
		if s.Kind == source.Pods && s.Sample != nil && now.Sub(s.SampledAt) <= ownersFor {
			return s.Sample.Owners
		}
	}
	return nil
}
