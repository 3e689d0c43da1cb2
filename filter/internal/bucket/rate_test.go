package bucket

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// use changes a bucket as whoever writes it does.
func (s *State) use(now clock.Moment, amount int64, rate, by Rate) {
	before := *s
	s.Leak(now, rate)
	s.Use(amount)
	s.Changed(&before, &rate, &by)
}

// hourly is a rate of so many units an hour.
func hourly(units int64) Rate {
	return Rate{Burst: units * Micro, Quantity: units * Micro, Window: time.Hour}
}

// 800 of 1,000 an hour are used when the rate falls to another one.
func TestALowerRate(t *testing.T) {
	const minute = clock.Moment(time.Minute)
	for name, test := range map[string]struct {
		rate    Rate
		at      clock.Moment // when it is looked at
		balance int64
	}{
		"at once":                            {hourly(500), 0, -300},
		"after 18 minutes":                   {hourly(500), 18 * minute, 0},
		"after 48":                           {hourly(500), 48 * minute, 500},
		"a rate at which it would take days": {hourly(10), 48 * minute, 10},
		"what lay untouched before":          {hourly(10), 45 * minute, -40},
		"a rate that is raised":              {hourly(2000), 12 * minute, 1600},
	} {
		var s State
		s.use(0, 800*Micro, hourly(1000), hourly(1000))
		s.Leak(test.at, test.rate)
		if got := s.Balance(test.rate); got < test.balance*Micro-2*Micro || got > test.balance*Micro {
			t.Errorf("%s: balance %d, want %d", name, got/Micro, test.balance)
		}
	}
	var s State
	s.use(0, 800*Micro, hourly(1000), hourly(1000))
	s.use(0, 5*Micro, hourly(10), hourly(10)) // takes half an hour by itself, and what was used before 48 minutes
	if s.Leak(47*minute, hourly(10)); s.Used == 0 {
		t.Error("what is used by the lower rate is forgotten")
	}
	if s.Leak(79*minute, hourly(10)); s.Used != 0 {
		t.Errorf("%d are still used", s.Used)
	}
}

// While the rate stays, nothing is changed by when all would be gone.
func TestTheSameRateChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rates(t)
		var with, without State
		var now clock.Moment
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += clock.Moment(rapid.Int64Range(0, int64(rate.Window/5)).Draw(t, "step"))
			amount := rapid.Int64Range(-rate.Burst/4, rate.Burst).Draw(t, "amount")
			with.use(now, amount, rate, rate)
			without.Leak(now, rate)
			without.Use(amount)
			if slack := 60 * (rate.Quantity/int64(rate.Window) + 1); without.Used-with.Used > slack || with.Used > without.Used {
				t.Fatalf("%d are used, %d without", with.Used, without.Used)
			}
		}
	})
}

// However the rate is changed while something is used: nothing flows away faster than by the fastest of the rates, nothing stays for longer than what was
// used takes by the rates at which it was used, and what is told to wait for is there then.
func TestRatesThatChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Rate {
			r := hourly(rapid.Int64Range(1, 1e6).Draw(t, "quantity"))
			r.Window = time.Duration(rapid.Int64Range(int64(time.Second), int64(time.Hour)).Draw(t, "window"))
			return r
		}), 2, 4).Draw(t, "rates")
		fastest, millionth := all[0], int64(0) // which takes so long at the slowest, and is reckoned in whole ones
		for _, r := range all {
			millionth = max(millionth, int64(r.Window)/r.Quantity+1)
			if float64(r.Quantity)/float64(r.Window) > float64(fastest.Quantity)/float64(fastest.Window) {
				fastest = r
			}
		}
		var s, least State
		var now, gone clock.Moment // gone is when all is gone at the latest
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now += clock.Moment(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "step"))
			rate := rapid.SampledFrom(all).Draw(t, "rate")
			amount := rapid.Int64Range(0, 2*rate.Burst).Draw(t, "amount")
			s.use(now, amount, rate, rate)
			takes := new(big.Int).Mul(big.NewInt(amount), big.NewInt(int64(rate.Window)))
			gone = max(gone, now).Add(time.Duration(takes.Div(takes, big.NewInt(rate.Quantity)).Int64()) + 3*time.Second)
			least.Leak(now, fastest)
			least.Use(amount)
			if slack := 100 * millionth * (fastest.Quantity/int64(fastest.Window) + 1); s.Used < least.Used-slack {
				t.Fatalf("%d are used, %d by the fastest rate", s.Used, least.Used)
			}
			other := rapid.SampledFrom(all).Draw(t, "then")
			if wait := s.Wait(other.Burst, other); now.Add(wait) > gone {
				t.Fatalf("gone after %v, want %v", wait, gone.Sub(now))
			}
			after := s
			after.Leak(now, other)
			wait := after.Wait(other.Burst/2, other)
			if after.Leak(now.Add(wait), other); after.Balance(other) < other.Burst/2 {
				t.Fatalf("%d of %d are there after %v", after.Balance(other), other.Burst/2, wait)
			}
		}
	})
}
