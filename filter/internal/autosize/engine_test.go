package autosize

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// answering shows of some requests the answer, that comes whole, instead of its first token; and tells how long these took.
type answering struct {
	sizer
	whole func(*Sample) bool
	took  []time.Duration
}

func all(*Sample) bool       { return true }
func half(x *Sample) bool    { return x.Subject%2 == 0 }
func streams(x *Sample) bool { return false }

func (z *answering) record(x *Sample, took time.Duration) {
	if z.whole(x) {
		if x.Left {
			took = x.TTFT
		}
		x.TTFT, x.Whole = 0, took
		if took > 0 && !x.Left {
			z.took = append(z.took, took)
		}
	}
	if l, ok := z.sizer.(interface{ sample(*Sample) }); ok {
		l.sample(x)
	}
}

func (z *answering) hear(x Load) {
	if h, ok := z.sizer.(interface{ hear(Load) }); ok {
		h.hear(x)
	}
}

func (z *answering) learned() int {
	if l, ok := z.sizer.(interface{ learned() int }); ok {
		return l.learned()
	}
	return 0
}

func (l *little) sample(x *Sample) { l.Record(&l.c, x) }

// With streams, with whole answers and with both, alone and with the engine's own numbers, which are up to two seconds old. `go test -v -run
// TestByTheEnginesWord` prints the table of docs/design.md: the share of all requests whose first token came in time.
func TestByTheEnginesWord(t *testing.T) {
	t.Log("| trace | by hand | streams | with the engine's numbers | whole answers | with the engine's numbers | half of each | with the engine's numbers |")
	for _, sc := range scenes() {
		share := func(z sizer, whole func(*Sample) bool) float64 {
			return 100 * play(sc, &answering{sizer: z, whole: whole}).share()
		}
		hand := 100 * play(sc, fixed(sc.hand)).share()
		s, sw := share(newLittle(), streams), share(&informed{newLittle()}, streams)
		w, ww := share(newLittle(), all), share(&informed{newLittle()}, all)
		h, hw := share(newLittle(), half), share(&informed{newLittle()}, half)
		t.Logf("| %s | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f |", sc.name, hand, s, sw, w, ww, h, hw)
		if sw < s-1 || ww < w-3.5 || hw < h-1.5 {
			t.Errorf("%s: what the engine says makes it worse", sc.name)
		}
		if w < 0.65*hand {
			t.Errorf("%s: whole answers alone %.1f, by hand %.1f", sc.name, w, hand)
		}
		if ww < hand-11 || hw < hand-6 {
			t.Errorf("%s: whole answers %.1f, half of each %.1f, by hand %.1f", sc.name, ww, hw, hand)
		}
	}
}

// wholeOverload is the benchmarks' overload: whole answers, and four times what eight slots can do. An idle server takes 200 ms.
func wholeOverload() *scene {
	const length = 60 * second
	return &scene{
		length: length, target: 200 * time.Millisecond, maxWait: 400 * time.Millisecond,
		server: func() server {
			return &slotted{slots: func(time.Duration) int { return 8 }, prefill: 100 * time.Millisecond, token: 2 * time.Millisecond}
		},
		jobs: func() []*job {
			return poisson(31, length, func(time.Duration) float64 { return 160 }, 160, func(r *rand.Rand) (int, int) { return 10, 25 + r.IntN(51) })
		},
	}
}

// Of the overload of whole answers 95 % of the capacity are done, and what comes to the server takes 10 % longer there at most than if it were idle.
func TestOverloadOfWholeAnswers(t *testing.T) {
	for name, z := range map[string]sizer{"alone": newLittle(), "with the engine's numbers": &informed{newLittle()}} {
		a := &answering{sizer: z, whole: all}
		o := play(wholeOverload(), a)
		expectSlots(t, o.course, 10*second, 60*second, 6, 12) // 6 when it is tried whether fewer do
		slices.Sort(a.took)
		if median := a.took[len(a.took)/2]; median > 220*time.Millisecond {
			t.Errorf("%s: %v in the median", name, median)
		}
		if capacity := 60 * 8 / 0.2; float64(len(a.took)) < 0.95*capacity {
			t.Errorf("%s: %d answers of %.0f", name, len(a.took), capacity)
		}
	}
}

// A server that answers whole gets slower by a fifth, and by a half: that is what is usual then, and most of the slots are there again within 40 s.
func TestSlowerWholeAnswers(t *testing.T) {
	for _, more := range []time.Duration{40 * time.Millisecond, 100 * time.Millisecond} {
		for name, z := range map[string]sizer{"alone": newLittle(), "with the engine's numbers": &informed{newLittle()}} {
			sc := wholeOverload()
			s := sc.server().(*slotted)
			sc.server = func() server { return &slowingBy{s, more} }
			if low, high := between(play(sc, &answering{sizer: z, whole: all}).course, 50*second, 60*second); low < 6 || high > 12 {
				t.Errorf("%v slower, %s: %d to %d slots", more, name, low, high)
			}
		}
	}
}

// slowingBy is slower by so much from a third of a minute on.
type slowingBy struct {
	*slotted
	more time.Duration
}

func (s *slowingBy) take(w *lab, j *job) {
	s.slotted.prefill = 100 * time.Millisecond
	if w.now > 20*second {
		s.slotted.prefill += s.more
	}
	s.slotted.take(w, j)
}

// Where answers are so long that they fill the KV cache, nothing is preempted by the engine's word, and as much is done.
func TestNothingIsPreemptedByTheEnginesWord(t *testing.T) {
	run := func(z sizer) (o *outcome, preempted int) {
		sc := *scenes()[5]
		sc.maxWait = 5 * second
		sc.server = func() server {
			b := vllm(nil)().(*batched)
			b.preempted = &preempted
			return b
		}
		sc.jobs = func() []*job {
			return poisson(41, sc.length, func(time.Duration) float64 { return 6 }, 6, func(r *rand.Rand) (int, int) { return 40 + r.IntN(40), 600 + r.IntN(1200) })
		}
		return play(&sc, z), preempted
	}
	alone, many := run(newLittle())
	told, few := run(&informed{newLittle()})
	if few > 5 || many < 20 || told.tokens < alone.tokens*98/100 {
		t.Errorf("%d preempted and %d tokens, and without the engine's word %d and %d", few, told.tokens, many, alone.tokens)
	}
}

// A small engine, whose eight sequences don't fit into its KV cache: there are no more slots than do, so hardly any is preempted, and as much is
// done as with the six that are best by hand.
func TestNoMoreThanFitsIntoTheCache(t *testing.T) {
	for _, rate := range []float64{8, 12} {
		run := func(z sizer) (o *outcome, preempted int) {
			sc := scene{length: 200 * second, target: 2 * second, maxWait: second}
			sc.server = func() server {
				return &batched{base: 4 * time.Millisecond, seq: time.Millisecond, tok: 40 * time.Microsecond, budget: 512, most: 8, cache: 1536 * 10 / 9, preempted: &preempted}
			}
			sc.jobs = func() []*job {
				return poisson(77, sc.length, func(time.Duration) float64 { return rate }, rate, func(r *rand.Rand) (int, int) { return 96 + r.IntN(64), 40 + r.IntN(112) })
			}
			return play(&sc, z), preempted
		}
		hand, _ := run(fixed(6))
		alone, many := run(newLittle())
		told, few := run(&informed{newLittle()})
		if few > 5 || many < 8 || told.share() < 0.95*hand.share() || told.tokens < 95*hand.tokens/100 {
			t.Errorf("%v a second: %d preempted, %.2f in time, %d tokens; by hand %.2f and %d; without the engine's word %d preempted, %.2f in time",
				rate, few, told.share(), told.tokens, hand.share(), hand.tokens, many, alone.share())
		}
	}
}

// What was learned while more fitted into the caches is there again at once, once it does; what doesn't fit isn't learned in the meantime.
func TestWhatWasLearnedBeforeTheCachesFilled(t *testing.T) {
	s, c := State{slots: 12, step: 1, hold: leastHold}, Settings{Min: 1, Limit: 64}
	tell := func(at clock.Moment, kv float64) {
		c.Load = Load{At: at, Running: 8, KV: kv}
		for range 200 {
			c.Load.At++
			s.hear(&c.Load)
		}
	}
	for i, row := range []struct {
		kv    float64
		slots int
	}{{0.5, 13}, {1, 6}, {0.5, 13}} {
		tell(clock.Moment(1000*(i+1)), row.kv)
		before := s.slots
		s.grow()
		s.slots = s.bound(before, s.slots, &c)
		if got := s.Slots(&c); got != row.slots {
			t.Errorf("%d slots with 8 requests in %v of the caches, want %d", got, row.kv, row.slots)
		}
	}
}

// lied is told what isn't so.
type lied struct {
	*little
	lie func(x *Load)
}

func (z *lied) hear(x Load) {
	z.lie(&x)
	z.c.Load = x
}

// An exporter that lies shifts the slots somewhat. What it can't bring about is that there are hardly any, or no end of them.
func TestExporterThatLies(t *testing.T) {
	lies := map[string]func(x *Load){
		"nobody ever waits":   func(x *Load) { x.Waiting, x.KV = 0, 0 },
		"all the world waits": func(x *Load) { x.Waiting = 1 << 30 },
		"all is full":         func(x *Load) { x.KV = 1 },
		"what can't be":       func(x *Load) { x.Running, x.Waiting, x.KV = math.MinInt64, math.MaxInt64, math.NaN() },
		"of long ago":         func(x *Load) { x.At, x.Waiting = 1, 0 },
		"of the future":       func(x *Load) { x.At, x.Waiting = math.MaxInt64, 0 },
	}
	for name, lie := range lies {
		o := play(overload(60*second, ten), &lied{newLittle(), lie})
		least := 9
		if name == "all is full" { // the caches' word holds, but for a floor
			least = leastFit
		}
		if low, high := between(o.course, 30*second, 60*second); low < least || high > 12 {
			t.Errorf("streams, %s: %d to %d slots", name, low, high)
		}
		w := play(wholeOverload(), &answering{sizer: &lied{newLittle(), lie}, whole: all})
		if low, high := between(w.course, 30*second, 60*second); low < min(least, 6) || high > 28 {
			t.Errorf("whole answers, %s: %d to %d slots", name, low, high)
		}
	}
}

// An exporter that falls silent, and comes back with something else each time.
func TestExporterThatComesAndGoes(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	o := play(wholeOverload(), &answering{sizer: &lied{newLittle(), func(x *Load) {
		if r.IntN(2) == 0 {
			*x = Load{}
		}
	}}, whole: all})
	expectSlots(t, o.course, 15*second, 60*second, 7, 12)
}
