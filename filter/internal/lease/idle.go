package lease

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// A lease that lies idle is given back: what others could use must not stay where nobody asks for it.

// lookIdle is how soon a worker looks again at a lease.
const lookIdle = 4 * time.Second

// mostWatched bounds the leases that a worker looks at.
const mostWatched = mostFronts

// idler is one of them.
type idler struct {
	Want
	due   clock.Moment // the next look
	left  int64        // of the lease, at the last one
	since clock.Moment // it has been that
}

// Watch has it looked at from time to time whether the lease of a front lies idle.
func (c *Client) Watch(now clock.Moment, f *Front, w *Want) {
	if !f.watched && len(c.watch) < mostWatched {
		f.watched = true
		c.watch = append(c.watch, idler{Want: *w, due: now.Add(lookIdle), left: -1})
	}
}

// Watched says that it is.
func (f *Front) Watched() bool { return f.watched }

// Idle looks at those for which it is time. left says how much is left of a lease, in whole units, and below 0 if a request under way has some of it;
// take takes that out of the bucket, and says when the window ends that it was leased in; 0: it is no more what was left.
func (c *Client) Idle(now clock.Moment, left func(*Want) int64, take func(*Want, int64) clock.Moment) {
	n := 0
	for ; n < mostAsks && n < len(c.watch) && c.watch[n].due <= now; n++ {
		w := &c.watch[n]
		f := c.fronts[w.ID]
		if f == nil {
			continue
		}
		amount := left(&w.Want)
		switch {
		case amount == 0 && f.low != never: // else it is owed something
			f.watched = false
			continue
		case amount < 0 || amount != w.left:
			w.left, w.since = amount, now
		case f.wanted || len(c.wants) >= mostWants/2 || c.failing > 0:
		case f.told < w.since || f.low == never: // that the count is still there, and complete: what is given back of one that is lost is given twice
			look := w.Want
			look.Need, look.GivesBack = 0, false
			c.Want(now, &look)
		default:
			if end := take(&w.Want, amount); end != 0 {
				c.giveBack(&w.Want, amount, end)
				f.watched = false
				continue
			}
		}
		w.due = now.Add(lookIdle)
		c.watch = append(c.watch, *w)
	}
	c.watch = c.watch[:copy(c.watch, c.watch[n:])]
}
