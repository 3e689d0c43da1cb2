package retreat

import (
	"encoding/binary"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/quorum"
	"github.com/spillway-proxy/spillway/filter/internal/sliding"
)

// Size is the length of what Append adds, in bytes.
const Size = 2 + 4 + 4*8 + 2*8 + sliding.Slots*8 + quorum.Size + 8 + 4

// Append adds the state to b, little endian.
func (s *State) Append(b []byte) []byte {
	alarm := byte(0)
	if s.alarm {
		alarm = 1
	}
	b = append(b, byte(s.phase), alarm)
	b = binary.LittleEndian.AppendUint32(b, s.lowered)
	for _, moment := range [...]clock.Moment{s.evaluated, s.calm, s.stepped, s.window.Opened} {
		b = binary.LittleEndian.AppendUint64(b, uint64(moment))
	}
	b = s.steady.append(s.fresh.append(b))
	for _, slot := range &s.window.Slots {
		b = slot.append(b)
	}
	b = binary.LittleEndian.AppendUint64(s.quorum.Append(b), s.sole)
	return binary.LittleEndian.AppendUint32(b, s.others)
}

func (c counts) append(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, c.total), c.limited)
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
	if b[0] > byte(Recovering) || b[1] > 1 {
		return false
	}
	s.phase, s.alarm, s.lowered = Phase(b[0]), b[1] == 1, binary.LittleEndian.Uint32(b[2:])
	b = b[6:]
	for _, moment := range [...]*clock.Moment{&s.evaluated, &s.calm, &s.stepped, &s.window.Opened} {
		*moment = clock.Moment(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	s.fresh, b = decodeCounts(b)
	s.steady, b = decodeCounts(b)
	for i := range &s.window.Slots {
		s.window.Slots[i], b = decodeCounts(b)
	}
	sound := s.quorum.Decode(b)
	b = b[quorum.Size:]
	s.sole, s.others = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:])
	return sound && s.possible()
}

func decodeCounts(b []byte) (c counts, rest []byte) {
	return counts{total: binary.LittleEndian.Uint32(b), limited: binary.LittleEndian.Uint32(b[4:])}, b[8:]
}

// possible says whether any sequence of calls can lead to such a state.
func (s *State) possible() bool {
	switch {
	case s.lowered >= Whole,
		s.phase == Normal && s.lowered != 0,
		s.alarm && s.phase != Retreating,
		s.sole != 0 && s.phase == Normal,
		s.sole == 0 && s.others != 0,
		s.others > pardon,
		s.fresh.limited > s.fresh.total,
		s.steady.limited > s.steady.total:
		return false
	}
	for _, slot := range &s.window.Slots {
		if slot.limited > slot.total {
			return false
		}
	}
	return true
}
