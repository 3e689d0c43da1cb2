package autosize

import (
	"math"
	"strconv"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const (
	// mostSlower is how many times as long as usual a whole answer may take beyond that, where the engines say that nobody waits.
	mostSlower = 2

	// fullKV is the share of the KV cache from which on slots grow slowly: what is in flight goes on to fill it.
	fullKV = 0.8

	cacheWeight = 1.0 / 32 // of what the engines say, in the mean of what they have said of their caches
	fewRunning  = 8        // requests that they must have told of, in all, before that counts
	// What fits into the caches: the mean, and spread of what a request takes more for the root of their number, twice its usual deviation; and
	// mostFilled of them at most.
	spread, mostFilled = 0.75, 0.9
	leastFit           = 4 // whatever the caches are said to be: where each is said to fill them, nothing would ever be known of two
)

// Load is what the engines behind an upstream say of themselves: all of them together.
type Load struct {
	At               clock.Moment // when the oldest of it was measured; 0: nothing is known, or nothing recent
	Running, Waiting int64        // requests that are being served, and those that wait for that
	KV               float64      // the share of their KV caches in use, 0 to 1
}

// weigh is how many units of those in flight wait in the upstream, which are late by so many seconds in the mean. The engines' word decides only
// inside of what the times allow. With old it is about other slots than there are now, so that there are to be no more yet.
func (s *State) weigh(l *Load, late, inFlight float64) (queue float64, old bool) {
	queue = s.rate * late
	w := &s.window
	if s.unaided(l) && s.apart() {
		by, known := s.standing(inFlight)
		return min(queue, by), !known
	}
	if l.At == 0 || w.streams > 0 { // which tell it themselves, and sooner
		return queue, false
	}
	weight := w.units / w.samples
	waiting := float64(l.Waiting) * weight
	if all := float64(l.Running)*weight + waiting; all > inFlight { // others have theirs there, too
		waiting *= inFlight / all
	}
	if by := min(queue, max(waiting, s.rate*(late-mostSlower*w.usual/w.samples))); by < queue {
		return by, l.At <= s.changed
	}
	return queue, false
}

// hear takes in what the engines say of their KV caches, once each time that it is new.
func (s *State) hear(l *Load) {
	if l.At == 0 || l.At == s.heard || !(l.KV > 0 && l.KV <= 1) || l.Running <= 0 {
		return
	}
	s.heard = l.At
	for _, add := range [...]struct {
		to *float64
		by float64
	}{{&s.filled, l.KV}, {&s.filledBy, min(float64(l.Running), mostSlots)}} {
		*add.to += add.by - cacheWeight**add.to
	}
}

// fit is how many requests fit into the KV caches, if each takes what they took lately: the mean of all of them, and spread of a request's more for the
// root of their number, since they aren't all as long. Where it isn't known it is mostSlots.
func (s *State) fit(l *Load) float64 {
	if l.At == 0 || s.filledBy < fewRunning {
		return mostSlots
	}
	room := s.filledBy / s.filled // of requests
	root := math.Sqrt(spread*spread/4+room) - spread/2
	return max(min(root*root, mostFilled*room), leastFit)
}

// append says what the engines say.
func (l *Load) append(b []byte) []byte {
	if l.At == 0 {
		return b
	}
	b = strconv.AppendInt(append(b, "; the engines say that "...), l.Waiting, 10)
	b = strconv.AppendFloat(append(b, " wait, KV cache "...), 100*l.KV, 'f', 0, 64)
	return append(b, " % full"...)
}
