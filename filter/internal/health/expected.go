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

// tryEvery is how often, at most, a worker lets a request pass in spite of what is expected of it.
const tryEvery = 5 * time.Second

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
	if age := now.Sub(g.tried); age >= 0 && age < tryEvery {
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
	v.Wait = leastWait + g.spread.Next(predict.Recent)
	g.explain(&v, latency.Explain(g.text[:0], what, most, float64(bound)))
	return v
}

// Sent says that a request is sent now.
func (g *Gates) Sent(r *Request) {
	if g != nil && r.beside == 0 {
		g.flying++
		r.beside = g.flying
	}
}

// landed says that a request isn't in flight any more, if it was.
func (g *Gates) landed(r *Request) {
	if r.beside > 0 {
		g.flying--
		r.beside = 0
	}
}

// load is what the request met when it was sent.
func (r *Request) load() predict.Load { return predict.Load{Prompt: r.Prompt, InFlight: r.beside} }
