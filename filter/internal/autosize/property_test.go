package autosize

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// garbage is a sample that can't be, or hardly.
func garbage(r *rand.Rand) Sample {
	times := []time.Duration{0, -1, 1, time.Microsecond, 50 * time.Millisecond, time.Second, time.Minute, math.MaxInt64, math.MinInt64}
	counts := []int{0, -1, 1, 2, 7, 8, 9, 100, 1 << 30, math.MaxInt, math.MinInt}
	return Sample{
		At: noon.Add(time.Duration(r.Int64N(int64(time.Hour)) - int64(30*time.Minute))), Subject: r.Uint64N(6), InFlight: counts[r.IntN(len(counts))],
		Room: counts[r.IntN(len(counts))], Prompt: int64(counts[r.IntN(len(counts))]), TTFT: times[r.IntN(len(times))], Left: r.IntN(3) == 0,
		ITL: times[r.IntN(len(times))], Whole: times[r.IntN(len(times))], Output: int64(counts[r.IntN(len(counts))]),
	}
}

// gibberish is what no engine says, or hardly.
func gibberish(r *rand.Rand, now clock.Moment) Load {
	shares := []float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1), math.SmallestNonzeroFloat64, 1e-9, 0.5, 1, 1.5, math.MaxFloat64}
	counts := []int64{0, -1, 1, 8, 300, math.MaxInt64, math.MinInt64}
	at := []clock.Moment{0, now, now, now.Add(-time.Second), now.Add(time.Hour)}
	return Load{At: at[r.IntN(len(at))], Running: counts[r.IntN(len(counts))], Waiting: counts[r.IntN(len(counts))], KV: shares[r.IntN(len(shares))]}
}

// Whatever is sampled, by whatever clock, and whatever engines say: there are never fewer than Min slots, nor more than Limit, and the state is one that can be read
// again.
func TestBoundsHoldWhateverIsSampled(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 9))
		c := Settings{Min: 1 + r.IntN(4), Limit: 4 + r.IntN(300)}
		said, whole := r.IntN(2) == 0, r.IntN(2) == 0 // or nothing is; or nothing streams
		var s State
		now := noon
		for range 400 {
			x := garbage(r)
			if r.IntN(2) == 0 { // time mostly goes on
				now = now.Add(time.Duration(r.Int64N(int64(300 * time.Millisecond))))
				x.At = now
			}
			if said && r.IntN(3) == 0 {
				c.Load = gibberish(r, now)
			}
			if whole {
				x.TTFT, x.ITL = 0, 0
			}
			s.Record(&c, &x)
			if n := s.Slots(&c); n < c.Min || n > c.Limit {
				t.Fatalf("seed %d: %d slots, want %d to %d", seed, n, c.Min, c.Limit)
			}
			var again State
			if b := s.Append(nil); len(b) != Size || !again.Decode(b) || again != s {
				t.Fatalf("seed %d: %+v was read as %+v", seed, s, again)
			}
			s.AppendWhy(nil, &c)
		}
	}
}

// Damaged records are read as nothing known, or as something that is within the bounds.
func TestDamagedRecords(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := Settings{Min: 2, Limit: 40}
	l := newLittle()
	play(overload(5*time.Second, ten), l)
	sound := l.Append(nil)
	for range 5000 {
		b := append([]byte(nil), sound...)
		for range 1 + r.IntN(4) {
			b[r.IntN(len(b))] = byte(r.Uint32())
		}
		var s State
		if !s.Decode(b) && s != (State{}) {
			t.Fatal("something is left of a record that was refused")
		}
		x := Sample{At: noon.Add(5 * time.Second), InFlight: 3, Room: 3, TTFT: time.Second}
		for range 30 {
			x.At = x.At.Add(50 * time.Millisecond)
			s.Record(&c, &x)
		}
		if n := s.Slots(&c); n < c.Min || n > c.Limit {
			t.Fatalf("%d slots", n)
		}
	}
}

func TestWhy(t *testing.T) {
	c := Settings{Min: 1, Limit: 256}
	var s State
	if got := string(s.AppendWhy(nil, &c)); got != "8: nothing is known yet" {
		t.Error(got)
	}
	s = State{slots: 14, step: 1, verdict: verdict{ttft: 0.31, usual: 0.16, queue: 3.1}}
	if got := string(s.AppendWhy(nil, &c)); got != "14: ttft 310 ms is 1.9 times the best 160 ms, 3.1 wait there" {
		t.Error(got)
	}
	s.probing, s.verdict.itl, s.itl, s.verdict.queue = noon, 0.09, 0.03, 0
	if got := string(s.AppendWhy(nil, &c)); got != "6: ttft 310 ms is 1.9 times the best 160 ms; itl 90 ms is 3.0 times the best 30 ms; fewer for a moment, to measure the best anew" {
		t.Error(got)
	}
	s.probing, s.slots = 0, 300
	if got := string(s.AppendWhy(nil, &c)); got != "256: ttft 310 ms is 1.9 times the best 160 ms; itl 90 ms is 3.0 times the best 30 ms; it is the limit" {
		t.Error(got)
	}
}

// A sample costs no memory.
func TestNothingIsAllocated(t *testing.T) {
	var s State
	c := Settings{Min: 1, Limit: 256}
	x := Sample{At: noon, InFlight: 8, Room: 8, TTFT: 30 * time.Millisecond, Subject: 3}
	b := make([]byte, 0, Size)
	if n := testing.AllocsPerRun(1000, func() {
		x.At = x.At.Add(10 * time.Millisecond)
		s.Record(&c, &x)
		b = s.Append(b[:0])
		s.Decode(b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
