package retreat

import (
	"math"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const second = 1_000_000_000 // of moments and durations alike

// seed is a budget of 40 a minute with the default configuration.
var seed = NewSettings(&config.Upstream{
	Budget: config.Budget{Requests: 40, Window: time.Minute},
	Retreat: config.Retreat{
		Window: time.Minute, Threshold: 0.05, Factor: 0.75, MinRequests: 5, MinSamples: 10, Every: 5 * time.Second,
		RecoverWindow: 2 * time.Minute, RecoverThreshold: 0.02, RecoverStep: 2,
	},
})

func TestNewSettings(t *testing.T) {
	want := Settings{
		Window: 60 * second, Every: 5 * second, RecoverWindow: 120 * second,
		Threshold: 0.05, RecoverThreshold: 0.02, Factor: 0.75, MinSamples: 10, Floor: 125_000, Step: 50_000,
	}
	if seed != want {
		t.Errorf("got %+v, want %+v", seed, want)
	}
	for _, test := range []struct {
		name            string
		requests        int64
		least, step     int
		wantLow, wantUp int64
	}{
		{"tokens alone", 0, 5, 2, 125_000, 50_000},
		{"rounded up", 3, 1, 1, 333_334, 333_334},
		{"at most the whole", 3, 3, 50, Whole, Whole},
		{"at least a millionth", 1_000_000_000_000, 5, 2, 1, 1},
		{"nothing stated", 40, 0, 0, 25_000, 25_000},
		{"as large as it gets", math.MaxInt64, math.MaxInt, 1, Whole, 1},
	} {
		u := config.Upstream{
			Budget:  config.Budget{Requests: test.requests},
			Retreat: config.Retreat{MinRequests: test.least, RecoverStep: test.step},
		}
		if got := NewSettings(&u); got.Floor != test.wantLow || got.Step != test.wantUp {
			t.Errorf("%s: floor %d and step %d, want %d and %d", test.name, got.Floor, got.Step, test.wantLow, test.wantUp)
		}
	}
}

// in gives a state of some phase and scale, an hour after the process has begun and long after its last step.
func in(phase Phase, scale int64) (s State, now clock.Moment) {
	now = 3600 * second
	s = State{phase: phase, lowered: uint32(Whole - scale), evaluated: now - 5*second, calm: now - 5*second, stepped: now - 600*second}
	s.window.Opened = now - 5*second
	return s, now
}

func (s *State) feed(now clock.Moment, total, limited int) {
	for i := range total {
		s.Record(now, &seed, 1, i < limited)
	}
}

func TestTransitions(t *testing.T) {
	for _, test := range []struct {
		name           string
		from           Phase
		scale          int64
		total, limited int
		want           Phase
		wantScale      int64
		wantAlarm      bool
	}{
		{"below 5 %", Normal, Whole, 21, 1, Normal, Whole, false},
		{"5 %", Normal, Whole, 20, 1, Retreating, 750_000, false},
		{"10 %", Normal, Whole, 20, 2, Retreating, 750_000, false},
		{"below 20 %", Normal, Whole, 21, 4, Retreating, 750_000, false},
		{"20 %", Normal, Whole, 20, 4, Retreating, 125_000, true},
		{"too few", Normal, Whole, 9, 9, Normal, Whole, false},
		{"none", Normal, Whole, 0, 0, Normal, Whole, false},

		{"5 % again", Retreating, 750_000, 20, 1, Retreating, 750_000, false},
		{"10 % again", Retreating, 750_000, 20, 2, Retreating, 562_500, false},
		{"20 % again", Retreating, 750_000, 20, 4, Retreating, 125_000, true},
		{"10 % near the floor", Retreating, 150_000, 20, 2, Retreating, 125_000, false},
		{"10 % at the floor", Retreating, 125_000, 20, 2, Retreating, 125_000, false},
		{"20 % at the floor", Retreating, 125_000, 20, 4, Retreating, 125_000, true},
		{"below 2 %", Retreating, 750_000, 100, 1, Retreating, 750_000, false},

		{"recovering", Recovering, 500_000, 20, 0, Recovering, 550_000, false},
		{"recovering without traffic", Recovering, 500_000, 0, 0, Recovering, 550_000, false},
		{"recovering below 5 %", Recovering, 500_000, 21, 1, Recovering, 550_000, false},
		{"recovering, too few to judge", Recovering, 500_000, 9, 1, Recovering, 500_000, false},
		{"the last step", Recovering, 960_000, 20, 0, Recovering, Whole, false},
		{"arrived", Recovering, Whole, 20, 0, Normal, Whole, false},
		{"a relapse", Recovering, 800_000, 20, 1, Retreating, 600_000, false},
		{"a relapse at the whole", Recovering, Whole, 20, 2, Retreating, 750_000, false},
		{"a bad relapse", Recovering, 800_000, 20, 4, Retreating, 125_000, true},
	} {
		s, now := in(test.from, test.scale)
		s.feed(now, test.total, test.limited)
		before := s
		changed := s.Evaluate(now, &seed)
		if s.Phase() != test.want || s.Scale() != test.wantScale || s.Alarm() != test.wantAlarm {
			t.Errorf("%s: %v at %d, alarm %v", test.name, s.Phase(), s.Scale(), s.Alarm())
		}
		if want := before.phase != s.phase || before.lowered != s.lowered || before.alarm != s.alarm; changed != want {
			t.Errorf("%s: changed is %v", test.name, changed)
		}
		if again := s; s.Evaluate(now+clock.Moment(seed.Every)-1, &seed) || s != again {
			t.Errorf("%s: a second evaluation did something", test.name)
		}
	}
}

func TestOldAnswersDontLowerTwice(t *testing.T) {
	s, now := in(Normal, Whole)
	s.feed(now, 30, 5)
	s.Evaluate(now, &seed)
	for range 11 {
		now += clock.Moment(seed.Every)
		s.feed(now, 3, 0)
		s.Evaluate(now, &seed)
	}
	if s.Phase() != Retreating || s.Scale() != 750_000 {
		t.Errorf("%v at %d", s.Phase(), s.Scale())
	}
	share, samples := s.Share(now, &seed)
	if samples != 63 || share != 5.0/63 {
		t.Errorf("share %v of %d: the old answers aren't in the window", share, samples)
	}
}

func TestNewAnswersLowerAgain(t *testing.T) {
	s, now := in(Normal, Whole)
	s.feed(now, 20, 3)
	s.Evaluate(now, &seed)
	for step, want := range []int64{750_000, 562_500} { // five answers aren't enough, ten are
		now += clock.Moment(seed.Every)
		s.feed(now, 5, 1)
		if s.Evaluate(now, &seed); s.Scale() != want {
			t.Errorf("step %d: %d", step, s.Scale())
		}
	}
}

func TestCalmIsContinuous(t *testing.T) {
	s, now := in(Normal, Whole)
	s.feed(now, 20, 4)
	s.Evaluate(now, &seed)
	start := now
	for ; s.Phase() == Retreating; now += second {
		if now == start+100*second {
			s.Record(now, &seed, 1, true)
		}
		if now > start+600*second {
			t.Fatal("it never recovers")
		}
		if now > start+second && !s.Alarm() {
			t.Fatal("the alarm ended before the recovery")
		}
		s.Evaluate(now, &seed)
	}
	// The 429 leaves the window after 55 to 60 s, and then it takes another 120.
	if after := (now - start) / second; after < 270 || after > 285 {
		t.Errorf("recovered after %d s", after)
	}
	if s.Scale() != 175_000 || s.Alarm() {
		t.Errorf("at %d, alarm %v", s.Scale(), s.Alarm())
	}
}

// An upstream that nobody uses comes back to the base: 120 s, 18 steps from the floor, and the last evaluation.
func TestIdleUpstreamRecovers(t *testing.T) {
	s, now := in(Normal, Whole)
	s.feed(now, 20, 20)
	s.Evaluate(now, &seed)
	start := now
	for ; s.Phase() != Normal && now < start+3600*second; now += second {
		s.Evaluate(now, &seed)
	}
	if after := (now - start) / second; after != 120+18*5+1 {
		t.Errorf("recovered after %d s", after)
	}
}

// At nine a minute no window ever holds ten answers.
func TestSlowRateIsJudgedToo(t *testing.T) {
	s, now := in(Recovering, 225_000)
	for range 12 {
		now += 7 * second
		s.feed(now, 1, 1)
		s.Evaluate(now, &seed)
	}
	if s.Phase() != Retreating || s.Scale() != seed.Floor || !s.Alarm() {
		t.Errorf("%v at %d, alarm %v", s.Phase(), s.Scale(), s.Alarm())
	}
}

// At the base few answers stay few, however long they take.
func TestSparseAnswersAtTheBaseAreNotJudged(t *testing.T) {
	s, now := in(Normal, Whole)
	for range 60 {
		now += 10 * second
		s.feed(now, 1, 1)
		if s.Evaluate(now, &seed) {
			t.Fatalf("%v at %d", s.Phase(), s.Scale())
		}
	}
}

func TestMultiplesAboveTheWholeCountAsTheWhole(t *testing.T) {
	c := seed
	c.Threshold = 0.6
	s, now := in(Normal, Whole)
	for range 20 {
		s.Record(now, &c, 1, true)
	}
	if s.Evaluate(now, &c); !s.Alarm() || s.Scale() != c.Floor {
		t.Errorf("%v at %d, alarm %v", s.Phase(), s.Scale(), s.Alarm())
	}
}

func TestNewConfigurationMovesTheFloor(t *testing.T) {
	s, now := in(Retreating, 125_000)
	c := seed
	c.Floor = 500_000
	if !s.Evaluate(now, &c) || s.Scale() != 500_000 {
		t.Errorf("at %d", s.Scale())
	}
}

func TestClocks(t *testing.T) {
	s, now := in(Retreating, 750_000)
	s.feed(now, 20, 0)
	s.Evaluate(now, &seed)
	before := s
	if s.Evaluate(now-59*second, &seed) || s != before {
		t.Error("a clock a little behind did something")
	}
	s.Evaluate(now+1000*3600*second, &seed) // it was calm for all of that time: one step, not many
	if s.Phase() != Recovering || s.Scale() != 800_000 {
		t.Errorf("%v at %d after a leap", s.Phase(), s.Scale())
	}
	if s.Evaluate(now, &seed) || !s.Evaluate(now+clock.Moment(seed.Every), &seed) {
		t.Error("it doesn't follow a clock that was set back")
	}
	for _, extreme := range []int64{math.MaxInt64, math.MinInt64, 0, -1, math.MaxInt64} {
		s.Record(clock.Moment(extreme), &seed, 1, true)
		s.Evaluate(clock.Moment(extreme), &seed)
		if s.Scale() < seed.Floor || s.Scale() > Whole {
			t.Errorf("at %d", s.Scale())
		}
	}
}

func TestCountersSaturate(t *testing.T) {
	full := counts{total: math.MaxUint32, limited: 7}
	full.add(true)
	if full != (counts{total: math.MaxUint32, limited: 7}) {
		t.Errorf("%+v", full)
	}
	w := window{}
	for i := range w.Slots {
		w.Slots[i] = counts{total: math.MaxUint32, limited: math.MaxUint32}
	}
	if w.sum().share() != 1 {
		t.Errorf("%+v", w.sum())
	}
}

func TestPhaseNames(t *testing.T) {
	if Normal.String() != "NORMAL" || Retreating.String() != "RETREAT" || Recovering.String() != "RECOVER" {
		t.Errorf("%v %v %v", Normal, Retreating, Recovering)
	}
}

func TestAnAnswerAllocatesNothing(t *testing.T) {
	var s State
	var b []byte
	now, limited := clock.Moment(0), false
	take := func() {
		now, limited = now+clock.Moment(second), !limited
		s.Record(now, &seed, 1, limited)
		s.Evaluate(now, &seed)
		s.Share(now, &seed)
		if b = s.Append(b[:0]); !s.Decode(b) {
			t.Fatal("what was written can't be read")
		}
	}
	take()
	if n := testing.AllocsPerRun(100, take); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
