package autosize

import (
	"math"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const (
	// levelSamples is the least weight of samples that tells what a number of slots is worth, and levelMost that from which on they do however much
	// they scatter.
	levelSamples, levelMost = 8, 28
	levelWeight             = lineWeight / 2 // of a new sample
	surely                  = 3              // standard errors that what a number is worth has to be above or below leastWorth, with fewer

	// leastWorth is what one slot more has to bring, of what each brings that there is, and muchWorth that from which on they are half as many more.
	leastWorth, muchWorth = 0.25, 0.5
	smallStep, largeStep  = 0.25, 0.5 // of the slots
	// What wasn't worth it is tried again by small steps, each after some windows, of which there are more each time, mostLevelHold at last; but after
	// longestHold in any case.
	againStep, mostLevelHold = 0.12, 64
	longestHold              = 10 * time.Second
	tries                    = 4    // of which the last is with fewer
	againNear                = 1.2  // times where it was found to be not worth it: beyond that it isn't about that any more
	againMore                = 1.05 // times that, and if these bring much it is another server

	otherLevel = 1.1  // so many times as many in flight, or as few, are another number
	sameLevel  = 1.02 // less than that the same
	otherSpeed = 1.25 // so many times as long, or as short, with as many in flight, and it is another server

	mostLonger = 3.0 // times what it was to be expected to take counts of an answer, so that few don't count for all
)

// What the samples of a number of slots say beside those of another.
type finding int

const (
	tooFew    finding = iota // to say anything
	unchanged                // it is the same number
	worthIt                  // those of the larger number that the smaller lacks
	notWorthIt
	fewerAreBetter // as notWorthIt, but it is the smaller one that is in use
	slower
)

// compare compares what whole answers take now with what they took with another number in flight.
func (s *State) compare() finding {
	c, r := &s.level, &s.below
	if c.n < levelSamples {
		return tooFew
	}
	was := r.at(c.x / c.n)
	if !(was > 0 && r.z > 0 && c.y > 0 && c.z > 0) { // none has been measured
		*r = *c
		return unchanged
	}
	more, longer := c.z/c.n*r.n/r.z, c.y/c.n/was
	switch {
	case more > otherLevel:
		if !s.sure(more, longer) {
			return tooFew
		}
		if s.worth = worth(more, longer); s.worth < leastWorth {
			return notWorthIt
		}
		return worthIt
	case more < 1/otherLevel:
		if !s.sure(1/more, 1/longer) {
			return tooFew
		}
		s.worth, *r = worth(1/more, 1/longer), *c
		if s.worth < leastWorth {
			return fewerAreBetter
		}
		return worthIt
	case longer > otherSpeed:
		return slower
	case longer < 1/otherSpeed:
		s.held = s.hold // it is tried at once whether there can be more
		*r = *c
	case more < sameLevel:
		*r = *c
	}
	return unchanged
}

// sure says that there are samples enough to tell on which side of leastWorth it is what slots are worth.
func (s *State) sure(more, longer float64) bool {
	limit := more / (1 + leastWorth*(more-1))
	return s.level.n >= levelMost || math.Abs(longer/limit-1) >= surely*math.Sqrt(s.level.scatter()+s.below.scatter())
}

// worth is what each of the slots brings by which there are so many times as many, of what each of those before did, where answers take so many
// times as long: by Little's law what is done a second is the number in flight by the time of each.
func worth(more, longer float64) float64 { return min(max((more/longer-1)/(more-1), 0), 1) }

// climb sets the slots by whole answers alone.
func (s *State) climb(now clock.Moment, c *Settings) {
	w := &s.window
	s.held++
	found := s.compare()
	inUse := s.level.z*w.samples >= busyShare*w.room*s.level.n
	to := s.slots
	switch {
	case found == tooFew, s.probing != 0:
		return
	case s.level.z*w.samples < usedShare*w.room*s.level.n: // it isn't for the slots
		s.idle(found)
		return
	case found == notWorthIt || found == slower:
		if !s.several(now) {
			return
		}
		to = s.less(found)
	case found == fewerAreBetter:
		to = s.fewer()
	case !inUse && s.ceiling == 0:
		if s.held >= s.hold && found == unchanged {
			to = s.fewer()
		}
	case found == worthIt && s.ceiling > 0: // fewer were tried, and did less
		to, s.ceiling = s.ceiling, 0
		s.known(to)
	case s.last > 0 && to < againNear*s.last: // where fewer were found to be better
		to = s.again(now, c, found == worthIt && s.worth >= muchWorth)
	case found == worthIt && s.worth >= muchWorth:
		to, s.hold = to+max(largeStep*to, 1), leastHold
	case found == worthIt:
		to, s.hold = to+max(smallStep*to, 1), leastHold
	case s.held >= s.hold:
		to = s.other(c)
	}
	if s.bound(s.slots, to, c) == s.slots && s.held >= s.hold { // there can't be more
		to = s.fewer()
	}
	s.move(now, s.bound(s.slots, to, c))
}

// idle takes note of what was found while the slots weren't used.
func (s *State) idle(found finding) {
	if found == slower {
		s.below = s.level
	}
}

// less is as many as were served, where so many are not worth it, or the server has become slower.
func (s *State) less(found finding) float64 {
	to := min(s.busied(), s.slots)
	if found == slower {
		s.below, s.hold, s.ceiling = s.level, leastHold, 0
	} else {
		to = min(to, s.below.z/s.below.n)
	}
	if to = max(to, nextCuts*s.slots); found != slower {
		s.known(to)
	}
	return to
}

// again is what is tried near where fewer were found to be better. If more than that bring much now, it is another server.
func (s *State) again(now clock.Moment, c *Settings, much bool) float64 {
	switch {
	case much && s.slots > againMore*s.last:
		s.last, s.hold = 0, leastHold
		return s.slots + max(smallStep*s.slots, 1)
	case s.held >= s.hold, now.Sub(s.changed) > longestHold:
		return s.other(c)
	}
	return s.slots
}

// known says that so many are right, for all that is known. If they were before, it is long until others are tried.
func (s *State) known(slots float64) {
	if s.hold = min(2*s.hold, mostLevelHold); math.Abs(slots-s.last) > max(sameCut*s.last, 1) {
		s.hold = leastHold
	}
	s.last = slots
}

// other is what is tried: a few more, and once in a while less.
func (s *State) other(c *Settings) float64 {
	more := s.bound(s.slots, s.slots+max(againStep*s.slots, 1), c)
	if s.down++; s.down < tries && more > s.slots {
		return more
	}
	s.down = 0
	return s.fewer()
}

func (s *State) fewer() float64 {
	s.ceiling = s.slots
	return firstCut * s.slots
}

// study takes a request into what is known of the slots as they are. Of one whose client has left the time counts, which was spent for nothing.
func (s *State) study(c *Settings, x *Sample, seconds float64, inFlight int) {
	if x.TTFT > 0 || c.Load.At != 0 {
		return
	}
	tokens := x.tokens()
	if x.Left && s.below.n > 0 { // it isn't known how long its answer would have been
		tokens = s.below.x / s.below.n
	}
	if was := s.below.at(tokens); was > 0 && !s.apart() {
		seconds = min(seconds, mostLonger*was)
	}
	if x.Left {
		s.level.y += seconds
		return
	}
	s.notice(tokens, seconds)
	s.level.learn(levelWeight, tokens, seconds, float64(inFlight))
}

// busied is how many of those in flight are served, by what those took that were fewer.
func (s *State) busied() float64 {
	c := &s.level
	return c.z / c.y * s.below.at(c.x/c.n)
}

// move sets the slots. What was measured with those that there were is what the next are compared with, where they are more.
func (s *State) move(now clock.Moment, to float64) {
	c, r := &s.level, &s.below
	switch {
	case to == s.slots:
		return
	case to > s.slots && c.z*r.n > otherLevel*r.z*c.n:
		*r = *c
	}
	s.slots, s.changed, s.held, *c = to, now, 0, line{}
}

// several says that what was late was so for several callers, and not for one alone.
func (s *State) several(now clock.Moment) bool { return s.believed(now) >= s.window.bad/2 }

// unaided says that there are whole answers alone to learn from.
func (s *State) unaided(l *Load) bool { return s.streamed == 0 && s.window.streams == 0 && l.At == 0 }

// appendLevel says what the slots are by, of whole answers.
func (s *State) appendLevel(b []byte) []byte {
	c, r := &s.level, &s.below
	number := func(text string, of, n float64) {
		b = strconv.AppendFloat(append(b, text...), of/n, 'f', 0, 64)
	}
	number(": a whole answer took ", 1e3*r.y, r.n)
	number(" ms with ", r.z, r.n)
	b = append(b, " in flight"...)
	if c.n >= levelSamples {
		number(", and takes ", 1e3*c.y, c.n)
		number(" ms with ", c.z, c.n)
	}
	number("; each slot between brought ", 100*s.worth, 1)
	return append(b, " % of what one of the others does"...)
}
