package throttle

import (
	"math"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// The rate's threshold is the factor times the mean plus two standard deviations of the window's seconds, and what it holds
// against it is their moving average.
func TestArrivalsAreTheirClosedForm(t *testing.T) {
	var s State
	counts := []int64{8, 12, 10, 14, 6}
	now := s.feed(noon, &standard, 120, func(i int) int64 { return counts[i%5] }, second)
	sum, squares, smooth := 0.0, 0.0, 0.0
	for i := range 120 {
		n := float64(counts[i%5])
		sum += n
		squares += n * n
		smooth = 0.2*n + 0.8*smooth
	}
	mean := sum / 120
	want := 1.5 * (mean + 2*math.Sqrt(squares/120-mean*mean))
	if l := s.level(now, &standard, Arrivals); !near(l.Threshold, want) || !near(l.Value, smooth) || !l.Known || l.Over {
		t.Errorf("%+v, want threshold %v and value %v", l, want, smooth)
	}
}

func TestArrivalsTrip(t *testing.T) {
	for _, test := range []struct {
		name    string
		before  int   // seconds
		rate    int64 // in them
		burst   int64 // for twenty seconds
		tripped bool
	}{
		{"as ever", 300, 20, 20, false},
		{"half as much again", 300, 20, 30, false},
		{"twice as much", 300, 20, 40, true},
		{"ten times as much", 300, 20, 200, true},
		{"no history", 30, 20, 200, false},
		{"enough history", 60, 20, 200, true},
		{"too few to judge", 300, 1, 2, false},
		{"a few", 300, 1, 4, true},
		{"from nothing", 300, 0, 50, false},
	} {
		var s State
		now := s.feed(noon, &standard, test.before, steady(test.rate), 0)
		tripped := false
		for range 20 {
			now = s.feed(now, &standard, 1, steady(test.burst), 0)
			tripped = tripped || s.Read(now).Tripped
		}
		if tripped != test.tripped {
			t.Errorf("%s: tripped %v, %+v", test.name, tripped, s.level(now, &standard, Arrivals))
		}
	}
}

func TestTripReasons(t *testing.T) {
	var s State
	now := s.feed(noon, &standard, 300, steady(20), 0)
	now = s.feed(now, &standard, 2, steady(200), 0)
	expect(t, &s, now, true, "qps_56_over_30") // 0.8 × 20 + 0.2 × 200

	s = State{}
	s.Merge(noon, &standard, &Delta{Memory: 0.75})
	expect(t, &s, noon, false, "")
	s.Merge(noon, &standard, &Delta{Memory: 0.82})
	expect(t, &s, noon, true, "gpu_memory_82%_over_75%")
	if r := s.Read(noon); !near(r.Severity, 0.07/0.25) {
		t.Errorf("%+v", r)
	}
}

// P99 above 8 s for three periods of 10 s.
func TestTailTripsAboveItsMaximum(t *testing.T) {
	var s State
	now := noon
	for period, want := range []bool{false, false, false, true} { // a period is judged when the next one begins
		now = s.feed(now, &standard, 10, steady(3), 9*second)
		if s.Read(now).Tripped != want {
			t.Errorf("period %d: %+v", period, s.Read(now))
		}
	}
	if r := s.Read(now); r.Last.Signal != TailLatency || math.Abs(r.Last.Measured/9e9-1) > relativeError || r.Last.Threshold != 8e9 {
		t.Errorf("%+v, %s", r, r.Last)
	}
	s = State{}
	now = s.feed(noon, &standard, 20, steady(3), 9*second)
	now = s.feed(now, &standard, 10, steady(3), 7*second)
	now = s.feed(now, &standard, 21, steady(3), 9*second)
	if r := s.Read(now); r.Tripped {
		t.Errorf("two periods, one below, and two: %+v", r)
	}
}

// P99 above 1.8 times its mean.
func TestTailTripsAboveItsHistory(t *testing.T) {
	var s State
	now := s.feed(noon, &standard, 300, steady(3), second)
	l := s.level(now, &standard, TailLatency)
	if math.Abs(l.Value/1e9-1) > relativeError || math.Abs(l.Threshold/1.8e9-1) > relativeError || l.Over || !l.Known {
		t.Errorf("%+v", l)
	}
	now = s.feed(now, &standard, 120, steady(3), 17*second/10)
	expect(t, &s, now, false, "")
	now = s.feed(now, &standard, 31, steady(3), 5*second)
	if r := s.Read(now); !r.Tripped || r.Last.Signal != TailLatency || r.Severity <= 0 || r.Severity >= 1 {
		t.Errorf("%+v", r)
	}

	s = State{}
	now = s.feed(noon, &standard, 50, steady(3), second)
	now = s.feed(now, &standard, 11, steady(3), 7*second)
	expect(t, &s, now, false, "") // no history
}

func TestPeriodsWithFewAnswers(t *testing.T) {
	var s State
	d := Delta{}
	d.answers.add(9 * second)
	now := noon
	for range 8 { // two in a period, ten in five of them
		s.Merge(now, &standard, &d)
		now += 5 * second
	}
	if l := s.level(now, &standard, TailLatency); l.Known {
		t.Errorf("too few: %+v", l)
	}
	for range 3 {
		s.Merge(now, &standard, &d)
		now += 5 * second
	}
	if l := s.level(now, &standard, TailLatency); !l.Known || l.Value < 8e9 {
		t.Errorf("an extended period: %+v", l)
	}
	if l := s.level(now+60*second, &standard, TailLatency); l.Known {
		t.Errorf("nothing for six periods: %+v", l)
	}
}

// What is refused makes answers few. So a period that gets too few of them to tell acquits: else the one before it would keep the throttle tripped.
func TestFewQuickAnswersAcquit(t *testing.T) {
	var s State
	now := s.feed(noon, &standard, 300, steady(3), second)
	now = s.feed(now, &standard, 31, steady(3), 5*second)
	if !s.Read(now).Tripped {
		t.Fatalf("%+v", s.Read(now))
	}
	for range 4 { // five answers in twenty seconds
		now = s.feed(now, &standard, 5, func(i int) int64 { return int64(i / 4) }, second)
	}
	before := s.Read(now)
	now = s.feed(now, &standard, 11, steady(0), second)
	if after := s.Read(now); before.Severity > 0.1 || after.Tripped {
		t.Errorf("%+v, and then %+v", before, after)
	}
}

func TestMemoryThatIsOldIsNotKnown(t *testing.T) {
	var s State
	s.Merge(noon, &standard, &Delta{Memory: 0.9})
	if l := s.level(noon+10*second, &standard, GPUMemory); !l.Over {
		t.Errorf("%+v", l)
	}
	if l := s.level(noon+10*second+1, &standard, GPUMemory); l.Known {
		t.Errorf("%+v", l)
	}
}

// What lasts is the norm in the end; what is above the threshold is learned as the threshold.
func TestLastingLoadBecomesTheNorm(t *testing.T) {
	var s State
	now := s.feed(noon, &standard, 300, steady(20), 0)
	begin := now
	now = s.feed(now, &standard, 2, steady(200), 0)
	if !s.Read(now).Tripped {
		t.Fatal("it does not trip")
	}
	for s.Read(now).Tripped {
		now = s.feed(now, &standard, 1, steady(200), 0)
		if now-begin > 600*second {
			t.Fatal("it never clears")
		}
	}
	t.Logf("ten times the load is normal after %d s", (now-begin)/second)
	if took := now - begin; took < 30*second || took > 300*second {
		t.Errorf("normal after %d s", took/second)
	}
}

// The same of the tail: 18 s where a second was normal counts as 1.8 s in the history, then as 1.8 times of what that makes.
func TestTailLearnsSlowly(t *testing.T) {
	c := standard
	c.p99.max = longest
	var s State
	now := s.feed(noon, &c, 300, steady(3), second)
	before := s.level(now, &c, TailLatency).Threshold
	now = s.feed(now, &c, 10, steady(3), 18*second)
	if after := s.level(now, &c, TailLatency).Threshold; after < before || after > before*(1+0.8/29+0.01) {
		t.Errorf("one period took the threshold from %v to %v", before, after)
	}
}

func TestWindowForgets(t *testing.T) {
	var s State
	now := s.feed(noon, &standard, 300, steady(100), 0)
	now = s.feed(now, &standard, 310, steady(10), 0)
	if l := s.level(now, &standard, Arrivals); !near(l.Threshold, 15) {
		t.Errorf("%+v", l)
	}
	if l := s.level(now+3600*second, &standard, Arrivals); l.Known || l.Value > 1e-9 || l.Threshold != 0 {
		t.Errorf("after an hour of silence: %+v", l)
	}
	// A quiet night isn't learned: in the morning there is no history, so nothing trips.
	now = s.feed(now+8*3600*second, &standard, 59, steady(50), 0)
	if s.Read(now).Tripped {
		t.Errorf("%+v", s.Read(now))
	}
}

// It clears below nine tenths of the threshold, after ten seconds, as its countdown says.
func TestHysteresis(t *testing.T) {
	var s State
	s.Merge(noon, &standard, &Delta{Memory: 0.8})
	now := noon
	for range 30 { // below the threshold, but not calm
		now += second
		s.Merge(now, &standard, &Delta{Memory: 0.7})
		if r := s.Read(now); !r.Tripped || r.RecoversIn != standard.p99.period {
			t.Fatalf("%+v", r)
		}
	}
	for i := range int64(10) {
		s.Merge(now+clock.Moment((i+1)*second)-1, &standard, &Delta{Memory: 0.67})
		if r := s.Read(now + clock.Moment(i*second)); !r.Tripped || r.RecoversIn != standard.p99.period-time.Duration(i*second) {
			t.Fatalf("%+v", r)
		}
	}
	if s.Merge(now+10*second-1, &standard, &Delta{Memory: 0.67}) || !s.Merge(now+10*second, &standard, &Delta{Memory: 0.67}) {
		t.Errorf("%+v", s.Read(now+10*second))
	}
	expect(t, &s, now+10*second, false, "gpu_memory_80%_over_75%")
}

// trips has it trip again and again, a while after each recovery, wants so many seconds of hold, and says when it is over.
func trips(t *testing.T, s *State, c *Settings, after clock.Moment, holds ...time.Duration) (now clock.Moment) {
	t.Helper()
	now = noon
	for i, want := range holds {
		s.Merge(now, c, &Delta{Memory: 0.8})
		s.Merge(now, c, &Delta{Memory: 0.1})
		if r := s.Read(now); !r.Tripped || r.RecoversIn != want*second {
			t.Errorf("trip %d: %+v", i, r)
		}
		now += clock.Moment(want * second)
		if !s.Merge(now, c, &Delta{}) {
			t.Fatalf("trip %d doesn't clear", i)
		}
		now += after
	}
	return now
}

// What trips again soon is held for longer.
func TestRelapse(t *testing.T) {
	var s State
	now := trips(t, &s, &standard, 59*second, 10, 20, 40, 80, 80) + second
	s.Merge(now, &standard, &Delta{Memory: 0.8})
	if r := s.Read(now); r.RecoversIn != 10*second {
		t.Errorf("a minute later: %+v", r)
	}
}

func TestRecoveryCountdown(t *testing.T) {
	var s State
	now := s.feed(noon, &standard, 300, steady(20), 0)
	now = s.feed(now, &standard, 5, steady(200), 0)
	_, r := s.Snapshot(now, &standard)
	due := now + clock.Moment(r.RecoversIn)
	for i := 0; s.Read(now).Tripped; i++ { // the arrivals go back to what they were
		if i > 100 {
			t.Fatal("it never clears")
		}
		now = s.feed(now, &standard, 1, steady(20), 0)
	}
	if late := now - due; late < -3*second || late > 3*second {
		t.Errorf("cleared %d s after it had said", late/second)
	}
}

// The limiters serve resources of any unit.
func TestLimitersServeAnyResource(t *testing.T) {
	var tokens Rate
	var tail Tail
	var memory Memory
	type tokenCount = int64
	level := func(now clock.Moment) (levels [3]Level) {
		watch(&tokens, now, &standard, tokenCount(5000), &levels[0])
		watch(&tail, now, &standard, 2*second, &levels[1])
		watch(&memory, now, &standard, 60e9/80e9, &levels[2])
		return levels
	}
	now := noon
	for range 100 {
		level(now)
		now += second
	}
	got := level(now)
	if !near(got[0].Threshold, 1.5*5000) || got[0].Value < 4999 || math.Abs(got[1].Value/2e9-1) > relativeError || got[2].Value != 0.75 {
		t.Errorf("%+v", got)
	}
}

func watch[T amount](l limiter[T], now clock.Moment, c *Settings, amount T, to *Level) {
	l.Observe(now, c, amount)
	*to = l.Level(now, c)
}

func TestClocks(t *testing.T) {
	var s State
	now := s.feed(noon, &standard, 300, steady(20), second)
	now = s.feed(now, &standard, 5, steady(200), second)
	before := s
	s.Merge(now-5*second, &standard, &Delta{Requests: 1})
	if !s.Read(now).Tripped || s.level(now, &standard, Arrivals).Threshold != before.level(now, &standard, Arrivals).Threshold {
		t.Errorf("a clock a little behind: %+v", s.Read(now))
	}
	back, longest := noon-10*3600*second, longestHold*standard.p99.period
	s.Merge(back, &standard, &Delta{})
	if s.Merge(back.Add(longest), &standard, &Delta{}); s.Read(back.Add(longest)).Tripped {
		t.Errorf("it does not follow a clock that was set back: %+v", s.Read(back))
	}
	for _, extreme := range []int64{math.MaxInt64, math.MinInt64, 0, -1, math.MaxInt64} {
		s.Merge(clock.Moment(extreme), &standard, &Delta{Requests: 5, Memory: 1})
		if r := s.Read(clock.Moment(extreme)); r.RecoversIn < 0 || r.RecoversIn > longest {
			t.Errorf("%+v", r)
		}
	}
}

// Another window has other steps: what was learned with the old ones says nothing.
func TestNewWindowBeginsAnew(t *testing.T) {
	var s State
	now := s.feed(noon, &standard, 300, steady(20), 0)
	c := standard
	c.qps.window = 60 * second
	s.Merge(now, &c, &Delta{Requests: 3})
	if l := s.level(now, &c, Arrivals); l.Known || l.Value != 0 {
		t.Errorf("%+v", l)
	}
}

func TestNames(t *testing.T) {
	if None.String() != "none" || (Trigger{}).String() != "" {
		t.Error(None, Trigger{})
	}
	for want, trigger := range map[string]Trigger{
		"p99_9.1s_over_8s":        {Signal: TailLatency, Measured: 9.1e9, Threshold: 8e9},
		"qps_34.2_over_24.5":      {Signal: Arrivals, Measured: 34.2, Threshold: 24.5},
		"fused_p99_0.62_over_0.5": {Signal: TailLatency, Measured: 0.62, Threshold: 0.5, Fused: true},
	} {
		if got := trigger.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func BenchmarkMerge(b *testing.B) {
	b.ReportAllocs()
	s := new(State)
	d := Delta{Requests: 5, Memory: 0.3}
	for range 5 {
		d.answers.add(second)
	}
	buffer := make([]byte, 0, size)
	for now := noon; b.Loop(); now += second / 4 {
		s.Merge(now, &standard, &d)
		buffer = s.Append(buffer[:0])
		if !s.Decode(buffer) {
			b.Fatal("damaged")
		}
	}
}

func BenchmarkShed(b *testing.B) {
	b.ReportAllocs()
	var s State
	s.Merge(noon, &standard, &Delta{Memory: 0.9})
	var thin Thinner
	for b.Loop() {
		r := s.Read(noon)
		r.Shed(config.Normal, 1, &thin)
	}
}

func TestAnswersAndMergesAllocateNothing(t *testing.T) {
	var s State
	var d Delta
	var b []byte
	now := clock.Moment(noon)
	take := func() {
		now += clock.Moment(second)
		d.Requests++
		d.Answer(now, &standard, &s, 1, second)
		d.Answer(now, &standard, &s, 2, 3600*second)
		s.Merge(now, &standard, &d)
		d.Reset()
		s.Read(now)
		if b = s.Append(b[:0]); !s.Decode(b) {
			t.Fatal("what was written can't be read")
		}
	}
	take()
	if n := testing.AllocsPerRun(100, take); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
