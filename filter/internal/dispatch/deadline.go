package dispatch

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// shortestWithin is how long one may wait that has no time at all: for a slot that is being freed.
const shortestWithin = time.Millisecond

// hurry notes how long a request may wait by its own word: as long as it is willing to, and what it can bear, less what the upstream takes:
// as is expected of it, or else usual.
func (g *Gate) hurry(s *shared, t *Ticket) {
	t.within = max(t.Patience, 0)
	if t.Within > 0 {
		takes := t.Takes
		if takes == 0 {
			takes = s.auto.Usual(t.Prompt)
		}
		within := max(t.Within-takes, shortestWithin)
		if t.within == 0 || within < t.within {
			t.within = within
		}
	}
}

// declines says that a request that can't go now doesn't wait: it asks not to, and there is a queue, which doesn't let it pass for being full.
func (g *Gate) declines(now clock.Moment, s *shared, t *Ticket, waiting int) bool {
	room := g.settings.Room()
	full := waiting >= room || g.excess(now, s, t) > 0
	return t.Patience < 0 && room > 0 && !(full && g.settings.WhenFull == config.QueueBypass)
}

// surely is how many times the pace of late it would take for a request to be in time that is refused at once.
const surely = 2

// late is by how much a request will have its turn too late, at the pace of late, if that is all but certain; else 0. A request is told to come back
// after that time.
func (g *Gate) late(now clock.Moment, s *shared, t *Ticket, by [Priorities]int) time.Duration {
	pace := s.paceAt(now)
	if !g.settings.Foresees || pace <= 0 || now.Sub(s.pacing) < time.Second || now.Sub(s.paced) > time.Second {
		return 0
	}
	longest := g.settings.MaxWait[t.Priority]
	if t.within > 0 {
		longest = min(longest, t.within)
	}
	wait := time.Duration(float64(g.ahead(t, by)) / pace * float64(time.Second))
	if wait <= surely*longest {
		return 0
	}
	return wait - longest
}

// ahead is how many have their turn before a new request, at least: all that wait at higher priorities; and, of its own, those of its subject,
// with as many of each other one, or else the first of each subject. Of other workers the lines aren't known, but how many wait there: of these
// as large a part goes before it as of this worker's.
func (g *Gate) ahead(t *Ticket, by [Priorities]int) (n int) {
	for q := int(t.Priority) + 1; q < Priorities; q++ {
		n += by[q]
	}
	lane := &g.queue.lanes[t.Priority]
	if lane.count == 0 {
		return n
	}
	turns := max(g.queue.line(t).length(), 1)
	here := 0
	for _, l := range lane.heap {
		here += min(l.count, turns)
	}
	return n + here*by[t.Priority]/lane.count
}
