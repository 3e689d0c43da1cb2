// Package throttle sheds requests by priority while the arrival rate, the tail of the latency or the memory of the GPUs
// leave their normal range, which it learns.
//
//	QPS         trips above Factor × baseline; the baseline is the mean of the window plus Sigmas standard deviations
//	P99         trips above Factor × the mean of its history, or three standard deviations above it if that is more, or above Max for Periods periods
//	GPU memory  trips above its threshold
//
// Any one trips. While it is tripped, URGENT and HIGH pass (their guaranteed lane), and of all that arrives the severity's share is refused:
// of LOW first, and of NORMAL what that leaves. The severity is 0 at a signal's threshold. For QPS it is five times the share by which it
// would have to fall to be back there, up to what brings arrivals back to their baseline, since a queue that has built up
// has to go, too; for P99 half of that share, by the last period, or by nine of ten answers of the present one if they are quicker: clients that left have emptied the server; for memory the part of what was free at the threshold that is used up. It rises at once, and falls no faster than to a ninth in a
// quarter of a period, so that what brought a signal down doesn't come back all at once. What is known of a single request thins its share (Shed's risk): signals tell of what was, and who is sure to be in time
// makes nobody late.
//
// # Windows and averages
//
// A sliding window says what is normal: for QPS the counts of steps of a second (a 300th of the window, from 100 ms to
// 1 s) in 30 blocks, the one that is still being filled left out, for P99 those of the last 30 periods, each read from a
// histogram (histogram.go, with its error bound). What is now is an exponentially weighted moving average beside it, of weight 0.2
// for the newest step or period: a single second of luck, or one slow request among twenty, doesn't trip it. Max alone is
// held against the P99 of each period as it is.
//
// Nothing trips before there is a history: a fifth of the window in which requests came, and six periods. Neither does a rate
// of less than two requests a step, where counts say little. Steps count once a block has had a request, so idle time
// isn't learned: a quiet night doesn't make the morning look like an attack. And what is above a threshold is learned as the
// threshold: a lasting overload becomes the norm in minutes rather than seconds. A period has at least ten answers, or is
// extended; after six periods without as many nothing is known of the P99 any more.
//
// # Hysteresis
//
// It clears once every signal has been below 0.9 of its threshold for the hold, and it was tripped for that long. The hold is
// a period of the P99 (10 s). If it trips again within six of them after clearing it doubles, to eight at most. So over any time there are at most two
// transitions in a hold. RecoversIn is the countdown: exact once all signals are calm, before that an estimate that they will be
// from now on.
//
// # Fusion
//
// With Fusion it doesn't take one signal to trip, but their sum: fusion.go.
//
// # Who owns what, and the worst moments
//
// A State is what the workers share: each reads it, changes its copy, and writes it if nobody else has meanwhile. Requests and
// answers are collected in each worker (Delta), and merged in no more often than the caller likes; a request counts in the step in
// which it is merged. A worker that dies takes with it what it has not merged, some requests of some hundred milliseconds; all else
// is in the record. Two workers write at once: one merges again, into what it reads then. The thinning is each worker's own
// (Thinner). Time comes in  as an argument: it leaps ahead, and the time between was idle; it steps back further than a
// window, and what was counted in it begins anew. The record is garbage: Decode refuses it, and learning begins anew.
package throttle

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/quorum"
)

const (
	// weight is that of the newest value in the moving averages.
	weight = 0.2
	// clearAt is the share of a threshold below which a signal is calm.
	clearAt = 0.9

	// In periods of the P99: the longest hold, the shortest being one; and how long after clearing what trips again is held for longer.
	longestHold = 8
	relapse     = 6
)

// Settings is the configuration of one throttle.
type Settings struct {
	qps       qpsSettings
	p99       p99Settings
	gpuMemory float64 // share in use above which it trips
	fusion    bool
}

// qpsSettings is the arrival rate's part of the Settings.
type qpsSettings struct {
	window         time.Duration
	sigmas, factor float64
}

// p99Settings is the tail latency's part of the Settings.
type p99Settings struct {
	factor      float64
	max, period time.Duration
	periods     uint32
}

// NewSettings takes the settings from a checked configuration.
func NewSettings(c *config.Throttle) Settings {
	return Settings{
		qps:       qpsSettings{window: c.QPS.Window, sigmas: c.QPS.Sigmas, factor: c.QPS.Factor},
		p99:       p99Settings{factor: c.P99.Factor, max: c.P99.Max, period: c.P99.Period, periods: uint32(max(c.P99.Periods, 1))},
		gpuMemory: c.GPUMemory, fusion: c.Fusion,
	}
}

// State is the throttle of one upstream. The zero value has learned nothing.
type State struct {
	rate   Rate
	tail   Tail
	memory Memory
	fusion fusion

	tripped  bool
	severity float64       // while tripped
	eased    clock.Moment  // when that was last brought up to date
	since    clock.Moment  // of the last transition
	stirred  clock.Moment  // while tripped: when a signal was last not calm
	hold     time.Duration // of the present or last trip
	last     Trigger

	mix [2]float64 // the shares of LOW and NORMAL in what arrives of late

	quorum quorum.Quorum // who was answered slowly
}

// Delta is what a worker has seen since it last merged.
type Delta struct {
	Requests int64     // below 0: so many were counted before that did not come after all
	Of       [2]int64  // of them, those of LOW and NORMAL
	answers  histogram // how long they took
	Memory   float64   // share of GPU memory in use; 0 or less: not known

	quorum   quorum.Quorum
	together quorum.Quorum // memory of Answer
}

// Empty says that there is nothing to merge but memory.
func (d *Delta) Empty() bool { return d.Requests <= 0 && d.answers.total == 0 }

// Answer counts an answer to a subject, of which subject is a keyed hash. What is slower than what trips is left out unless package quorum
// finds it credible: a client can make its own requests slow. known is the state as it was last merged.
func (d *Delta) Answer(now clock.Moment, c *Settings, known *State, subject uint64, duration time.Duration) {
	slow := known.tail.slower(c, duration)
	d.quorum.Record(now, c.remembers(), subject, slow)
	if slow {
		d.together = known.quorum
		if d.together.Merge(now, c.remembers(), &d.quorum); !d.together.Credible(now, c.remembers(), subject) {
			return
		}
	}
	d.answers.add(duration)
}

// Reset begins anew, after a merge.
func (d *Delta) Reset() {
	d.Requests, d.Of, d.Memory, d.quorum = min(d.Requests, 0), [2]int64{}, 0, quorum.Quorum{}
	d.answers.reset()
}

// remembers is how far back it matters who was answered slowly.
func (c *Settings) remembers() time.Duration { return longestPeriod * c.p99.period }

// Merge takes in what a worker has seen, and makes the transition that is due; it says whether there was one. With an empty
// delta it only lets time pass. The delta is not changed.
func (s *State) Merge(now clock.Moment, c *Settings, d *Delta) (changed bool) {
	s.rate.Observe(now, c, max(d.Requests, 0))
	if s.mix == [2]float64{} {
		s.mix = usualMix
	}
	for i, n := range &d.Of {
		if d.Requests > 0 {
			weight := 1 - math.Exp(-float64(d.Requests)/mixMemory)
			s.mix[i] += weight * (min(float64(max(n, 0))/float64(d.Requests), 1) - s.mix[i])
		}
	}
	s.tail.merge(now, c, &d.answers)
	s.quorum.Merge(now, c.remembers(), &d.quorum)
	if d.Memory > 0 {
		s.memory.Observe(now, c, d.Memory)
	}
	s.follow(now, c)
	return s.judge(now, c)
}

// mixMemory is how many requests make up what is known of their priorities.
const mixMemory = 100

// usualMix is what is taken for the mix before anything is known of it.
var usualMix = [2]float64{config.Low: 0.5, config.Normal: 0.4}

// levels are those of all signals.
func (s *State) levels(now clock.Moment, c *Settings) [signals]Level {
	return [signals]Level{
		Arrivals: s.rate.Level(now, c), TailLatency: s.tail.Level(now, c), GPUMemory: s.memory.Level(now, c),
	}
}

// outlook is what the signals say together.
type outlook struct {
	over, stirs bool
	severity    float64
	worst       Signal
	level       Level // of the worst, or of their sum
}

func (s *State) outlook(now clock.Moment, c *Settings) (o outlook) {
	levels := s.levels(now, c)
	for i := range levels {
		l := &levels[i]
		if l.Over && (!o.over || l.severity >= levels[o.worst].severity) {
			o.worst = Signal(i)
		}
		o.over, o.stirs, o.severity = o.over || l.Over, o.stirs || l.stirs, max(o.severity, l.severity)
	}
	if o.level = levels[o.worst]; c.fusion { // whether is their sum's to say, and how much each signal's
		o.level, o.worst = s.fusion.judge(now, &levels, s.tripped)
		o.over, o.stirs = o.level.Over, o.level.stirs
		if o.severity = max(o.severity, o.level.severity); !o.over {
			o.severity = 0
		}
	}
	return o
}

func (s *State) judge(now clock.Moment, c *Settings) (changed bool) {
	o := s.outlook(now, c)
	s.ease(now, c, o.severity)
	switch {
	case !s.tripped && o.over:
		s.hold = s.nextHold(now, c)
		s.tripped, s.since, s.stirred = true, now, now
		s.severity = o.severity
		s.last = Trigger{At: now, Signal: o.worst, Measured: o.level.Value, Threshold: o.level.Threshold, Fused: c.fusion}
	case s.tripped && o.stirs:
		s.stirred = now
		return false
	case s.tripped && s.holds(now) == 0:
		s.tripped, s.since, s.severity = false, now, 0
	default:
		return false
	}
	return true
}

// ease takes in the severity of now: it rises at once, and falls to a ninth in a quarter of a period.
func (s *State) ease(now clock.Moment, c *Settings, severity float64) {
	if !s.tripped {
		s.severity, s.eased = 0, now
		return
	}
	periods := float64(max(now.Sub(s.eased), 0)) / float64(c.p99.period)
	s.severity, s.eased = max(severity, s.severity*math.Exp(-periods*fall)), now
}

// fall is how many times in a period the severity falls to an e-th: four times to a ninth.
const fall = 4 * 2.2

// nextHold is how long a trip holds at least.
func (s *State) nextHold(now clock.Moment, c *Settings) time.Duration {
	if s.hold == 0 || now.Sub(s.since) >= relapse*c.p99.period {
		return c.p99.period
	}
	return min(max(2*s.hold, c.p99.period), longestHold*c.p99.period)
}

// holds is how long it stays tripped if no signal stirs from now on.
func (s *State) holds(now clock.Moment) time.Duration {
	calm := max(min(now.Sub(s.stirred), now.Sub(s.since)), 0)
	return max(s.hold-calm, 0)
}

// follow takes the times of a clock that is far behind: it was set back, or another one was wrong.
func (s *State) follow(now clock.Moment, c *Settings) {
	if max(s.since, s.stirred).Sub(now) > longestHold*c.p99.period {
		s.since, s.stirred = min(s.since, now), min(s.stirred, now)
	}
}

// Reading is what a State says.
type Reading struct {
	Tripped    bool
	Severity   float64       // from 0 to 1; 0 unless it is tripped
	Shares     [2]float64    // that are refused of LOW and NORMAL
	RecoversIn time.Duration // 0 unless it is tripped
	Last       Trigger       // when and why it last tripped
}

// Read looks at the state as it was merged; it costs next to nothing.
func (s *State) Read(now clock.Moment) Reading {
	if !s.tripped {
		return Reading{Last: s.last}
	}
	return Reading{Tripped: true, Severity: s.severity, Shares: s.shares(), RecoversIn: s.holds(now), Last: s.last}
}

// shares are how much is to be refused of LOW and NORMAL, so that together it is the severity's part of what arrives: of LOW first.
func (s *State) shares() (shares [2]float64) {
	left := s.severity
	for i, part := range &s.mix {
		if left > 0 && part > 0.01 {
			shares[i] = min(left/part, 1)
		} else if left > 0 {
			shares[i] = 1
		}
		left = max(left-part, 0)
	}
	return shares
}

// Snapshot gives the signals by now, for status and metrics, and a Reading whose countdown includes an estimate of how long the
// signals take to calm down: the arrivals as if they went back to their mean at once, the tail until its period ends.
func (s *State) Snapshot(now clock.Moment, c *Settings) ([signals]Level, Reading) {
	copied := *s
	copied.Merge(now, c, &Delta{})
	levels, r := copied.levels(now, c), copied.Read(now)
	if !r.Tripped {
		return levels, r
	}
	wait := time.Duration(0)
	if levels[Arrivals].stirs {
		wait = max(wait, copied.rate.calms(c))
	}
	if levels[TailLatency].stirs {
		wait = max(wait, copied.tail.calms(now, c))
	}
	r.RecoversIn = max(wait+copied.hold, r.RecoversIn)
	if wait == 0 {
		r.RecoversIn = copied.holds(now)
	}
	return levels, r
}
