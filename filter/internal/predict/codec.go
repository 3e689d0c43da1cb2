package predict

import (
	"encoding/binary"
	"math"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const numbers = 12

// Size is the length of what Append adds, in bytes.
const Size = 8 + 4 + numbers*8

// numbered are the numbers of a state, in their order in a record.
func (s *State) numbered() [numbers]*float64 {
	return [numbers]*float64{
		&s.recent.time, &s.recent.prompt, &s.recent.flying, &s.far.time, &s.far.prompt, &s.far.flying,
		&s.pp, &s.ff, &s.pf, &s.pt, &s.ft, &s.off,
	}
}

// Append adds the state to b, little endian.
func (s *State) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(s.at))
	b = binary.LittleEndian.AppendUint32(b, s.count)
	for _, number := range s.numbered() {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(*number))
	}
	return b
}

// Decode reads what Append wrote. It says false if that isn't what it was given: then s is the zero value, with which the caller starts
// anew.
func (s *State) Decode(b []byte) (sound bool) {
	*s = State{}
	if len(b) != Size {
		return false
	}
	s.at, s.count = clock.Moment(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint32(b[8:])
	for i, number := range s.numbered() {
		*number = math.Float64frombits(binary.LittleEndian.Uint64(b[12+8*i:]))
	}
	if sound = s.sound(); !sound {
		*s = State{}
	}
	return sound
}

// sound says that it can be what was learned.
func (s *State) sound() bool {
	for _, m := range [...]*means{&s.recent, &s.far} {
		if !within(m.time, 0, Longest.Seconds()) || !within(m.prompt, 0, mostTokens) || !within(m.flying, 0, mostInFlight) {
			return false
		}
	}
	// A variance is at most the square of the longest way, and a covariance at most what the two variances allow.
	return s.count <= fewest && within(s.off, 0, Longest.Seconds()) &&
		within(s.pp, 0, mostTokens*mostTokens) && within(s.ff, 0, mostInFlight*mostInFlight) &&
		s.pf*s.pf <= 1.001*s.pp*s.ff+0.01 &&
		within(s.pt, -mostTokens*Longest.Seconds(), mostTokens*Longest.Seconds()) &&
		within(s.ft, -mostInFlight*Longest.Seconds(), mostInFlight*Longest.Seconds())
}

// within says that it is a number, and not outside of bounds.
func within(number, least, most float64) bool { return number >= least && number <= most }
