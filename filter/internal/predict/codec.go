package predict

import (
	"encoding/binary"
	"math"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const numbers = 12

// Size is the length of what Append adds, in bytes.
const Size = 8 + 4 + numbers*8

// Append adds the state to b, little endian.
func (s *State) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(s.at))
	b = binary.LittleEndian.AppendUint32(b, s.count)
	b = s.far.append(s.recent.append(b))
	b = appendNumber(appendNumber(appendNumber(b, s.pp), s.ff), s.pf)
	return appendNumber(appendNumber(appendNumber(b, s.pt), s.ft), s.off)
}

func (m *means) append(b []byte) []byte {
	return appendNumber(appendNumber(appendNumber(b, m.time), m.prompt), m.flying)
}

func appendNumber(b []byte, number float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(number))
}

// Decode reads what Append wrote. It says false if that isn't what it was given: then s is the zero value, with which the caller starts
// anew.
func (s *State) Decode(b []byte) (sound bool) {
	*s = State{}
	if len(b) != Size {
		return false
	}
	s.at, s.count = clock.Moment(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint32(b[8:])
	b = b[12:]
	s.recent, s.far = meansOf(b), meansOf(b[3*8:])
	s.pp, s.ff, s.pf = number(b, 6), number(b, 7), number(b, 8)
	s.pt, s.ft, s.off = number(b, 9), number(b, 10), number(b, 11)
	if sound = s.sound(); !sound {
		*s = State{}
	}
	return sound
}

func meansOf(b []byte) means { return means{number(b, 0), number(b, 1), number(b, 2)} }

// number is the n-th number of a record.
func number(b []byte, n int) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(b[8*n:]))
}

// sound says that it can be what was learned.
func (s *State) sound() bool {
	// A variance is at most the square of the longest way, and a covariance at most what the two variances allow.
	return s.recent.sound() && s.far.sound() && s.count <= fewest && within(s.off, 0, Longest.Seconds()) &&
		within(s.pp, 0, mostTokens*mostTokens) && within(s.ff, 0, mostInFlight*mostInFlight) &&
		s.pf*s.pf <= 1.001*s.pp*s.ff+0.01 &&
		within(s.pt, -mostTokens*Longest.Seconds(), mostTokens*Longest.Seconds()) &&
		within(s.ft, -mostInFlight*Longest.Seconds(), mostInFlight*Longest.Seconds())
}

func (m *means) sound() bool {
	return within(m.time, 0, Longest.Seconds()) && within(m.prompt, 0, mostTokens) && within(m.flying, 0, mostInFlight)
}

// within says that it is a number, and not outside of bounds.
func within(number, least, most float64) bool { return number >= least && number <= most }
