package retreat

import (
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// hashed gives the keyed hash of the n-th caller.
func hashed(n uint64) uint64 {
	n = (n + 1) * 0x9e3779b97f4a7c15
	n = (n ^ n>>29) * 0xbf58476d1ce4e5b9
	return n ^ n>>32
}

// callers answers subjects, in turn: of the total the first limited ones are 429.
func (s *State) callers(now clock.Moment, subjects uint64, total, limited int) {
	for i := range total {
		s.Record(now, &seed, hashed(uint64(i)%subjects), i < limited)
	}
}

// The thresholds hold as exactly for many callers as for one, if at least two of them are limited.
func TestThresholdsHoldForOneCallerAndForMany(t *testing.T) {
	for _, subjects := range []uint64{1, 2, 3, 20, 1000} {
		for _, test := range []struct {
			name           string
			total, limited int
			want           int64
		}{
			{"below 5 %", 41, 2, Whole},
			{"5 %", 40, 2, 750_000},
			{"below 20 %", 41, 8, 750_000},
			{"20 %", 40, 8, 125_000},
			{"all", 40, 40, 125_000},
			{"too few", 9, 9, Whole},
		} {
			s, now := in(Normal, Whole)
			s.callers(now, subjects, test.total, test.limited)
			if s.Evaluate(now, &seed); s.Scale() != test.want {
				t.Errorf("%d callers, %s: %d, want %d", subjects, test.name, s.Scale(), test.want)
			}
		}
	}
}

// A caller that meets its own limit all the time doesn't lower the rate of others, whatever the phase.
func TestOneCallersLimitIsItsOwn(t *testing.T) {
	for _, phase := range []Phase{Normal, Retreating, Recovering} {
		scale := int64(500_000)
		if phase == Normal {
			scale = Whole
		}
		s, now := in(phase, scale)
		for range 240 {
			s.Record(now, &seed, 7, true)
			s.Record(now, &seed, 7, true)
			s.Record(now, &seed, 7, true)
			s.callers(now, 5, 2, 0)
			if s.Evaluate(now, &seed); s.Scale() < scale || s.Alarm() {
				t.Fatalf("%v: lowered to %d", phase, s.Scale())
			}
			now += second
		}
		if s.Scale() <= scale && phase != Normal {
			t.Errorf("%v: it doesn't recover: %d", phase, s.Scale())
		}
	}
}

// Alone it is believed; what it has lowered is undone as soon as others are answered, and not lowered again.
func TestOthersUndoWhatOneHasLowered(t *testing.T) {
	s, now := in(Normal, Whole)
	for range 30 {
		s.Record(now, &seed, 7, true)
		s.Evaluate(now, &seed)
		now += second
	}
	if s.Scale() != seed.Floor || !s.Alarm() {
		t.Fatalf("at %d, alarm %v", s.Scale(), s.Alarm())
	}
	for range pardon {
		s.Record(now, &seed, 8, false)
	}
	now += clock.Moment(seed.Every)
	if !s.Evaluate(now, &seed) || s.Scale() != Whole || s.Phase() != Normal || s.Alarm() {
		t.Errorf("after others' answers: %v at %d, alarm %v", s.Phase(), s.Scale(), s.Alarm())
	}
	for range 60 {
		now += second
		s.Record(now, &seed, 7, true)
		s.Record(now, &seed, 8, false)
		if s.Evaluate(now, &seed); s.Scale() != Whole {
			t.Fatalf("lowered again, to %d", s.Scale())
		}
	}
}

// If others meet it, too, it is everybody's limit, and the recovery is the ordinary one.
func TestWhatOthersMeetTooStaysLowered(t *testing.T) {
	s, now := in(Normal, Whole)
	for range 30 {
		s.Record(now, &seed, 7, true)
		s.Evaluate(now, &seed)
		now += second
	}
	s.Record(now, &seed, 8, true)
	for range 10 {
		s.Record(now, &seed, 8, false)
		now += clock.Moment(seed.Every)
		if s.Evaluate(now, &seed); s.Scale() > seed.Floor {
			t.Fatalf("%v at %d", s.Phase(), s.Scale())
		}
	}
}
