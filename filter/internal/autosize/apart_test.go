package autosize

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Where all answers are of one length their times don't tell who waits: slots climb by what they bring.
func TestWholeAnswersOfOneLength(t *testing.T) {
	one := func(*rand.Rand) (int, int) { return 10, 50 }
	for _, start := range []float64{0, 1, 3, 50} {
		l := newLittle()
		if start > 0 {
			l = startingAt(start)
		}
		sc := wholeOverload()
		sc.jobs = func() []*job {
			return poisson(36, sc.length, func(time.Duration) float64 { return 160 }, 160, one)
		}
		expectSlots(t, play(sc, &answering{sizer: l, whole: all}).course, 40*second, 60*second, 5, 16)
	}
	sc := *scenes()[5]
	sc.jobs = func() []*job {
		return poisson(37, sc.length, func(time.Duration) float64 { return 40 }, 40, func(r *rand.Rand) (int, int) { return 300, 120 })
	}
	if low, high := between(play(&sc, &answering{sizer: newLittle(), whole: all}).course, 100*second, 240*second); low < 16 || high > 180 {
		t.Errorf("a server that batches: %d to %d slots", low, high)
	}
}

// In steady load the slots stay within a fifth, of a server with slots and of one that batches.
func TestWholeAnswersAreSteady(t *testing.T) {
	for _, sc := range scenes() {
		switch sc.name {
		case "overload 4x", "vllm overload", "azure code", "long among short":
			o := play(sc, &answering{sizer: newLittle(), whole: all})
			if part := steadiness(o.course, sc.length/2, sc.length, float64(learnedAt(o.course, 3*sc.length/4))); part < 95 {
				t.Errorf("%s: within a fifth for %.0f %% of the time", sc.name, part)
			}
		}
	}
}

// What waits begins later, what is served beside more others takes longer by each token.
func TestWaitIsToldFromSlowerTokens(t *testing.T) {
	fill := func(l *line, start, token float64) {
		for i := range 40 {
			tokens := float64(10 + i%10*10)
			l.learn(levelWeight, tokens, start+token*tokens, 20)
		}
	}
	for _, test := range []struct {
		name                      string
		start, token, least, most float64
	}{
		{"as usual", 0.1, 0.01, 0, 0.1},
		{"slower tokens", 0.1, 0.02, 0, 0.1},
		{"a wait as long as an answer", 0.75, 0.01, 9.5, 10.5},
		{"both", 0.75, 0.02, 6.6, 7.2},
	} {
		var s State
		fill(&s.whole, 0.1, 0.01)
		fill(&s.level, test.start, test.token)
		if waiting, known := s.standing(20); !known || waiting < test.least || waiting > test.most {
			t.Errorf("%s: %.2f of 20 wait (%v), want %.1f to %.1f", test.name, waiting, known, test.least, test.most)
		}
	}
}

// Three answers that take half as long again are noticed, where all took the same; where they scatter by as much anyway, they aren't.
func TestLongerAnswersAreNoticed(t *testing.T) {
	for _, test := range []struct {
		scatter float64
		noticed bool
	}{{0, true}, {0.5, false}} {
		var s State
		for i := range 64 {
			s.level.learn(levelWeight, 10, 1+test.scatter*float64(i%3-1), 20)
		}
		for range 3 {
			s.notice(10, 1.5)
		}
		if noticed := s.level.n == 0; noticed != test.noticed {
			t.Errorf("scattered by %v: noticed %v", test.scatter, noticed)
		}
	}
}

// A probe measures what is usual anew, also where all slots that are left are in use; and then it is over.
func TestProbeMeasuresAnew(t *testing.T) {
	for name, of := range map[string]func(time.Duration) Sample{
		"streams":       func(took time.Duration) Sample { return Sample{TTFT: took} },
		"whole answers": func(took time.Duration) Sample { return Sample{Whole: took, Output: 10} },
	} {
		c := Settings{Min: 1, Limit: 64}
		s := State{slots: 20, step: 1, served: 20, probing: noon, calmAt: noon}
		s.window.opened = noon
		old := of(100 * time.Millisecond)
		for range 30 {
			s.learn(&old, 0.1)
		}
		for i := range calmSamples {
			if s.probing == 0 {
				t.Errorf("%s: the probe was over after %d samples", name, i)
			}
			x := of(300 * time.Millisecond)
			x.At, x.InFlight, x.Room, x.Subject = noon.Add(time.Second+time.Duration(i)*50*time.Millisecond), s.Slots(&c), s.Slots(&c), uint64(i)
			s.Record(&c, &x)
		}
		if usual := s.usual(&old); s.probing != 0 || usual < 0.25 {
			t.Errorf("%s: usual are %.2f s, want about 0.3; probing %v", name, usual, s.probing != 0)
		}
	}
}
