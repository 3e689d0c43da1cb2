package retreat

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// upstream is what the provider enforces; it may change with time.
type upstream interface {
	refuses(now clock.Moment, perMinute float64) bool
}

// tokenBucket lets requests flow in evenly, as most providers document theirs.
type tokenBucket struct {
	burst, level float64
	at           clock.Moment
}

func (b *tokenBucket) refuses(now clock.Moment, perMinute float64) bool {
	b.level = min(b.burst, b.level+float64(now-b.at)*perMinute/float64(time.Minute))
	b.at = now
	if b.level < 1 {
		return true
	}
	b.level--
	return false
}

// fixedWindow counts from each full minute on.
type fixedWindow struct {
	minute clock.Moment
	used   float64
}

func (w *fixedWindow) refuses(now clock.Moment, perMinute float64) bool {
	if minute := now / clock.Moment(time.Minute); minute != w.minute {
		w.minute, w.used = clock.Moment(minute), 0
	}
	if w.used >= perMinute {
		return true
	}
	w.used++
	return false
}

// loop is a filter that keeps to base × scale, in front of an upstream that allows something else.
type loop struct {
	settings Settings
	base     int64   // requests a minute
	burst    int64   // most that the budget lets pass at once
	demand   float64 // requests a minute that clients send at random; 0 is always more than the budget
	allowed  func(now clock.Moment) float64
	upstream upstream
	latency  time.Duration // until an answer is back
	off      bool          // no retreat
}

// minute is what happened in one minute.
type minute struct {
	sent, limited int
	scale         float64 // at its end
	phase         Phase
	alarm         bool
}

type answer struct {
	at      clock.Moment
	limited bool
}

const (
	tick   = clock.Moment(20 * time.Millisecond)
	uptime = clock.Moment(3 * time.Hour) // the monotonic clock doesn't begin at zero
)

func (l *loop) run(length time.Duration) (minutes []minute, state State) {
	random := rand.New(rand.NewPCG(1, 2))
	var budget bucket.State
	var answers []answer
	var waiting float64
	nextArrival := uptime
	minutes = make([]minute, int(length/time.Minute))
	for now := uptime; now < uptime+clock.Moment(length); now += tick {
		m := &minutes[(now-uptime)/clock.Moment(time.Minute)]
		for len(answers) > 0 && answers[0].at <= now {
			if !l.off {
				state.Record(now, &l.settings, 1, answers[0].limited)
			}
			answers = answers[1:]
		}
		state.Evaluate(now, &l.settings)
		for ; l.demand > 0 && nextArrival <= now; waiting++ {
			nextArrival += clock.Moment(random.ExpFloat64() / l.demand * float64(time.Minute))
		}
		rate := bucket.Rate{Burst: l.burst * bucket.Micro, Quantity: l.base * state.Scale(), Window: time.Minute}
		budget.Leak(now, rate)
		for (l.demand == 0 || waiting > 0) && budget.Balance(rate) >= bucket.Micro {
			budget.Use(bucket.Micro)
			waiting--
			m.sent++
			limited := l.upstream.refuses(now, l.allowed(now-uptime))
			if limited {
				m.limited++
			}
			answers = append(answers, answer{at: now + clock.Moment(l.latency), limited: limited})
		}
		m.scale, m.phase, m.alarm = float64(state.Scale())/Whole, state.Phase(), state.Alarm()
	}
	return minutes, state
}

// summary is the mean rate and the share of 429 over some minutes.
func summary(minutes []minute) (rate, share float64) {
	var sent, limited int
	for _, m := range minutes {
		sent += m.sent
		limited += m.limited
	}
	return float64(sent) / float64(len(minutes)), float64(limited) / float64(max(sent, 1))
}

func always(perMinute float64) func(clock.Moment) float64 {
	return func(clock.Moment) float64 { return perMinute }
}

func newBucket(burst float64) *tokenBucket {
	return &tokenBucket{burst: burst, level: burst, at: uptime}
}

// behind is a filter with the seed's numbers that always has something to send.
func behind(u upstream, allowed func(clock.Moment) float64) loop {
	return loop{settings: seed, base: 40, burst: 40, allowed: allowed, upstream: u, latency: second / 2}
}

func TestSettlesAtWhatTheUpstreamAllows(t *testing.T) {
	with, without := behind(newBucket(30), always(30)), behind(newBucket(30), always(30))
	without.off = true
	minutes, _ := with.run(time.Hour)
	bare, _ := without.run(time.Hour)
	rate, share := summary(minutes)
	bareRate, bareShare := summary(bare)
	t.Logf("of 30 a minute: %.1f with %.1f %% of 429; without retreat %.1f with %.1f %%", rate, 100*share, bareRate, 100*bareShare)
	for i, m := range minutes {
		t.Logf("minute %2d: sent %2d, 429 %2d, scale %.3f %v", i, m.sent, m.limited, m.scale, m.phase)
	}
	const settled = 10 // minutes: both buckets begin full, so the first minute is a burst of 40 against one of 30
	for from := settled; from < len(minutes); from += 10 {
		if rate, _ := summary(minutes[from : from+10]); rate < 27 || rate > 33 {
			t.Errorf("minutes %d to %d: %.1f a minute", from, from+10, rate)
		}
	}
	if _, share := summary(minutes[settled:]); share > 0.04 || bareShare < 0.2 {
		t.Errorf("429: %.1f %% with, %.1f %% without retreat", 100*share, 100*bareShare)
	}
}

// How near the mean of an hour comes to what is allowed depends on the upstream; these are the bounds that the package's
// comment gives.
func TestSettlesWithOtherUpstreams(t *testing.T) {
	for _, test := range []struct {
		name        string
		upstream    func() upstream
		allowed     float64
		least, most float64 // of what is allowed
		share       float64
	}{
		{"a burst of 5", func() upstream { return newBucket(5) }, 38, 0.90, 1.05, 0.02},
		{"a burst of 5", func() upstream { return newBucket(5) }, 30, 0.90, 1.10, 0.04},
		{"a burst of 5", func() upstream { return newBucket(5) }, 28, 0.90, 1.10, 0.08},
		{"a burst of 5", func() upstream { return newBucket(5) }, 25, 0.90, 1.10, 0.08},
		{"a burst of 5", func() upstream { return newBucket(5) }, 20, 0.90, 1.10, 0.08},
		{"a minute's burst", func() upstream { return newBucket(30) }, 35, 0.90, 1.10, 0.04},
		{"a minute's burst", func() upstream { return newBucket(30) }, 25, 0.90, 1.10, 0.08},
		{"a minute's burst", func() upstream { return newBucket(30) }, 20, 0.90, 1.10, 0.10},
		{"a minute's burst", func() upstream { return newBucket(30) }, 12, 0.80, 1.30, 0.25},
		{"a minute's burst", func() upstream { return newBucket(30) }, 6, 0.80, 1.30, 0.25},
		{"no burst", func() upstream { return newBucket(1) }, 30, 0.75, 1.10, 0.06},
		{"fixed minutes", func() upstream { return new(fixedWindow) }, 35, 0.80, 1.10, 0.06},
		{"fixed minutes", func() upstream { return new(fixedWindow) }, 30, 0.65, 1.10, 0.12},
	} {
		with, without := behind(test.upstream(), always(test.allowed)), behind(test.upstream(), always(test.allowed))
		with.demand, without.demand = 45, 45
		without.off = true
		minutes, _ := with.run(2 * time.Hour)
		bare, _ := without.run(2 * time.Hour)
		rate, share := summary(minutes[10:])
		_, bareShare := summary(bare[10:])
		t.Logf("%-16s %2.0f allowed: %.1f (%+.0f %%), 429 %.1f %%, without retreat %.1f %%",
			test.name, test.allowed, rate, 100*(rate/test.allowed-1), 100*share, 100*bareShare)
		if rate < test.least*test.allowed || rate > test.most*test.allowed || share > test.share || share > bareShare/2 {
			t.Errorf("%s, %.0f allowed: rate %.1f, share %.3f", test.name, test.allowed, rate, share)
		}
	}
}

// Wherever in its cycle it is when the upstream allows 40 again: it is back in a calm and a climb's time, for good.
func TestReturnsToTheBaseWhenItIsAllowed(t *testing.T) {
	worst := 0
	for change := 30; change < 36; change++ {
		l := behind(newBucket(30), func(now clock.Moment) float64 {
			if now < clock.Moment(change)*clock.Moment(time.Minute) {
				return 30
			}
			return 40
		})
		minutes, _ := l.run(time.Hour)
		back := 0
		for i, m := range minutes[change:] {
			if m.phase != Normal {
				back = i + 1
			}
		}
		worst = max(worst, back)
		if rate, share := summary(minutes[change+back+1:]); back > 5 || share > 0 || rate < 39 {
			t.Errorf("changed in minute %d: back after %d, then %.1f a minute, 429 %.1f %%", change, back, rate, 100*share)
		}
	}
	t.Logf("back at the base, for good, within %d minutes", worst+1)
}

func TestWhatIsAllowedIsLeftAlone(t *testing.T) {
	l := behind(newBucket(40), always(40))
	minutes, _ := l.run(time.Hour)
	for i, m := range minutes {
		if m.phase != Normal || m.limited > 0 {
			t.Errorf("minute %d: %+v", i, m)
		}
	}
}
