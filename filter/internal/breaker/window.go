package breaker

import (
	"math"

	"github.com/spillway-proxy/spillway/filter/internal/sliding"
)

// window counts the requests that ended in the last Settings.Window.
type window struct{ sliding.Window[counts] }

func (w *window) sum() counts {
	var total, failed, slow uint64
	for _, slot := range &w.Slots {
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
