package pressure

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// Rule is an upstream's, with the thresholds of each priority.
type Rule struct {
	decode     [config.Urgent + 1]float64
	prefill    [config.Urgent + 1]float64
	memory     float64
	onStale    config.OnStale
	staleAfter time.Duration
	shadow     bool
}

// NewRule translates the configuration. The plugin's mode is a ceiling over the gate's.
func NewRule(c *config.Pressure, source *config.PressureSource, mode config.Mode) Rule {
	r := Rule{shadow: c.Mode.Under(mode) == config.Shadow, memory: c.GPUMemory, onStale: c.OnStale, staleAfter: source.StaleAfter}
	for p, ceiling := range c.Ceilings {
		r.decode[p] = ceiling * c.ActiveDecodeBlocks
		r.prefill[p] = ceiling * float64(c.ActivePrefillTokens)
	}
	return r
}

// Judge says whether a request of the priority may go. now is the time of what else the caller knows. What a verdict measures is the
// share of KV-cache blocks of the least busy instance.
func (b *Monitor) Judge(now clock.Moment, r *Rule, p config.Priority) gate.Verdict {
	v := b.decide(now, r, p)
	switch {
	case v.Reason == "":
		return v
	case r.shadow:
		v.Outcome = gate.Shadowed
	default:
		v.Outcome = gate.Rejected
	}
	v.Gate, v.Wait = gate.Pressure, b.Interval
	if v.Measured == Absent {
		v.Threshold = gate.Absent
	}
	return v
}

func (b *Monitor) decide(now clock.Moment, r *Rule, p config.Priority) gate.Verdict {
	limit := r.staleAfter
	v, asked := b.judge(now, r, p, limit)
	if !asked && r.onStale == config.StaleHold {
		limit = math.MaxInt64
		v, asked = b.judge(now, r, p, limit)
	}
	switch {
	case !asked && r.onStale == config.StaleFull:
		return gate.Verdict{Reason: gate.Stale, Measured: Absent}
	case v.Reason != "" && p != config.Urgent:
		if all, _ := b.judge(now, r, config.Urgent, limit); all.Reason == "" {
			v.Reason = gate.Ceiling
		}
	}
	return v
}

// judge looks at the instances that are not older than limit. asked says that there were any to look at.
func (b *Monitor) judge(now clock.Moment, r *Rule, p config.Priority, limit time.Duration) (v gate.Verdict, asked bool) {
	v = gate.Verdict{Measured: Absent, Threshold: r.decode[p]}
	engines := b.engines()
	for i := range b.instances {
		x := &b.instances[i]
		if b.age(now, x) > limit || engines && !x.engine() {
			continue
		}
		asked = true
		if !r.busy(x, p) {
			return gate.Verdict{Measured: x.Decode, Threshold: r.decode[p]}, true
		}
		if v.Measured == Absent || x.Decode != Absent && x.Decode < v.Measured {
			v.Measured = x.Decode
		}
	}
	if asked {
		v.Reason = gate.Busy
	}
	return v, asked
}

// engines says that at least one instance reports what an engine does.
func (b *Monitor) engines() bool {
	for i := range b.instances {
		if b.instances[i].engine() {
			return true
		}
	}
	return false
}

func (x *Instance) engine() bool { return x.Decode != Absent || x.Prefill != Absent }

// age is how old an instance's measurement is by now.
func (b *Monitor) age(now clock.Moment, x *Instance) time.Duration {
	if b.known.received == 0 {
		return math.MaxInt64
	}
	return max(now.Sub(b.known.received), 0) + x.Age
}

func (r *Rule) busy(x *Instance, p config.Priority) bool {
	return x.Decode > r.decode[p] || float64(x.Prefill) > r.prefill[p] || x.Memory > r.memory
}

// Gauge is what is shown of the pressure.
type Gauge struct {
	Decode, Memory float64 // of the least busy instance; Absent: not known
	Prefill        int64
	Age            time.Duration // of the fetch; Absent: nothing was fetched yet
	Instances      int
	// How many of the instances tell it.
	DecodeOf, MemoryOf, PrefillOf int
}

// Gauge gives what this worker last read.
func (b *Monitor) Gauge(now clock.Moment) Gauge {
	g := Gauge{Decode: Absent, Memory: Absent, Prefill: Absent, Age: Absent, Instances: len(b.instances)}
	if b.known.received != 0 {
		g.Age = max(now.Sub(b.known.received), 0)
	}
	for i := range b.instances {
		x := &b.instances[i]
		least(&g.Decode, &g.DecodeOf, x.Decode)
		least(&g.Memory, &g.MemoryOf, x.Memory)
		least(&g.Prefill, &g.PrefillOf, x.Prefill)
	}
	return g
}

// Instances are those that this worker last read of, in the exporter's order. They are not to be changed.
func (b *Monitor) Instances() []Instance { return b.instances }

func least[T int64 | float64](to *T, of *int, n T) {
	if n == Absent {
		return
	}
	*of++
	if *to == Absent || n < *to {
		*to = n
	}
}

// Load is what the engines serve and what waits there, all of them that tell it and aren't older than limit.
type Load struct {
	At               clock.Moment // when the oldest of it was measured; 0: nothing is known
	Running, Waiting int64        // requests
	KV               float64      // share of KV-cache blocks in use by decoding, the mean; 0: not known
}

// Load adds up what is known at a time of all that isn't older than limit.
func (b *Monitor) Load(now clock.Moment, limit time.Duration) (l Load) {
	var oldest time.Duration
	caches := 0
	for i := range b.instances {
		x := &b.instances[i]
		age := b.age(now, x)
		if x.Waiting == Absent || age > limit {
			continue
		}
		l.At, oldest = b.known.received, max(oldest, x.Age)
		l.Running += max(x.Running, 0)
		l.Waiting += x.Waiting
		if x.Decode != Absent {
			l.KV += x.Decode
			caches++
		}
	}
	if l.At != 0 {
		l.At, l.KV = l.At.Add(-oldest), l.KV/float64(max(caches, 1))
	}
	return l
}
