package dispatch

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// What an upstream says of its limits it says to one caller: that it shall not come back for a minute, or that 3 requests are left. Whose
// limits those are depends on whose credential the upstream saw. So they hold for the caller that was told, and for all only if
// that can be known:
//
//   - A caller with a key of its own speaks for that key alone: the upstream saw the key.
//   - Callers without a key share a credential that something behind this filter adds, or none. What two of them were told holds for
//     all, as far as both agree: until the earlier of two times, down to the larger of two balances.
//   - A caller that is the only one there has been within lately speaks for the budget, too. That is taken back when another comes. So it
//     is with the retreat: what it has lowered on the word of one alone holds only while there is nobody else.
//
// A request whose own caller must not come back waits beside the queue (park), so that it keeps nobody up.

const (
	mostCallers = 8 // that are known; the one that was longest not heard of is forgotten, and what it was told last of all
	callerSize  = 6 * 8
	lately      = time.Minute
	longestShut = time.Minute // that an upstream is believed
)

// caller is what the upstream has told one caller.
type caller struct {
	id               uint64       // keyed hash, never 0
	keyed            bool         // it has a key of its own
	heard            clock.Moment // when it last came or was answered
	backoff          clock.Moment // none of its requests starts before this time
	requests, tokens int64        // what it was last told is left of a budget; below 0: nothing
}

// id is who the upstream takes the request to be from.
func (t *Ticket) id() uint64 { return max(t.Caller, 1) }

// touch takes note of a caller that has come, and gives its entry, which is valid until the next one is taken note of.
func (s *shared) touch(now clock.Moment, t *Ticket) *caller {
	if s.lender != 0 && s.lender != t.id() { // it no longer speaks for all
		s.requests.Used = max(s.requests.Used-s.lent[0], 0)
		s.tokens.Used = max(s.tokens.Used-s.lent[1], 0)
		s.lender, s.lent = 0, [2]int64{}
	}
	s.doubted = s.doubted || s.retreat.Sole() != 0 && s.retreat.Sole() != t.id()
	oldest := 0
	for i := range s.callers {
		c := &s.callers[i]
		if c.id == t.id() {
			c.heard, c.keyed = now, t.Keyed
			return c
		}
		if o := &s.callers[oldest]; (c.backoff > now) != (o.backoff > now) && o.backoff > now || (c.backoff > now) == (o.backoff > now) && c.heard < o.heard {
			oldest = i
		}
	}
	fresh := caller{id: t.id(), keyed: t.Keyed, heard: now, requests: -1, tokens: -1}
	if len(s.callers) < mostCallers {
		s.callers = append(s.callers, fresh)
		return &s.callers[len(s.callers)-1]
	}
	s.callers[oldest] = fresh
	return &s.callers[oldest]
}

// doubts says that the retreat is one caller's word alone, and others have been heard of lately.
func (s *shared) doubts(now clock.Moment) bool {
	sole := s.retreat.Sole()
	if sole == 0 {
		return false
	}
	for i := range s.callers {
		if c := &s.callers[i]; c.id != sole && now.Sub(c.heard) <= lately {
			return true
		}
	}
	return false
}

// backoffFor is the time before which no request of the ticket's caller starts, for what that one was told itself.
func (s *shared) backoffFor(t *Ticket) clock.Moment {
	for i := range s.callers {
		if c := &s.callers[i]; c.id == t.id() {
			return c.backoff
		}
	}
	return 0
}

// backoffForAll is the time before which nothing starts: the second latest that callers without keys were told.
func (s *shared) backoffForAll() (second clock.Moment) {
	var first clock.Moment
	for i := range s.callers {
		switch c := &s.callers[i]; {
		case c.keyed:
		case c.backoff > first:
			first, second = c.backoff, first
		case c.backoff > second:
			second = c.backoff
		}
	}
	return second
}

// others says that callers other than one have been heard of lately, and gives the least of what those without a key were told is left.
func (s *shared) others(now clock.Moment, one *caller) (some bool, requests, tokens int64) {
	requests, tokens = -1, -1
	for i := range s.callers {
		c := &s.callers[i]
		if c.id == one.id || now.Sub(c.heard) > lately {
			continue
		}
		some = true
		if !c.keyed {
			requests, tokens = least(requests, c.requests), least(tokens, c.tokens)
		}
	}
	return some, requests, tokens
}

// least is the smaller of two that are said to be left; below 0: nothing is said.
func least(a, b int64) int64 {
	if b >= 0 && (a < 0 || b < a) {
		return b
	}
	return a
}

// applyHints takes what the upstream says of its limits into the record.
func (g *Gate) applyHints(now clock.Moment, s *shared, t *Ticket, a *Answer) {
	if !a.Judged || g.settings.Requests.Quantity == 0 && g.settings.Tokens.Quantity == 0 {
		return
	}
	c := s.touch(now, t)
	if a.Closed > 0 {
		c.backoff = max(c.backoff, now.Add(min(a.Closed, longestShut)))
	}
	c.requests, c.tokens = a.Requests, a.Tokens
	some, requests, tokens := s.others(now, c)
	switch {
	case !some:
		s.lender = c.id
		s.lent[0] += leave(&s.requests, g.requests(), a.Requests)
		s.lent[1] += leave(&s.tokens, g.tokens(), a.Tokens)
	case !c.keyed:
		leave(&s.requests, g.requests(), agreed(a.Requests, requests))
		leave(&s.tokens, g.tokens(), agreed(a.Tokens, tokens))
	}
}

// agreed is what two say is left; below 0 if one of them says nothing.
func agreed(a, b int64) int64 {
	if a < 0 || b < 0 {
		return -1
	}
	return max(a, b)
}

// leave lowers a balance to what is left, and says by how much.
func leave(meter *bucket.State, rate bucket.Rate, left int64) int64 {
	if left < 0 || rate.Quantity == 0 || left > rate.Burst/bucket.Micro {
		return 0
	}
	before := meter.Used
	meter.Used = max(meter.Used, rate.Burst-left*bucket.Micro)
	return meter.Used - before
}

// leak lets time pass in a budget. What was taken from it on the word of one caller is what comes back first.
func leak(meter *bucket.State, now clock.Moment, rate bucket.Rate, lent *int64) {
	before := meter.Used
	meter.Leak(now, rate)
	*lent = max(*lent-max(before-meter.Used, 0), 0)
}

// park lets a waiting request wait beside the queue: its place and its longest wait stay, but its turn doesn't come.
func (q *queue) park(t *Ticket) {
	q.lanes[t.Priority].part(t)
	t.line, t.ahead, t.behind = nil, nil, nil
	q.parked++
}

// unpark puts those back into the queue whose callers may come back, in the order in which they came.
func (g *Gate) unpark(now clock.Moment) {
	for p := range g.queue.lanes {
		if g.queue.parked == 0 {
			return
		}
		l := &g.queue.lanes[p]
		for t := l.first; t != nil; t = t.next {
			if t.line != nil || now < g.known.backoffFor(t) {
				continue
			}
			g.queue.parked--
			if g.queue.line(t) == nil {
				t.tag = max(g.known.due(t, 0), g.known.virtual[t.Priority])
			}
			l.join(t)
			g.dirty = true
		}
	}
}

// newestParked is the newest request that waits beside the queue, of the lowest priority; nil if none does.
func (q *queue) newestParked() *Ticket {
	if q.parked == 0 {
		return nil
	}
	for p := range q.lanes {
		for t := q.lanes[p].last; t != nil; t = t.previous {
			if t.line == nil {
				return t
			}
		}
	}
	return nil
}
