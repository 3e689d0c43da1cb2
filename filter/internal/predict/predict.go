// Package predict says how long a request will wait for its first token, before it is sent.
//
// What is expected is the present time to the first token, corrected by how the request differs from those that it was
// measured on: by the tokens of its own prompt, by those of prompts that were sent before it and have no first token yet, and
// by how many requests are in flight beside it.
//
//	expected = time + perToken × (its tokens − their mean) + perTokenAhead × (tokens ahead − their mean) + perFlight × (in flight − its mean)
//
// The four means are moving averages that forget within Recent; the slopes are those of a linear regression on three variables, whose
// moments forget within Memory (exponentially weighted least squares: West, Updating mean and variance estimates, 1979). Slopes are
// never below zero: longer prompts and fuller servers aren't taken for quicker. So a burst is seen when its requests are sent, not when
// their answers are late, and one with a short prompt needn't pay for those with long ones. Whether a prompt that is being read keeps those behind it waiting
// depends on the server: one that reads several at once, or has several replicas, has a slope of nothing there. docs/design.md has what that is worth beside the average alone.
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

// What is measured of a request: what its time is told by, and that time.
const (
	prompt = iota // tokens
	ahead         // tokens
	flying        // requests
	took          // seconds to the first token

	causes, variables = took, took + 1
)

// measures has a number for each of these: of a request, or the averages of several.
type measures [variables]float64

func (l *Load) measures() measures {
	return measures{tokens(l.Prompt), tokens(l.Ahead), float64(min(max(l.InFlight, 0), mostInFlight))}
}

func tokens(n int64) float64 { return float64(min(max(n, 0), mostTokens)) }

func (m *measures) add(weight float64, x *measures) {
	for i := range m {
		m[i] += weight * (x[i] - m[i])
	}
}

// State is what was learned. The zero value has learned nothing. States can be compared with ==.
type State struct {
	at     clock.Moment // of the last time learned
	count  uint32       // of times learned, up to fewest
	recent measures
	far    measures // of the regression
	// The moments of the regression: how each variable goes with each, the lower half of a symmetric matrix.
	moments [variables * (variables + 1) / 2]float64
	slopes  [causes]float64 // seconds for each token, and for each request in flight
	off     float64         // the mean absolute error, in seconds
}

// Expected is what is expected of a request.
type Expected struct {
	Time  time.Duration // to its first token
	Error time.Duration // the mean absolute error of such times
	// Prompt is the part of Time that is due to how long its prompt is.
	Prompt time.Duration
}

// Most is the longest that a request is likely to wait: what is expected, and twice the usual error, but no more than a third of what is expected
// beside its own prompt. An error beyond that says that the load is hardly known (another one's comes to the server, too): who knows little refuses little. And
// how long a prompt takes to be read is known; where nothing else keeps it waiting, to refuse it helps nobody.
func (x Expected) Most() time.Duration { return x.Time + min(2*x.Error, max(x.Time-x.Prompt, 0)/3) }

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
	return Load{Prompt: int64(s.recent[prompt]), Ahead: int64(s.recent[ahead]), InFlight: int(s.recent[flying] + 0.5)}
}

// Known says that enough was learned to expect anything.
func (s *State) Known() bool { return s.count >= Enough }

// Expect gives what is expected of a request. It says false while too little was learned.
func (s *State) Expect(now clock.Moment, load Load) (x Expected, known bool) {
	if !s.Known() {
		return Expected{}, false
	}
	fade, asked := s.fade(now), load.measures()
	own := min(fade*s.slopes[prompt]*asked[prompt], Longest.Seconds())
	return Expected{Time: duration(s.expect(fade, &asked)), Error: duration(s.off * fade), Prompt: duration(own)}, true
}

// fade is what is left of what was learned last.
func (s *State) fade(now clock.Moment) float64 {
	return math.Exp(-max(now.Sub(s.at), 0).Seconds() / Recent.Seconds())
}

func (s *State) expect(fade float64, asked *measures) float64 {
	seconds := s.recent[took]
	for i, slope := range s.slopes {
		seconds += slope * (asked[i] - s.recent[i])
	}
	return min(max(fade*seconds, 0), Longest.Seconds())
}

// moment is where that of two variables is.
func moment(i, j int) int {
	i, j = max(i, j), min(i, j)
	return i*(i+1)/2 + j
}

// ridge is by how much more a cause is taken to vary than was seen, in squares of its unit, beside a hundredth: what hardly varies says nothing (ridge regression).
var ridge = [causes]float64{1, 1, 0.1}

// solve brings the slopes nearer to those that the moments tell: each in turn explains what the others leave (coordinate descent), so that with some
// times they are there. While no prompt was ahead of another one, those ahead are taken to count as one's own.
func (s *State) solve() {
	for i := range s.slopes {
		left := s.moments[moment(i, took)]
		for j, slope := range s.slopes {
			if j != i {
				left -= s.moments[moment(i, j)] * slope
			}
		}
		if i == ahead {
			left += ridge[i] * s.slopes[prompt]
		}
		s.slopes[i] = min(max(left/(s.moments[moment(i, i)]*1.01+ridge[i]), 0), Longest.Seconds())
	}
}

// AtLeast learns that a request had no first token for as long.
func (s *State) AtLeast(now clock.Moment, load Load, ttft time.Duration) {
	asked := load.measures()
	if s.count > 0 && ttft.Seconds() > s.expect(s.fade(now), &asked) {
		s.Learn(now, load, ttft)
	}
}

// Learn learns a time to the first token; one of 0 or less is none.
func (s *State) Learn(now clock.Moment, load Load, ttft time.Duration) {
	if ttft <= 0 {
		return
	}
	seconds := min(ttft, Longest).Seconds()
	x := load.measures()
	if s.count == 0 {
		x[took] = seconds
		*s = State{at: now, recent: x, far: x}
	} else {
		expected := s.expect(1, &x)
		near := outlier * max(s.off, 0.1*s.recent[took])
		off := min(max(seconds-expected, min(expected-seconds, s.recent[took])), near)
		s.off += max(errorWeight, 1/float64(s.count)) * (off - s.off)
		if s.count >= Enough {
			seconds = min(seconds, expected+near)
		}
	}
	s.count = min(s.count+1, fewest)
	elapsed := max(now.Sub(s.at), 0)
	s.at = now
	x[took] = seconds
	s.recent.add(max(weight(elapsed, Recent), leastWeight), &x)
	s.regress(max(weight(elapsed, Memory), 1/float64(s.count)), &x)
	s.solve()
}

// regress takes what was measured into the moments.
func (s *State) regress(weight float64, x *measures) {
	before := s.far
	s.far.add(weight, x)
	n := 0
	for i := range x {
		after := x[i] - s.far[i]
		for j := range i + 1 {
			product := (x[j] - before[j]) * after
			if i == j {
				product = max(product, 0) // by rounding it may be less
			}
			s.moments[n] += weight * (product - s.moments[n])
			n++
		}
	}
}

func weight(elapsed, constant time.Duration) float64 {
	return -math.Expm1(-elapsed.Seconds() / constant.Seconds())
}

func duration(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second))
}
