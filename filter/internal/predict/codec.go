package predict

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// Size is the length of what Append adds, in bytes.
const Size = 8 + 4 + 8*(2*variables+variables*(variables+1)/2+causes+1)

// Append adds the state to b, little endian.
func (s *State) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(s.at))
	b = binary.LittleEndian.AppendUint32(b, s.count)
	b = appendNumbers(appendNumbers(b, s.recent[:]), s.far[:])
	b = appendNumbers(appendNumbers(b, s.moments[:]), s.slopes[:])
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(s.off))
}

func appendNumbers(b []byte, numbers []float64) []byte {
	for _, number := range numbers {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(number))
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
	b = take(take(b[12:], s.recent[:]), s.far[:])
	b = take(take(b, s.moments[:]), s.slopes[:])
	s.off = math.Float64frombits(binary.LittleEndian.Uint64(b))
	if sound = s.sound(); !sound {
		*s = State{}
	}
	return sound
}

// take reads numbers, and gives what is behind them.
func take(b []byte, numbers []float64) []byte {
	for i := range numbers {
		numbers[i] = math.Float64frombits(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	return b
}

// most is the most that is measured.
var most = measures{mostTokens, mostTokens, mostInFlight, float64(Longest / time.Second)}

// sound says that it can be what was learned.
func (s *State) sound() bool {
	sound := s.count <= fewest && within(s.off, 0, most[took])
	for _, slope := range s.slopes {
		sound = sound && within(slope, 0, most[took])
	}
	for i := range variables {
		sound = sound && within(s.recent[i], 0, most[i]) && within(s.far[i], 0, most[i]) && s.moments[moment(i, i)] >= 0
		for j := range i + 1 {
			// A variance is at most the square of the longest way, and a covariance at most what the two variances allow.
			m := s.moments[moment(i, j)]
			sound = sound && within(m, -most[i]*most[j], most[i]*most[j]) && m*m <= 1.001*s.moments[moment(i, i)]*s.moments[moment(j, j)]+0.01
		}
	}
	return sound
}

// within says that it is a number, and not outside of bounds.
func within(number, least, most float64) bool { return number >= least && number <= most }
