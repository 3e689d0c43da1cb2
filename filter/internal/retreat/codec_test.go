package retreat

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

func someCounts(t *rapid.T, name string) counts {
	total := rapid.Uint32().Draw(t, name)
	return counts{total: total, limited: rapid.Uint32Range(0, total).Draw(t, name+" limited")}
}

func TestDecodeGivesWhatAppendTook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := State{
			phase:     Phase(rapid.IntRange(0, 2).Draw(t, "phase")),
			evaluated: clock.Moment(rapid.Int64().Draw(t, "evaluated")), calm: clock.Moment(rapid.Int64().Draw(t, "calm")),
			stepped: clock.Moment(rapid.Int64().Draw(t, "stepped")), fresh: someCounts(t, "fresh"), steady: someCounts(t, "steady"),
		}
		if s.phase != Normal {
			s.lowered = rapid.Uint32Range(0, Whole-1).Draw(t, "lowered")
			s.alarm = s.phase == Retreating && rapid.Bool().Draw(t, "alarm")
		}
		s.window.Opened = clock.Moment(rapid.Int64().Draw(t, "opened"))
		for i := range s.window.Slots {
			s.window.Slots[i] = someCounts(t, "slot")
		}
		prefix := []byte("before")
		b := s.Append(prefix)
		if len(b) != len(prefix)+Size {
			t.Fatalf("%d bytes, want %d", len(b)-len(prefix), Size)
		}
		if got, ok := decoded(b[len(prefix):]); !ok || got != s {
			t.Fatalf("got %+v, want %+v", got, s)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	good := (&State{phase: Retreating, alarm: true, lowered: 250_000}).Append(nil)
	if _, ok := decoded(good); !ok {
		t.Fatal("what is right was refused")
	}
	for _, test := range []struct {
		name string
		edit func(b []byte) []byte
	}{
		{"nothing", func([]byte) []byte { return nil }},
		{"a byte less", func(b []byte) []byte { return b[:Size-1] }},
		{"a byte more", func(b []byte) []byte { return append(b, 0) }},
		{"no such phase", func(b []byte) []byte { b[0] = 3; return b }},
		{"half an alarm", func(b []byte) []byte { b[1] = 2; return b }},
		{"a recovery with an alarm", func(b []byte) []byte { b[0] = byte(Recovering); return b }},
		{"normal, but lowered", func(b []byte) []byte { b[0], b[1] = byte(Normal), 0; return b }},
		{"lowered to nothing", func(b []byte) []byte { copy(b[2:], []byte{0x40, 0x42, 0x0f, 0}); return b }},
		{"more 429 than answers since the step", func(b []byte) []byte { b[42] = 1; return b }},
		{"more 429 than answers at this scale", func(b []byte) []byte { b[50] = 1; return b }},
		{"more 429 than answers in the window", func(b []byte) []byte { b[Size-4] = 1; return b }},
	} {
		if got, ok := decoded(test.edit(bytes.Clone(good))); ok || got != (State{}) {
			t.Errorf("%s: %+v was taken", test.name, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(new(State).Append(nil), int64(0))
	f.Add((&State{phase: Retreating, alarm: true, lowered: 875_000, evaluated: 1 << 40}).Append(nil), int64(1)<<40)
	f.Add((&State{phase: Recovering, lowered: 1, calm: -1, stepped: 1 << 62}).Append(nil), int64(-1)<<63)
	f.Fuzz(func(t *testing.T, b []byte, at int64) {
		now := clock.Moment(at)
		s, ok := decoded(b)
		if !ok {
			if s != (State{}) {
				t.Fatalf("refused, but gave %+v", s)
			}
			return
		}
		if got := s.Append(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x became %x", b, got)
		}
		if s.Scale() < 1 || s.Scale() > Whole {
			t.Fatalf("scale %d", s.Scale())
		}
		for range 3 {
			s.Record(now, &seed, 1, true)
			s.Evaluate(now, &seed)
			s.Share(now, &seed)
			now += clock.Moment(seed.Every)
		}
		if !s.possible() || s.Scale() > Whole || s.evaluated >= now-clock.Moment(seed.Every) && s.Scale() < seed.Floor {
			t.Fatalf("%+v", s)
		}
	})
}

// decoded is what can be read of a record, by who has read another one before.
func decoded(b []byte) (s State, sound bool) {
	s = State{phase: Retreating, alarm: true, lowered: 1, evaluated: 1, calm: 1, stepped: 1, fresh: counts{1, 1}, sole: 1, others: 1}
	sound = s.Decode(b)
	return s, sound
}
