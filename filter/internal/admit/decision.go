package admit

import (
	"cmp"
	"math"
	"strconv"

	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// Decision is what became of a request, and why. Every request has exactly one; it is published in the filter state, and
// with it in the access log, and counted.
type Decision struct {
	Outcome   string
	Gate      string // the one that decided, or would have in shadow mode; "" if none had anything to say
	Reason    string // of a closed set for each gate
	Text      string // the reason with its numbers, as an operator reads it, where a gate has that: ttft_1240ms_over_1000ms
	Limit     string // the name of the limit, of a gate that has several
	Measured  float64
	Threshold float64 // in the same unit: units of the limit, shares, milliseconds; absent: there is no such number
	Wait      int64   // nanoseconds until it is worth trying again; 0: not said; MaxInt64: never
}

// absent is a number that a decision does not have.
const absent = -1

// The outcomes.
const (
	allowed   = "ALLOWED"
	queued    = "QUEUED" // it waited, and passed
	shadowed  = "SHADOW"
	rejected  = "REJECTED"  // an open breaker's are OPEN and HALF_OPEN
	fellBack  = "FALLBACK"  // the breaker is open, and it was sent elsewhere
	cancelled = "CANCELLED" // the client left before it was decided
	faulted   = "FAULT"     // passed undecided, for a fault of ours
)

// The gates, as decisions name them, but for those of package adaptive and the limits.
const (
	identityGate = "identity"
	pressureGate = reply.Pressure
	queueGate    = reply.Queue
)

// because makes a decision that has no numbers.
func because(outcome, gate, reason string) Decision {
	return Decision{Outcome: outcome, Gate: gate, Reason: reason, Measured: absent, Threshold: absent}
}

// limited is the decision of a limit.
func limited(outcome string, d *limit.Denial) Decision {
	made := because(outcome, reply.Limits, reply.LimitReason(d))
	made.Limit, made.Wait = d.Limit.Name, d.Wait
	if !d.Contended {
		made.Measured, made.Threshold = float64(d.Used), float64(d.Limit.Burst)
	}
	return made
}

// note records what a gate in shadow mode would have done. The first gate's word stands, as it would if it were enforced.
func (s *Stream) note(d Decision) {
	if s.decision.Outcome == allowed {
		d.Outcome = shadowed
		s.decision = d
	}
}

// send records that the request goes on to the upstream now.
func (e *Engine) send(s *Stream, now int64) {
	s.sent = now
	if s.leased {
		s.leased = false
		e.report(s, e.limits.Send(now, s.charges))
	}
	e.record(s)
}

// record publishes the decision, once it is final.
func (e *Engine) record(s *Stream) {
	s.recorded = true
	if s.step.Reply != nil {
		s.step.Reply.Finish(e.cfg.Retry.Longest.Nanoseconds())
	}
	d := &s.decision
	s.step.set("spillway.decision", d.Outcome)
	if d.Gate != "" {
		s.step.set("spillway.gate", d.Gate)
		s.step.set("spillway.reason", cmp.Or(d.Text, d.Reason))
		s.step.set("spillway.limit", d.Limit)
		s.step.set("spillway.measured", decimal(d.Measured))
		s.step.set("spillway.threshold", decimal(d.Threshold))
		if d.Wait != 0 {
			s.step.set("spillway.retryable", strconv.FormatBool(d.Wait != math.MaxInt64))
		}
		if d.Wait > 0 && d.Wait != math.MaxInt64 {
			s.step.set("spillway.retry.ms", strconv.FormatInt((d.Wait-1)/millisecond+1, 10))
		}
	}
	if !e.unlabelled(s) {
		e.count(s)
	}
}

// count counts the request, once: when it is decided and complete, or when the upstream has told that there is such a model.
func (e *Engine) count(s *Stream) {
	if !s.counted {
		s.counted = true
		s.step.count(Requests, 1, s.decision.Outcome, cmp.Or(s.decision.Gate, "none"), s.caller.Priority.String(), e.label(s.model))
	}
}

// decimal writes a number of a decision as it is read: 0.91, 304, 1250.
func decimal(n float64) string {
	if n == absent || math.IsNaN(n) || math.IsInf(n, 0) {
		return ""
	}
	return strconv.FormatFloat(math.Round(n*10_000)/10_000, 'f', -1, 64)
}
