package autosize

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/quorum"
)

const (
	// first is how many slots there are before anything is known.
	first = 8

	// A window ends when it has enough samples and is so old; one that has few, but some, when it is older; and in any case at last.
	enoughSamples, someSamples           = 8, 3
	shortWindow, longWindow, widthWindow = 100 * time.Millisecond, 10 * time.Second, time.Minute

	// How many may wait in the upstream: below least there may be more slots, above most there are fewer, and aim is what is left to wait
	// then. Each is a number of requests, and a share of the slots, since the error grows with them.
	leastQueue, leastShare = 0.25, 0.01
	aimQueue, aimShare     = 0.3, 0.01
	mostQueue, mostShare   = 0.6, 0.025

	// mostLate is the share of what is usual that is no wait, whatever it comes to in requests: what is usual is known no better than that. Of whole
	// answers, of which more is averaged, and where the engines say themselves what waits, less of it counts.
	mostLate, mostLateWhole = 0.2, 0.15

	// manyLongs windows in a row in which more waited than were served have to do with the slots, though these aren't all in use.
	manyLongs = 3

	// A wait is the slots' doing if it has lasted for so many times as long as it is itself: one large prompt keeps all others up, and then it is over.
	lastingTimes, longestLasting = 2, 2 * time.Second

	busyShare = 0.8 // of the slots have to be in use for more to be needed
	usedShare = 0.6 // of the slots have to be in use for what waits to be their doing

	sameCut = 0.15 // of the last one, to which a cut is the same

	// leastHold and mostHold are how many windows it stays where the last cut was made, before it tries one more.
	leastHold, mostHold = 4, 16

	firstCut, nextCuts = 0.75, 0.5 // of the slots are left at least: one window can be chance

	rateWeight = 0.5   // of a new window in the rate
	baseWeight = 0.125 // of a new sample in what is usual

	// calmShare of the slots in use is calm: what it takes then is usual. So many are left during a probe, which ends after calmSamples.
	calmShare   = 0.7
	calmSamples = 8
	// A probe is due after so long without a calm sample, and after as many times of what the last one took, if that is longer; but after
	// manyCuts in a row when the last calm sample is soonProbe old. It ends in any case after longestProbe.
	probeEvery, probeTimes = 2 * time.Minute, 50
	manyCuts, soonProbe    = 3, 5 * time.Second
	longestProbe           = 10 * time.Second
	// burstWindows are so many after a probe that tell of the burst with which it ends, of all slots that were kept free.
	burstWindows = 2

	// slowITL is how many times the best time between tokens is too long for more slots, and itlMemory how fast the best follows a longer one:
	// slowly, since what is longest with many slots would soon be usual.
	slowITL   = 3
	itlMemory = time.Hour

	prompts = 16 // classes of streams, by the size of the prompt

	remembers = 10 * time.Second // who was late
	longest   = time.Hour        // that a sample counts for
	mostSlots = 1 << 20
)

// Settings are the bounds, 1 <= Min <= Limit, and what the engines say.
type Settings struct {
	Min, Limit int
	Load       Load
}

// Sample is what was measured of one request: TTFT, ITL or Whole.
type Sample struct {
	At       clock.Moment
	Subject  uint64        // whose it was, as a keyed hash
	Units    int           // slots that it took: its weight; 0 is 1
	InFlight int           // slots in use in all workers when it started, with its own
	Room     int           // how many there could be for one of its priority: all slots, or less, where some are reserved
	Prompt   int64         // tokens, as far as was known when it started
	TTFT     time.Duration // of a stream, or until its client left without a token; 0: not measured
	Left     bool          // the client left without a token, or before its whole answer
	ITL      time.Duration // of a stream; 0: not measured
	Whole    time.Duration // of an answer that came whole, or until its client left; 0: not measured
	Output   int64         // tokens of that
}

// State is what is learned of one upstream, by all workers. The zero value has learned nothing.
type State struct {
	slots   float64 // 0: none are set yet
	step    float64 // by which they grow next
	ceiling float64 // where the last cut was made; 0: it is above that
	last    float64 // the same, also when it is above that; 0: there was none
	hold    float64 // windows to stay there
	held    float64 // of them, those that are over
	cuts    float64 // in a row
	served  float64 // how many were in flight at most without a wait
	rate    float64 // of units a second: of first tokens, and of clients that have left

	window  window
	verdict verdict

	changed  clock.Moment // when the slots last were
	longs    float64      // windows in a row in which too many waited
	longFrom clock.Moment // when the first of these began

	calmAt   clock.Moment  // of the last calm sample
	probing  clock.Moment  // since when; 0: it doesn't
	calm     float64       // samples since the probe began
	probed   time.Duration // how long the last probe took
	unjudged float64       // windows still to be left out after it
	streamed float64       // 1: streams tell enough; what comes whole tells less, and isn't looked at

	itl  float64          // seconds, the best lately; 0: not known
	base [prompts]float64 // seconds, what is usual of a stream; 0: not known

	whole        line    // what is usual of an answer that comes whole
	shift        float64 // how surely such answers take longer of late than those before, in deviations of one
	level, below line    // what it takes with as many in flight as there are slots, and with as many as there were before
	worth        float64 // what each slot between these brings, of what each of the others does
	down         float64 // how often more have been tried since fewer were

	heard            clock.Moment // the engines' word, last
	filled, filledBy float64      // the share of their KV caches that was in use lately, and by how many requests: sums, whose ratio counts

	quorum quorum.Quorum
}

// Slots is how many there are.
func (s *State) Slots(c *Settings) int {
	slots := s.slots
	if slots == 0 {
		slots = first
	}
	if s.probing != 0 {
		slots = calmShare * min(slots, max(s.served, first))
	}
	return min(max(int(min(slots, s.fit(&c.Load))+0.5), c.Min), c.Limit)
}

// Usual is the time to the first token that is usual for a prompt of so many tokens; 0: not known.
func (s *State) Usual(prompt int64) time.Duration {
	return time.Duration(s.base[class(prompt)] * float64(time.Second))
}

// probe begins a probe, or ends it.
func (s *State) probe(now clock.Moment, c *Settings) {
	calm := now.Sub(s.calmAt)
	switch took := now.Sub(s.probing); {
	case s.probing != 0:
		if s.calm >= calmSamples || took > longestProbe || took < 0 {
			s.probing, s.probed, s.calmAt = 0, min(max(took, 0), longestProbe), now
			s.unjudged, s.window = burstWindows, window{opened: now}
			s.otherwise(now, c)
		}
	case calm < 0:
		s.calmAt = now // the clock was set back
	case s.window.full == 0:
	case calm > max(probeEvery, probeTimes*s.probed), s.cuts >= manyCuts && calm > soonProbe:
		s.probing, s.calm, s.cuts = now, 0, 0
		s.otherwise(now, c)
	}
}

// decide sets the slots by a window.
func (s *State) decide(now clock.Moment, age time.Duration, c *Settings) {
	w := &s.window
	late := (w.late + s.believed(now)) / w.units
	inFlight := w.inFlight / w.samples
	queue, old := s.weigh(&c.Load, late, inFlight)
	s.verdict = verdict{ttft: w.took / w.samples, usual: w.usual / w.samples, queue: queue}
	if w.streams == 0 {
		s.verdict.whole = 1
	}
	whole := s.unaided(&c.Load)
	slow := s.slow(age, whole)
	long := queue > mostQueue+mostShare*s.slots && late > w.mostLate()*s.verdict.usual
	switch {
	case whole && !s.apart():
		s.climb(now, c)
		return
	case whole && old:
		return
	}
	s.remember(long, inFlight, queue)
	before := s.slots
	switch {
	case long && s.holds(now, late, queue/inFlight, whole) && w.blames(s.longs, queue) && (s.cuts == 0 || w.fresh >= w.samples/2):
		s.cut(inFlight-queue, whole)
	case !long && old:
	case long || slow || !w.busy() || s.probing != 0 || queue > leastQueue+leastShare*s.slots:
		s.step = 1
	default:
		if c.Load.KV >= fullKV {
			s.ceiling, s.hold = s.slots, mostHold
		}
		s.grow()
	}
	s.slots = s.bound(before, s.slots, c)
	if s.slots != before {
		s.changed, s.level = now, line{}
	}
}

// mostLate is what is no wait of a window's samples.
func (w *window) mostLate() float64 {
	if w.streams > 0 {
		return mostLate
	}
	return mostLateWhole
}

// remember takes note of a window: of whether too many waited, and of how many were served without that.
func (s *State) remember(long bool, inFlight, queue float64) {
	if !long {
		s.cuts, s.longs, s.served = 0, 0, max(s.served, inFlight)
		return
	}
	s.served = min(s.served, max(inFlight-queue, 1))
	if s.longs++; s.longs == 1 {
		s.longFrom = s.window.opened
	}
}

// holds says that the wait, a share of the time, isn't chance: too many have waited for long enough, beside the seconds that they wait; or whole
// answers, which take that long themselves, are surely about it.
func (s *State) holds(now clock.Moment, late, share float64, whole bool) bool {
	if whole {
		return share*s.level.y/s.level.n > waitErrors*s.level.startError()
	}
	return now.Sub(s.longFrom).Seconds() >= min(lastingTimes*late, longestLasting.Seconds())
}

// slow says that the time between tokens is too long for more slots; whole answers tell it where their lengths do.
func (s *State) slow(age time.Duration, whole bool) bool {
	w := &s.window
	itls, between := w.itls, w.between
	if whole && s.level.n >= levelSamples && s.apart() {
		itls, between = 1, s.level.slope()
	}
	if itls == 0 {
		return false
	}
	itl := between / itls
	switch {
	case s.itl == 0:
		s.itl = itl
	case itl < s.itl:
		s.itl += rateWeight * (itl - s.itl)
	default:
		s.itl += min(age.Seconds()/itlMemory.Seconds(), 1) * (itl - s.itl)
	}
	if itl <= slowITL*s.itl {
		return false
	}
	s.verdict.itl = itl
	return true
}

// cut lowers the slots to those that were served, and a little.
func (s *State) cut(served float64, whole bool) {
	least := firstCut
	if s.cuts > 0 || whole {
		least = nextCuts
	}
	to := max(served+aimQueue+aimShare*max(served, 0), least*s.slots)
	if s.step = 1; to >= s.slots {
		return
	}
	if s.last > 0 && math.Abs(to-s.last) <= max(sameCut*s.last, 1) { // it was known
		s.hold, to = min(2*s.hold, mostHold), min((to+s.last)/2, s.slots)
	} else {
		s.hold = leastHold
	}
	s.cuts++
	s.slots, s.ceiling, s.last, s.held = to, to, to, 0
}

// patience is how much of a window counts for one more slot where the last cut was made: if only those are in use that are nobody's reserve, it
// takes longer, since to use up the reserve is what one more would come to.
func patience(w *window) float64 {
	if w.all > 0 {
		return 1
	}
	return 0.25
}

// grow raises the slots.
func (s *State) grow() {
	most := max(s.slots/2, min(s.slots, 4))
	switch above := s.slots - s.ceiling; {
	case s.ceiling > 0 && above >= -0.5 && above < 0.5:
		if s.held += patience(&s.window); s.held >= s.hold {
			s.slots, s.held = s.slots+1, 0
		}
		return
	case s.ceiling > 0 && above < 0:
		s.slots = min(s.slots+min(s.step, most), s.ceiling)
	default:
		s.ceiling = 0
		s.slots += min(s.step, most)
	}
	s.step = min(2*s.step, mostSlots)
}

// otherwise forgets what was measured with the slots as they were, where they are others for a while.
func (s *State) otherwise(now clock.Moment, c *Settings) {
	s.level, s.shift = line{}, 0
	if s.unaided(&c.Load) {
		s.changed = now
	}
}

// bound keeps a number of slots that were others before within its bounds. What doesn't fit into the caches isn't grown into; what was learned while
// more fitted waits until it does again, and needn't be learned once more.
func (s *State) bound(before, slots float64, c *Settings) float64 {
	return min(max(min(slots, max(before, s.fit(&c.Load))), float64(c.Min)), float64(c.Limit))
}
