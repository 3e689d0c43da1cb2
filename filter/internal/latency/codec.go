package latency

import (
	"encoding/binary"
	"math"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/predict"
	"github.com/spillway-proxy/spillway/filter/internal/quorum"
)

// Size is the length of what Append adds, in bytes.
const Size = 3*16 + 1 + 3*8 + quorum.Size + 8 + predict.Size

// Append adds the state to b, little endian.
func (s *State) Append(b []byte) []byte {
	for _, a := range [...]*average{&s.ttft, &s.itl, &s.unary} {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(a.value))
		b = binary.LittleEndian.AppendUint64(b, uint64(a.at))
	}
	b = append(b, byte(s.last.Signal))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.last.At))
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s.last.measured))
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(s.last.threshold))
	b = binary.LittleEndian.AppendUint64(s.quorum.Append(b), s.sole)
	return s.expected.Append(b)
}

// Decode reads what Append wrote. It says false if that isn't what it was given: then s is the zero value, with which the caller starts
// anew.
func (s *State) Decode(b []byte) (sound bool) {
	if sound = len(b) == Size && s.decode(b); !sound {
		*s = State{}
	}
	return sound
}

func (s *State) decode(b []byte) bool {
	if b[3*16] > byte(ITL) {
		return false
	}
	for _, a := range [...]*average{&s.ttft, &s.itl, &s.unary} {
		a.value, a.at = math.Float64frombits(binary.LittleEndian.Uint64(b)), clock.Moment(binary.LittleEndian.Uint64(b[8:]))
		b = b[16:]
		if !plausible(a.value) {
			return false
		}
	}
	s.last = Trigger{
		Signal: Signal(b[0]), At: clock.Moment(binary.LittleEndian.Uint64(b[1:])),
		measured: math.Float64frombits(binary.LittleEndian.Uint64(b[9:])), threshold: math.Float64frombits(binary.LittleEndian.Uint64(b[17:])),
	}
	s.sole = binary.LittleEndian.Uint64(b[25+quorum.Size:])
	return s.expected.Decode(b[33+quorum.Size:]) && s.quorum.Decode(b[25:25+quorum.Size]) && plausible(s.last.measured) && plausible(s.last.threshold)
}

// plausible says that it is a time that Add can lead to; a NaN is none, nor is a negative zero.
func plausible(ns float64) bool { return ns >= 0 && ns <= float64(longest) && !math.Signbit(ns) }
