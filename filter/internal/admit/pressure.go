package admit

import (
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/autosize"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/pressure"
)

// Source is where the effect Fetch asks, by a GET.
func (e *Engine) Source() *config.PressureSource { return &e.cfg.PressureSource }

// newPressure makes the rule of an upstream, if it has the gate.
func (e *Engine) newPressure(u *upstream) {
	if u.cfg.Pressure.Mode == config.Off {
		return
	}
	rule := pressure.NewRule(&u.cfg.Pressure, &e.cfg.PressureSource, e.cfg.Mode)
	u.pressure = &rule
	if e.measures == nil {
		e.measures = pressure.NewMonitor(e.host, e.cfg.Namespace, e.cfg.PressureSource.Interval)
	}
	e.monitor = e.measures
	e.monitor.Interval = e.cfg.PressureSource.Interval
}

// tickPressure looks for news, and fetches some if it is this worker's turn.
func (e *Engine) tickPressure(now clock.Moment) {
	due, err := e.monitor.Due(now)
	if err != nil {
		e.storeFailed("the record of pressure can't be used", err)
	}
	if due {
		e.out.add(Fetch, nil)
	}
	e.tellLoad(now)
}

// tellLoad tells upstreams that learn how many slots they have what their engines say.
func (e *Engine) tellLoad(now clock.Moment) {
	load := autosize.Load(e.monitor.Load(now, e.cfg.PressureSource.StaleAfter))
	for _, u := range e.upstreams {
		if u.pressure != nil && u.queue != nil && u.queue.Learns() {
			u.queue.Hear(load)
		}
	}
}

// Fetched takes what became of a Fetch: status 0 is no answer.
func (e *Engine) Fetched(now clock.Moment, status int, body []byte) {
	e.current = nil
	if status != 200 {
		e.unpressed("answered with status " + strconv.Itoa(status) + " (0: not at all; 503 is mostly Envoy's own, for what it can't reach)")
		return
	}
	snapshot, err := pressure.Parse(body)
	if err != nil {
		e.unpressed("gave an answer that is " + err.Error())
		return
	}
	e.out.count(metric.Errors("pressure_value"), int64(snapshot.Wrong))
	e.out.count(metric.Errors("pressure_instances"), int64(snapshot.Ignored))
	if err := e.monitor.Publish(now, snapshot); err != nil {
		e.storeFailed("the record of pressure can't be written", err)
		return
	}
	e.silent = false
}

// unpressed takes note of a fetch that failed; the log has the first of several.
func (e *Engine) unpressed(what string) {
	e.out.count(metric.Errors("pressure_fetch"), 1)
	if !e.silent {
		c := &e.cfg.PressureSource
		e.out.warn("the exporter at cluster " + c.Cluster + " " + what + ": pressure is not known until it answers; onStale says what" +
			" counts from " + c.StaleAfter.String() + " on")
	}
	e.silent = true
}

// looks is how often a worker looks for news of pressure in an interval of fetches.
const looks = 8

func (e *Engine) pressurePeriod() time.Duration {
	return max(e.cfg.PressureSource.Interval/looks, 10*time.Millisecond)
}

// describePressure publishes what is known of the pressure, shares in thousandths. A gauge can't be taken back: what is not measured
// any more becomes 0, and how many instances tell it says that this is no measurement.
func (e *Engine) describePressure(now clock.Moment) {
	g := e.monitor.Gauge(now)
	if g.Age == pressure.Absent {
		return
	}
	show := func(kind string, n int64, of int) {
		e.out.gauge(metric.Pressure(kind), max(n, 0))
		e.out.gauge(metric.PressureInstances(kind), int64(of))
	}
	share := func(n float64) int64 { return int64(n*1000 + 0.5) }
	show("active_decode_blocks", share(g.Decode), g.DecodeOf)
	show("gpu_memory", share(g.Memory), g.MemoryOf)
	show("active_prefill_tokens", g.Prefill, g.PrefillOf)
	e.out.gauge(metric.Pressure("instances"), int64(g.Instances))
	e.out.gauge(metric.PressureAge(), g.Age.Milliseconds())
}
