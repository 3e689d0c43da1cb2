package dispatch

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/retreat"
)

func flooded(requests, tokens int64) Settings {
	s := Settings{Requests: perMinute(requests), Retreats: true, Yields: true, Retreat: retreat.Settings{
		Window: minute, Every: 5 * second, RecoverWindow: 2 * minute, Threshold: 0.05, RecoverThreshold: 0.02, Factor: 0.75,
		MinSamples: 10, Floor: 834, Step: 334, // 5 and 2 of 6,000
	}}
	if tokens > 0 {
		s.Tokens = perMinute(tokens)
	}
	return s
}

// flood has the upstream answer 429 to so many in one moment.
func flood(t *testing.T, now clock.Moment, n int, tokens int64, gates ...*Gate) {
	t.Helper()
	var open []*Ticket
	for i := range n {
		x := request(config.Urgent, uint64(i), tokens)
		arrive(t, gates[i%len(gates)], now, x, gate.Allowed, "")
		open = append(open, x)
	}
	for i, x := range open {
		finish(t, gates[i%len(gates)], now, x, Answer{Used: tokens, Judged: true, Limited: true, Requests: -1, Tokens: -1})
	}
}

// passes counts what goes in a time, with a try each 100 ms at each worker.
func passes(t *testing.T, from clock.Moment, during time.Duration, gates ...*Gate) (n int) {
	t.Helper()
	for now := from; now < from.Add(during); now += second / 10 {
		for _, g := range gates {
			x := request(config.Urgent, 1, 1)
			if v := g.Arrive(now, x); v.Outcome == gate.Allowed {
				n++
				finish(t, g, now, x, Answer{Used: 1, Judged: true, Requests: -1, Tokens: -1})
			}
		}
	}
	return n
}

// After a flood of 429 requests go on at the lowered rate, five a minute, at once and no faster: not after the hour that paying for the
// flood at that rate would take.
func TestAFloodIsNoDebtAtTheLoweredRate(t *testing.T) {
	for _, tokens := range []int64{0, 10} {
		a, b, _ := pair(flooded(6000, tokens*6000))
		flood(t, noon, 5940, tokens, a, b)
		if v := b.Snapshot(noon + 6*second); v.Scale != 834 || v.Requests.Left < 0 || v.Tokens.Left < 0 {
			t.Fatalf("%+v", v)
		}
		if n := passes(t, noon+6*second, time.Minute, a, b); n < 4 || n > 6 {
			t.Errorf("with %d tokens: %d pass in the first minute, want 4 to 6", tokens, n)
		}
	}
}

// A retreat that is undone leaves no more than there would be without it.
func TestWhatIsSetAsideComesBackWithTheBudget(t *testing.T) {
	a, b, _ := pair(flooded(6000, 0))
	flood(t, noon, 5940, 1, a, b)
	if _, err := a.ResetRetreat(noon + 6*second); err != nil {
		t.Fatal(err)
	}
	if v := b.Snapshot(noon + 6*second); v.Scale != retreat.Whole || v.Requests.Left < 60 || v.Requests.Left > 661 {
		t.Errorf("%+v, want what was left of it, and six seconds' worth", v)
	}
}

// An operator who makes a budget smaller doesn't shut the upstream until all is paid for at the smaller rate.
func TestASmallerBudgetIsNoDebtEither(t *testing.T) {
	s := Settings{Requests: perMinute(6000)}
	a, b, _ := pair(s)
	for i := range 5900 {
		x := request(config.Urgent, uint64(i), 1)
		arrive(t, a, noon, x, gate.Allowed, "")
		finish(t, a, noon, x, quiet)
	}
	s.Requests = perMinute(60)
	a.Change(s)
	if v := a.Snapshot(noon); v.Requests.Left != 0 {
		t.Errorf("%+v", v)
	}
	b.Change(s)
	if n := passes(t, noon, 10*time.Second, a, b); n < 9 || n > 10 {
		t.Errorf("%d pass in ten seconds at one a second", n)
	}
}

// However a budget shrinks and grows, what is in use and what is set aside are together what was used, while no time passes; and a shrunken budget is no deeper in debt than it got itself into.
func TestNothingIsForgottenByShrinking(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := perMinute(6000)
		var a aside
		var meter bucket.State
		now, lent := noon, int64(0)
		used := int64(0)
		meter.At = noon
		a.settle(now, &meter, &lent, whole, whole)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			scale := rapid.SampledFrom([]int64{1_000, 100_000, retreat.Whole}).Draw(t, "scale")
			rate := bucket.Rate{Burst: part(whole.Burst, scale), Quantity: part(whole.Quantity, scale), Window: whole.Window}
			shrinks := rate.Burst < a.burst
			a.settle(now, &meter, &lent, whole, rate)
			if shrinks && meter.Used > rate.Burst {
				t.Fatalf("%d in use of %d", meter.Used, rate.Burst)
			}
			if scale == retreat.Whole && a.Used > 0 {
				t.Fatalf("the budget is whole, and %d are aside", a.Used)
			}
			if n := rapid.Int64Range(0, 100).Draw(t, "uses") * bucket.Micro; meter.Used+n <= rate.Burst {
				meter.Use(n)
				used += n
			}
			if sum := meter.Used + a.Used; sum > used {
				t.Fatalf("%d of %d", sum, used)
			}
		}
		if meter.Used+a.Used != used {
			t.Fatalf("%d and %d of %d", meter.Used, a.Used, used)
		}
	})
}
