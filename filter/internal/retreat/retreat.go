// Package retreat lowers our own rate while an upstream answers 429, and raises it again: additive increase, multiplicative decrease
// (AIMD), where the decrease is called a retreat.
//
// A State counts the answers of a window and scales the upstream's budget. The rules, with the numbers of the default
// configuration; the share is that of 429 among the answers:
//
//	NORMAL   share >= 5 %                             → RETREAT, scale × 0.75
//	RETREAT  share >= 10 %                            → RETREAT, scale × 0.75 again
//	RECOVER  share >= 5 %                             → RETREAT, scale × 0.75
//	any      share >= 20 %                            → RETREAT, scale to the floor at once, with an alarm
//	RETREAT  share < 2 % for 120 s                    → RECOVER, scale + step
//	RECOVER  share < 5 %, scale below the whole       → RECOVER, scale + step
//	RECOVER  share < 5 %, the whole since a step ago  → NORMAL
//
// A retreat with a share from 2 % to 10 % stays where it is: the rate is then at most a ninth above what is allowed, and a
// further step would take it well below. Multiples of the threshold above 100 % count as 100 %. There is at most one step
// per Every, however many call Evaluate; the alarm lasts until the recovery begins.
//
// What is judged. Old 429 stay in the window for a minute after a step that has cured them, and would push the rate on to
// the floor; the answers since the step alone are few at first, and one 429 among ten would be 10 %. So both must agree:
// the share is the smaller one of the window's and that of the answers since the last step down. A further step thus
// comes at the next evaluation that has MinSamples answers to the lowered rate, and only if the window still says so.
//
// Few answers. With less than MinSamples nothing is lowered. But a lowered rate can be too slow for a window ever to hold
// as many; so while it is lowered, the answers since the scale last changed are enough, however old, if their share and
// the window's agree. Calm needs no samples: no answers are no 429, so an idle upstream recovers, and so does one at a
// floor of five requests a minute. A 429 among few answers does end the calm, and holds a recovery while the share is at
// or above the threshold.
//
// Who speaks for all. A caller can be answered 429 for its own limit: what counts of the answers is what package quorum lets one
// believe, and both shares are of that. A lone caller is believed, as there is nobody else to ask; but the rate that
// was lowered on its word alone is back at the base as soon as others have had pardon answers without a 429. If the limit is theirs,
// too, the 429 come again, and then from several.
//
// The rate doesn't come to rest, because each recovery ends in the 429 that show where the limit is. A cycle is
// RecoverWindow at the lowered rate and a short climb past what is allowed. Behind a base of 40 a minute and in front of
// a token bucket that lets 30 flow in, the mean is 31 with 2.5 % of 429, and 25 % without retreat; down to half of the base
// it stays within 10 % of what is allowed. It does worse where 429 come in lumps: a fifth below what is allowed if the
// upstream's bucket has no burst, a quarter and more if it counts in fixed minutes. Far below the base the rate swings
// between the floor and a climb that ends too high: with a third of the base allowed or less, a sixth of the answers and
// more are 429 still. The closed-loop tests print these figures.
//
// All of it is pure: time comes in  as an argument. A clock that steps back by less than the window is waited
// for; one that steps back further is followed, so that a wrong time can't stop the state for good. Neither makes a step.
package retreat

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/quorum"
)

// Whole is the unit of a Scale: all of the base budget.
const Whole = 1_000_000

// Settings is the configuration of one upstream's retreat, as fractions of its base budget.
type Settings struct {
	Window, Every, RecoverWindow        time.Duration
	Threshold, RecoverThreshold, Factor float64
	MinSamples                          int64
	Floor, Step                         int64 // millionths of the base budget: never lowered below; raised by each step
}

// NewSettings takes the settings of an upstream from a checked configuration. minRequests and recoverStep become parts of
// budget.requests, rounded up: to at least a millionth and at most the whole. A budget of tokens alone has no requests to
// take a part of, so it gets the proportions that the numbers come from, of a budget of 40 requests: a floor of 5/40 and
// steps of 2/40.
func NewSettings(u *config.Upstream) Settings {
	r := &u.Retreat
	s := Settings{
		Window: r.Window, Every: r.Every, RecoverWindow: r.RecoverWindow,
		Threshold: r.Threshold, RecoverThreshold: r.RecoverThreshold, Factor: r.Factor,
		MinSamples: int64(r.MinSamples),
		Floor:      part(5, 40), Step: part(2, 40),
	}
	if base := u.Budget.Requests; base > 0 {
		s.Floor, s.Step = part(int64(r.MinRequests), base), part(int64(r.RecoverStep), base)
	}
	return s
}

// part is n of base in millionths, for base > 0.
func part(n, base int64) int64 {
	if n >= base {
		return Whole
	}
	n = min(max(n, 1), math.MaxInt64/Whole-1)
	return max((n*Whole-1)/base+1, 1)
}

// Phase is where a State is between its base and its floor.
type Phase uint8

// The phases.
const (
	Normal     Phase = iota // at the base
	Retreating              // lowered, and waiting for calm
	Recovering              // on the way back to the base
)

// String is the phase as it is shown.
func (p Phase) String() string {
	switch p {
	case Retreating:
		return "RETREAT"
	case Recovering:
		return "RECOVER"
	default:
		return "NORMAL"
	}
}

// State is the retreat from one upstream, shared by all workers in one record: each reads it, changes its copy, and
// writes it if nobody else has meanwhile. States can be compared with ==: one that hasn't changed needn't be written. The
// zero value is Normal at the base.
type State struct {
	phase     Phase
	alarm     bool
	lowered   uint32       // millionths of the base that are taken away
	evaluated clock.Moment // when it was last evaluated
	calm      clock.Moment // while Retreating: since when the share is below RecoverThreshold
	stepped   clock.Moment // the last step down
	fresh     counts       // answers since then
	steady    counts       // answers since the scale last changed, up or down
	window    window
	quorum    quorum.Quorum
	sole      uint64 // while lowered: the subject on whose 429 alone it is; 0: on those of several
	others    uint32 // answers without 429 to others than that one since then
}

// pardon is how many answers others must have had without a 429 to undo what was lowered on the word of one.
const pardon = 3

// Phase is the present phase.
func (s *State) Phase() Phase { return s.phase }

// Alarm says that the upstream refused so much that the rate went to its floor, and has not been calm since.
func (s *State) Alarm() bool { return s.alarm }

// Sole is the subject on whose 429 alone the rate is lowered; 0: none, or those of several.
func (s *State) Sole() uint64 { return s.sole }

// Scale is what is left of the base budget, in millionths: from Settings.Floor to Whole.
func (s *State) Scale() int64 { return Whole - int64(s.lowered) }

// Lowered is when the budget was lowered last; 0: never.
func (s *State) Lowered() clock.Moment { return s.stepped }

// RecoversIn is how long it takes until the budget is whole again, if all answers are good from here on.
func (s *State) RecoversIn(now clock.Moment, c *Settings) time.Duration {
	if s.phase == Normal || s.lowered == 0 {
		return 0
	}
	step := min(max(c.Step, 1), Whole)
	steps := (int64(s.lowered) + step - 1) / step
	wait := time.Duration(steps) * c.Every
	if s.phase == Retreating {
		wait += max(c.RecoverWindow-now.Sub(s.calm), 0)
	}
	return wait
}

// Share is the share of 429 among the answers of the window, and how many answers there were; without any it is 0.
func (s *State) Share(now clock.Moment, c *Settings) (share float64, samples int64) {
	w := s.window
	w.Advance(now, c.Window)
	sum := w.sum()
	return sum.share(), int64(sum.total)
}

// Record counts an answer of the upstream to a subject, of which subject is a keyed hash; limited is a 429. Evaluate should follow.
func (s *State) Record(now clock.Moment, c *Settings, subject uint64, limited bool) {
	s.follow(now, c)
	s.quorum.Record(now, c.Window, subject, limited)
	s.doubt(subject, limited)
	s.window.Advance(now, c.Window)
	s.window.Slots[0].add(limited)
	s.fresh.add(limited)
	s.steady.add(limited)
}

// Evaluate makes the step that is due, and says whether phase, scale or alarm are others now. Within Every of the last
// evaluation it does nothing. It may be called by any worker at any time: after an answer, on a tick, before the scale is
// used. A recovery only goes on while somebody calls it. Also an evaluation that changes nothing visible is to be written,
// because it says when the next one is due.
func (s *State) Evaluate(now clock.Moment, c *Settings) (changed bool) {
	s.follow(now, c)
	if now.Sub(s.evaluated) < max(c.Every, 1) {
		return false
	}
	s.evaluated = now
	s.window.Advance(now, c.Window)
	phase, scale, alarm := s.phase, s.Scale(), s.alarm
	s.setScale(scale, c) // a new configuration may have another floor
	s.step(now, c)
	return s.phase != phase || s.Scale() != scale || s.alarm != alarm
}

// doubt takes note of what others than the one are answered on whose word alone the rate is lowered.
func (s *State) doubt(subject uint64, limited bool) {
	switch {
	case s.sole == 0 || s.sole == max(subject, 1):
	case limited:
		s.sole, s.others = 0, 0
	default:
		s.others = min(s.others+1, pardon)
	}
}

func (s *State) step(now clock.Moment, c *Settings) {
	if s.sole != 0 && s.others >= pardon {
		s.phase, s.alarm, s.sole, s.others = Normal, false, 0, 0
		s.setScale(Whole, c)
	}
	weight := s.quorum.Weigh(now, c.Window)
	fresh := s.sinceStep(now, c).weighed(weight)
	level := s.level(fresh, weight, c)
	switch {
	case level == all:
		s.lower(now, c.floor(), weight.Sole, c)
		s.alarm = true
	case level == more, level == some && s.phase != Retreating:
		s.lower(now, int64(float64(s.Scale())*c.Factor), weight.Sole, c)
	case s.phase == Retreating:
		if !fresh.calm(c) {
			s.calm = now
		} else if now.Sub(s.calm) >= c.RecoverWindow {
			s.phase, s.alarm = Recovering, false
			s.raise(c)
		}
	case s.phase == Recovering && s.lowered == 0:
		s.phase, s.sole, s.others = Normal, 0, 0
	case s.phase == Recovering && fresh.share < c.Threshold:
		s.raise(c)
	}
}

// lower makes a step down, unless there is none left to make: then the upstream is only not calm. sole is the one subject that was
// answered of late.
func (s *State) lower(now clock.Moment, scale int64, sole uint64, c *Settings) {
	s.calm = now
	if s.phase == Normal {
		s.sole, s.others = sole, 0
	} else if s.sole != sole {
		s.sole, s.others = 0, 0
	}
	before := s.Scale()
	s.setScale(scale, c)
	if s.phase != Retreating || s.Scale() != before {
		s.phase, s.alarm = Retreating, false
		s.stepped, s.fresh = now, counts{}
	}
}

func (s *State) raise(c *Settings) { s.setScale(s.Scale()+min(max(c.Step, 1), Whole), c) }

func (s *State) setScale(scale int64, c *Settings) {
	lowered := uint32(Whole - min(max(scale, c.floor()), Whole))
	if lowered != s.lowered {
		s.lowered, s.steady = lowered, counts{}
	}
}

// sinceStep are the answers since the last step down that are not older than the window.
func (s *State) sinceStep(now clock.Moment, c *Settings) counts {
	if now.Sub(s.stepped) < c.Window {
		return s.fresh
	}
	return s.window.sum()
}

// What the answers call for in a step down.
const (
	none = iota
	some // if it isn't lowered yet
	more // also if it is
	all  // to the floor
)

// level judges by the smaller share of two: see the package's comment.
func (s *State) level(fresh weighed, weight quorum.Weight, c *Settings) int {
	window := s.window.sum().weighed(weight)
	share, samples := min(fresh.share, window.share), min(fresh.samples, window.samples)
	if s.lowered > 0 && int64(samples) < c.MinSamples {
		steady := s.steady.weighed(weight)
		share, samples = min(share, steady.share), steady.samples
	}
	if int64(samples) < max(c.MinSamples, 1) {
		return none
	}
	switch {
	case share >= min(4*c.Threshold, 1):
		return all
	case share >= min(2*c.Threshold, 1):
		return more
	case share >= c.Threshold:
		return some
	}
	return none
}

// follow takes the times of a clock that is more than a window behind: it was set back, or another one was wrong.
func (s *State) follow(now clock.Moment, c *Settings) {
	if latest := max(s.evaluated, s.calm, s.stepped, s.window.Opened); latest.Sub(now) <= max(c.Window, c.Every) {
		return
	}
	s.evaluated, s.calm = min(s.evaluated, now), min(s.calm, now)
	s.stepped, s.window.Opened = min(s.stepped, now), min(s.window.Opened, now)
}

// floor is Floor within its bounds, whoever filled in the settings.
func (c *Settings) floor() int64 { return min(max(c.Floor, 1), Whole) }
