package pressure

import (
	"math"

	"github.com/spillway-proxy/spillway/config"
)

// Rule is an upstream's, with the thresholds of each priority.
type Rule struct {
	decode     [config.Urgent + 1]float64
	prefill    [config.Urgent + 1]float64
	memory     float64
	onStale    string
	staleAfter int64
}

// NewRule translates the configuration.
func NewRule(c *config.Pressure, source *config.PressureSource) Rule {
	r := Rule{memory: c.GPUMemory, onStale: c.OnStale, staleAfter: source.StaleAfter.Nanoseconds()}
	for p, ceiling := range c.Ceilings {
		r.decode[p] = ceiling * c.ActiveDecodeBlocks
		r.prefill[p] = ceiling * float64(c.ActivePrefillTokens)
	}
	return r
}

// The reasons.
const (
	Busy  = "busy"    // every instance is
	Shed  = "ceiling" // for the request's priority, every instance is
	Stale = "stale"   // nothing recent is known, and that counts as busy
)

// Verdict is what the pressure says of a request.
type Verdict struct {
	Reason    string  // "": it may go
	Measured  float64 // share of KV-cache blocks of the least busy instance; Absent: not known
	Threshold float64 // what that is measured against
}

// Judge says whether a request of the priority may go. now is the time of what else the caller knows.
func (b *Board) Judge(now int64, r *Rule, p config.Priority) Verdict {
	limit := r.staleAfter
	v, asked := b.judge(now, r, p, limit)
	if !asked && r.onStale == "hold" {
		limit = math.MaxInt64
		v, asked = b.judge(now, r, p, limit)
	}
	switch {
	case !asked && r.onStale == "full":
		return Verdict{Reason: Stale, Measured: Absent}
	case v.Reason != "" && p != config.Urgent:
		if all, _ := b.judge(now, r, config.Urgent, limit); all.Reason == "" {
			v.Reason = Shed
		}
	}
	return v
}

// judge looks at the instances that are not older than limit. asked says that there were any to look at.
func (b *Board) judge(now int64, r *Rule, p config.Priority, limit int64) (v Verdict, asked bool) {
	v = Verdict{Measured: Absent, Threshold: r.decode[p]}
	engines := b.engines()
	for i := range b.instances {
		x := &b.instances[i]
		if b.age(now, x) > limit || engines && !x.engine() {
			continue
		}
		asked = true
		if !r.busy(x, p) {
			return Verdict{Measured: x.Decode, Threshold: r.decode[p]}, true
		}
		if v.Measured == Absent || x.Decode != Absent && x.Decode < v.Measured {
			v.Measured = x.Decode
		}
	}
	if asked {
		v.Reason = Busy
	}
	return v, asked
}

// engines says that at least one instance reports what an engine does.
func (b *Board) engines() bool {
	for i := range b.instances {
		if b.instances[i].engine() {
			return true
		}
	}
	return false
}

func (x *Instance) engine() bool { return x.Decode != Absent || x.Prefill != Absent }

// age is how old an instance's measurement is by now.
func (b *Board) age(now int64, x *Instance) int64 {
	if b.known.received == 0 {
		return math.MaxInt64
	}
	return max(now-b.known.received, 0) + x.Age
}

func (r *Rule) busy(x *Instance, p config.Priority) bool {
	return x.Decode > r.decode[p] || float64(x.Prefill) > r.prefill[p] || x.Memory > r.memory
}

// Gauge is what is shown of the pressure.
type Gauge struct {
	Decode, Memory float64 // of the least busy instance; Absent: not known
	Prefill        int64
	Age            int64 // of the fetch, in nanoseconds; Absent: nothing was fetched yet
	Instances      int
	// How many of the instances tell it.
	DecodeOf, MemoryOf, PrefillOf int
}

// Look gives what this worker last read.
func (b *Board) Look(now int64) Gauge {
	g := Gauge{Decode: Absent, Memory: Absent, Prefill: Absent, Age: Absent, Instances: len(b.instances)}
	if b.known.received != 0 {
		g.Age = max(now-b.known.received, 0)
	}
	for i := range b.instances {
		x := &b.instances[i]
		least(&g.Decode, &g.DecodeOf, x.Decode)
		least(&g.Memory, &g.MemoryOf, x.Memory)
		least(&g.Prefill, &g.PrefillOf, x.Prefill)
	}
	return g
}

func least[T int64 | float64](to *T, of *int, n T) {
	if n == Absent {
		return
	}
	*of++
	if *to == Absent || n < *to {
		*to = n
	}
}
