package autosize

import (
	"math/rand/v2"
	"testing"
	"time"
)

// overload asks the benchmarks' server for four times what it can do, for so long.
func overload(length time.Duration, slots func(time.Duration) int) *scene {
	return &scene{
		name: "overload", server: surgeServer(slots), length: length, target: 200 * time.Millisecond, patience: 300 * time.Millisecond,
		maxWait: 150 * time.Millisecond,
		jobs: func() []*job {
			return poisson(21, length, func(time.Duration) float64 { return 100 }, 100, surgeLengths)
		},
	}
}

// between gives the least and the most slots from one time to another, without probes.
func between(course []point, from, to time.Duration) (least, most int) {
	least = 1 << 30
	for _, p := range course {
		if p.at >= from && p.at < to {
			least, most = min(least, p.learned), max(most, p.learned)
		}
	}
	return least, most
}

func expectSlots(t *testing.T, course []point, from, to time.Duration, least, most int) {
	t.Helper()
	if low, high := between(course, from, to); low < least || high > most {
		t.Errorf("%d to %d slots from %v to %v, want %d to %d", low, high, from, to, least, most)
	}
}

// startingAt has learned so many slots, wrongly.
func startingAt(slots float64) *little {
	l := newLittle()
	l.State.slots, l.step, l.hold, l.calmAt = slots, 1, leastHold, noon
	return l
}

// From wherever it starts the slots are right within a few seconds, and stay so: the server has ten.
func TestConverges(t *testing.T) {
	for _, start := range []float64{0, 1, 3, 10, 50, 256} {
		l := newLittle()
		if start > 0 {
			l = startingAt(start)
		}
		o := play(overload(60*second, ten), l)
		expectSlots(t, o.course, 15*second, 60*second, 9, 12)
	}
}

// A large server, as vLLM is, whose tokens come slower the more there is to do: the same, within a fifth.
func TestSteadyInFrontOfLargeServer(t *testing.T) {
	for _, start := range []float64{1, 8, 256} {
		sc := *scenes()[5]
		sc.length = 400 * second
		o := play(&sc, startingAt(start))
		low, high := between(o.course, 60*second, 240*second)
		if middle := float64(low+high) / 2; float64(high) > 1.2*middle || float64(low) < 0.8*middle || low < 96 || high > 176 {
			t.Errorf("from %v: %d to %d slots, want within a fifth, about 128", start, low, high)
		}
	}
}

// Half of the server goes, and comes back: the slots are right within 20 s.
func TestCapacityHalvesAndDoubles(t *testing.T) {
	o := play(overload(120*second, func(now time.Duration) int {
		if now > 30*second && now < 70*second {
			return 5
		}
		return 10
	}), newLittle())
	expectSlots(t, o.course, 20*second, 30*second, 9, 12)
	expectSlots(t, o.course, 50*second, 70*second, 4, 6)
	expectSlots(t, o.course, 90*second, 120*second, 9, 12)
}

// The server becomes ten times as slow to its first token though nobody waits there: that is what is usual then.
func TestSlowerServerIsNotOvercrowded(t *testing.T) {
	s := &slotted{slots: ten, prefill: 20 * time.Millisecond, token: 25 * time.Millisecond, slowdown: 0.06}
	sc := overload(120*second, ten)
	sc.patience, sc.maxWait = 3*second, second
	sc.server = func() server { return &slowing{s} }
	o := play(sc, newLittle())
	expectSlots(t, o.course, 80*second, 120*second, 9, 12)
}

// slowing is slower from half a minute on.
type slowing struct{ *slotted }

func (s *slowing) take(w *lab, j *job) {
	if w.now > 30*second {
		s.prefill = 200 * time.Millisecond
	}
	s.slotted.take(w, j)
}

// Two that have their own slots in front of one server share it: neither gets less than half of what the other gets.
func TestTwoShareOneServer(t *testing.T) {
	for _, start := range []float64{2, 30} {
		a, b := newLittle(), startingAt(start)
		o := playAll(overload(120*second, func(time.Duration) int { return 40 }), a, b)
		if x, y := o[0].served, o[1].served; x < y/2 || y < x/2 {
			t.Errorf("one has served %d, the other %d", x, y)
		}
	}
}

// One caller has giant prompts that look small, the others' are small: it doesn't take the others' slots.
func TestOneCallersGiantPrompts(t *testing.T) {
	sc := overload(90*second, ten)
	sc.patience = 5 * second
	sc.server = func() server {
		return &slotted{slots: ten, prefill: 20 * time.Millisecond, perToken: 100 * time.Microsecond, token: 25 * time.Millisecond, slowdown: 0.06}
	}
	sc.jobs = func() []*job {
		jobs := poisson(22, 90*second, func(time.Duration) float64 { return 15 }, 15, surgeLengths)
		for i, j := range jobs {
			if i%10 == 0 && j.due > 30*second {
				j.subject, j.prompt, j.looks = 99, 20_000, 10 // two seconds
			}
		}
		return jobs
	}
	l := newLittle()
	before := play(sc, l)
	if low, _ := between(before.course, 35*second, 90*second); low < 7 {
		t.Errorf("%d slots at least, want those that the others need", low)
	}
}

// A client whose stream goes on for an hour has a slot for as long; the others have theirs.
func TestEndlessStreams(t *testing.T) {
	sc := overload(60*second, ten)
	jobs := sc.jobs
	sc.jobs = func() []*job {
		list := jobs()
		for _, j := range list[200:220] { // whose clients read slowly: the server is done with them
			j.hold = time.Hour
		}
		return list
	}
	o := play(sc, newLittle())
	expectSlots(t, o.course, 30*second, 60*second, 13, 20)
}

// Where only whole answers come there is something to learn, too.
func TestWholeAnswers(t *testing.T) {
	sc := overload(60*second, ten)
	sc.patience, sc.maxWait = 0, second
	o := play(sc, &whole{newLittle()})
	expectSlots(t, o.course, 30*second, 60*second, 7, 20)
}

type whole struct{ *little }

func (z *whole) record(x *Sample, took time.Duration) {
	x.TTFT, x.Whole = 0, took
	z.Record(&z.c, x)
}

// Workers die, and with them half of the samples; clocks are set forth and back.
func TestLostSamplesAndClocks(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	l := &faulty{little: newLittle(), r: r}
	o := play(overload(90*second, ten), l)
	expectSlots(t, o.course, 60*second, 90*second, 9, 12)
}

type faulty struct {
	*little
	r      *rand.Rand
	offset time.Duration
}

func (f *faulty) record(x *Sample, took time.Duration) {
	if x.At.Sub(noon) < 60*second && f.r.IntN(200) == 0 {
		f.offset = time.Duration(f.r.Int64N(int64(2*time.Hour))) - time.Hour
	}
	if x.At.Sub(noon) > 60*second || f.r.IntN(2) == 0 {
		x.At = x.At.Add(f.offset)
		f.little.record(x, took)
	}
}

// A server whose tokens take three times as long gets no more, though nobody waits there for a first one.
func TestSlowTokensStopGrowth(t *testing.T) {
	var s State
	c := Settings{Min: 1, Limit: 256}
	now := noon
	feed := func(n int, itl time.Duration) {
		for range n {
			now = now.Add(20 * time.Millisecond)
			slots := s.Slots(&c)
			s.Record(&c, &Sample{At: now, Subject: uint64(n), InFlight: slots, Room: slots, ITL: itl})
			s.Record(&c, &Sample{At: now, Subject: uint64(n), InFlight: slots, Room: slots, TTFT: 50 * time.Millisecond})
		}
	}
	feed(100, 20*time.Millisecond)
	grown := s.Slots(&c)
	feed(100, 70*time.Millisecond)
	if stopped := s.Slots(&c); grown < 16 || stopped > grown+grown*6/10 {
		t.Errorf("%d slots, and then %d", grown, stopped)
	}
}

// An upstream that hangs tells nothing, and one that answers at once with rubbish doesn't make all others late.
func TestUpstreamThatLies(t *testing.T) {
	var s State
	c := Settings{Min: 1, Limit: 64}
	now, r := noon, rand.New(rand.NewPCG(5, 5))
	for i := range 4000 {
		now = now.Add(40 * time.Millisecond)
		x := Sample{At: now, Subject: uint64(i % 20), InFlight: min(8, s.Slots(&c)), Room: s.Slots(&c), TTFT: 100*time.Millisecond + time.Duration(r.Int64N(int64(20*time.Millisecond)))}
		if i%50 == 0 {
			x.TTFT = time.Microsecond
		}
		s.Record(&c, &x)
	}
	if n := s.Slots(&c); n < 8 {
		t.Errorf("%d slots, where 8 were in use without a wait", n)
	}
}

// Reserved lanes: where nobody uses them the slots are learned all the same, and where the last cut was made they stay free for a while.
func TestReservedSlots(t *testing.T) {
	l := &reserving{newLittle()}
	o := play(overload(60*second, ten), l)
	if o.served < 60*20 {
		t.Errorf("%d served in a minute, want nearly what 8 of 10 slots can do", o.served)
	}
}

// reserving leaves two slots free.
type reserving struct{ *little }

func (z *reserving) slots() int { return max(z.little.slots()-2, 1) }

// Half of a larger server goes: within 20 s the slots are right within a tenth (of whole answers, a fifth), and of the clients who were sent there
// few leave without a token.
func TestHalfOfALargeServerGoes(t *testing.T) {
	sc := overload(120*second, func(now time.Duration) int {
		if now > 60*second {
			return 20
		}
		return 40
	})
	sc.jobs = func() []*job {
		return poisson(23, 120*second, func(time.Duration) float64 { return 400 }, 400, surgeLengths)
	}
	o := play(sc, newLittle())
	expectSlots(t, o.course, 30*second, 60*second, 36, 44)
	expectSlots(t, o.course, 80*second, 120*second, 18, 22)
	if o.left > o.served/50 {
		t.Errorf("%d left of %d that were served", o.left, o.served)
	}
	whole := play(sc, &answering{sizer: &informed{newLittle()}, whole: all})
	expectSlots(t, whole.course, 30*second, 60*second, 32, 48)
	expectSlots(t, whole.course, 81*second, 120*second, 16, 24)
}
