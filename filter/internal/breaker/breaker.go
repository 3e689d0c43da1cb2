// Package breaker stops sending requests to an upstream that fails, and tries it again.
//
//	CLOSED    → OPEN       the share of failed requests in the window is at least ErrorRate, of at least MinRequests
//	OPEN      → HALF_OPEN  a request comes after OpenFor; it is the first probe
//	HALF_OPEN → CLOSED     as many probes as Probes have succeeded; the window begins empty
//	HALF_OPEN → OPEN       a probe failed
//	OPEN      → HALF_OPEN  at once, if one caller alone opened it, and another comes: its request is the first probe, and others than the
//	                       one pass beside it, since probes can take long, and nothing is known against the upstream but that one's word
//
// There are no others. What fails is a request that the upstream answered with a fault of its own (5xx, an error inside of a
// stream, an upstream that can't be reached), or one that took SlowCall and longer, if that is above zero. Both count
// together, as the configuration says; the reason names the one that is enough by itself. What is the client's doing (a 4xx,
// leaving early) counts as neither failure nor success. A client can make a server fail by what it sends: how much of the failures
// counts is what package quorum lets one believe.
//
// # Probes
//
// In HALF_OPEN exactly Probes requests pass as probes, over all workers: what is taken, plus what has succeeded, is never more. A probe
// is taken by writing it into the state, so two workers can't take the same one. It ends by Finish: with success, with
// failure, or with neither, which gives it back for another request to take. The probes of a worker are held in an entry
// of the worker's own, which it renews (Renew) while its probes last, however long that is. An entry that is not renewed for
// Lease belongs to a dead worker, and its probes come back. There is room for maxHolders entries;
// others pass none until there is room again. A probe that lasts for longer than OpenFor is waited for by its own caller alone: others
// may try meanwhile, as many as Probes in each OpenFor, and if it ends well it still counts.
//
// A caller whose probe has failed may not take one again until others have had OpenFor for it, unless it is the one that had opened it
// alone: else a client whose requests fail by its own fault could keep it open for all.
//
// An answer counts only if its request was admitted in the same period (Pass): between two transitions. So late answers of
// what was admitted before it opened change nothing in HALF_OPEN, nor after.
//
// # Who owns what, and the worst moments
//
// A State belongs to its caller, who shares it between workers: each reads it, changes its copy, and writes it if nobody
// else has meanwhile; else it decides again on what it reads then. All methods say whether there is anything to write.
// While CLOSED, admission writes nothing. States can be compared with ==. Time comes in  as an argument.
//
// The stream dies: its probe is given back. The worker dies: after Lease. A worker that stood still for longer than Lease and
// goes on: its probes were given to others, so their ends count for nothing. Two workers write at once: one decides again.
// The clock leaps ahead: it is tried sooner, and probes in flight may be doubled once; it steps back by more than the window
// and OpenFor: the time to the next try begins anew. The record is garbage: Decode refuses it, and it begins CLOSED and empty.
package breaker

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/quorum"
	"github.com/spillway-proxy/spillway/filter/internal/sliding"
)

// Lease is how long a worker's probes are its own without being renewed. It renews them every quarter.
const Lease = 20 * time.Second

// Settings is the configuration of one breaker.
type Settings struct {
	ErrorRate                 float64       // in (0, 1]
	slowCall, window, openFor time.Duration // SlowCall 0: none is too slow
	minRequests               int64
	probes                    uint32
}

// NewSettings takes the settings from a checked configuration.
func NewSettings(c *config.Breaker) Settings {
	return Settings{
		ErrorRate: c.ErrorRate, slowCall: c.SlowCall, window: c.Window, openFor: c.OpenFor,
		minRequests: int64(c.MinRequests), probes: uint32(min(max(c.Probes, 1), math.MaxInt32)),
	}
}

// Phase is what a breaker does.
type Phase uint8

// The phases.
const (
	Closed   Phase = iota // all passes, and is counted
	Open                  // nothing passes
	HalfOpen              // probes pass
)

// String is the phase as it is shown.
func (p Phase) String() string {
	switch p {
	case Open:
		return "OPEN"
	case HalfOpen:
		return "HALF_OPEN"
	default:
		return "CLOSED"
	}
}

// Result is how a request ended.
type Result uint8

// The results.
const (
	Neither   Result = iota // it says nothing about the upstream
	Succeeded               // which can still be too slow
	Failed
)

// State is the breaker of one model of one upstream. The zero value is Closed and has counted nothing.
type State struct {
	phase      Phase
	period     uint64       // counts the transitions
	since      clock.Moment // of the present phase; 0 while it never was another one
	succeeded  uint32       // probes
	window     window
	holders    [maxHolders]holder
	last       Trigger
	quorum     quorum.Quorum
	sole       uint64 // unless Closed: the subject that opened it alone; 0: several did
	failedLast uint64 // the subject whose probe failed last; 0: none did
}

// Pass is what a request keeps between its admission and its end.
type Pass struct {
	period  uint64
	subject uint64
	began   clock.Moment // of the entry that holds its probe
	Probe   bool
}

// Verdict is what is said of a request.
type Verdict struct {
	Refused    bool
	Phase      Phase
	RecoversIn time.Duration // until it is tried again
}

// Phase is the present phase.
func (s *State) Phase() Phase { return s.phase }

// Last is why it last opened.
func (s *State) Last() Trigger { return s.last }

// Admit decides about a request of the worker; subject is a keyed hash of who sent it. changed says that the state is to be written; if
// it can't be, the verdict and the pass are void.
func (s *State) Admit(now clock.Moment, c *Settings, worker, subject uint64) (p Pass, v Verdict, changed bool) {
	subject = max(subject, 1)
	p = Pass{period: s.period, subject: subject}
	if s.phase == Closed {
		return p, Verdict{}, false
	}
	if s.phase == Open {
		if s.follow(now, c) {
			changed = true
		}
		if wait := s.waitFor(now, c, subject); wait > 0 {
			return p, Verdict{Refused: true, Phase: Open, RecoversIn: wait}, changed
		}
		sole, blamed := s.sole, s.failedLast
		s.enter(HalfOpen, now)
		s.sole, s.failedLast = sole, blamed
		p.period, changed = s.period, true
	} else if s.barred(subject) && now.Sub(s.since) < c.openFor {
		return p, Verdict{Refused: true, Phase: HalfOpen}, false
	}
	s.expire(now)
	if h := s.room(now, c, worker, subject); h != nil {
		h.probes++
		p.Probe, p.began = true, h.began
		return p, Verdict{Phase: HalfOpen}, true
	}
	return p, Verdict{Refused: s.sole == 0 || s.sole == subject, Phase: HalfOpen}, changed
}

// barred says that a subject has to let others try first.
func (s *State) barred(subject uint64) bool { return s.failedLast == subject && s.sole != subject }

// waitFor is how long an open breaker stays so for a subject.
func (s *State) waitFor(now clock.Moment, c *Settings, subject uint64) time.Duration {
	wait := s.wait(now, c)
	switch {
	case s.sole != 0 && s.sole != subject:
		return 0
	case s.barred(subject):
		return max(2*max(c.openFor, 1)-max(now.Sub(s.since), 0), 0)
	}
	return wait
}

// Finish takes a request's end. changed says that the state is to be written.
func (s *State) Finish(now clock.Moment, c *Settings, worker uint64, p Pass, r Result, duration time.Duration) (changed bool) {
	if p.period != s.period {
		return false
	}
	slow := r == Succeeded && c.slowCall > 0 && duration >= c.slowCall
	switch s.phase {
	case Closed:
		if r == Neither {
			return false
		}
		s.window.Advance(now, c.window)
		s.window.Slots[0].add(r == Failed, slow)
		s.quorum.Record(now, c.window, p.subject, r == Failed || slow)
		s.judge(now, c)
		return true
	case HalfOpen:
		h := s.holder(worker, p.began)
		if !p.Probe || h == nil {
			return false
		}
		if h.probes--; h.probes == 0 {
			*h = holder{}
		}
		s.probed(now, c, p, r, slow)
		return true
	default:
		return false
	}
}

// probed takes a probe's end.
func (s *State) probed(now clock.Moment, c *Settings, p Pass, r Result, slow bool) {
	switch {
	case r == Neither:
	case r == Failed:
		s.fail(now, p.subject, Trigger{cause: probeFailed})
	case slow:
		s.fail(now, p.subject, Trigger{cause: probeSlow})
	default:
		if s.succeeded++; s.succeeded >= max(c.probes, 1) {
			s.enter(Closed, now)
		}
	}
}

// Renew says that the worker, which has probes, is alive. changed says that the state is to be written; within a quarter of
// Lease it isn't.
func (s *State) Renew(now clock.Moment, worker uint64) (changed bool) {
	for i := range s.holders {
		if h := &s.holders[i]; h.probes > 0 && h.worker == worker {
			if quiet := now.Sub(h.heard); quiet >= Lease/4 && quiet < Lease || quiet < -Lease/4 {
				h.heard, changed = now, true
			}
		}
	}
	return changed
}

// RecoversIn is the time until it is tried again; 0 unless it is Open.
func (s *State) RecoversIn(now clock.Moment, c *Settings) time.Duration {
	if s.phase != Open {
		return 0
	}
	return s.wait(now, c)
}

// Shares are the shares of failed and of slow requests in the window, and how many requests there were.
func (s *State) Shares(now clock.Moment, c *Settings) (failed, slow float64, requests int64) {
	w := s.window
	w.Advance(now, c.window)
	sum := w.sum()
	n := float64(max(sum.total, 1))
	return float64(sum.failed) / n, float64(sum.slow) / n, int64(sum.total)
}

// wait is how long an open breaker stays so.
func (s *State) wait(now clock.Moment, c *Settings) time.Duration {
	open := now.Sub(s.since)
	if open < 0 { // another worker's clock was read later
		return max(c.openFor, 1)
	}
	return max(c.openFor-open, 0)
}

// follow takes the time of a clock that is far behind: it was set back, or another one was wrong.
func (s *State) follow(now clock.Moment, c *Settings) bool {
	if s.since.Sub(now) <= max(c.openFor, c.window) {
		return false
	}
	s.since = now
	return true
}

// judge opens it if too many requests of the window failed.
func (s *State) judge(now clock.Moment, c *Settings) {
	sum := s.window.sum()
	bad := uint64(sum.failed) + uint64(sum.slow)
	if sum.total == 0 || int64(sum.total) < c.minRequests || float64(bad)/float64(sum.total) < c.ErrorRate {
		return
	}
	weight := s.quorum.Weigh(now, c.window)
	both, samples := weight.Share(bad, uint64(sum.total))
	if int64(samples) < c.minRequests || both < c.ErrorRate {
		return
	}
	failed, _ := weight.Share(uint64(sum.failed), uint64(sum.total))
	slow, _ := weight.Share(uint64(sum.slow), uint64(sum.total))
	t := Trigger{cause: tooManyErrors, Share: failed, Over: c.window}
	switch {
	case failed >= c.ErrorRate:
	case slow >= c.ErrorRate:
		t.cause, t.Share = tooManySlow, slow
	default:
		t.cause, t.Share = tooManyOfBoth, both
	}
	s.open(now, t)
	s.sole = weight.Sole
}

// fail opens it again, since a subject's probe failed.
func (s *State) fail(now clock.Moment, subject uint64, t Trigger) {
	sole := s.sole
	s.open(now, t)
	if s.failedLast = subject; sole == subject {
		s.sole = sole
	}
}

func (s *State) open(now clock.Moment, t Trigger) {
	t.At = now
	s.last = t
	s.enter(Open, now)
}

// Reset closes the breaker, whatever it knows, and says whether there was anything to forget.
func (s *State) Reset(now clock.Moment) (changed bool) {
	if *s == (State{}) {
		return false
	}
	s.enter(Closed, now)
	return true
}

// enter makes a transition. Whatever was counted or held belongs to the period that ends.
func (s *State) enter(p Phase, now clock.Moment) {
	*s = State{phase: p, period: s.period + 1, since: now, last: s.last, window: window{sliding.Window[counts]{Opened: now}}}
}
