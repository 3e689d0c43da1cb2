package dispatch

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// Arrive decides about a request that has come.
func (g *Gate) Arrive(now clock.Moment, t *Ticket) Arrival {
	t.since, t.paid, t.beside, t.within, t.ending, t.place = now, false, 0, 0, false, 0
	t.units, t.spent = 1, 0 // where the store fails
	var v Arrival
	c := g.change(now)
	for g.read(&c) {
		if v = g.judge(now, &g.known, c.self, t); g.settings.Shadow && v.Outcome != gate.Allowed {
			g.passInShadow(now, &g.known, c.self, t, &v)
		}
		if v.Outcome == gate.Rejected {
			break
		}
		g.write(&c)
	}
	switch err := c.update.Err(); {
	case err == record.ErrContended && t.Patience < 0 && g.settings.Room() > 0 && !g.settings.Shadow:
		v = turnedAway(gate.NoWait, time.Second)
	case err == record.ErrContended && g.queue.waiting < g.settings.Room() && !g.settings.isLarge(t) && !g.settings.Shadow:
		v = arrivalOf(gate.Queued, "") // the next Dequeue finds it a turn
		t.tag, g.dirty = g.known.virtual[t.Priority], true
	case err != nil:
		v, g.dirty = Arrival{Verdict: gate.Verdict{Err: err}}, true
	}
	if v.Dropped != nil {
		g.queue.remove(v.Dropped)
		v.Wait = g.advice(now, &g.known, v.Dropped)
	}
	switch {
	case v.Outcome == gate.Allowed || v.Outcome == gate.Shadowed:
		g.launch(now, t)
	case v.parked:
		g.queue.add(t)
		g.queue.parked++
	case v.Outcome == gate.Queued:
		g.queue.push(t)
	}
	return v
}

// passInShadow lets a request go in shadow mode, whatever the verdict.
func (g *Gate) passInShadow(now clock.Moment, s *shared, self *worker, t *Ticket, v *Arrival) {
	reason := v.Reason
	if v.Outcome == gate.Queued {
		reason = gate.WouldWait
	}
	*v = arrivalOf(gate.Shadowed, reason)
	if self != nil {
		g.report(now, self, nil) // it doesn't wait after all
	}
	g.start(now, s, self, t)
}

// judge decides about a new request by the record, and notes it there.
func (g *Gate) judge(now clock.Moment, s *shared, self *worker, t *Ticket) Arrival {
	if self == nil {
		return turnedAway(gate.Full, time.Second)
	}
	s.touch(now, t)
	g.settle(now)
	by, waiting := s.waiting(now)
	g.hurry(s, t)
	if now < s.backoffFor(t) { // its own caller is not to come back yet, and keeps nobody else up
		if g.declines(now, s, t, waiting) {
			return turnedAway(gate.NoWait, g.advice(now, s, t))
		}
		v := g.room(now, s, self, t, waiting, by)
		if v.parked = v.Outcome == gate.Queued; v.parked {
			self.waiting[t.Priority]++
			self.bytes += t.Bytes
		}
		return v
	}
	if waiting == 0 {
		s.turns = s.turns[:0] // nobody has to take turns
		if g.allows(now, s, t) {
			g.start(now, s, self, t)
			return Arrival{}
		}
	} else if g.first(now, s, t) && g.allows(now, s, t) {
		s.dequeued(now, t, t.tag)
		g.start(now, s, self, t)
		return Arrival{}
	}
	if g.declines(now, s, t, waiting) {
		return turnedAway(gate.NoWait, g.advice(now, s, t))
	}
	if late := g.late(now, s, t, by); late > 0 {
		return turnedAway(gate.Late, min(max(late, time.Second), longestAdvice))
	}
	v := g.room(now, s, self, t, waiting, by)
	if v.Outcome == gate.Queued {
		g.enqueue(s, self, t)
	}
	return v
}

// enqueue notes in the record that a request begins to wait.
func (g *Gate) enqueue(s *shared, self *worker, t *Ticket) {
	alone := g.queue.line(t) == nil
	if alone {
		t.tag = s.enqueue(t)
	}
	self.waiting[t.Priority]++
	self.bytes += t.Bytes
	if head := g.queue.head(); head == nil || alone && t.before(head) {
		self.expect(t, t.tag)
	}
}

// before says that t's turn comes before a waiting request's.
func (t *Ticket) before(other *Ticket) bool {
	return t.Priority > other.Priority || t.Priority == other.Priority && t.tag < other.tag
}

// first says that a new request would be served before all that wait.
func (g *Gate) first(now clock.Moment, s *shared, t *Ticket) bool {
	if g.queue.line(t) != nil {
		return false
	}
	t.tag = max(s.due(t, 0), s.virtual[t.Priority])
	if head := g.queue.head(); head != nil && !t.before(head) {
		return false
	}
	return !s.yields(now, g.id, t)
}

// room finds a place in the queue for a request that can't go now.
func (g *Gate) room(now clock.Moment, s *shared, self *worker, t *Ticket, waiting int, by [Priorities]int) Arrival {
	c := &g.settings
	if over := g.excess(now, s, t); over > 0 {
		return g.roomForBytes(now, s, self, t, over)
	}
	switch {
	case waiting < c.QueueMax:
		return arrivalOf(gate.Queued, "")
	case self.parked > 0 && now >= s.backoffFor(t):
		idle := g.queue.newestParked()
		self.losesParked(idle)
		return inPlaceOf(idle)
	case waiting < c.Room():
		return arrivalOf(gate.Queued, gate.PassedFull)
	case c.WhenFull == config.QueueBypass:
		g.start(now, s, self, t)
		return arrivalOf(gate.Allowed, gate.Bypassed)
	case c.Room() == 0:
		return turnedAway(gate.Shed, g.advice(now, s, t))
	case c.WhenFull == config.QueueDropLowest:
		for p := config.Low; p < t.Priority; p++ {
			if by[p] > 0 {
				return g.displace(s, self, p)
			}
		}
	}
	// What other workers were promised of the longest line isn't its own any more.
	if longest := g.queue.longest(t.Priority); longest != nil && longest.count-int(self.drop[t.Priority]) > g.queue.line(t).length()+1 {
		self.loses(longest.last)
		return inPlaceOf(longest.last)
	}
	if now >= s.backoffFor(t) && s.makesRoom(self, t, uint32(g.queue.line(t).length())) {
		return arrivalOf(gate.Queued, "")
	}
	return turnedAway(gate.Full, g.advice(now, s, t))
}

// turnedAway is what becomes of a request for which there is no room.
func turnedAway(reason string, wait time.Duration) Arrival {
	a := arrivalOf(gate.Rejected, reason)
	a.Wait = wait
	return a
}

// inPlaceOf lets a request wait in another's place.
func inPlaceOf(dropped *Ticket) Arrival {
	a := arrivalOf(gate.Queued, "")
	a.Dropped = dropped
	return a
}

// makesRoom asks another worker for the room of one that waits beside its queue, or at the end of another subject's line that is longer
// than the mine requests of t's own.
func (s *shared) makesRoom(self *worker, t *Ticket, mine uint32) bool {
	p := t.Priority
	for i := range s.workers {
		w := &s.workers[i]
		switch {
		case w == self || w.waiting[p] <= w.drop[p]:
			continue
		case w.parked > 0:
			w.parked--
		case w.longest[p] > mine+1 && w.longestOf[p] != t.Subject:
			w.longest[p]--
		default:
			continue
		}
		w.drop[p]++
		return true
	}
	return false
}

// displace makes room by refusing the newest waiting request of a priority: this worker's, or another's, which finds the
// wish in its entry.
func (g *Gate) displace(s *shared, self *worker, p config.Priority) Arrival {
	if newest := g.queue.newest(p); newest != nil && self.waiting[p] > self.drop[p] { // else its room is promised already
		self.loses(newest)
		return inPlaceOf(newest)
	}
	for i := range s.workers {
		if w := &s.workers[i]; w.waiting[p] > w.drop[p] {
			w.drop[p]++
			w.longest[p] -= min(w.longest[p], 1)
			break
		}
	}
	return arrivalOf(gate.Queued, "")
}

// Leave takes a request out that is not to be served any more: its client has left, or it was refused elsewhere. One that
// is in flight has to Finish.
func (g *Gate) Leave(t *Ticket) {
	if t.state == stWaiting {
		g.queue.remove(t)
		g.dirty = true
	}
}

// Answer is how a request in flight ended.
type Answer struct {
	Used             int64         // tokens, prompt and output
	Judged           bool          // the upstream answered, well or not: it counts for the retreat
	Limited          bool          // it answered that it is asked too much (429)
	Closed           time.Duration // it said not to come back for so long; 0: nothing
	Revoked          bool          // it was a low stream that was ended for an urgent request (Dequeue said so)
	Void             bool          // the request doesn't count: its share of the budget of requests is given back
	Requests, Tokens int64         // what it said is left of our share; below 0: nothing was said
	Took             Took          // where slots are learned
}

// Finish ends a request in flight: its slot is free. Dequeue then finds who takes it.
func (g *Gate) Finish(now clock.Moment, t *Ticket, a Answer) error {
	if t.state != stInFlight {
		return nil
	}
	t.state = stNone
	g.inFlight[t.Priority] -= t.units
	g.flying--
	g.flight.remove(t)
	g.forgetStream(t)
	g.dirty = true
	g.Observe(now, t, a.Took)
	c := g.change(now)
	for g.read(&c) {
		g.finish(now, &g.known, t, &a)
		g.write(&c)
	}
	g.refreshTurn(t)
	return c.update.Err()
}

// finish notes in the record how a request has ended.
func (g *Gate) finish(now clock.Moment, s *shared, t *Ticket, a *Answer) {
	if g.settings.Tokens.Quantity > 0 {
		g.charge(s, t, a.Used)
	}
	if a.Void && g.settings.Requests.Quantity > 0 {
		s.requests.Use(-t.spent)
	}
	if a.Revoked {
		s.revoked, s.revokedAt = s.revoked+1, now
	}
	if t.paid {
		s.correct(t, a.Used)
	}
	if a.Judged && g.settings.Retreats {
		s.retreat.Record(now, &g.settings.Retreat, t.id(), a.Limited)
		s.retreat.Evaluate(now, &g.settings.Retreat)
		g.settle(now)
	}
	g.applyHints(now, s, t, a)
}
