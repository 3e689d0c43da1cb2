package adaptive

import (
	"github.com/spillway-proxy/spillway/filter/internal/breaker"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
	"github.com/spillway-proxy/spillway/filter/internal/throttle"
)

// The gates, as they are named in decisions.
const (
	BreakerGate  = "breaker"
	LatencyGate  = "latency"
	ThrottleGate = "throttle"
)

// The reasons: a closed set for each gate.
const (
	Open    = "open"              // breaker
	Probing = "half_open_probing" // breaker: others are trying it

	TTFT    = "ttft"     // latency
	ITL     = "itl"      // latency
	SLOTTFT = "slo_ttft" // latency: above what the request itself asks for
	SLOITL  = "slo_itl"  // latency

	QPS       = "qps"        // throttle
	P99       = "p99"        // throttle
	GPUMemory = "gpu_memory" // throttle
	Fused     = "fused"      // throttle: of the signals together
)

// Absent is a number that a verdict does not have.
const Absent = -1

// Verdict is what a gate says of a request. Without a reason it has nothing to say against it.
type Verdict struct {
	Gate                string
	Reason              string
	Refused             bool    // the request is to be refused; false with a reason: in shadow mode it would have been
	Warning             bool    // it passes, but the latency is near the threshold
	Measured, Threshold float64 // shares, milliseconds or requests a second; Absent: there is no such number
	Wait                int64   // with a reason: nanoseconds after which it is worth trying again
	Phase               breaker.Phase
	Err                 error // a record could not be used

	opened breaker.Trigger
	slow   latency.Reading
	shed   throttle.Trigger
}

// Text is the reason with its numbers, as an operator reads it: 5xx_rate_85%_in_30s, ttft_1240ms_over_1000ms,
// qps_56_over_30. It is built when it is asked for.
func (v *Verdict) Text() string {
	switch {
	case v.Reason == "":
		return ""
	case v.Reason == Open:
		return v.opened.String()
	case v.Gate == LatencyGate:
		return latency.Explain(v.Reason, v.slow.Measured, v.slow.Threshold)
	case v.Gate == ThrottleGate:
		return v.shed.String()
	default:
		return v.Reason
	}
}

// broken is the breaker's verdict.
func (g *Gates) broken(b *breaker.Verdict, last breaker.Trigger) Verdict {
	if !b.Refused {
		return Verdict{Phase: b.Phase}
	}
	v := Verdict{
		Gate: BreakerGate, Reason: Probing, Refused: g.settings.EnforceBreaker, Measured: Absent, Threshold: Absent,
		Wait: max(b.RecoversIn, leastWait), Phase: b.Phase, opened: last,
	}
	if b.Phase == breaker.Open {
		v.Reason = Open
		if last.Over > 0 {
			v.Measured, v.Threshold = last.Share, g.settings.Breaker.ErrorRate
		}
	}
	return v
}

// slow is the latency gate's.
func (g *Gates) slow(r *latency.Reading, own bool) Verdict {
	if !r.Over {
		return Verdict{Warning: r.Warn}
	}
	v := Verdict{
		Gate: LatencyGate, Reason: TTFT, Refused: g.settings.EnforceLatency,
		Measured: r.Measured / 1e6, Threshold: r.Threshold / 1e6, Wait: max(r.RecoversIn, leastWait) + g.spread.Next(g.settings.Latency.TimeConstant), slow: *r,
	}
	switch itl := r.Signal == latency.ITL; {
	case own && itl:
		v.Reason = SLOITL
	case own:
		v.Reason = SLOTTFT
	case itl:
		v.Reason = ITL
	}
	return v
}

// shed is the throttle's.
func (g *Gates) shed(r *throttle.Reading, wait int64) Verdict {
	v := Verdict{
		Gate: ThrottleGate, Reason: QPS, Refused: g.settings.EnforceThrottle,
		Measured: r.Last.Measured, Threshold: r.Last.Threshold, Wait: wait, shed: r.Last,
	}
	switch {
	case r.Last.Fused:
		v.Reason = Fused
	case r.Last.Signal == throttle.TailLatency:
		v.Reason = P99
		v.Measured, v.Threshold = v.Measured/1e6, v.Threshold/1e6
	case r.Last.Signal == throttle.GPUMemory:
		v.Reason = GPUMemory
	}
	return v
}
