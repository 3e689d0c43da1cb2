package breaker

import "math"

// slots is how many parts a window has: it reaches back between eleven twelfths of its length and all of it.
const slots = 12

// window counts the requests that ended in the last Settings.Window.
type window struct {
	opened int64         // when the first slot begins
	slots  [slots]counts // the newest first
}

// advance lets go of what is older than the window at the time now. A clock that was set back by more than a window is
// followed.
func (w *window) advance(now, length int64) {
	width := max(length/slots, 1)
	elapsed := since(w.opened, now)
	if elapsed < -length {
		w.opened = now
	}
	if elapsed < width {
		return
	}
	passed := elapsed / width
	if passed >= slots {
		*w = window{opened: now}
		return
	}
	copy(w.slots[passed:], w.slots[:])
	clear(w.slots[:passed])
	w.opened += passed * width
}

func (w *window) sum() counts {
	var total, failed, slow uint64
	for _, slot := range w.slots {
		total += uint64(slot.total)
		failed += uint64(slot.failed)
		slow += uint64(slot.slow)
	}
	most := uint64(math.MaxUint32)
	return counts{total: uint32(min(total, most)), failed: uint32(min(failed, most)), slow: uint32(min(slow, most))}
}

// counts are requests that ended; slow are those of them that didn't fail but were too slow.
type counts struct{ total, failed, slow uint32 }

// add counts a request. A full counter counts no more, so that the shares stay what they were.
func (c *counts) add(failed, slow bool) {
	if c.total == math.MaxUint32 {
		return
	}
	c.total++
	if failed {
		c.failed++
	} else if slow {
		c.slow++
	}
}

func (c *counts) possible() bool { return uint64(c.failed)+uint64(c.slow) <= uint64(c.total) }
