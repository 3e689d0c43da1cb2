package throttle

import (
	"math"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

func TestShedding(t *testing.T) {
	half := Reading{Tripped: true, Shares: [2]float64{1, 0.5}, RecoversIn: 7 * second}
	for _, test := range []struct {
		name    string
		reading Reading
		at      config.Priority
		of100   int
		advice  time.Duration
	}{
		{"not tripped", Reading{}, config.Low, 0, 0},
		{"low", half, config.Low, 100, 7 * second},
		{"low, in part", Reading{Tripped: true, Shares: [2]float64{0.75, 0}, RecoversIn: 7 * second}, config.Low, 75, 4 * second},
		{"normal", half, config.Normal, 50, 2 * second},
		{"high", half, config.High, 0, 0},
		{"urgent", half, config.Urgent, 0, 0},
		{"normal, barely", Reading{Tripped: true, Shares: [2]float64{0.4, 0}, RecoversIn: second}, config.Normal, 0, 0},
		{"normal, worst", Reading{Tripped: true, Shares: [2]float64{1, 1}, RecoversIn: second}, config.Normal, 100, second},
		{"normal, nearly all", Reading{Tripped: true, Shares: [2]float64{1, 0.999}, RecoversIn: second}, config.Normal, 99, 60 * second},
		{"low, about to clear", Reading{Tripped: true, Shares: [2]float64{1, 0}, RecoversIn: 1}, config.Low, 100, second},
		{"low, for long", Reading{Tripped: true, Shares: [2]float64{1, 0}, RecoversIn: 80 * second}, config.Low, 100, 60 * second},
		{"high, worst", Reading{Tripped: true, Shares: [2]float64{1, 1}}, config.High, 0, 0},
	} {
		var thin Thinner
		refused, advice, latest := 0, time.Duration(math.MaxInt64), time.Duration(0)
		for range 100 {
			refuse, wait := test.reading.Shed(test.at, 1, &thin)
			if refuse {
				refused++
				advice, latest = min(advice, wait), max(latest, wait)
			} else if wait != 0 {
				t.Errorf("%s: advice %d for one that passes", test.name, wait)
			}
		}
		if refused != test.of100 {
			t.Errorf("%s: %d of 100", test.name, refused)
		}
		if refused == 0 {
			continue
		}
		spread := int64(0) // those of whom none passes are told to come back over as long again
		if refused == 100 {
			spread = int64(test.advice)
		}
		if advice < test.advice || advice > test.advice+time.Duration(spread/20) || latest < test.advice+time.Duration(spread*19/20) || latest > test.advice+time.Duration(spread) {
			t.Errorf("%s: advice from %d to %d, want from %d over %d", test.name, advice, latest, test.advice, spread)
		}
	}
}

// What is refused of LOW and NORMAL together is the severity's share of all that comes, as long as there is as much of them.
func TestSharesAddUpToTheSeverity(t *testing.T) {
	for _, test := range []struct{ low, normal, severity, ofLow, ofNormal float64 }{
		{0.5, 0.4, 0.25, 0.5, 0},
		{0.5, 0.4, 0.5, 1, 0},
		{0.5, 0.4, 0.7, 1, 0.5},
		{0.5, 0.4, 1, 1, 1},
		{0, 0.8, 0.4, 1, 0.5}, // none is LOW: if one came, it would be refused
		{0.5, 0.4, 0, 0, 0},
	} {
		s := State{severity: test.severity, mix: [2]float64{test.low, test.normal}}
		if got := s.shares(); !near(got[0], test.ofLow) || !near(got[1], test.ofNormal) {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// The mix is that of late, and who is told nothing of it sheds as much all the same.
func TestTheMixIsLearned(t *testing.T) {
	var s State
	for i := range int64(100) {
		s.Merge(noon+clock.Moment(i*second), &standard, &Delta{Requests: 10, Of: [2]int64{2, 7}})
	}
	if math.Abs(s.mix[0]-0.2) > 0.01 || math.Abs(s.mix[1]-0.7) > 0.01 {
		t.Errorf("%v", s.mix)
	}
}

// After what tripped it is gone, ever less is refused: a ninth of it after a hold that is drawn out, and nothing once it clears.
func TestSheddingFadesOut(t *testing.T) {
	var s State
	s.Merge(noon, &standard, &Delta{Memory: 0.9})
	before := s.Read(noon).Severity
	for i := range 10 {
		now := noon + clock.Moment((i+1)*second)
		s.Merge(now, &standard, &Delta{Memory: 0.7})
		after := s.Read(now).Severity
		if want := 0.6 * math.Exp(-fall*float64(i+1)/10); math.Abs(after-want) > 1e-9 || after >= before {
			t.Errorf("after %d s: %v, want %v", i+1, after, want)
		}
		before = after
	}
	for i := range 11 {
		s.Merge(noon+clock.Moment((i+11)*second), &standard, &Delta{Memory: 0.1})
	}
	if r := s.Read(noon + 21*second); r.Tripped || r.Severity != 0 || r.Shares != [2]float64{} {
		t.Errorf("%+v", r)
	}
}

// All times follow the period: with one of a second what trips holds for a second.
func TestHoldFollowsThePeriod(t *testing.T) {
	c := standard
	c.p99.period = time.Second
	var s State
	trips(t, &s, &c, 5*second, 1, 2, 4, 8, 8)
}
