package latency

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/predict"
)

const (
	second      = 1_000_000_000 // of moments and durations alike
	millisecond = second / 1000
	noon        = clock.Moment(12 * 3600 * second)
)

// standard is the default configuration.
var standard = NewSettings(&config.Latency{TTFT: time.Second, ITL: 100 * time.Millisecond, TimeConstant: 30 * time.Second, WarnAt: 0.9})

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b), 1) }

// The closed form: with τ the time constant, the average of samples x0..xn at the times t0..tn is
// x0·exp(-(tn-t0)/τ) + Σ xi·(1-exp(-(ti-ti-1)/τ))·exp(-(tn-ti)/τ).
func TestAverageIsItsClosedForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		constant := rapid.Int64Range(second, 3600*second).Draw(t, "time constant")
		var a average
		var times, samples []int64
		now := rapid.Int64Range(0, int64(noon)).Draw(t, "start")
		for range rapid.IntRange(1, 60).Draw(t, "samples") {
			times, samples = append(times, now), append(samples, rapid.Int64Range(1, int64(longest)).Draw(t, "sample"))
			a.add(clock.Moment(now), time.Duration(samples[len(samples)-1]), time.Duration(constant))
			now += rapid.Int64Range(1, 2*constant).Draw(t, "pause")
		}
		part := func(from, to int64) float64 { return math.Exp(-float64(to-from) / float64(constant)) }
		last := times[len(times)-1]
		want := float64(samples[0]) * part(times[0], last)
		for i := 1; i < len(times); i++ {
			want += float64(samples[i]) * (1 - part(times[i-1], times[i])) * part(times[i], last)
		}
		if got := a.by(clock.Moment(last), time.Duration(constant)); math.Abs(got-want) > 1e-6*want+0.01 { // of an hour's nanoseconds: there are so many digits
			t.Fatalf("got %v, want %v", got, want)
		}
		if got := a.by(clock.Moment(now), time.Duration(constant)); math.Abs(got-want*part(last, now)) > 1e-6*want+0.01 {
			t.Fatalf("after a pause of %d: got %v, want %v", now-last, got, want*part(last, now))
		}
	})
}

// A signal that is constant is its average, however often it is sampled.
func TestConstantSignal(t *testing.T) {
	for _, pause := range []int64{1, millisecond, second, 3600 * second} {
		var a average
		for i := range int64(1000) {
			a.add(noon+clock.Moment(i*pause), 70*millisecond, standard.TimeConstant)
		}
		if got := a.by(noon+clock.Moment(999*pause), standard.TimeConstant); !near(got, float64(70*millisecond)) {
			t.Errorf("every %d ns: %v", pause, got)
		}
	}
}

func TestGate(t *testing.T) {
	for _, test := range []struct {
		name       string
		sample     Sample
		over, warn bool
		signal     Signal
		recovers   float64 // seconds
	}{
		{"nothing", Sample{}, false, false, TTFT, 0},
		{"fast", Sample{TTFT: 100 * millisecond, ITL: 5 * millisecond}, false, false, TTFT, 0},
		{"below the warning", Sample{TTFT: 899 * millisecond}, false, false, TTFT, 0},
		{"at the warning", Sample{TTFT: 900 * millisecond}, false, true, TTFT, 0},
		{"at the threshold", Sample{TTFT: 1000 * millisecond}, false, true, TTFT, 0},
		{"above it", Sample{TTFT: 1001 * millisecond}, true, false, TTFT, 30 * math.Log(1.001)},
		{"a slow first token", Sample{TTFT: 2 * second, ITL: 150 * millisecond}, true, false, TTFT, 30 * math.Ln2},
		{"slow tokens", Sample{TTFT: 2 * second, ITL: 400 * millisecond}, true, false, ITL, 60 * math.Ln2},
		{"slow tokens alone", Sample{ITL: 101 * millisecond}, true, false, ITL, 30 * math.Log(1.01)},
		{"tokens that warn", Sample{TTFT: 100 * millisecond, ITL: 90 * millisecond}, false, true, ITL, 0},
		{"a cold start", Sample{TTFT: 40 * second}, true, false, TTFT, 30 * math.Log(40)},
		{"a long unary answer", Sample{Unary: 50 * second}, false, false, TTFT, 0},
		{"a negative time", Sample{TTFT: -5 * second, ITL: math.MinInt64}, false, false, TTFT, 0},
		{"an absurd time", Sample{TTFT: math.MaxInt64}, true, false, TTFT, 30 * math.Log(3600)},
	} {
		var s State
		closed := s.Record(noon, &standard, test.sample)
		r := s.Judge(noon, &standard)
		if closed != test.over || r.Over != test.over || r.Warn != test.warn || r.Signal != test.signal {
			t.Errorf("%s: closed %v, %+v", test.name, closed, r)
		}
		if math.Abs(float64(r.RecoversIn)/1e9-test.recovers) > 1e-6 {
			t.Errorf("%s: recovers in %d ns, want %v s", test.name, r.RecoversIn, test.recovers)
		}
	}
}

// A closed gate opens by decay alone, at the time that it had said.
func TestRecoversByDecayWhenItSaid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := standard
		c.TimeConstant = time.Duration(rapid.Int64Range(second, 3600*second).Draw(t, "time constant"))
		var s State
		s.Record(noon, &c, Sample{TTFT: time.Duration(rapid.Int64Range(second+1, int64(longest)).Draw(t, "ttft")), ITL: time.Duration(rapid.Int64Range(0, second).Draw(t, "itl"))})
		r := s.Judge(noon, &c)
		if !r.Over || r.RecoversIn <= 0 {
			t.Fatalf("%+v", r)
		}
		slack := r.RecoversIn/1_000_000 + 2 // of floating point
		if before := s.Judge(noon+clock.Moment(r.RecoversIn)-clock.Moment(slack), &c); !before.Over && r.RecoversIn > slack {
			t.Fatalf("open %d ns too early", slack)
		}
		if after := s.Judge(noon+clock.Moment(r.RecoversIn)+clock.Moment(slack), &c); after.Over || !after.Warn {
			t.Fatalf("after %d ns: %+v", r.RecoversIn+slack, after)
		}
		if later := s.Judge(noon+clock.Moment(r.RecoversIn)+clock.Moment(c.TimeConstant), &c); later.Warn {
			t.Fatalf("a time constant later it still warns: %+v", later)
		}
	})
}

// Answers of requests that were admitted before can't open it sooner than decay does, and don't keep it closed for good.
func TestLateAnswersKeepTheAverageUp(t *testing.T) {
	var s State
	s.Record(noon, &standard, Sample{TTFT: 4 * second})
	for i := range int64(40) {
		now := noon + clock.Moment((i+1)*second)
		decayed := s.Judge(now, &standard)
		s.Record(now, &standard, Sample{TTFT: 200 * millisecond})
		if r := s.Judge(now, &standard); r.Measured <= decayed.Measured || r.Measured > decayed.Measured+float64(200*millisecond) {
			t.Fatalf("after %d s: %v from %v", i+1, r.Measured, decayed.Measured)
		}
	}
	// 200 ms + 3800 ms·exp(-t/30 s) is 1 s at t = 46.7 s, where decay alone takes 41.6 s.
	if r := s.Judge(noon+40*second, &standard); !r.Over {
		t.Errorf("%+v", r)
	}
	for i := range int64(7) {
		s.Record(noon+clock.Moment((41+i)*second), &standard, Sample{TTFT: 200 * millisecond})
	}
	if r := s.Judge(noon+47*second, &standard); r.Over {
		t.Errorf("%+v", r)
	}
}

func TestLastTrigger(t *testing.T) {
	var s State
	if s.Last() != (Trigger{}) || s.Last().String() != "" {
		t.Errorf("%v", s.Last())
	}
	s.Record(noon, &standard, Sample{TTFT: 1240 * millisecond})
	s.Record(noon+second, &standard, Sample{TTFT: 9 * second}) // it is closed already
	if got := s.Last(); got.At != noon || got.String() != "ttft_1240ms_over_1000ms" {
		t.Errorf("%+v, %s", got, got)
	}
	later := noon + 3600*second
	s.Record(later, &standard, Sample{ITL: 250 * millisecond})
	if got := s.Last(); got.At != later || got.String() != "itl_250ms_over_100ms" {
		t.Errorf("%+v, %s", got, got)
	}
}

func TestRequestsOwnBounds(t *testing.T) {
	var s State
	s.Record(noon, &standard, Sample{TTFT: 600 * millisecond, ITL: 40 * millisecond})
	for _, test := range []struct {
		name      string
		ttft, itl int64
		over      bool
		signal    Signal
		recovers  float64
	}{
		{"none", 0, 0, false, None, 0},
		{"one that is met", 700 * millisecond, 0, false, TTFT, 0},
		{"exactly met", 600 * millisecond, 40 * millisecond, false, TTFT, 0},
		{"too short a TTFT", 300 * millisecond, 0, true, TTFT, 30 * math.Ln2},
		{"too short an ITL", 700 * millisecond, 20 * millisecond, true, ITL, 30 * math.Ln2},
		{"the worse of both", 500 * millisecond, 10 * millisecond, true, ITL, 60 * math.Ln2},
		{"nonsense", -1, math.MinInt64, false, None, 0},
	} {
		r := s.Misses(noon, &standard, time.Duration(test.ttft), time.Duration(test.itl))
		if r.Over != test.over || r.Signal != test.signal || r.Warn || math.Abs(float64(r.RecoversIn)/1e9-test.recovers) > 1e-6 {
			t.Errorf("%s: %+v", test.name, r)
		}
	}
	var silent State
	if r := silent.Misses(noon, &standard, 1, 1); r.Over {
		t.Errorf("nothing is known, and yet: %+v", r)
	}
}

func TestKindsAreAveragedApart(t *testing.T) {
	var s State
	s.Record(noon, &standard, Sample{TTFT: 100 * millisecond, ITL: 10 * millisecond})
	s.Record(noon+second, &standard, Sample{Unary: 5 * second})
	decay := math.Exp(-1.0 / 30)
	ttft, itl, unary := s.Averages(noon+second, &standard)
	if !near(ttft, 1e8*decay) || !near(itl, 1e7*decay) || !near(unary, 5e9) {
		t.Errorf("%v %v %v", ttft, itl, unary)
	}
}

func TestClocks(t *testing.T) {
	var s State
	s.Record(noon, &standard, Sample{TTFT: 2 * second})
	before := s
	s.Record(noon-second, &standard, Sample{TTFT: 1})
	if s.ttft != before.ttft || !s.Judge(noon-second, &standard).Over {
		t.Errorf("a clock a little behind: %+v", s)
	}
	s.Record(noon-3600*second, &standard, Sample{TTFT: 1})
	if r := s.Judge(noon-3600*second+25*second, &standard); r.Over {
		t.Errorf("it does not follow a clock that was set back: %+v", r)
	}
	if r := s.Judge(math.MaxInt64, &standard); r.Over || r.Measured != 0 {
		t.Errorf("after a leap: %+v", r)
	}
}

// A clock may do what it likes, and so may what it measures.
func TestNothingCanHarm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s State
		for range rapid.IntRange(1, 50).Draw(t, "samples") {
			now := rapid.Int64().Draw(t, "now")
			s.Record(clock.Moment(now), &standard, Sample{time.Duration(rapid.Int64().Draw(t, "ttft")), time.Duration(rapid.Int64().Draw(t, "itl")), time.Duration(rapid.Int64().Draw(t, "unary")), rapid.Uint64Range(0, 3).Draw(t, "subject"),
				predict.Load{Prompt: rapid.Int64().Draw(t, "prompt"), InFlight: rapid.Int().Draw(t, "in flight")}, rapid.Bool().Draw(t, "left")})
			r := s.Judge(clock.Moment(rapid.Int64().Draw(t, "then")), &standard)
			if !(r.Measured >= 0 && r.Measured <= float64(longest)) || r.RecoversIn < 0 || r.RecoversIn > 11*standard.TimeConstant { // ln(1 h / 100 ms) is 10.5
				t.Fatalf("%+v", r)
			}
			if got, sound := decoded(s.Append(nil)); !sound || got != s {
				t.Fatalf("%+v became %+v", s, got)
			}
		}
	})
}

func TestASampleAllocatesNothing(t *testing.T) {
	var s State
	var b []byte
	now := noon
	take := func() {
		now += second
		s.Record(now, &standard, Sample{TTFT: 3 * second, ITL: second, Unary: second, Subject: 1})
		s.Judge(now, &standard)
		s.Misses(now, &standard, second, second)
		if b = s.Append(b[:0]); !s.Decode(b) {
			t.Fatal("what was written can't be read")
		}
	}
	take()
	if n := testing.AllocsPerRun(100, take); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
