package retreat

import (
	"math"

	"github.com/spillway-proxy/spillway/filter/internal/quorum"
	"github.com/spillway-proxy/spillway/filter/internal/sliding"
)

// window counts the answers of the last Settings.Window.
type window struct{ sliding.Window[counts] }

func (w *window) sum() counts {
	var total, limited uint64
	for _, slot := range &w.Slots {
		total += uint64(slot.total)
		limited += uint64(slot.limited)
	}
	return counts{total: uint32(min(total, math.MaxUint32)), limited: uint32(min(limited, math.MaxUint32))}
}

// counts are answers; limited are those of them that were 429.
type counts struct{ total, limited uint32 }

// add counts an answer. A full counter counts no more, so that the share stays what it was.
func (c *counts) add(limited bool) {
	if c.total == math.MaxUint32 {
		return
	}
	c.total++
	if limited {
		c.limited++
	}
}

// share is the share of 429; 0 without answers.
func (c counts) share() float64 {
	if c.total == 0 {
		return 0
	}
	return float64(c.limited) / float64(c.total)
}

// weighed is what is to be believed of some answers: how large a share of how many was 429.
type weighed struct{ share, samples float64 }

func (c counts) weighed(w quorum.Weight) (believed weighed) {
	believed.share, believed.samples = w.Share(uint64(c.limited), uint64(c.total))
	return believed
}

// calm says that the share is below RecoverThreshold. No 429 at all is calm also if that is zero.
func (w weighed) calm(s *Settings) bool { return w.share == 0 || w.share < s.RecoverThreshold }
