// Package latency closes a gate while an upstream is slow to answer, by the time to its first token (TTFT) and between
// tokens (ITL).
//
// Of each request by itself a time to the first token is expected (Expect, package predict), which the caller holds against the threshold. Averages
// do what can't be: the time between tokens, and that to the first one before enough is known, or without Predict.
//
// A State has a time-weighted moving average of each. The gate is shut for all while one of them is above its
// threshold (ForAll); from WarnAt of the threshold on it warns. It passes again by itself: refused requests aren't sampled, so the averages
// decay, and reach the threshold after TimeConstant × ln(average/threshold), which is what RecoversIn says. It is the earliest
// time: answers of requests that were admitted before can only keep an average up, however fast they are. Nothing else is
// remembered, so there is no state that could be stuck. The idea, the averages and the numbers of the default
// configuration are those of a rate limiter that was proposed for Dynamo (https://github.com/ai-dynamo/dynamo/pull/1949).
//
// # What is sampled
//
// Only streams have a first token and a time between tokens: a unary answer comes as a whole, and its duration says how
// long it is rather than how slow the server is. So unary answers are averaged apart, for metrics, and close nothing. A
// shut gate refuses both kinds, because both take the same server's time. The caller leaves out what says nothing about
// the upstream: answers of the proxy itself, and refused requests.
//
// A TTFT can be sampled as soon as the first token has come, long before the stream ends: in an overload that is the
// earliest sign. The first sample after a long silence is the whole average. A cold start of 40 s against a threshold of
// 1 s keeps a gate with a time constant of 30 s shut for 30 s × ln 40, nearly two minutes.
//
// # Whose samples
//
// A client can make its own requests slow, with huge prompts. So a sample above a threshold is taken in only if package quorum finds
// it credible: while others measure fine, it isn't. One that is alone is believed, but a gate that its samples alone have shut is shut
// for it alone (Concerns): others pass, and their samples tell.
//
// # Who owns what, and the worst moments
//
// A State belongs to its caller, who shares it between workers: each reads it, changes its copy, and writes it if nobody
// else has meanwhile. States can be compared with ==. Time comes in as an argument. The stream dies: what it has
// sampled stays. The worker dies or is loaded anew: the averages are in the record, nothing is lost. Two workers write at
// once: one reads again; its sample then has the weight of the time since the other one's. The clock leaps ahead: the
// averages decay by as much; it steps back: they stand still, or, further than the time constant, go on from there. The
// record is garbage: Decode refuses it, and the averages begin anew.
package latency

import (
	"math"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/predict"
	"github.com/spillway-proxy/spillway/filter/internal/quorum"
)

// Settings is the configuration of one gate. Times are above zero.
type Settings struct {
	TTFT, ITL    time.Duration // the thresholds
	TimeConstant time.Duration
	WarnAt       float64 // share of a threshold, in (0, 1]
	Predict      bool    // times to the first token are learned by what they depend on
}

// NewSettings takes the settings from a checked configuration.
func NewSettings(c *config.Latency) Settings {
	return Settings{TTFT: c.TTFT, ITL: c.ITL, TimeConstant: c.TimeConstant, WarnAt: c.WarnAt, Predict: c.Predict}
}

// Signal is one of the two measures that can close the gate.
type Signal uint8

// The signals.
const (
	None Signal = iota
	TTFT
	ITL
)

// String is the signal as it is named in reasons.
func (s Signal) String() string {
	switch s {
	case TTFT:
		return "ttft"
	case ITL:
		return "itl"
	default:
		return "none"
	}
}

// Sample is what was measured of one answer; 0 is not measured.
type Sample struct {
	TTFT, ITL time.Duration // of a stream; ITL is its mean
	Unary     time.Duration // duration of an answer that came as a whole
	Subject   uint64        // whose request it was, as a keyed hash
	Load      predict.Load  // with which TTFT was met
	Left      bool          // TTFT is how long a client had waited for a first token when it left
}

// State is the latency of one model, or of all. The zero value has no samples.
type State struct {
	ttft, itl, unary average
	last             Trigger
	quorum           quorum.Quorum
	expected         predict.State
	sole             uint64 // the subject on whose samples alone an average is above its threshold; 0: on those of several
}

// Trigger is when and why the gate shut. The zero value is never.
type Trigger struct {
	At                  clock.Moment
	Signal              Signal
	measured, threshold float64 // nanoseconds
}

// String is the reason as an operator reads it, such as ttft_1240ms_over_1000ms; "" if it never did.
func (t Trigger) String() string {
	if t.Signal == None {
		return ""
	}
	return string(Explain(make([]byte, 0, 48), t.Signal.String(), t.measured, t.threshold))
}

// Explain says that a measured time is above another one, both in nanoseconds.
func Explain(b []byte, what string, measured, threshold float64) []byte {
	b = append(b, what...)
	b = append(b, '_')
	b = strconv.AppendInt(b, int64(math.RoundToEven(measured/1e6)), 10)
	b = append(b, "ms_over_"...)
	b = strconv.AppendInt(b, int64(math.RoundToEven(threshold/1e6)), 10)
	return append(b, "ms"...)
}

// Record takes a sample, and says whether that shut the gate. What is above a threshold is left out unless it is to be believed.
func (s *State) Record(now clock.Moment, c *Settings, sample Sample) (shut bool) {
	if sample.Left {
		s.recordLeft(now, c, sample)
		return false
	}
	passes := !s.Judge(now, c).Over
	over := sample.TTFT > c.TTFT || sample.ITL > c.ITL
	if sample.TTFT > 0 || sample.ITL > 0 {
		s.quorum.Record(now, memory*c.TimeConstant, sample.Subject, over)
	}
	if over {
		sample = s.believed(now, c, sample, passes)
	}
	if c.Predict {
		s.expected.Learn(now, sample.Load, sample.TTFT)
	}
	s.ttft.add(now, sample.TTFT, c.TimeConstant)
	s.itl.add(now, sample.ITL, c.TimeConstant)
	s.unary.add(now, sample.Unary, c.TimeConstant)
	r := s.Judge(now, c)
	if shut = passes && r.Over; shut {
		s.last = Trigger{At: now, Signal: r.Signal, measured: r.Measured, threshold: r.Threshold}
	}
	return shut
}

// recordLeft takes how long a client had waited when it left: what is expected learns by that, the averages don't.
func (s *State) recordLeft(now clock.Moment, c *Settings, sample Sample) {
	if !c.Predict {
		return
	}
	if sample.TTFT > c.TTFT {
		s.quorum.Record(now, memory*c.TimeConstant, sample.Subject, true)
		if !s.quorum.Credible(now, memory*c.TimeConstant, max(sample.Subject, 1)) {
			return
		}
	}
	s.expected.AtLeast(now, sample.Load, sample.TTFT)
}

// Expect gives what is expected of a request, and says false where too little was learned for that.
func (s *State) Expect(now clock.Moment, c *Settings, load predict.Load) (x predict.Expected, known bool) {
	if !c.Predict {
		return x, false
	}
	return s.expected.Expect(now, load)
}

// memory is how long subjects are remembered, in time constants.
const memory = 2

// believed is what remains of a sample that is above a threshold.
func (s *State) believed(now clock.Moment, c *Settings, sample Sample, passes bool) Sample {
	switch subject := max(sample.Subject, 1); {
	case !s.quorum.Credible(now, memory*c.TimeConstant, subject):
		if sample.TTFT > c.TTFT {
			sample.TTFT = 0
		}
		if sample.ITL > c.ITL {
			sample.ITL = 0
		}
	case s.quorum.Weigh(now, memory*c.TimeConstant).Sole != subject:
		s.sole = 0
	case passes:
		s.sole = subject
	case s.sole != subject:
		s.sole = 0
	}
	return sample
}

// Concerns says that the averages tell something to the subject: they aren't above a threshold for the samples of another one alone.
func (s *State) Concerns(subject uint64) bool { return s.sole == 0 || s.sole == max(subject, 1) }

// Last is when the gate shut last.
func (s *State) Last() Trigger { return s.last }

// Reading is what the averages say.
type Reading struct {
	Signal              Signal
	Measured, Threshold float64       // nanoseconds
	Over                bool          // the gate is shut
	Warn                bool          // it isn't, but the average has reached WarnAt of the threshold
	RecoversIn          time.Duration // until decay alone lets it pass again
}

// Judge looks at the signal that is highest in proportion to its threshold: the last one to recover.
func (s *State) Judge(now clock.Moment, c *Settings) Reading {
	ttft := s.read(now, c, TTFT, c.TTFT)
	if itl := s.read(now, c, ITL, c.ITL); itl.Measured*ttft.Threshold > ttft.Measured*itl.Threshold {
		return itl
	}
	return ttft
}

// ForAll is what the gate says of all requests alike: Judge, but for the time to the first token where that is expected of each by itself.
func (s *State) ForAll(now clock.Moment, c *Settings) Reading {
	if s.foresees(c) {
		return s.read(now, c, ITL, c.ITL)
	}
	return s.Judge(now, c)
}

// Misses looks at a request's own bounds; 0 is none. Over then says that at the present averages it can't
// meet them.
func (s *State) Misses(now clock.Moment, c *Settings, ttft, itl time.Duration) Reading {
	var worst Reading
	for i, bound := range [...]time.Duration{ttft, itl} {
		if bound <= 0 {
			continue
		}
		r := s.read(now, c, TTFT+Signal(i), bound)
		if worst.Signal == None || r.Measured*worst.Threshold > worst.Measured*r.Threshold {
			worst = r
		}
	}
	worst.Warn = false
	return worst
}

// Averages gives the averages by now, in nanoseconds.
func (s *State) Averages(now clock.Moment, c *Settings) (ttft, itl, unary float64) {
	return s.ttft.by(now, c.TimeConstant), s.itl.by(now, c.TimeConstant), s.unary.by(now, c.TimeConstant)
}

func (s *State) read(now clock.Moment, c *Settings, signal Signal, bound time.Duration) Reading {
	r := Reading{Signal: signal, Threshold: float64(bound)}
	switch {
	case signal == ITL:
		r.Measured, r.RecoversIn = s.itl.by(now, c.TimeConstant), s.itl.until(now, r.Threshold, c.TimeConstant)
	case s.foresees(c):
		usual, _ := s.expected.Expect(now, s.expected.Usual())
		r.Measured, r.RecoversIn = float64(usual.Most()), usual.Until(bound)
	default:
		r.Measured, r.RecoversIn = s.ttft.by(now, c.TimeConstant), s.ttft.until(now, r.Threshold, c.TimeConstant)
	}
	r.Over = r.Measured > r.Threshold
	r.Warn = !r.Over && r.Measured >= c.WarnAt*r.Threshold
	return r
}

// foresees says that enough is known to expect a time to the first token of each request.
func (s *State) foresees(c *Settings) bool { return c.Predict && s.expected.Known() }
