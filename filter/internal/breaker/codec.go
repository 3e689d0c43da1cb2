package breaker

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/quorum"
	"github.com/spillway-proxy/spillway/filter/internal/sliding"
)

const (
	headSize   = 1 + 1 + 8 + 8 + 4
	windowSize = 8 + sliding.Slots*12
	holderSize = 4*8 + 4
	lastSize   = 3 * 8

	// Size is the length of what Append adds, in bytes.
	Size = headSize + windowSize + maxHolders*holderSize + quorum.Size + 2*8 + lastSize
)

var order = binary.LittleEndian

// Append adds the state to b, little endian.
func (s *State) Append(b []byte) []byte {
	b = append(b, byte(s.phase), byte(s.last.cause))
	b = order.AppendUint64(b, s.period)
	b = order.AppendUint64(b, uint64(s.since))
	b = order.AppendUint32(b, s.succeeded)
	b = order.AppendUint64(b, uint64(s.window.Opened))
	for i := range s.window.Slots {
		c := &s.window.Slots[i]
		b = order.AppendUint32(order.AppendUint32(order.AppendUint32(b, c.total), c.failed), c.slow)
	}
	for i := range s.holders {
		h := &s.holders[i]
		b = order.AppendUint64(b, h.worker)
		b = order.AppendUint64(b, uint64(h.began))
		b = order.AppendUint64(b, uint64(h.heard))
		b = order.AppendUint64(b, h.by)
		b = order.AppendUint32(b, h.probes)
	}
	b = order.AppendUint64(order.AppendUint64(s.quorum.Append(b), s.sole), s.failedLast)
	b = order.AppendUint64(b, uint64(s.last.At))
	b = order.AppendUint64(b, math.Float64bits(s.last.Share))
	return order.AppendUint64(b, uint64(s.last.Over))
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
	if b[0] > byte(HalfOpen) || b[1] > byte(probeSlow) {
		return false
	}
	s.phase, s.period, s.since, s.succeeded = Phase(b[0]), order.Uint64(b[2:]), clock.Moment(order.Uint64(b[10:])), order.Uint32(b[18:])
	s.last.cause = cause(b[1])
	s.window.Opened = clock.Moment(order.Uint64(b[headSize:]))
	b = b[headSize+8:]
	for i := range s.window.Slots {
		s.window.Slots[i] = counts{total: order.Uint32(b), failed: order.Uint32(b[4:]), slow: order.Uint32(b[8:])}
		b = b[12:]
	}
	for i := range s.holders {
		s.holders[i] = holder{worker: order.Uint64(b), began: clock.Moment(order.Uint64(b[8:])), heard: clock.Moment(order.Uint64(b[16:])), by: order.Uint64(b[24:]), probes: order.Uint32(b[32:])}
		b = b[holderSize:]
	}
	sound := s.quorum.Decode(b)
	b = b[quorum.Size:]
	s.sole, s.failedLast = order.Uint64(b), order.Uint64(b[8:])
	b = b[16:]
	s.last.At, s.last.Share, s.last.Over = clock.Moment(order.Uint64(b)), math.Float64frombits(order.Uint64(b[8:])), time.Duration(order.Uint64(b[16:]))
	return sound && s.possible()
}

// possible says whether any sequence of calls can lead to such a state.
func (s *State) possible() bool {
	if !s.fits() {
		return false
	}
	for i := range s.window.Slots {
		if c := &s.window.Slots[i]; !c.possible() || s.phase != Closed && *c != (counts{}) {
			return false
		}
	}
	for i := range s.holders {
		if h := &s.holders[i]; h.probes == 0 && *h != (holder{}) {
			return false
		}
	}
	return s.last.possible()
}

// fits says that there is nothing that the phase can't have.
func (s *State) fits() bool {
	if s.phase != HalfOpen && (s.succeeded != 0 || s.holders != [maxHolders]holder{}) {
		return false
	}
	if s.phase == Closed {
		return s.sole == 0 && s.failedLast == 0
	}
	return s.period != 0 && s.quorum == (quorum.Quorum{})
}

func (t *Trigger) possible() bool {
	return t.Share >= 0 && t.Share <= 1 && !math.Signbit(t.Share) && t.Over >= 0
}
