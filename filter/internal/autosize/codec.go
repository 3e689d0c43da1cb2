package autosize

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/quorum"
)

// Size is the length of what Append adds, in bytes.
const Size = moments*8 + numbers*8 + quorum.Size

const (
	moments = 7
	numbers = 18 + 18 + 5 + 3*terms + prompts
)

// numbers are all that is kept as such, in the order in which they are written.
func (s *State) numbers() [numbers]*float64 {
	w, v := &s.window, &s.verdict
	all := [numbers]*float64{
		&s.slots, &s.step, &s.ceiling, &s.last, &s.hold, &s.held, &s.cuts, &s.served, &s.unjudged, &s.longs, &s.rate, &s.calm, &s.streamed, &s.worth, &s.down, &s.filled, &s.filledBy, &s.shift,
		&w.samples, &w.units, &w.late, &w.bads, &w.bad, &w.inFlight, &w.took, &w.usual, &w.itls, &w.between, &w.room, &w.fresh, &w.packed, &w.full, &w.all, &w.streams, &w.others, &s.itl,
		&v.ttft, &v.usual, &v.queue, &v.itl, &v.whole,
	}
	at := numbers - prompts - 3*terms
	for _, l := range [...]*line{&s.whole, &s.below, &s.level} {
		for _, of := range l.terms() {
			all[at] = of
			at++
		}
	}
	for i := range s.base {
		all[at+i] = &s.base[i]
	}
	return all
}

// Append adds the state to b, little endian.
func (s *State) Append(b []byte) []byte {
	for _, n := range [moments]int64{int64(s.window.opened), int64(s.calmAt), int64(s.probing), int64(s.changed), int64(s.longFrom), int64(s.probed), int64(s.heard)} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	for _, n := range s.numbers() {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(*n))
	}
	return s.quorum.Append(b)
}

// Decode reads what Append wrote, from the beginning of b, which has Size bytes at least. It says false if that isn't what it was given: then
// s is the zero value, with which the caller starts anew.
func (s *State) Decode(b []byte) (sound bool) {
	var at [moments]int64
	for i := range at {
		at[i] = int64(binary.LittleEndian.Uint64(b))
		b = b[8:]
	}
	s.window.opened, s.calmAt, s.probing = clock.Moment(at[0]), clock.Moment(at[1]), clock.Moment(at[2])
	s.changed, s.longFrom, s.probed = clock.Moment(at[3]), clock.Moment(at[4]), time.Duration(at[5])
	s.heard = clock.Moment(at[6])
	sound = s.probed >= 0 && s.probed <= longestProbe
	for _, n := range s.numbers() {
		*n = math.Float64frombits(binary.LittleEndian.Uint64(b))
		b = b[8:]
		sound = sound && (*n >= 0 || n == &s.window.late || n == &s.verdict.queue) && math.Abs(*n) <= 1e15
	}
	sound = sound && s.slots <= mostSlots && (s.slots == 0 || s.step >= 1)
	if sound = s.quorum.Decode(b) && sound; !sound {
		*s = State{}
	}
	return sound
}
