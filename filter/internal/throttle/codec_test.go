package throttle

import (
	"bytes"
	"math"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/quorum"
)

// busy is a state in which everything has a value.
func busy() *State {
	c := fused()
	s := new(State)
	now := s.feed(noon, &c, 300, steady(20), second)
	s.feed(now, &c, 5, steady(500), 3*second)
	s.Merge(now+5*second, &c, &Delta{Memory: 0.99})
	return s
}

func TestDecodeRefuses(t *testing.T) {
	s := busy()
	good := s.Append([]byte("before"))[len("before"):]
	var got State
	if !got.Decode(good) || got != *s || len(good) != size || !s.tripped {
		t.Fatal("what is right was refused")
	}
	float := func(at int, value float64) func([]byte) []byte {
		return func(b []byte) []byte {
			order.PutUint64(b[at:], math.Float64bits(value))
			return b
		}
	}
	const end = size - quorum.Size
	const own = end - ownSize
	for name, edit := range map[string]func([]byte) []byte{
		"nothing":                    func([]byte) []byte { return nil },
		"a byte less":                func(b []byte) []byte { return b[1:] },
		"a byte more":                func(b []byte) []byte { return append(b, 0) },
		"a negative count":           func(b []byte) []byte { b[23] = 0x80; return b },
		"a negative window":          func(b []byte) []byte { b[7] = 0x80; return b },
		"no number":                  float(32, math.NaN()),
		"an endless sum":             float(44, math.Inf(1)),
		"a negative P99":             float(rateSize+8, -1),
		"too long a history":         func(b []byte) []byte { b[rateSize+28] = history + 1; return b },
		"more answers than counted":  func(b []byte) []byte { b[rateSize+tailSize-1]++; return b },
		"more memory than there is":  float(rateSize+tailSize, 1.01),
		"too high a cut":             float(rateSize+tailSize+memorySize+8+8*int(signals), 0.9),
		"tripped, and no hold":       func(b []byte) []byte { clear(b[own+1+3*8 : own+1+4*8]); return b },
		"more LOW than there is":     float(own+1+5*8, 1.01),
		"half tripped":               func(b []byte) []byte { b[own] = 2; return b },
		"not tripped, but severe":    func(b []byte) []byte { b[own] = 0; return b },
		"a hold too long":            func(b []byte) []byte { b[own+1+3*8+7] = 1; return b },
		"no such signal":             func(b []byte) []byte { b[own+1+7*8] = byte(signals); return b },
		"half fused":                 func(b []byte) []byte { b[own+1+7*8+1] = 2; return b },
		"more slow than were":        func(b []byte) []byte { b[end+8+32+4] = 1; return b },
		"a trigger that is negative": float(end-8, -1),
	} {
		if got.Decode(edit(bytes.Clone(good))) || got != (State{}) {
			t.Errorf("%s: %+v was taken", name, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(new(State).Append(nil), int64(0))
	f.Add(busy().Append(nil), int64(noon+310*second))
	f.Fuzz(func(t *testing.T, b []byte, now int64) {
		var s, again State
		if !s.Decode(b) {
			if s != (State{}) {
				t.Fatalf("refused, but gave %+v", s)
			}
			return
		}
		if got := s.Append(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x became %x", b, got)
		}
		d := Delta{Requests: 5, Memory: 0.5}
		d.answers.add(second)
		for _, c := range []Settings{standard, fused()} {
			for range 20 {
				s.Merge(clock.Moment(now), &c, &d)
				r := s.Read(clock.Moment(now))
				if !(r.Severity >= 0 && r.Severity <= 1) || r.RecoversIn < 0 {
					t.Fatalf("%+v", r)
				}
				s.Snapshot(clock.Moment(now), &c)
				now += second
			}
			if !again.Decode(s.Append(nil)) || again != s {
				t.Fatalf("%+v became %+v", s, again)
			}
		}
	})
}
