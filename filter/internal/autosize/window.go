package autosize

import (
	"math"
	"math/bits"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// window is what was measured since it was opened: sums.
type window struct {
	opened        clock.Moment
	samples       float64
	units         float64 // that they took
	late          float64 // seconds beyond what is usual, each times its units, of those that waited for few or none
	bads, bad     float64 // those that waited for more, and theirs
	inFlight      float64 // when the samples started
	room          float64 // for them
	took, usual   float64 // seconds
	itls, between float64 // samples of times between tokens, and their seconds
	fresh         float64 // samples that started with the slots as they are
	packed, full  float64 // samples beside which there was no room for another of their weight, and the fresh ones of them
	all           float64 // samples that took the last of all slots
	streams       float64 // samples of streams
	others        float64 // units of whole answers beside streams
}

// Record takes a sample.
func (s *State) Record(c *Settings, x *Sample) {
	if s.slots == 0 {
		s.slots, s.step, s.hold, s.calmAt = float64(min(max(first, c.Min), c.Limit)), 1, leastHold, x.At
	}
	switch age := x.At.Sub(s.window.opened); {
	case age < -longWindow: // the clock was set back
		s.calmAt, s.probing, s.changed, s.longFrom = x.At, 0, x.At, x.At
		s.window = window{opened: x.At}
	case age > 2*widthWindow:
		s.window = window{opened: x.At}
	}
	s.hear(&c.Load)
	if x.ITL > 0 {
		s.window.itls++
		s.window.between += min(x.ITL, longest).Seconds()
	}
	took := x.TTFT
	if took <= 0 {
		took = x.Whole
		if s.streamed > 0 && took > 0 {
			s.window.others += float64(max(x.Units, 1))
			s.advance(x.At, c)
			return
		}
	}
	if took > 0 && (x.TTFT > 0 || !x.Left || s.unaided(&c.Load)) {
		s.take(c, x, min(took, longest).Seconds())
	}
}

// class is which prompts are alike.
func class(prompt int64) int { return min(bits.Len64(uint64(max(prompt, 0))>>4), prompts-1) }

// usual is how many seconds a sample's request takes without waiting; 0: not known.
func (s *State) usual(x *Sample) float64 {
	switch {
	case x.TTFT > 0:
		return s.base[class(x.Prompt)]
	case x.Left: // it isn't known how long its answer would have been
		return s.whole.y / max(s.whole.n, 1)
	}
	return s.whole.at(x.tokens())
}

// tokens are those of an answer that came whole.
func (x *Sample) tokens() float64 { return float64(min(max(x.Output, 0), mostSlots)) }

// learn takes a sample into what is usual.
func (s *State) learn(x *Sample, seconds float64) {
	anew := 0.0
	if s.probing != 0 {
		anew = 1 / (s.calm + 2)
	}
	if x.TTFT <= 0 {
		s.whole.learn(max(lineWeight, anew), x.tokens(), seconds, 0)
		return
	}
	base := &s.base[class(x.Prompt)]
	if *base == 0 {
		*base = seconds
	}
	*base += max(baseWeight, anew) * (seconds - *base)
}

// take takes the seconds that a request took into the window.
func (s *State) take(c *Settings, x *Sample, seconds float64) {
	inFlight, room := min(max(x.InFlight, 1), mostSlots), min(max(x.Room, 1), mostSlots)
	usual := s.usual(x)
	if usual == 0 {
		if x.Left {
			return
		}
		s.learn(x, seconds)
		usual = seconds
	}
	if x.TTFT > 0 {
		s.window.streams++
	}
	late := max(seconds-usual, -usual)
	if x.Left {
		late = max(late, 0) // it might have waited for longer
	}
	bad := late*s.rate > mostQueue+mostShare*s.slots
	s.quorum.Record(x.At, remembers, x.Subject, bad)
	w := &s.window
	units := min(max(x.Units, 1), inFlight)
	if !x.Left && s.calmly(inFlight, room, units) {
		s.learn(x, seconds)
		s.calmAt = x.At
		s.calm++
	}
	w.samples++
	w.units += float64(units)
	if bad {
		w.bads++
		w.bad += float64(units) * late
	} else {
		w.late += float64(units) * late
	}
	w.inFlight += float64(inFlight)
	w.took += seconds
	w.usual += usual
	w.room += float64(room)
	fresh := x.At.Sub(s.changed).Seconds() >= seconds // it started with the slots as they are
	if fresh {
		s.study(c, x, seconds, inFlight)
		w.fresh++
	}
	if inFlight+units > room {
		w.packed++
		if fresh {
			w.full++
		}
	}
	if inFlight+units > s.Slots(c) {
		w.all++
	}
	s.advance(x.At, c)
}

// calmly says that a request started beside so few that what it takes is usual: with a good part of its room free, and of what is known to be
// served without a wait; or alone.
func (s *State) calmly(inFlight, room, units int) bool {
	if s.probing != 0 {
		room = int(s.slots + 0.5)
	}
	return float64(inFlight) <= max(math.Round(calmShare*min(float64(room), max(s.served, first))), float64(units))
}

// advance ends the window if it is over.
func (s *State) advance(now clock.Moment, c *Settings) {
	s.probe(now, c)
	w := &s.window
	age := now.Sub(w.opened)
	enough := min(max(enoughSamples, s.slots/4), 2*s.slots)
	switch {
	case age < shortWindow:
		return
	case w.samples >= enough, w.samples >= someSamples && age >= longWindow, age >= widthWindow:
		rate := (w.units + w.others) / age.Seconds() // those who left waited no more, either
		if s.rate == 0 {
			s.rate = rate
		}
		s.rate += rateWeight * (rate - s.rate)
		switch {
		case s.unjudged > 0:
			s.unjudged--
		case w.samples > 0:
			s.decide(now, age, c)
		}
		if s.streamed = 0; w.streams >= someSamples {
			s.streamed = 1
		}
		s.window = window{opened: now}
	}
}

// blames says that it is for the slots that so many wait: they are in use; or more wait than are served, time and again.
func (w *window) blames(longs, queue float64) bool {
	return w.packed > 0 && w.used() >= usedShare*w.room || longs >= manyLongs && queue > w.inFlight/w.samples/2
}

// busy says that more slots would be used.
func (w *window) busy() bool { return w.full > 0 && w.used() >= busyShare*w.room }

// used is how many of the room were in use, with those that are free and too few for another request of the same weight.
func (w *window) used() float64 { return w.inFlight + w.units - w.samples }

// believed is how much of what the bad samples were late tells of the upstream rather than of their callers.
func (s *State) believed(now clock.Moment) float64 {
	w := &s.window
	if w.bads == 0 {
		return 0
	}
	share, of := s.quorum.Weigh(now, remembers).Share(uint64(w.bads), uint64(w.samples))
	return w.bad * min(share*of/w.bads, 1)
}
