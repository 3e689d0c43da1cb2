package autosize

import (
	"strconv"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const (
	// mostSlower is how many times as long as usual a whole answer may take beyond that, where the engines say that nobody waits.
	mostSlower = 2

	// fullKV is the share of the KV cache from which on slots grow slowly: what is in flight goes on to fill it.
	fullKV = 0.8
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

// append says what the engines say.
func (l *Load) append(b []byte) []byte {
	if l.At == 0 {
		return b
	}
	b = strconv.AppendInt(append(b, "; the engines say that "...), l.Waiting, 10)
	b = strconv.AppendFloat(append(b, " wait, KV cache "...), 100*l.KV, 'f', 0, 64)
	return append(b, " % full"...)
}
