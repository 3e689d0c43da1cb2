package heavy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// exact is what a sketch should know of each subject, and of all.
type exact struct {
	counts map[uint64]float64
	total  float64
	period int64
}

func (x *exact) add(now clock.Moment, id uint64, weight float64) {
	x.age(now)
	x.counts[id] += weight
	x.total += weight
}

func (x *exact) age(now clock.Moment) {
	period := int64(now) / int64(HalfLife)
	factor := halved(period - x.period)
	x.period = max(x.period, period)
	for id := range x.counts {
		x.counts[id] *= factor
	}
	x.total *= factor
}

// whole checks a sketch's inner order.
func (s *Sketch) whole() error {
	in := 0
	for slot, n := range s.table {
		if n == 0 {
			continue
		}
		in++
		if got := s.find(s.counters[n-1].id); got != slot {
			return fmt.Errorf("%x is in slot %d, and found in %d", s.counters[n-1].id, slot, got)
		}
	}
	if in != s.used {
		return fmt.Errorf("%d in the table, %d counters", in, s.used)
	}
	for i := range s.used {
		if int(s.place[s.heap[i]]) != i {
			return fmt.Errorf("counter %d is at %d, and said to be at %d", s.heap[i], i, s.place[s.heap[i]])
		}
		if i > 0 && s.less(i, (i-1)/2) {
			return fmt.Errorf("no heap at %d", i)
		}
	}
	return nil
}

// check holds a sketch against what is true.
func check(t interface{ Fatalf(string, ...any) }, s *Sketch, x *exact) {
	if err := s.whole(); err != nil {
		t.Fatalf("%v", err)
	}
	bound := x.total / Counters
	found := map[uint64]bool{}
	for i := range s.used {
		c := &s.counters[i]
		found[c.id] = true
		if f := x.counts[c.id]; c.count-c.over > f || f > c.count || c.over > bound {
			t.Fatalf("%x: %v, of which %v may be others', bound %v; true is %v", c.id, c.count, c.over, bound, f)
		}
	}
	for id, f := range x.counts {
		if !found[id] && f > bound {
			t.Fatalf("%x has %v of %v, and no counter", id, f, x.total)
		}
	}
}

// drawn is something that subjects do: who, how much, and how long after the last one.
type drawn struct {
	id     uint64
	weight float64
	after  clock.Moment
}

// draw makes up what is done: by few or many, of whom some do more than others, whose ids collide, follow each other or are random.
func draw(t *rapid.T) []drawn {
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	subjects := rapid.SampledFrom([]float64{3, 70, 140, 1000}).Draw(t, "subjects")
	skew := rapid.SampledFrom([]float64{1, 2, 5}).Draw(t, "skew")
	spread := rapid.SampledFrom([]uint64{1, 1 << 24, 0x9e3779b97f4a7c15}).Draw(t, "spread")
	most := rapid.SampledFrom([]int64{1, 1 << 30}).Draw(t, "weight")
	events := make([]drawn, rapid.SampledFrom([]int{10, 300, 3000}).Draw(t, "events"))
	for i := range events {
		events[i] = drawn{id: uint64(subjects*math.Pow(random.Float64(), skew)) * spread, weight: float64(1 + random.Int64N(most))}
		if random.IntN(500) == 0 {
			events[i].after = clock.Moment(random.Int64N(3 * int64(HalfLife)))
		}
	}
	return events
}

func TestCountsAreWithinTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Sketch
		x := exact{counts: map[uint64]float64{}}
		var now clock.Moment
		for _, d := range draw(t) {
			now += d.after
			c, fresh := s.Add(now, d.id, d.weight)
			if c.id != d.id || fresh != (c.named == 0) {
				t.Fatalf("%x is given the counter of %x, fresh: %v", d.id, c.id, fresh)
			}
			if fresh {
				c.Name(fmt.Append(nil, d.id))
			}
			if got := string(c.name[:c.named]); got != fmt.Sprint(d.id) {
				t.Fatalf("%d has the name %s", d.id, got)
			}
			x.add(now, d.id, d.weight)
		}
		check(t, &s, &x)
	})
}

// Whatever was used is worth nothing after five hours in which nothing else was, and less and less until then.
func TestWhatWasUsedIsForgotten(t *testing.T) {
	var s Sketch
	c, _ := s.Add(clock.Moment(7*HalfLife), 1, 64)
	for i, want := range []float64{64, 32, 16, 8} {
		s.age(clock.Moment(7*HalfLife) + clock.Moment(i)*clock.Moment(HalfLife) + clock.Moment(HalfLife) - 1)
		if c.count != want {
			t.Errorf("after %d periods: %v, want %v", i, c.count, want)
		}
	}
	s.age(0) // a worker whose clock is behind
	if c.count != 8 {
		t.Errorf("%v", c.count)
	}
	if s.age(clock.Moment(100 * HalfLife)); s.used != 0 || s.whole() != nil {
		t.Errorf("%d are left", s.used)
	}
}

// Ten million names that somebody makes up, each once, between the requests of some who use more than their share of all: these stay, and
// what is said of them is true within the bound; and it takes no memory.
func TestMadeUpNamesPushNobodyOutWhoIsHeavy(t *testing.T) {
	const flood, honest = 10_000_000, 5
	var s Sketch
	random := rand.New(rand.NewPCG(1, 2))
	total, heavy := 0.0, map[uint64]float64{}
	name := []byte("user=x")
	run := func(n int) {
		for i := range n {
			c, fresh := s.Add(0, random.Uint64(), 1)
			if fresh {
				c.Name(name)
			}
			if total++; i%20 == 0 { // five in all, of each a hundredth
				id := uint64(i / 20 % honest)
				s.Add(0, id, 1)
				heavy[id]++
				total++
			}
		}
	}
	run(flood)
	for id, f := range heavy {
		n := s.table[s.find(id)]
		if n == 0 {
			t.Errorf("%d, of which %.1f %% are, is not known", id, 100*f/total)
			continue
		}
		if c := &s.counters[n-1]; c.count < f || c.count-c.over > f || c.over > total/Counters {
			t.Errorf("%d: %v, of which %v may be others'; true is %v of %v", id, c.count, c.over, f, total)
		}
	}
	if n := testing.AllocsPerRun(1, func() { run(10_000) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAddKnown(b *testing.B) {
	var s Sketch
	for i := range b.N {
		s.Add(0, uint64(i%100)<<24, 5)
	}
}

func BenchmarkAddNew(b *testing.B) {
	var s Sketch
	for i := range b.N {
		s.Add(0, uint64(i)*0x9e3779b97f4a7c15, 5)
	}
}
