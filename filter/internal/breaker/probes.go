package breaker

import (
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// maxHolders is how many workers can have probes in flight at one time.
const maxHolders = 8

// holder is one worker's probes in flight. It is gone with the last of them.
type holder struct {
	worker uint64
	began  clock.Moment // when the entry was made: a probe of another one by the same worker is not this one's
	heard  clock.Moment
	by     uint64 // whose probes they are; 0: of several subjects
	probes uint32 // 0: the place is free
}

// expire drops the entries of dead workers.
func (s *State) expire(now clock.Moment) {
	for i := range s.holders {
		if h := &s.holders[i]; h.probes > 0 && (now.Sub(h.heard) >= Lease || h.heard.Sub(now) >= Lease) {
			*h = holder{}
		}
	}
}

// room gives the entry in which the worker can take one more probe for a subject; nil if there is none to take, or no place for an
// entry. What is older than OpenFor, and another's, is not waited for, and makes place.
func (s *State) room(now clock.Moment, c *Settings, worker, subject uint64) *holder {
	taken := uint64(s.succeeded)
	var own, free, stuck *holder
	for i := range s.holders {
		h := &s.holders[i]
		switch {
		case h.probes == 0:
			free = h
		case h.by != subject && now.Sub(h.began) >= max(c.openFor, 1):
			stuck = h
		case h.worker == worker:
			own = h
			fallthrough
		default:
			taken += uint64(h.probes)
		}
	}
	if free == nil {
		free = stuck
	}
	switch {
	case taken >= uint64(max(c.probes, 1)):
		return nil
	case own != nil:
		if own.by != subject {
			own.by = 0
		}
		return own
	case free != nil:
		*free = holder{worker: worker, began: now, heard: now, by: subject}
		return free
	}
	return nil
}

// holder gives the entry that was made at a time.
func (s *State) holder(worker uint64, began clock.Moment) *holder {
	for i := range s.holders {
		if h := &s.holders[i]; h.probes > 0 && h.worker == worker && h.began == began {
			return h
		}
	}
	return nil
}

// Probes is how many probes are out, and how many have succeeded.
func (s *State) Probes() (out, succeeded int) {
	for i := range s.holders {
		out += int(s.holders[i].probes)
	}
	return out, int(s.succeeded)
}

// Current says that a request was admitted in the present period.
func (s *State) Current(p Pass) bool { return p.period == s.period }
