package autosize

import "math"

// What waits waits the same however long its answer is to be; what is served beside more others takes longer by each token. So where whole answers
// are of different lengths, the straight line through their times tells both apart: where it begins, and how steep it is.

const (
	// apartSpread is the least variance of answers' tokens that tells, as a share of their mean's square: a fifth more or less.
	apartSpread = 0.04
	fewApart    = 3 // samples tell of no spread

	waitErrors = 2 // standard errors that a wait has to be for a cut

	// Answers take longer of late if what they take beyond those before, less one deviation each, comes to manyShifts in sum; mostShift of one counts, and
	// leastDeviation is that of a server whose answers all take the same. (Page, Continuous Inspection Schemes, 1954.)
	manyShifts, mostShift, leastDeviation = 6, 4, 0.05
)

// apart says that whole answers are of lengths different enough.
func (s *State) apart() bool {
	l := &s.whole
	if s.level.n > l.n {
		l = &s.level
	}
	return l.n >= fewApart && l.n*l.xx-l.x*l.x > apartSpread*l.x*l.x
}

// standing is how many of those in flight wait, by what whole answers take with the slots as they are beyond what is usual, less what is by each token.
// By Little's law it is the share that the wait has of the time. It is known once there are samples enough.
func (s *State) standing(inFlight float64) (waiting float64, known bool) {
	c, u := &s.level, &s.whole
	if c.n < levelSamples {
		return 0, false
	}
	tokens, took := c.x/c.n, c.y/c.n
	slower := max(c.slope()-u.slope(), 0) * tokens
	return max(took-u.at(tokens)-slower, 0) / took * inFlight, true
}

// startError is the standard error of where the line begins.
func (l *line) startError() float64 {
	mean := l.y / l.n
	variance := l.scatter() * mean * mean // of the mean
	if spread := l.xx - l.x*l.x/l.n; spread > 1 {
		variance += variance * l.x * l.x / (l.n * spread)
	}
	return math.Sqrt(variance)
}

// notice begins the level anew when answers take longer of late, so that those before don't hide by how much.
func (s *State) notice(tokens, seconds float64) {
	l := &s.level
	was := l.at(tokens)
	if l.n < levelSamples || !(was > 0) {
		s.shift = 0
		return
	}
	deviation := max(math.Sqrt(l.scatter()*l.n), leastDeviation)
	if s.shift = max(s.shift+min((seconds/was-1)/deviation, mostShift)-1, 0); s.shift > manyShifts {
		s.shift, *l = 0, line{}
	}
}
