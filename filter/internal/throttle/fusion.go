package throttle

import (
	"math"
	"slices"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// The signals fused: each known one has a score (Level.score: a half at its threshold, 1 at twice as much), and the weighted sum of
// the scores is the confidence that there is an overload. It trips above a cut, at first a half.
//
// Weights follow what each signal contributed of late: softmax of 0.3 × score + 0.7 × its last weight. So a signal that says
// much is heard more, and one that is high while all others are calm is not enough by itself until it is far above its threshold.
//
// The cut is adjusted to the 95th percentile of the last 32 confidences when these spread (standard deviation) by more than
// 0.18, or after 7 in a row below half of the cut. It stays between 0.5 and 0.75: noise can raise it, but not make it blind, and
// calm brings it back, but doesn't make a signal that is known alone trip below its own threshold. While it is tripped the cut
// stands: an overload doesn't raise the bar for itself. A confidence is taken once a second.
const (
	lowestCut = 0.5
	highCut   = 0.75

	fresh      = 0.3 // weight of a score against the last weight
	spread     = 0.18
	lowInARow  = 7
	recents    = 32
	fewRecents = 16 // before there are as many, their spread says little
)

// fusion is what is remembered for it.
type fusion struct {
	sampled clock.Moment // when the last confidence was taken
	weights [signals]float64
	cut     float64 // 0: lowestCut
	low     uint32  // confidences in a row below half of the cut
	known   uint32
	recent  [recents]float64 // the newest first
}

// judge gives the confidence as a level, and the signal that contributes most to it.
func (f *fusion) judge(now clock.Moment, levels *[signals]Level, tripped bool) (fused Level, worst Signal) {
	sample := f.known == 0 || now.Sub(f.sampled) >= time.Second || f.sampled.Sub(now) >= time.Second
	weights := f.weigh(levels)
	confidence, most := 0.0, 0.0
	for i := range levels {
		score, _ := levels[i].score()
		if part := weights[i] * score; part > 0 {
			confidence += part
			if part > most {
				worst, most = Signal(i), part
			}
		}
	}
	confidence = min(confidence, 1)
	if sample {
		f.sampled, f.weights = now, weights
		f.take(confidence, tripped)
	}
	cut := f.threshold()
	return newLevel(confidence, cut, (confidence-cut)/(1-cut), true), worst
}

func (f *fusion) threshold() float64 {
	return max(f.cut, lowestCut)
}

// weigh gives the weights of the known signals; together they are 1.
func (f *fusion) weigh(levels *[signals]Level) (weights [signals]float64) {
	sum := 0.0
	for i := range levels {
		if score, known := levels[i].score(); known {
			weights[i] = math.Exp(fresh*score + (1-fresh)*f.weights[i])
			sum += weights[i]
		}
	}
	for i := range weights {
		weights[i] /= max(sum, math.SmallestNonzeroFloat64)
	}
	return weights
}

// take remembers a confidence, and adjusts the cut if it is due.
func (f *fusion) take(confidence float64, tripped bool) {
	copy(f.recent[1:], f.recent[:])
	f.recent[0] = confidence
	f.known = min(f.known+1, recents)
	if confidence >= f.threshold()/2 {
		f.low = 0
	} else {
		f.low++
	}
	if tripped || f.low < lowInARow && (f.known < fewRecents || f.deviation() <= spread) {
		return
	}
	f.low = 0
	sorted := f.recent
	slices.Sort(sorted[:f.known])
	p95 := sorted[int(math.Ceil(0.95*float64(f.known)))-1]
	f.cut = min(max(p95, lowestCut), highCut)
}

// deviation is the standard deviation of the confidences.
func (f *fusion) deviation() float64 {
	var sum, squares float64
	for _, confidence := range f.recent[:f.known] {
		sum += confidence
		squares += confidence * confidence
	}
	mean := sum / float64(f.known)
	return math.Sqrt(max(squares/float64(f.known)-mean*mean, 0))
}
