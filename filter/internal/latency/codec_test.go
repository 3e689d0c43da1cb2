package latency

import (
	"bytes"
	"math"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

func TestDecodeRefuses(t *testing.T) {
	var s State
	s.Record(noon, &standard, Sample{TTFT: 3 * second, ITL: second, Unary: second})
	good := s.Append([]byte("before"))[len("before"):]
	if got, sound := decoded(good); !sound || got != s {
		t.Fatal("what is right was refused")
	}
	float := func(at int, value float64) func([]byte) []byte {
		return func(b []byte) []byte {
			for i := range 8 {
				b[at+i] = byte(math.Float64bits(value) >> (8 * i))
			}
			return b
		}
	}
	for name, edit := range map[string]func([]byte) []byte{
		"nothing":            func([]byte) []byte { return nil },
		"a byte less":        func(b []byte) []byte { return b[1:] },
		"a byte more":        func(b []byte) []byte { return append(b, 0) },
		"no such signal":     func(b []byte) []byte { b[48] = 3; return b },
		"no number":          float(0, math.NaN()),
		"a negative average": float(16, -1),
		"an endless average": float(32, math.Inf(1)),
		"a negative trigger": float(57, -1),
		"no threshold":       float(65, math.NaN()),
	} {
		if got, sound := decoded(edit(bytes.Clone(good))); sound || got != (State{}) {
			t.Errorf("%s: %+v was taken", name, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	var s State
	f.Add(s.Append(nil), int64(0))
	s.Record(noon, &standard, Sample{TTFT: 3 * second, ITL: second, Unary: second})
	f.Add(s.Append(nil), int64(noon))
	f.Add(make([]byte, Size-1), int64(1))
	f.Fuzz(func(t *testing.T, b []byte, now int64) {
		s, sound := decoded(b)
		if !sound {
			if s != (State{}) {
				t.Fatalf("refused, but gave %+v", s)
			}
			return
		}
		if got := s.Append(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x became %x", b, got)
		}
		s.Record(clock.Moment(now), &standard, Sample{TTFT: second, ITL: second, Unary: second})
		r := s.Judge(clock.Moment(now), &standard)
		if !(r.Measured >= 0 && r.Measured <= float64(longest)) || r.RecoversIn < 0 {
			t.Fatalf("%+v", r)
		}
		if again, sound := decoded(s.Append(nil)); !sound || again != s {
			t.Fatalf("%+v became %+v", s, again)
		}
	})
}

func BenchmarkRecordAndJudge(b *testing.B) {
	b.ReportAllocs()
	var s State
	for now := noon; b.Loop(); now += millisecond {
		s.Record(now, &standard, Sample{TTFT: 500 * millisecond, ITL: 20 * millisecond})
		if s.Judge(now, &standard).Over {
			b.Fatal("closed")
		}
	}
}

// decoded is what can be read of a record, by who has read another one before.
func decoded(b []byte) (s State, sound bool) {
	s = State{last: Trigger{At: 1, Signal: ITL, measured: 1, threshold: 1}, sole: 1, ttft: average{1, 1}}
	sound = s.Decode(b)
	return s, sound
}
