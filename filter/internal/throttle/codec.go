package throttle

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/quorum"
)

const (
	rateSize   = 4*8 + 8 + blocks*(4+16)
	tailSize   = 8 + 16 + 8 + history*8 + 4*(buckets+1)
	memorySize = 16
	fusionSize = 8 + 8*int(signals) + 8 + 8 + 8*recents
	ownSize    = 1 + 7*8 + 2 + 3*8

	// size is the length of what Append adds, in bytes.
	size = rateSize + tailSize + memorySize + fusionSize + ownSize + quorum.Size
)

var order = binary.LittleEndian

func appendFloats(b []byte, values ...float64) []byte {
	for _, v := range values {
		b = order.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

func appendInts(b []byte, values ...int64) []byte {
	for _, v := range values {
		b = order.AppendUint64(b, uint64(v))
	}
	return b
}

func flag(b []byte, set bool) []byte {
	if set {
		return append(b, 1)
	}
	return append(b, 0)
}

// Append adds the state to b, little endian.
func (s *State) Append(b []byte) []byte {
	r, t, f := &s.rate, &s.tail, &s.fusion
	b = appendInts(b, int64(r.window), int64(r.opened), r.count, int64(r.began))
	b = appendFloats(b, r.smooth)
	for i := range r.blocks {
		b = order.AppendUint32(b, r.blocks[i].steps)
		b = appendFloats(b, r.blocks[i].sum, r.blocks[i].squares)
	}
	b = appendInts(b, int64(t.opened))
	b = appendFloats(b, t.newest, t.smooth)
	b = order.AppendUint32(order.AppendUint32(b, t.slow), t.known)
	b = appendFloats(b, t.past[:]...)
	b = order.AppendUint32(b, t.present.total)
	for _, n := range &t.present.counts {
		b = order.AppendUint32(b, n)
	}
	b = appendInts(appendFloats(b, s.memory.share), int64(s.memory.at))
	b = appendInts(b, int64(f.sampled))
	b = appendFloats(appendFloats(b, f.weights[:]...), f.cut)
	b = order.AppendUint32(order.AppendUint32(b, f.low), f.known)
	b = appendFloats(b, f.recent[:]...)
	b = appendFloats(flag(b, s.tripped), s.severity)
	b = appendInts(b, int64(s.since), int64(s.stirred), int64(s.hold), int64(s.eased))
	b = appendFloats(b, s.mix[:]...)
	b = appendInts(flag(append(b, byte(s.last.Signal)), s.last.Fused), int64(s.last.At))
	return s.quorum.Append(appendFloats(b, s.last.Measured, s.last.Threshold))
}

// reader takes a state apart whose length is right. Its numbers are never negative, nor without end; wrong says that one was.
type reader struct {
	rest  []byte
	wrong bool
}

func (r *reader) byte(most byte) byte {
	n := r.rest[0]
	r.rest = r.rest[1:]
	r.wrong = r.wrong || n > most
	return n
}

func (r *reader) uint32() uint32 {
	n := order.Uint32(r.rest)
	r.rest = r.rest[4:]
	return n
}

func (r *reader) int64() int64 {
	n := int64(order.Uint64(r.rest))
	r.rest = r.rest[8:]
	return n
}

func (r *reader) moment() clock.Moment { return clock.Moment(r.int64()) }

func (r *reader) float(most float64) float64 {
	v := math.Float64frombits(order.Uint64(r.rest))
	r.rest = r.rest[8:]
	r.wrong = r.wrong || !(v >= 0 && v <= most) || math.Signbit(v)
	return v
}

// Bounds of what can be written.
const (
	mostSum     = 1e9 * math.MaxUint32 // of a block
	mostTime    = 2 * float64(longest)
	mostMeasure = 1e18
)

// Decode reads what Append wrote. It says false if that isn't what it was given: then s is the zero value.
func (s *State) Decode(b []byte) bool {
	*s = State{}
	if len(b) != size {
		return false
	}
	r := reader{rest: b}
	r.rate(&s.rate)
	r.tail(&s.tail)
	s.memory.share = r.float(1)
	s.memory.at = r.moment()
	r.fusion(&s.fusion)
	s.tripped = r.byte(1) == 1
	s.severity = r.float(1)
	s.since, s.stirred, s.hold, s.eased = r.moment(), r.moment(), time.Duration(r.int64()), r.moment()
	s.mix[0], s.mix[1] = r.float(1), r.float(1)
	s.last.Signal = Signal(r.byte(byte(signals - 1)))
	s.last.Fused = r.byte(1) == 1
	s.last.At = r.moment()
	s.last.Measured, s.last.Threshold = r.float(mostMeasure), r.float(mostMeasure)
	if sound := s.quorum.Decode(r.rest); !sound || r.wrong || s.hold < 0 || s.hold > longestHold*time.Hour || s.tripped && s.hold == 0 || !s.tripped && s.severity != 0 {
		*s = State{}
		return false
	}
	return true
}

func (r *reader) rate(to *Rate) {
	to.window, to.opened, to.count, to.began = time.Duration(r.int64()), r.moment(), r.int64(), r.moment()
	to.smooth = r.float(float64(mostCount))
	for i := range to.blocks {
		b := &to.blocks[i]
		b.steps, b.sum, b.squares = r.uint32(), r.float(mostSum), r.float(mostSum*1e9)
	}
	r.wrong = r.wrong || to.count < 0 || to.count > mostCount || to.window < 0
}

func (r *reader) tail(to *Tail) {
	to.opened = r.moment()
	to.newest, to.smooth = r.float(mostTime), r.float(mostTime)
	to.slow, to.known = r.uint32(), r.uint32()
	for i := range to.past {
		to.past[i] = r.float(mostTime)
	}
	to.present.total = r.uint32()
	sum := uint64(0)
	for i := range to.present.counts {
		to.present.counts[i] = r.uint32()
		sum += uint64(to.present.counts[i])
	}
	r.wrong = r.wrong || to.known > history || to.slow > 1<<30 || sum != uint64(to.present.total)
}

func (r *reader) fusion(to *fusion) {
	to.sampled = r.moment()
	for i := range to.weights {
		to.weights[i] = r.float(1)
	}
	to.cut = r.float(highCut)
	to.low, to.known = r.uint32(), r.uint32()
	for i := range to.recent {
		to.recent[i] = r.float(1)
	}
	r.wrong = r.wrong || to.known > recents
}
