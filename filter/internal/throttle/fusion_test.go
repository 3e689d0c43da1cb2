package throttle

import (
	"math"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// at are levels whose scores are these; below zero is not known.
func at(arrivals, tail, memory float64) *[signals]Level {
	var levels [signals]Level
	for i, score := range []float64{arrivals, tail, memory} {
		if score >= 0 {
			levels[i+1] = newLevel(2*score, 1, 0, true)
		}
	}
	return &levels
}

// The weights are softmax of 0.3 × score + 0.7 × the last weight.
func TestWeightsAreTheirClosedForm(t *testing.T) {
	var f fusion
	var last [3]float64
	now := noon
	for _, scores := range [][3]float64{{0.82, 0.65, 0.91}, {0.1, 0.2, 0.3}, {1, 0, 0}, {1, 0, 0}} {
		level, _ := f.judge(now, at(scores[0], scores[1], scores[2]), false)
		sum, confidence := 0.0, 0.0
		for i := range last {
			last[i] = math.Exp(0.3*scores[i] + 0.7*last[i])
			sum += last[i]
		}
		for i := range last {
			last[i] /= sum
			confidence += last[i] * scores[i]
			if !near(f.weights[i+1], last[i]) {
				t.Errorf("%v: weights %v, want %v", scores, f.weights, last)
			}
		}
		if !near(level.Value, confidence) {
			t.Errorf("%v: confidence %v, want %v", scores, level.Value, confidence)
		}
		now += second
	}
}

func TestFusionTrips(t *testing.T) {
	for _, test := range []struct {
		name   string
		levels *[signals]Level
		over   bool
		worst  Signal
	}{
		{"nothing known", at(-1, -1, -1), false, None},
		{"calm", at(0.2, 0.2, 0.2), false, TailLatency},
		{"one at its threshold, the others calm", at(0.51, 0.2, 0.2), false, Arrivals},
		{"one at one and a half times its threshold, the others calm", at(0.2, 0.2, 0.75), false, GPUMemory},
		{"one at twice its threshold, the others calm", at(0.2, 0.2, 1), true, GPUMemory},
		{"one at twice its threshold, the others nearly there", at(0.45, 0.45, 1), true, GPUMemory},
		{"all a little above", at(0.51, 0.51, 0.51), true, None},
		{"one alone is as without fusion", at(-1, 0.51, -1), true, TailLatency},
		{"and below", at(-1, 0.49, -1), false, TailLatency},
	} {
		var f fusion
		level, worst := f.judge(noon, test.levels, false)
		if level.Over != test.over || worst != test.worst && test.worst != None && test.name != "calm" {
			t.Errorf("%s: %+v, %v", test.name, level, worst)
		}
	}
}

func TestCutFollowsTheConfidence(t *testing.T) {
	feed := func(f *fusion, tripped bool, confidences ...float64) {
		for _, confidence := range confidences {
			f.take(confidence, tripped)
		}
	}
	repeat := func(n int, pattern ...float64) (all []float64) {
		for range n {
			all = append(all, pattern...)
		}
		return all
	}
	for _, test := range []struct {
		name        string
		tripped     bool
		confidences []float64
		want        float64
	}{
		{"nothing", false, nil, lowestCut},
		{"six low ones", false, repeat(6, 0.1), lowestCut},
		{"raised, then six low ones", false, append(repeat(8, 0.3, 0.69), repeat(6, 0.1)...), 0.69},
		{"raised, then low ones for long", false, append(repeat(8, 0.3, 0.69), repeat(35, 0.1)...), lowestCut},
		{"raised, then seldom low ones", false, append(repeat(8, 0.3, 0.69), repeat(10, 0.3, 0.4, 0.3, 0.4, 0.3, 0.5)...), 0.69},
		{"a wide spread", false, repeat(8, 0.3, 0.69), 0.69},
		{"too few to spread", false, repeat(7, 0.3, 0.69), lowestCut},
		{"a narrow spread", false, repeat(16, 0.3, 0.65), lowestCut},
		{"a spread so wide that it would blind", false, repeat(8, 0.3, 1), highCut},
		{"while tripped", true, repeat(8, 0.3, 0.69), lowestCut},
		{"the 95th percentile of 20 is the second greatest", false, append(repeat(7, 0.3, 0.68), 0.3, 0.71), 0.71},
	} {
		var f fusion
		feed(&f, test.tripped, test.confidences...)
		if f.threshold() != test.want {
			t.Errorf("%s: %v, want %v", test.name, f.threshold(), test.want)
		}
	}
	var f fusion
	feed(&f, false, append([]float64{0.74, 0.3}, repeat(9, 0.7, 0.3)...)...)
	if f.threshold() != 0.7 { // of twenty the greatest is above the 95th percentile
		t.Errorf("%v", f.threshold())
	}
}

// However many workers merge, a confidence is taken once a second.
func TestConfidenceIsTakenOnceASecond(t *testing.T) {
	var f fusion
	for i := range int64(50) {
		f.judge(noon+clock.Moment(i*second/10), at(0.3, 0.3, 0.3), false)
	}
	if f.known != 5 {
		t.Errorf("%d", f.known)
	}
}

func TestFusedReason(t *testing.T) {
	c := fused()
	var s State
	now := s.feed(noon, &c, 300, steady(20), second)
	now = s.feed(now, &c, 3, steady(900), second)
	if r := s.Read(now); !r.Tripped || !r.Last.Fused || r.Last.Signal != Arrivals || r.Severity <= 0 {
		t.Errorf("%+v, %s", r, r.Last)
	}
}
