package health

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
	"github.com/spillway-proxy/spillway/filter/internal/predict"
)

// Predicts says that it matters how long a request's prompt is.
func (g *Gates) Predicts() bool { return g.settings.Latency != nil && g.settings.Latency.Predict }

// bound is how long the request may take to its first token, and says whether it is the request that wants that.
func (r *Request) bound(c *latency.Settings) (bound time.Duration, wanted bool) {
	if r.TTFT > 0 && r.TTFT < c.TTFT {
		return r.TTFT, true
	}
	return c.TTFT, false
}

// tries says that a request passes in spite of what is expected of it: else what was learned of such requests could never turn out to be
// wrong.
func (g *Gates) tries(now clock.Moment) bool {
	if age := now.Sub(g.tried); age >= 0 && age < predict.Amends {
		return false
	}
	g.tried = now
	return true
}

// late is the latency gate's verdict against a request that would come too late, where others may not.
func (g *Gates) late(x *predict.Expected, bound time.Duration, wanted bool) gate.Verdict {
	v := gate.Because(outcome(g.settings.enforceLatency), gate.Latency, gate.TTFT)
	what := "expected_ttft"
	if wanted {
		v.Reason, what = gate.SLOTTFT, gate.SLOTTFT
	}
	most := float64(x.Most())
	v.Measured, v.Threshold = most/1e6, float64(bound)/1e6
	v.Wait = max(x.Until(bound), leastWait) + g.spread.Next(predict.Recent)
	g.explain(&v, latency.Explain(g.text[:0], what, most, float64(bound)))
	return v
}

// Most is how long the request is likely to wait for its first token, at most, once it is sent, as far as the latency gate expected that of it; 0: it did not.
func (r *Request) Most() time.Duration { return r.most }

// Sent says that a request is sent now.
func (g *Gates) Sent(r *Request) {
	if g != nil && r.met.InFlight == 0 {
		r.met, r.unanswered = g.meets(r), true
		g.flying++
		g.reading += r.Prompt
	}
}

// answered says that a request's prompt was read, if it was not known yet.
func (g *Gates) answered(r *Request) {
	if r.unanswered {
		r.unanswered = false
		g.reading -= r.met.Prompt
	}
}

// landed says that a request isn't in flight any more, if it was.
func (g *Gates) landed(r *Request) {
	g.answered(r)
	if r.met.InFlight > 0 {
		g.flying--
		r.met = predict.Load{}
	}
}

// meets is what the request would meet if it were sent now.
func (g *Gates) meets(r *Request) predict.Load {
	return predict.Load{Prompt: r.Prompt, Ahead: g.reading, InFlight: g.flying + 1}
}

// riskyFrom is the share of the time that a request may take of which more has to be expected for the throttle to refuse it.
const riskyFrom = 0.5

// risk is how much of the throttle's share a request bears, from 0 to 1, by how near to its bound it is expected to come: who is all but sure to be
// in time makes nobody late. Where nothing is expected of each, how long answers take of late tells, against what trips the P99. Where that isn't known either all bear the
// same.
func (g *Gates) risk(now clock.Moment, r *Request) float64 {
	nearness, known := r.nearness, r.foreseen
	if !known {
		nearness, known = g.throttle.Nearness(now, g.settings.Throttle, &g.pace)
	}
	if !known {
		return 1
	}
	return min(max((nearness-riskyFrom)/(1-riskyFrom), 0), 1)
}
