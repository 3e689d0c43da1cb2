// Package predict says how long a request will wait for its first token, before it is sent.
//
// What is expected is the present time to the first token, corrected by how the request differs from those that it was
// measured on: by how many tokens of prompts have to be read first, its own and those that were sent before it and have no first token yet, and
// by how many requests are in flight beside it.
//
//	expected = time + perToken × (tokens to read − their mean) + perFlight × (in flight − its mean)
//
// The three means are moving averages that forget within Recent; the two slopes are those of a linear regression on two variables, whose
// moments forget within Memory (exponentially weighted least squares: West, Updating mean and variance estimates, 1979). Slopes are
// never below zero: longer prompts and fuller servers aren't taken for quicker. So a burst is seen when its requests are sent, not when
// their answers are late, and one with a short prompt needn't pay for those with long ones. docs/design.md has what that is worth beside the average alone.
//
// # What is learned
//
// A time to the first token (Learn), and of a client that left without one how long it had waited, as far as that is longer than what was
// expected (AtLeast): in an overload those are all there is. A time longer than Longest counts as that, and one that is far longer than
// expected counts as ten times the usual error. That a time was shorter than expected makes no great error, however far off it was: it isn't what anybody fears. Whose times are to be believed is up to the caller.
//
// # Who owns what, bounds, and the worst moments
//
// A State is a value of Size bytes that belongs to its caller, who shares it between workers; time comes in as an argument. What is in flight is what one
// worker has sent: the slopes are by that, so each worker's share is as good a measure as the whole. Nothing is expected before
// Enough times were learned. While nothing is learned what is expected fades, and its error with it: nobody who refuses all, or has all refused, does so for
// longer than a few times Recent. But where some are learned and others refused, of these nothing is learned: whoever refuses has to let one pass now and then. The clock leaps ahead: all is faded; it steps back: as if no time had passed. The record is garbage: Decode
// refuses it, and all begins anew.
package predict

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const (
	// Recent is the time constant of the means.
	Recent = 2 * time.Second
	// Memory is that of the slopes.
	Memory = time.Minute
	// Longest is the longest time that is learned.
	Longest = time.Hour
	// Enough is how many times have to be learned before anything is expected.
	Enough = 8
	// Amends is how often, at most, a worker sends a request in spite of what is expected of it: else what was learned of such requests could never
	// turn out to be wrong.
	Amends = 5 * time.Second

	leastWeight  = 0.02 // of a time, beside those of the same moment
	fewest       = 200  // times that the slopes are of, at least, if there were as many
	outlier      = 10   // errors
	errorWeight  = 0.02
	mostTokens   = 10_000_000
	mostInFlight = 1_000_000
)

// Load is what is known of a request when it is sent.
type Load struct {
	Prompt   int64 // tokens of the prompt, as far as they are known
	Ahead    int64 // of the prompts that this worker sent before, to the same upstream, and that have no first token yet
	InFlight int   // in this worker, at the same upstream, itself among them
}

// floats are what a time is told by: the tokens that have to be read until then, and what is in flight.
func (l Load) floats() (prompt, flying float64) {
	return tokens(l.Prompt) + tokens(l.Ahead), float64(min(max(l.InFlight, 0), mostInFlight))
}

func tokens(n int64) float64 { return float64(min(max(n, 0), mostTokens/2)) }

// means are averages of a time in seconds, and of what it is told by.
type means struct{ time, prompt, flying float64 }

func (m *means) add(weight, seconds, prompt, flying float64) {
	m.time += weight * (seconds - m.time)
	m.prompt += weight * (prompt - m.prompt)
	m.flying += weight * (flying - m.flying)
}

// State is what was learned. The zero value has learned nothing. States can be compared with ==.
type State struct {
	at     clock.Moment // of the last time learned
	count  uint32       // of times learned, up to fewest
	recent means
	far    means // of the regression
	// The moments of the regression: of prompt and flying with each other and with the time.
	pp, ff, pf, pt, ft float64
	off                float64 // the mean absolute error, in seconds
}

// Expected is what is expected of a request.
type Expected struct {
	Time  time.Duration // to its first token
	Error time.Duration // the mean absolute error of such times
	// Prompt is the part of Time that is due to how long its prompt is.
	Prompt time.Duration
}

// Most is the longest that a request is likely to wait: what is expected, and twice the usual error, but no more than a third of what is expected.
// An error beyond that says that the load is hardly known (another one's comes to the server, too): who knows little refuses little.
func (x Expected) Most() time.Duration { return x.Time + min(2*x.Error, x.Time/3) }

// Until is how long it takes until such a request is likely to be in time, if nothing else is sent meanwhile: what waits before it gets less by
// a second each second, and what was learned fades. Of its own prompt nothing gets less, however long it stays away: then it is when a wrong guess may
// have been corrected.
func (x Expected) Until(bound time.Duration) time.Duration {
	most := x.Most()
	if most <= bound {
		return 0
	}
	until := min(most-bound, duration(Recent.Seconds()*math.Log(float64(most)/float64(max(bound, time.Millisecond)))))
	if x.Prompt >= bound {
		return max(until, Amends)
	}
	return until
}

// Usual is a request like those of late.
func (s *State) Usual() Load {
	return Load{Prompt: int64(s.recent.prompt), InFlight: int(s.recent.flying + 0.5)}
}

// Known says that enough was learned to expect anything.
func (s *State) Known() bool { return s.count >= Enough }

// Expect gives what is expected of a request. It says false while too little was learned.
func (s *State) Expect(now clock.Moment, load Load) (x Expected, known bool) {
	if !s.Known() {
		return Expected{}, false
	}
	fade := s.fade(now)
	perToken, _ := s.slopes()
	own := min(fade*perToken*tokens(load.Prompt), Longest.Seconds())
	return Expected{Time: duration(s.expect(fade, load)), Error: duration(s.off * fade), Prompt: duration(own)}, true
}

// fade is what is left of what was learned last.
func (s *State) fade(now clock.Moment) float64 {
	return math.Exp(-max(now.Sub(s.at), 0).Seconds() / Recent.Seconds())
}

func (s *State) expect(fade float64, load Load) float64 {
	prompt, flying := load.floats()
	perToken, perFlight := s.slopes()
	seconds := fade * (s.recent.time + perToken*(prompt-s.recent.prompt) + perFlight*(flying-s.recent.flying))
	return min(max(seconds, 0), Longest.Seconds())
}

// slopes are the seconds for each token of the prompt, and for each request in flight.
func (s *State) slopes() (perToken, perFlight float64) {
	pp, ff := s.pp*1.01+1, s.ff*1.01+0.1 // a little more than was seen: what hardly varies says nothing (ridge regression)
	det := pp*ff - s.pf*s.pf
	perToken, perFlight = (s.pt*ff-s.ft*s.pf)/det, (s.ft*pp-s.pt*s.pf)/det
	switch {
	case perToken < 0:
		return 0, max(s.ft/ff, 0)
	case perFlight < 0:
		return max(s.pt/pp, 0), 0
	}
	return perToken, perFlight
}

// AtLeast learns that a request had no first token for as long.
func (s *State) AtLeast(now clock.Moment, load Load, ttft time.Duration) {
	if s.count > 0 && ttft.Seconds() > s.expect(s.fade(now), load) {
		s.Learn(now, load, ttft)
	}
}

// Learn learns a time to the first token; one of 0 or less is none.
func (s *State) Learn(now clock.Moment, load Load, ttft time.Duration) {
	if ttft <= 0 {
		return
	}
	seconds := min(ttft, Longest).Seconds()
	prompt, flying := load.floats()
	if s.count == 0 {
		first := means{seconds, prompt, flying}
		*s = State{at: now, recent: first, far: first}
	} else {
		expected := s.expect(1, load)
		near := outlier * max(s.off, 0.1*s.recent.time)
		off := min(max(seconds-expected, min(expected-seconds, s.recent.time)), near)
		s.off += max(errorWeight, 1/float64(s.count)) * (off - s.off)
		if s.count >= Enough {
			seconds = min(seconds, expected+near)
		}
	}
	s.count = min(s.count+1, fewest)
	elapsed := max(now.Sub(s.at), 0)
	s.at = now
	s.recent.add(max(weight(elapsed, Recent), leastWeight), seconds, prompt, flying)
	s.regress(max(weight(elapsed, Memory), 1/float64(s.count)), seconds, prompt, flying)
}

// regress takes a time into the moments.
func (s *State) regress(weight, seconds, prompt, flying float64) {
	before := s.far
	s.far.add(weight, seconds, prompt, flying)
	p, f := prompt-before.prompt, flying-before.flying
	afterP, afterF := prompt-s.far.prompt, flying-s.far.flying
	t := seconds - before.time
	s.pp += weight * (p*afterP - s.pp)
	s.ff += weight * (f*afterF - s.ff)
	s.pf += weight * (p*afterF - s.pf)
	s.pt += weight * (t*afterP - s.pt)
	s.ft += weight * (t*afterF - s.ft)
}

func weight(elapsed, constant time.Duration) float64 {
	return -math.Expm1(-elapsed.Seconds() / constant.Seconds())
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}
