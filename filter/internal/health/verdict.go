package health

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/breaker"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
	"github.com/spillway-proxy/spillway/filter/internal/throttle"
)

// outcome is that of a verdict against a request.
func outcome(enforced bool) gate.Outcome {
	if enforced {
		return gate.Rejected
	}
	return gate.Shadowed
}

// explain gives a verdict its text, which was written into memory that is used again.
func (g *Gates) explain(v *gate.Verdict, text []byte) {
	g.text = text
	v.Text.Set(text)
}

// broken is the breaker's verdict.
func (g *Gates) broken(b *breaker.Verdict, last breaker.Trigger) gate.Verdict {
	if !b.Refused {
		return gate.Verdict{}
	}
	v := gate.Because(outcome(g.settings.enforceBreaker), gate.Breaker, gate.Probing)
	v.Wait = max(b.RecoversIn, leastWait)
	if b.Phase == breaker.Open {
		v.Reason = gate.BreakerOpen
		g.explain(&v, last.Append(g.text[:0]))
		if last.Over > 0 {
			v.Measured, v.Threshold = last.Share, g.settings.Breaker.ErrorRate
		}
	}
	switch {
	case !v.Outcome.Refuses():
	case b.Phase == breaker.Open:
		v.Outcome = gate.Open
	default:
		v.Outcome = gate.HalfOpen
	}
	return v
}

// slow is the latency gate's.
func (g *Gates) slow(r *latency.Reading, own bool) gate.Verdict {
	if !r.Over {
		return gate.Verdict{Warning: r.Warn}
	}
	v := gate.Because(outcome(g.settings.enforceLatency), gate.Latency, gate.TTFT)
	v.Measured, v.Threshold = r.Measured/1e6, r.Threshold/1e6
	v.Wait = max(r.RecoversIn, leastWait) + g.spread.Next(g.settings.Latency.TimeConstant)
	switch itl := r.Signal == latency.ITL; {
	case own && itl:
		v.Reason = gate.SLOITL
	case own:
		v.Reason = gate.SLOTTFT
	case itl:
		v.Reason = gate.ITL
	}
	g.explain(&v, latency.Explain(g.text[:0], v.Reason, r.Measured, r.Threshold))
	return v
}

// shed is the throttle's.
func (g *Gates) shed(r *throttle.Reading, wait time.Duration) gate.Verdict {
	v := gate.Because(outcome(g.settings.enforceThrottle), gate.Throttle, gate.QPS)
	g.explain(&v, r.Last.Append(g.text[:0]))
	v.Measured, v.Threshold, v.Wait = r.Last.Measured, r.Last.Threshold, wait
	switch {
	case r.Last.Fused:
		v.Reason = gate.Fused
	case r.Last.Signal == throttle.TailLatency:
		v.Reason = gate.P99
		v.Measured, v.Threshold = v.Measured/1e6, v.Threshold/1e6
	case r.Last.Signal == throttle.GPUMemory:
		v.Reason = gate.GPUMemory
	}
	return v
}
