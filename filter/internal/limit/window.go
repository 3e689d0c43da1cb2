package limit

import (
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// lastSecond is the latest that a window is asked for: three of the longest ones fit into 32 bits behind it. It is in 2103.
const lastSecond = 1<<32 - 1 - 3*366*24*3600

// at is the limit's rate at a moment: in the window that it is then, if it has windows.
func (l *limit) at(now clock.Moment, wall *clock.Wall) bucket.Rate {
	w := l.rate.Now
	if w == nil {
		return l.rate
	}
	second := min(wall.Second(now), lastSecond)
	if second < int64(w.Begin) || second >= int64(w.End) {
		begin, end := l.windows.At(second)
		_, after := l.windows.At(end)
		w.Begin, w.End, w.After = uint32(max(begin, 1)), uint32(end), uint32(after)
	}
	w.Ends = wall.Moment(int64(w.End))
	return l.rate
}

// rate is at, by the set's own clock.
func (s *Set) rate(now clock.Moment, l *limit) bucket.Rate { return l.at(now, s.table.Wall) }
