package bucket

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

var seed = Rate{Burst: 300 * Micro, Quantity: 300 * Micro, Window: time.Hour}

func TestSeedsBucket(t *testing.T) {
	var s State
	for range 4 {
		if s.Balance(seed) <= 0 {
			t.Fatalf("refused at %d", s.Balance(seed))
		}
		s.Use(76 * Micro)
	}
	if got := s.Balance(seed); got != -4*Micro {
		t.Errorf("balance %d, want a debt of 4", got)
	}
	if got := s.Wait(0, seed); got != 48*time.Second {
		t.Errorf("wait %v, want 48s", got)
	}
	s.Leak(clock.Moment(48*time.Second), seed)
	if got := s.Balance(seed); got != 0 {
		t.Errorf("balance after 48s: %d", got)
	}
	s.Leak(clock.Moment(2*time.Hour), seed)
	if !s.Full() {
		t.Errorf("not full after its window: %+v", s)
	}
}

func TestReservationsAreForgottenAfterTwoPeriods(t *testing.T) {
	var s State
	s.Reserve(100)
	s.Rotate(1)
	s.Reserve(50)
	if got := s.Balance(seed); got != 150*Micro {
		t.Errorf("balance %d", got)
	}
	s.Release(100, 1)
	s.Release(7, 2) // made too long ago: gone already
	if got := s.Balance(seed); got != 250*Micro {
		t.Errorf("balance %d", got)
	}
	s.Rotate(2)
	if !s.Full() {
		t.Errorf("%+v holds a reservation", s)
	}
}

func TestWaitSaysWhatCanNeverFit(t *testing.T) {
	var s State
	if got := s.Wait(301*Micro, seed); got != math.MaxInt64 {
		t.Errorf("wait %d", got)
	}
}

// Whatever becomes of a bucket without a window, only what is reserved counts, and no time changes that.
func TestABucketWithoutAWindowHoldsReservationsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := Rate{Burst: 4 * Micro, Quantity: 4 * Micro}
		s, now := State{Used: rapid.Int64Range(0, Most).Draw(t, "damage")}, clock.Moment(0)
		s.Leak(1, rate)
		for range 20 {
			now += clock.Moment(rapid.Int64Range(-int64(time.Hour), int64(time.Hour)).Draw(t, "time"))
			if s.Leak(now, rate); rapid.Bool().Draw(t, "comes") {
				s.Reserve(1)
			} else {
				s.Release(1, 0)
			}
			under := int64(s.Reserved[0])
			if s.Used != 0 || s.Balance(rate) != rate.Burst-under*Micro || s.Full() != (under == 0) {
				t.Fatalf("%+v with %d reserved", s, under)
			}
			if wait := s.Wait(Micro, rate); (wait == 0) != (under < 4) || wait != 0 && wait != math.MaxInt64 {
				t.Fatalf("wait %d with %d reserved", wait, under)
			}
		}
	})
}

func TestAmountsSaturate(t *testing.T) {
	var s State
	s.Use(Most)
	s.Use(Most)
	s.Reserve(math.MaxUint32)
	s.Reserve(5)
	if s.Used != Most || s.Balance(seed) > 0 {
		t.Errorf("%+v, balance %d", s, s.Balance(seed))
	}
	s.Leak(math.MaxInt64, seed)
}

func rates(t *rapid.T) Rate {
	quantity := rapid.Int64Range(1, 1e12).Draw(t, "quantity") * Micro
	return Rate{Burst: quantity, Quantity: quantity, Window: time.Duration(rapid.Int64Range(int64(time.Second), int64(8784*time.Hour)).Draw(t, "window"))}
}

// However often a bucket is looked at, it leaks what it would have leaked in one step, but for a nanosecond a look.
func TestLeakDoesNotDependOnHowOftenItIsLookedAt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rates(t)
		used := rapid.Int64Range(0, min(2*rate.Burst, Most)).Draw(t, "used")
		often, once := State{Used: used}, State{Used: used}
		looks := rapid.SliceOfN(rapid.Int64Range(0, int64(rate.Window/50)), 1, 100).Draw(t, "looks")
		var now clock.Moment
		for _, step := range looks {
			now += clock.Moment(step)
			often.Leak(now, rate)
		}
		once.Leak(now, rate)
		slack := int64(len(looks)+1)*(rate.Quantity/int64(rate.Window)+1) + 1
		if diff := often.Used - once.Used; diff < 0-slack || diff > slack {
			t.Fatalf("%d looks: %d, one: %d, slack %d", len(looks), often.Used, once.Used, slack)
		}
	})
}

// The leak never exceeds the rate: over any run of uses and looks, what was let in is at most the burst and the window's
// share of the time that passed.
func TestNoMoreThanTheRatePasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rates(t)
		var s State
		var now clock.Moment
		passed := new(big.Int)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now += clock.Moment(rapid.Int64Range(-int64(time.Second), int64(rate.Window/10)).Draw(t, "step"))
			s.Leak(now, rate)
			need := rapid.Int64Range(1, rate.Burst).Draw(t, "need")
			if s.Balance(rate) >= need {
				s.Use(need)
				passed.Add(passed, big.NewInt(need))
			}
			if s.Balance(rate) > rate.Burst {
				t.Fatalf("balance %d above the burst %d", s.Balance(rate), rate.Burst)
			}
		}
		allowed := new(big.Int).Mul(big.NewInt(int64(max(now, 0)+clock.Moment(time.Minute))), big.NewInt(rate.Quantity))
		allowed.Div(allowed, big.NewInt(int64(rate.Window))).Add(allowed, big.NewInt(rate.Burst))
		if passed.Cmp(allowed) > 0 {
			t.Fatalf("passed %v of %v", passed, allowed)
		}
	})
}

// The time that Wait gives is enough, and a nanosecond of millionths less is not.
func TestWaitIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rates(t)
		s := State{Used: rapid.Int64Range(0, min(3*rate.Burst, Most)).Draw(t, "used")}
		amount := rapid.Int64Range(0, rate.Burst).Draw(t, "amount")
		wait := s.Wait(amount, rate)
		if wait == 0 {
			return
		}
		after, before := s, s
		after.Leak(clock.Moment(wait), rate)
		before.Leak(clock.Moment(wait-1), rate)
		if after.Balance(rate) < amount {
			t.Fatalf("after %d: %d of %d", wait, after.Balance(rate), amount)
		}
		if before.Balance(rate) >= amount {
			t.Fatalf("one nanosecond earlier it was there too")
		}
	})
}

// A bucket that is looked at in less time than a millionth takes to leak leaks all the same: what a look is short of a
// millionth is not lost.
func TestNoLookLosesTheRemainder(t *testing.T) {
	const millionth = int64(12 * time.Microsecond) // of the seed's 300 an hour
	for _, step := range []int64{1, millionth / 3, millionth - 1, millionth, millionth + 1, 7*millionth/2 + 1} {
		s := State{Used: 300 * Micro}
		var now clock.Moment
		for range 100_000 {
			now += clock.Moment(step)
			s.Leak(now, seed)
		}
		want := 300*Micro - int64(now)/millionth
		if s.Used != want {
			t.Errorf("looked at every %d ns for %v: %d are used, want %d", step, time.Duration(now), s.Used, want)
		}
	}
}

// A leased bucket has what was granted, until the window ends that it was granted for.
func TestLeases(t *testing.T) {
	const hour = clock.Moment(time.Hour)
	rate := Rate{Burst: 300 * Micro, Quantity: 300 * Micro, Window: time.Hour, Leased: true}
	now := clock.Moment(1000 * time.Second)
	balance := func(s *State, now clock.Moment) int64 {
		s.Leak(now, rate)
		return s.Balance(rate) / Micro
	}
	var s State
	s.Grant(now, 50*Micro, now+60e9, rate)
	s.Grant(now, 50*Micro, now+59e9, rate) // the same window, less well known
	s.Use(30 * Micro)
	for _, test := range []struct {
		at   clock.Moment
		want int64
	}{{now, 70}, {now + 60e9 - 1, 70}, {now + 60e9, 0}} {
		x := s
		if got := balance(&x, test.at); got != test.want {
			t.Errorf("at %d: %d, want %d", test.at-now, got, test.want)
		}
	}
	x := s
	if x.Grant(now, 10*Micro, now+60e9-hour, rate); balance(&x, now) != 70 {
		t.Error("a lease of a window that is over counts")
	}
	if x = s; true {
		x.Grant(now, 10*Micro, now+60e9+hour, rate)
	}
	if got := balance(&x, now); got != 10 {
		t.Errorf("in the next window %d are left, want its own 10 alone", got)
	}
	if x.Grant(now, 10*Micro, now+60e9, rate); balance(&x, now) != 10 {
		t.Error("a lease of the window before counts")
	}
	if s.Use(500 * Micro); balance(&s, now) != -430 || balance(&s, now+60e9) != 0 {
		t.Error("debt doesn't end with its window")
	}
}
