package admit

import (
	"cmp"
	"math"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// Every request has one decision (Stream.decision): what became of it, and why. It is published in the filter state, and with it in the
// access log, and counted. It is the verdict of the gate that decided, or would have in shadow mode.

// note records what a gate has noted of a request that passes: what it would have done in shadow mode, or why it passes in spite of
// all. The first gate's word stands, as it would if it were enforced.
func (s *Stream) note(v *gate.Verdict) {
	if v.Reason != "" && s.decision.Outcome == gate.Allowed {
		s.decision = *v
	}
}

// refuse answers a request that a gate has refused, at whatever moment. It leaves all gates: its place at its upstream is free, and what
// was charged is given back.
func (e *Engine) refuse(s *Stream, now clock.Moment, v *gate.Verdict) {
	e.leave(s, now)
	s.phase, s.decision = stDone, *v
	about := reply.About{Format: e.format(s), Model: s.exchange.Model, Priority: s.caller.Priority.String(),
		NoHeadroom: e.cfg.RateLimitHeaders == config.RateLimitsOff, Told: e.howTold(s, now), Fleet: &e.fleetLimit, Said: &e.said}
	if s.upstream != nil {
		about.Upstream = s.upstream.name
	}
	s.action = isAnswered
	s.reply.Refuse(v, &about, &e.cfg.StatusCode)
	if v.Gate == gate.Breaker {
		if f := &s.upstream.cfg.Breaker.Fallback; f.Status != 0 && f.For(s.operation) {
			s.reply.Replace(f.Status, f.Headers, f.Body)
		}
	}
	s.reply.Finish(e.cfg.Retry.Longest)
	e.waited(s, v.Waited)
	e.record(s)
	e.enter(s, now)
}

// unfit is the verdict on a request that can't be taken as it is, be it sent as often as one likes. message says what is wrong with it,
// and what would be right.
func unfit(which, reason, message string) gate.Verdict {
	v := gate.Because(gate.Rejected, which, reason)
	v.Wait, v.Message = gate.Never, message
	return v
}

// send records that the request goes on to the upstream now.
func (e *Engine) send(s *Stream, now clock.Moment) {
	s.exchange.Sent = now
	if s.tracked {
		s.upstream.health.Sent(&s.track)
	}
	if s.exchange.Dialect != nil {
		e.out.set(s, filterstate.Provider, s.exchange.Dialect.Provider)
	}
	if s.leased {
		s.leased = false
		e.report(e.limits.Send(now, s.charges))
	}
	if s.phase = stSent; s.exchange.Dialect == nil && len(s.charges) == 0 {
		s.phase = stDone // the response has nothing to tell
	}
	e.record(s)
	if s.decision.Outcome == gate.Shadowed {
		e.enter(s, now)
	}
}

// record publishes the decision, once it is final.
func (e *Engine) record(s *Stream) {
	d := &s.decision
	e.out.set(s, filterstate.Decision, d.Outcome.String())
	if d.Gate != "" {
		e.out.set(s, filterstate.Gate, d.Gate)
		e.out.set(s, filterstate.Reason, cmp.Or(d.Text.String(), d.Reason))
		if d.Limit != nil {
			e.out.set(s, filterstate.Limit, d.Limit.Name)
			e.recordSubject(s)
		}
		e.out.setDecimal(s, filterstate.Measured, d.Measured)
		e.out.setDecimal(s, filterstate.Threshold, d.Threshold)
		if d.Wait != 0 {
			e.out.set(s, filterstate.Retryable, strconv.FormatBool(d.Wait != gate.Never))
		}
		if d.Wait > 0 && d.Wait != gate.Never {
			e.out.setNumber(s, filterstate.RetryMillis, int64((d.Wait-1)/time.Millisecond)+1)
		}
	}
	if !e.unlabelled(s) {
		e.count(s)
	}
}

// recordSubject publishes whom the limit charges that has decided.
func (e *Engine) recordSubject(s *Stream) {
	if !e.out.published.Has(filterstate.Subject) {
		return
	}
	from := len(e.out.text)
	e.out.text = s.rules.limits.AppendSubject(e.out.text, s.decision.Limit, &s.limitRequest) // as that limit was asked
	e.out.set(s, filterstate.Subject, inplace.String(e.out.text[from:]))
}

// count counts the request, once: when it is decided and complete, or when the upstream has told that there is such a model.
func (e *Engine) count(s *Stream) {
	if !s.counted {
		s.counted = true
		e.beat.roster.Counts[s.decision.Outcome]++
		limit := ""
		if s.decision.Limit != nil {
			limit = s.decision.Limit.Name
		}
		e.out.count(metric.Requests(s.decision.Outcome, cmp.Or(s.decision.Gate, "none"), s.caller.Priority, e.label(s.exchange.Model), limit), 1)
	}
}

// appendDecimal writes a number of a decision as it is read: 0.91, 304, 1250. What is none is left out.
func appendDecimal(b []byte, n float64) []byte {
	const most = 1e9 // of those with four digits behind the point that a float64 holds exactly
	switch {
	case n == gate.Absent || math.IsNaN(n) || math.IsInf(n, 0):
		return b
	case n < 0 || n > most:
		return strconv.AppendFloat(b, math.Round(n*10_000)/10_000, 'f', -1, 64)
	}
	all := int64(math.Round(n * 10_000))
	b = strconv.AppendInt(b, all/10_000, 10)
	rest := all % 10_000
	for unit := int64(1000); rest > 0; unit /= 10 {
		if unit == 1000 {
			b = append(b, '.')
		}
		b = append(b, '0'+byte(rest/unit))
		rest %= unit
	}
	return b
}
