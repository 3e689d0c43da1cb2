package throttle

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// Quantiles are within the bound of the exact ones, whatever was counted, and in however many parts.
func TestQuantilesAreWithinTheirBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		top := math.Pow(10, rapid.Float64Range(4, 13).Draw(t, "magnitude")) // 10 µs to nearly three hours
		durations := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) int64 {
			return int64(top * math.Pow(rapid.Float64Range(0, 1).Draw(t, "part"), 3))
		}), 1, 300).Draw(t, "durations")
		var parts [3]histogram
		for i, d := range durations {
			parts[i%3].add(time.Duration(d))
		}
		whole := parts[0]
		whole.merge(&parts[1])
		whole.merge(&parts[2])
		if whole.count() != int64(len(durations)) {
			t.Fatalf("%d of %d were counted", whole.count(), len(durations))
		}
		slices.Sort(durations)
		for _, q := range []float64{0, 0.5, 0.9, 0.95, 0.99, 1, rapid.Float64Range(0, 1).Draw(t, "q")} {
			rank := max(int(math.Ceil(q*float64(len(durations)))), 1)
			exact := float64(min(durations[rank-1], int64(longest)))
			bound := max(relativeError*exact, 1<<(unit-1))
			if got := float64(whole.quantile(q)); math.Abs(got-exact) > bound {
				t.Fatalf("quantile %v: %v, exact %v", q, got, exact)
			}
		}
	})
}

func TestHistogramBounds(t *testing.T) {
	var h histogram
	if h.quantile(0.99) != 0 {
		t.Error("a quantile of nothing")
	}
	for i := range buckets - 1 {
		if bucket(middle(i)) != i && middle(i) <= longest || middle(i) >= middle(i+1) {
			t.Fatalf("bucket %d: middle %d is in %d", i, middle(i), bucket(middle(i)))
		}
	}
	for _, d := range []int64{math.MinInt64, -1, 0, 1, int64(longest), int64(longest + 1), math.MaxInt64} {
		h.add(time.Duration(d))
	}
	if h.quantile(0.5) != middle(0) || h.quantile(1) > longest || float64(h.quantile(1)) < float64(longest)*(1-relativeError) {
		t.Errorf("%d, %d", h.quantile(0.5), h.quantile(1))
	}
	h.total = math.MaxUint32
	before := h
	h.add(1)
	h.merge(&histogram{total: 1})
	if h != before {
		t.Error("a full histogram counts on")
	}
}

// Over any run of requests, what is refused is the sum of the severities, to within one request.
func TestThinningIsProportional(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var thin Thinner
		owed, refused := 0.0, 0
		constant := rapid.Bool().Draw(t, "constant")
		severity := rapid.Float64Range(0, 1).Draw(t, "severity")
		for range rapid.IntRange(1, 500).Draw(t, "requests") {
			if !constant {
				severity = rapid.Float64Range(-0.5, 1.5).Draw(t, "severity")
			}
			owed += min(max(severity, 0), 1)
			if thin.refuse(config.Low, severity) {
				refused++
			}
			if math.Abs(owed-float64(refused)) >= 1+1e-9 {
				t.Fatalf("%d refused of %v", refused, owed)
			}
		}
	})
}

// walk merges a random load into a state, of several workers with clocks read at different times.
func walk(t *rapid.T, c *Settings, s *State, each func(now clock.Moment, changed bool)) {
	now := noon
	rate, latency, memory := rapid.Float64Range(0, 100).Draw(t, "rate"), rapid.Float64Range(0.1, 10).Draw(t, "latency"), 0.5
	seed := rapid.Uint64().Draw(t, "seed")
	random := rand.New(rand.NewPCG(seed, 1))
	wild := rapid.Float64Range(0, 1).Draw(t, "how wild")
	for range rapid.IntRange(100, 4000).Draw(t, "merges") {
		if random.Float64() < 0.02 {
			rate = 100 * random.Float64() * (1 + 20*wild*random.Float64())
			latency = math.Exp(wild * 3 * random.NormFloat64())
			memory = random.Float64()
		}
		d := Delta{Requests: int64(rate * random.ExpFloat64() / 4), Memory: memory + wild*0.3*random.NormFloat64()}
		for range min(d.Requests, 10) {
			d.answers.add(time.Duration(latency * random.ExpFloat64() * 1e9))
		}
		changed := s.Merge(now-clock.Moment(random.Float64()*1e6), c, &d)
		each(now, changed)
		now += clock.Moment(random.ExpFloat64() * second / 4)
		if random.Float64() < 0.001 {
			now += clock.Moment(random.Float64() * 3600e9)
		}
	}
}

// Whatever the load: between a trip and the next clearing there are at least ten seconds, ever more if it relapses; and
// severity is within its bounds.
func TestNoFlapping(t *testing.T) {
	trips := 0
	for _, c := range []Settings{standard, fused()} {
		rapid.Check(t, func(t *rapid.T) {
			var s State
			tripped, changes, transitions := false, []clock.Moment{}, []bool{}
			walk(t, &c, &s, func(now clock.Moment, changed bool) {
				r := s.Read(now)
				if changed == (tripped == r.Tripped) {
					t.Fatalf("changed %v, but %v became %v", changed, tripped, r.Tripped)
				}
				if changed {
					changes, transitions = append(changes, now), append(transitions, r.Tripped)
				}
				if tripped = r.Tripped; !(r.Severity >= 0 && r.Severity <= 1) || !tripped && r.Severity != 0 || r.RecoversIn > longestHold*standard.p99.period {
					t.Fatalf("%+v", r)
				}
			})
			hold := standard.p99.period
			for i, up := range transitions {
				switch {
				case up:
					trips++
					if i > 0 && changes[i].Sub(changes[i-1]) < relapse*standard.p99.period-second {
						hold = min(2*hold, longestHold*standard.p99.period)
					} else { // or too near to a relapse to tell
						hold = standard.p99.period
					}
				case changes[i].Sub(changes[i-1]) < hold-second/100:
					t.Fatalf("cleared %d ns after it tripped, want %d", changes[i]-changes[i-1], hold)
				}
			}
		})
	}
	if t.Logf("%d trips", trips); trips == 0 {
		t.Error("it never tripped, so nothing was tested")
	}
}

// A load that stays what it is doesn't trip it: arrivals at random, durations at random, for six hours.
func TestSteadyLoadDoesntTrip(t *testing.T) {
	for _, c := range []Settings{standard, fused()} {
		for _, perSecond := range []float64{0.5, 2, 10, 100} {
			random := rand.New(rand.NewPCG(1, uint64(perSecond*10)))
			var s State
			trips := 0
			next := 0.0
			for second64 := range 6 * 3600 {
				d := Delta{Memory: 0.5}
				for ; next < float64(second64); next += random.ExpFloat64() / perSecond {
					d.Requests++
					d.answers.add(time.Duration(1e9 * random.ExpFloat64())) // a heavy tail: P99 is 4.6 s, and of ten answers at random
				}
				now := noon + clock.Moment(int64(second64)*second)
				if s.Merge(now, &c, &d) && s.Read(now).Tripped {
					trips++
					t.Logf("%v a second: %s after %d s", perSecond, s.Read(now).Last, second64)
				}
			}
			if trips > 0 {
				t.Errorf("%v requests a second, fusion %v: %d trips in six hours", perSecond, c.fusion, trips)
			}
		}
	}
}

// A clock may do what it likes, and what is written can be read.
func TestNothingCanHarm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := standard
		c.fusion = rapid.Bool().Draw(t, "fusion")
		c.qps.window = time.Duration(rapid.Int64Range(second, 24*3600*second).Draw(t, "window"))
		c.p99.period = time.Duration(rapid.Int64Range(second, 3600*second).Draw(t, "period"))
		c.gpuMemory = rapid.Float64Range(0.001, 1).Draw(t, "memory threshold")
		var s, again State
		for range rapid.IntRange(1, 40).Draw(t, "merges") {
			d := Delta{Requests: rapid.Int64().Draw(t, "requests"), Memory: rapid.Float64().Draw(t, "memory")}
			for range rapid.IntRange(0, 12).Draw(t, "answers") {
				d.answers.add(time.Duration(rapid.Int64().Draw(t, "duration")))
			}
			s.Merge(clock.Moment(rapid.Int64().Draw(t, "now")), &c, &d)
			r := s.Read(clock.Moment(rapid.Int64().Draw(t, "then")))
			_, ahead := s.Snapshot(clock.Moment(rapid.Int64().Draw(t, "then")), &c)
			if !(r.Severity >= 0 && r.Severity <= 1) || r.RecoversIn < 0 || ahead.RecoversIn < 0 {
				t.Fatalf("%+v, %+v", r, ahead)
			}
			if b := s.Append(nil); !again.Decode(b) || again != s {
				t.Fatalf("%+v became %+v", s, again)
			}
		}
	})
}
