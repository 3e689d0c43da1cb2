// Package export shows what the sources saw as Prometheus metrics. All names are here.
package export

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/fleet"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// Collector writes metrics from the last samples. It never waits for a source.
type Collector struct {
	board *source.Board
	dcgm  *dcgmNames // nil: GPUs have gpuexporter's own names
	view  func(states []*source.State, now time.Time) fleet.View
	now   func() time.Time
}

// Options are what a collector needs.
type Options struct {
	Board *source.Board
	// View puts the fleet together.
	View func([]*source.State, time.Time) fleet.View
	Now  func() time.Time
	// DCGM has GPUs told by dcgm-exporter's names, with labels of the host and, with Pods, of who has them.
	DCGM, Pods bool
	Host       string
}

// New makes a collector.
func New(o Options) *Collector {
	c := &Collector{board: o.Board, view: o.View, now: o.Now}
	if o.DCGM {
		c.dcgm = newDCGMNames(o.Host, o.Pods)
	}
	return c
}

// Describe sends every description.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range descriptions {
		to <- d
	}
	if c.dcgm != nil {
		c.dcgm.describe(to)
	}
}

// Collect sends every metric that has a value.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	states, now := c.board.States(), c.now()
	who := owners(states, now)
	told := map[string]bool{} // a GPU's series are its UUID's, whoever measures it
	for _, s := range states {
		collectSource(to, s, now)
		if s.Sample == nil {
			continue
		}
		for _, g := range s.Sample.GPUs {
			if !told[g.UUID] {
				told[g.UUID] = true
				c.collectGPU(to, g, who)
			}
		}
	}
	collectFleet(to, c.view(states, now), now)
}

func (c *Collector) collectGPU(to chan<- prometheus.Metric, g gpu.Reading, who map[string]source.Owner) {
	if c.dcgm != nil {
		c.dcgm.collect(to, g, who)
	} else {
		collectMeasured(to, g)
	}
	collectRest(to, g)
}

var descriptions []*prometheus.Desc

func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc("gpuexporter_"+name, help, labels, nil)
	descriptions = append(descriptions, d)
	return d
}

func describeGPU(name, help string, more ...string) *prometheus.Desc {
	return describe(name, help, append([]string{"gpu", "uuid", "name"}, more...)...)
}

var (
	gpuLost              = describeGPU("gpu_lost", "1 if the GPU does not answer its driver any more.")
	gpuMemoryUsed        = describeGPU("gpu_memory_used_bytes", "Memory in use.")
	gpuMemoryTotal       = describeGPU("gpu_memory_total_bytes", "Memory of the GPU.")
	gpuUtilization       = describeGPU("gpu_utilization_ratio", "Share of the driver's last sample period in which a kernel ran.")
	gpuMemoryUtilization = describeGPU("gpu_memory_utilization_ratio", "Share of the driver's last sample period in which memory was read or written.")
	gpuPower             = describeGPU("gpu_power_watts", "Power draw.")
	gpuPowerLimit        = describeGPU("gpu_power_limit_watts", "Power limit in force.")
	gpuTemperature       = describeGPU("gpu_temperature_celsius", "Temperature of the GPU's die.")
	gpuThrottled         = describeGPU("gpu_throttled", "1 if clocks are held down by heat or a lack of power; running at the power limit is not that.")
	gpuThrottleReason    = describeGPU("gpu_throttle_reason", "1 for each of NVML's reasons that holds clocks where they are.", "reason")
	gpuECC               = describeGPU("gpu_ecc_errors_total", "Memory errors since the driver was loaded.", "type")
	gpuMIG               = describeGPU("gpu_mig_enabled", "1 if the GPU is in MIG mode.")
	migMemoryUsed        = describeGPU("gpu_mig_memory_used_bytes", "Memory in use in a MIG device.", "mig")
	migMemoryTotal       = describeGPU("gpu_mig_memory_total_bytes", "Memory of a MIG device.", "mig")
	gpuProcesses         = describeGPU("gpu_processes", "Processes that compute on the GPU, up to the number that is reported.")
	processMemory        = describeGPU("gpu_process_memory_bytes", "Memory that a process holds.", "pid")
)

// gaugesOf gives what sends gauges of a GPU.
func gaugesOf(to chan<- prometheus.Metric, g gpu.Reading) func(d *prometheus.Desc, value float64, more ...string) {
	id := []string{strconv.Itoa(g.Index), g.UUID, g.Name}
	return func(d *prometheus.Desc, value float64, more ...string) {
		send(to, d, prometheus.GaugeValue, value, append(slices.Clip(id), more...)...)
	}
}

// collectMeasured sends what dcgm-exporter has names for, too.
func collectMeasured(to chan<- prometheus.Metric, g gpu.Reading) {
	gauge := gaugesOf(to, g)
	for d, value := range map[*prometheus.Desc]*uint64{gpuMemoryUsed: g.MemoryUsed, gpuMemoryTotal: g.MemoryTotal} {
		if value != nil {
			gauge(d, float64(*value))
		}
	}
	for d, value := range map[*prometheus.Desc]*float64{
		gpuUtilization: g.Utilization, gpuMemoryUtilization: g.MemoryUtilization,
		gpuPower: g.Power, gpuPowerLimit: g.PowerLimit, gpuTemperature: g.Temperature,
	} {
		if value != nil {
			gauge(d, *value)
		}
	}
	if g.Throttle != nil {
		for _, r := range gpu.AllReasons {
			gauge(gpuThrottleReason, number(*g.Throttle&r.Mask != 0), r.Name)
		}
	}
	for kind, value := range map[string]*uint64{"corrected": g.ECCCorrected, "uncorrected": g.ECCUncorrected} {
		if value != nil {
			send(to, gpuECC, prometheus.CounterValue, float64(*value), strconv.Itoa(g.Index), g.UUID, g.Name, kind)
		}
	}
	if g.MIGEnabled != nil {
		gauge(gpuMIG, number(*g.MIGEnabled))
	}
}

// collectRest sends what dcgm-exporter has no name for, or another meaning.
func collectRest(to chan<- prometheus.Metric, g gpu.Reading) {
	gauge := gaugesOf(to, g)
	gauge(gpuLost, number(g.Lost))
	if g.Throttle != nil {
		gauge(gpuThrottled, number(g.Throttle.Throttled()))
	}
	for _, p := range g.MIG {
		if p.MemoryUsed != nil {
			gauge(migMemoryUsed, float64(*p.MemoryUsed), p.UUID)
		}
		if p.MemoryTotal != nil {
			gauge(migMemoryTotal, float64(*p.MemoryTotal), p.UUID)
		}
	}
	if g.Processes == nil {
		return
	}
	gauge(gpuProcesses, float64(len(*g.Processes)))
	for _, p := range *g.Processes {
		if p.Memory != nil {
			gauge(processMemory, float64(*p.Memory), strconv.FormatUint(uint64(p.PID), 10))
		}
	}
}

var (
	engineKV      = describe("engine_kv_cache_usage_ratio", "Share of the KV cache in use, of servers that this exporter reads itself.", "engine")
	enginePrefill = describe("engine_prefill_tokens", "Prompt tokens that are processed or wait for it.", "engine")
	engineRunning = describe("engine_requests_running", "Requests that are processed.", "engine")
	engineWaiting = describe("engine_requests_waiting", "Requests that wait.", "engine")
	engineAge     = describe("engine_age_seconds", "How long ago the server was measured.", "engine")

	fleetInstances = describe("fleet_instances", "Instances in the pressure document, those of peers included.")
	fleetOmitted   = describe("fleet_instances_omitted", "Instances that the bound on the document left out, here or at a peer.")
	fleetDuplicate = describe("fleet_instances_duplicate", "Instances that were told of more than once; the youngest report is used.")
	fleetSameGPU   = describe("fleet_gpus_duplicate", "GPUs that were told of more than once: each is told once, with the youngest numbers.")
	fleetExpired   = describe("fleet_instances_expired", "Instances that are left out because nobody measured them for long.")
	fleetAge       = describe("fleet_age_seconds", "Age of the oldest instance in the pressure document.")
	fleetKV        = describe("fleet_kv_cache_usage_ratio", "Share of KV caches in use over the instances in the pressure document.", "statistic")
	fleetRunning   = describe("fleet_requests_running", "Requests that are processed by the instances in the pressure document.")
	fleetWaiting   = describe("fleet_requests_waiting", "Requests that wait at the instances in the pressure document.")
)

func collectFleet(to chan<- prometheus.Metric, v fleet.View, now time.Time) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		send(to, d, prometheus.GaugeValue, value, labels...)
	}
	gauge(fleetInstances, float64(len(v.Members)))
	gauge(fleetOmitted, float64(v.Omitted))
	gauge(fleetDuplicate, float64(v.Duplicate))
	gauge(fleetSameGPU, float64(v.DuplicateGPUs))
	gauge(fleetExpired, float64(v.Expired))
	var sum totals
	for _, m := range v.Members {
		sum.add(m, now)
		if m.Local && !m.GPUsOnly() {
			collectEngine(gauge, m, now)
		}
	}
	sum.collect(gauge)
}

func collectEngine(gauge func(*prometheus.Desc, float64, ...string), m fleet.Member, now time.Time) {
	if m.ActiveDecodeBlocks != nil {
		gauge(engineKV, *m.ActiveDecodeBlocks, m.Name)
	}
	for d, value := range map[*prometheus.Desc]*int64{
		enginePrefill: m.ActivePrefillTokens, engineRunning: m.Running, engineWaiting: m.Waiting,
	} {
		if value != nil {
			gauge(d, float64(*value), m.Name)
		}
	}
	gauge(engineAge, max(now.Sub(m.At), 0).Seconds(), m.Name)
}

// totals are the statistics over instances. What no instance tells has none.
type totals struct {
	kv               []float64
	running, waiting *float64
	oldest           *float64
}

func (t *totals) add(m fleet.Member, now time.Time) {
	if m.ActiveDecodeBlocks != nil {
		t.kv = append(t.kv, *m.ActiveDecodeBlocks)
	}
	for sum, value := range map[**float64]*int64{&t.running: m.Running, &t.waiting: m.Waiting} {
		if value == nil {
			continue
		}
		if *sum == nil {
			*sum = new(float64)
		}
		**sum += float64(*value)
	}
	age := max(now.Sub(m.At), 0).Seconds()
	if t.oldest == nil || age > *t.oldest {
		t.oldest = &age
	}
}

func (t *totals) collect(gauge func(*prometheus.Desc, float64, ...string)) {
	if len(t.kv) > 0 {
		mean := 0.0
		for _, v := range t.kv {
			mean += v / float64(len(t.kv))
		}
		gauge(fleetKV, slices.Min(t.kv), "min")
		gauge(fleetKV, mean, "mean")
		gauge(fleetKV, slices.Max(t.kv), "max")
	}
	for d, value := range map[*prometheus.Desc]*float64{
		fleetRunning: t.running, fleetWaiting: t.waiting, fleetAge: t.oldest,
	} {
		if value != nil {
			gauge(d, *value)
		}
	}
}

var (
	sourceUp       = describe("source_up", "1 if the source's last measurement was good and in time.", "source", "kind")
	sourceHung     = describe("source_hung", "1 while a measurement runs for longer than its deadline.", "source", "kind")
	sourceAge      = describe("source_age_seconds", "Age of the source's last good sample.", "source", "kind")
	sourceDuration = describe("source_duration_seconds", "How long the source's last finished measurement took.", "source", "kind")
	sourceSamples  = describe("source_samples_total", "Measurements: good, with an error, or late, which are those beyond the deadline.", "source", "kind", "result")
	sourceTargets  = describe("source_targets", "Addresses behind the source.", "source", "kind")
	sourceFailed   = describe("source_targets_failed", "Addresses behind the source that did not answer.", "source", "kind")
	sourceNotes    = describe("source_notes", "What was odd about the last good sample.", "source", "kind", "note")
)

func collectSource(to chan<- prometheus.Metric, s *source.State, now time.Time) {
	id := []string{s.Name, string(s.Kind)}
	gauge := func(d *prometheus.Desc, value float64, more ...string) {
		send(to, d, prometheus.GaugeValue, value, append(slices.Clip(id), more...)...)
	}
	gauge(sourceUp, number(s.Up()))
	gauge(sourceHung, number(s.Hung))
	for result, n := range map[string]uint64{"good": s.Good, "error": s.Failed, "late": s.Late} {
		send(to, sourceSamples, prometheus.CounterValue, float64(n), append(slices.Clip(id), result)...)
	}
	if s.Good+s.Failed > 0 {
		gauge(sourceDuration, s.Duration.Seconds())
	}
	if s.Sample == nil {
		return
	}
	gauge(sourceAge, max(now.Sub(s.SampledAt), 0).Seconds())
	if s.Sample.Targets > 0 {
		gauge(sourceTargets, float64(s.Sample.Targets))
		gauge(sourceFailed, float64(s.Sample.Failed))
	}
	for _, note := range slices.Sorted(maps.Keys(s.Sample.Notes)) {
		gauge(sourceNotes, float64(s.Sample.Notes[note]), note)
	}
}

// send sends one metric. Labels that Prometheus refuses make an invalid metric, which fails the scrape visibly.
func send(to chan<- prometheus.Metric, d *prometheus.Desc, t prometheus.ValueType, value float64, labels ...string) {
	m, err := prometheus.NewConstMetric(d, t, value, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(d, err)
	}
	to <- m
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
