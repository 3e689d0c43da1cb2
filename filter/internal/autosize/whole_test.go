package autosize

import (
	"math/rand/v2"
	"testing"
	"time"
)

// What whole answers alone tell, of a server with slots and of one that batches.

// From wherever it starts the slots are near those that are right within 40 s, and stay there: the server has eight.
func TestWholeAnswersConverge(t *testing.T) {
	for _, start := range []float64{0, 1, 3, 8, 50, 256} {
		l := newLittle()
		if start > 0 {
			l = startingAt(start)
		}
		expectSlots(t, play(wholeOverload(), &answering{sizer: l, whole: all}).course, 40*second, 60*second, 6, 13)
	}
}

// In front of a server that batches a slot more brings less the more there are: where it is a quarter of what the others bring, there are enough.
func TestWholeAnswersOfAServerThatBatches(t *testing.T) {
	for start, right := range map[float64]time.Duration{1: 200 * second, 8: 100 * second, 256: 100 * second} {
		o := play(scenes()[5], &answering{sizer: startingAt(start), whole: all})
		low, high := between(o.course, right, 240*second)
		if middle := float64(low+high) / 2; float64(high) > 1.2*middle || float64(low) < 0.8*middle || low < 64 || high > 160 {
			t.Errorf("from %v: %d to %d slots, want within a fifth", start, low, high)
		}
	}
}

// Clients that lose patience are no answers: what the server did for them is lost, and more slots than it has are worth nothing.
func TestClientsThatLeaveBeforeTheirAnswer(t *testing.T) {
	o := play(overload(60*second, ten), &answering{sizer: newLittle(), whole: all})
	if low, high := between(o.course, 20*second, 60*second); low < 6 || high > 16 {
		t.Errorf("%d to %d slots, of ten", low, high)
	}
}

// Half of a server goes, and comes back: within half a minute the slots are about right, with those, too, with which it is tried whether others are right.
func TestHalfGoesOfAServerOfWholeAnswers(t *testing.T) {
	sc := wholeOverload()
	sc.length = 180 * second
	sc.server = func() server {
		return &slotted{slots: func(now time.Duration) int {
			if now > 60*second && now < 120*second {
				return 10
			}
			return 20
		}, prefill: 100 * time.Millisecond, token: 2 * time.Millisecond}
	}
	sc.jobs = func() []*job {
		return poisson(34, sc.length, func(time.Duration) float64 { return 300 }, 300, func(r *rand.Rand) (int, int) { return 10, 25 + r.IntN(51) })
	}
	o := play(sc, &answering{sizer: newLittle(), whole: all})
	expectSlots(t, o.course, 30*second, 60*second, 14, 28)
	expectSlots(t, o.course, 85*second, 120*second, 7, 14)
	expectSlots(t, o.course, 150*second, 180*second, 11, 28)
}

// A server loses half of its slots by and by, so slowly that no window shows it.
func TestSlotsThatGoOneByOne(t *testing.T) {
	sc := wholeOverload()
	sc.length = 600 * second
	sc.server = func() server {
		return &slotted{slots: func(now time.Duration) int { return 40 - int(min(now.Seconds()/10, 20)) }, prefill: 100 * time.Millisecond, token: 2 * time.Millisecond}
	}
	sc.jobs = func() []*job {
		return poisson(32, sc.length, func(time.Duration) float64 { return 400 }, 400, func(r *rand.Rand) (int, int) { return 10, 25 + r.IntN(51) })
	}
	o := play(sc, &answering{sizer: newLittle(), whole: all})
	expectSlots(t, o.course, 450*second, 600*second, 13, 30)
}

// One caller's answers take ten times as long as they look: the others keep their slots.
func TestOneCallersSlowWholeAnswers(t *testing.T) {
	sc := wholeOverload()
	sc.server = func() server {
		return &slotted{slots: func(time.Duration) int { return 8 }, prefill: 100 * time.Millisecond, perToken: 100 * time.Microsecond, token: 2 * time.Millisecond}
	}
	sc.jobs = func() []*job {
		jobs := poisson(33, sc.length, func(time.Duration) float64 { return 60 }, 60, func(r *rand.Rand) (int, int) { return 10, 25 + r.IntN(51) })
		for i, j := range jobs {
			if i%10 == 0 && j.due > 20*second {
				j.subject, j.prompt, j.looks = 99, 10_000, 10 // a second
			}
		}
		return jobs
	}
	o := play(sc, &answering{sizer: newLittle(), whole: all})
	if low, high := between(o.course, 25*second, 60*second); low < 5 || high > 16 {
		t.Errorf("%d to %d slots, of eight", low, high)
	}
}

func TestWhyOfWholeAnswers(t *testing.T) {
	c := Settings{Min: 1, Limit: 256}
	told := State{slots: 10, step: 1, verdict: verdict{ttft: 1.84, usual: 0.92, queue: 9.8, whole: 1}}
	if got := string(told.AppendWhy(nil, &c)); got != "10: a whole answer's 1840 ms is 2.0 times the best 920 ms, 9.8 wait there" {
		t.Error(got)
	}
	s := State{slots: 13, step: 1, worth: 0.42, below: line{n: 10, y: 2.5, z: 100}}
	if got := string(s.AppendWhy(nil, &c)); got != "13: a whole answer took 250 ms with 10 in flight; each slot between brought 42 % of what one of the others does" {
		t.Error(got)
	}
	s.level = line{n: 20, y: 6.2, z: 260}
	if got := string(s.AppendWhy(nil, &c)); got != "13: a whole answer took 250 ms with 10 in flight, and takes 310 ms with 13; each slot between brought 42 % of what one of the others does" {
		t.Error(got)
	}
}
