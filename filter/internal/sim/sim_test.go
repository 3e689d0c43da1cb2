package sim

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
)

var (
	worlds = flag.Int("sim.worlds", 80, "how many worlds with random scenes are run")
	seed   = flag.Uint64("sim.seed", 1, "the first one's seed")
)

var waits = [dispatch.Priorities]time.Duration{config.Low: 2 * second, config.Normal: minute, config.High: minute, config.Urgent: minute}

func rate(quantity, burst int64, window time.Duration) bucket.Rate {
	return bucket.Rate{Burst: burst * bucket.Micro, Quantity: quantity * bucket.Micro, Window: window}
}

func oneOf[T any](r *rand.Rand, values ...T) T { return values[r.IntN(len(values))] }

// chance gives a value or, more often, its zero.
func chance[T any](r *rand.Rand, p float64, value T) (none T) {
	if r.Float64() < p {
		return value
	}
	return none
}

func randomScene(seed uint64) Scene {
	r := rand.New(rand.NewPCG(seed, 2))
	s := Scene{Seed: seed, Workers: oneOf(r, 1, 2, 4, 7), Length: oneOf[int64](r, 30, 120) * second}
	c := &s.Settings
	c.MaxWait = waits
	c.WhenFull = oneOf(r, config.QueueReject, config.QueueReject, config.QueueDropLowest, config.QueuePassthrough, config.QueueBypass)
	c.QueueMax = oneOf(r, 0, 1, 5, 50, 500)
	gate := r.IntN(4)
	if gate != 1 {
		c.Slots = 2 + r.IntN(30)
		c.ReservedUrgent, c.ReservedHigh = r.IntN(c.Slots/2), r.IntN(c.Slots/2+1)
	}
	if gate == 1 || gate == 2 {
		c.Requests = rate(60, 1+r.Int64N(100), oneOf[time.Duration](r, second, 10*second))
	}
	tokens := oneOf[int64](r, 1, 100, 2000)
	if gate == 3 {
		c.Tokens = rate(100*tokens, tokens+r.Int64N(50*tokens), 10*second)
	}
	s.Upstream = Upstream{Service: oneOf[int64](r, 20, 200, 1000) * millisecond, Uneven: r.IntN(2) == 0}
	s.Sources = randomSources(r, tokens)
	if r.IntN(3) > 0 {
		s.Faults = randomFaults(r)
	}
	return s
}

func randomSources(r *rand.Rand, tokens int64) (sources []Source) {
	n := 1 + r.IntN(8)
	uneven, misjudge := r.IntN(2) == 0, chance(r, 0.5, 0.9)
	patience := chance(r, 0.5, oneOf[int64](r, 1, 20)*second)
	for i := range n {
		s := Source{
			Subject: uint64(i + 1), Rate: oneOf[float64](r, 1, 10, 40) / float64(n) * 3, Batch: oneOf(r, 1, 1, 10),
			Tokens: tokens, Uneven: uneven, Misjudge: misjudge, Patience: patience,
		}
		if r.IntN(4) == 0 {
			s.On, s.Off = 2*second, 5*second
		}
		for p := range s.Mix {
			s.Mix[p] = r.Float64()
		}
		sources = append(sources, s)
	}
	return sources
}

func randomFaults(r *rand.Rand) Faults {
	return Faults{
		Crash:     chance[int64](r, 0.5, 10*second),
		Stall:     chance[int64](r, 0.3, 10*second),
		StallFor:  oneOf[int64](r, 100*millisecond, 2*second, 8*second),
		ClockStep: chance[int64](r, 0.3, 5*second),
		ClockBy:   oneOf[int64](r, 100*millisecond, 2*second, 20*second),
		Jitter:    chance[int64](r, 0.3, 50*millisecond),
		Tick:      chance[int64](r, 0.5, 3*millisecond),
		Conflicts: chance(r, 0.5, 0.2),
		Store:     chance(r, 0.1, 0.01),
	}
}

// TestTheBoundsHold runs random scenes with all kinds of faults.
func TestTheBoundsHold(t *testing.T) {
	var sum Report
	for i := range *worlds {
		w := New(randomScene(*seed + uint64(i)))
		if err := w.Run(); err != nil {
			t.Errorf("%v\n%+v", err, w.Scene)
		}
		sum.Events += w.Events
		sum.Writes += w.Writes
		sum.Arrived += w.Arrived
		sum.Started += w.Started
		sum.Rejected += w.Rejected
		sum.Left += w.Left
		sum.Lost += w.Lost
		sum.Crashes += w.Crashes
		sum.Stalls += w.Stalls
		sum.Conflicts += w.Conflicts
		sum.StoreErrors += w.StoreErrors
		sum.LongestOver = max(sum.LongestOver, w.LongestOver)
		sum.MostAhead = max(sum.MostAhead, w.MostAhead)
	}
	t.Logf("%d worlds: %+v", *worlds, sum)
}
