package dispatch

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// Arrive decides about a request that has come.
func (g *Gate) Arrive(now clock.Moment, t *Ticket) Arrival {
	t.since, t.paid = now, false
	var v Arrival
	err := g.change(now, func(s *shared, self *worker) bool {
		if v = g.judge(now, s, self, t); g.settings.Shadow && v.Outcome != gate.Allowed {
			g.pass(now, s, self, t, &v)
		}
		return v.Outcome != gate.Rejected
	})
	switch {
	case err == record.ErrContended && g.queue.waiting < g.settings.Room() && !g.settings.Shadow:
		v = says(gate.Queued, "") // the next Serve finds it a turn
		t.tag, g.unsaid = g.known.virtual[t.Priority], true
	case err != nil:
		v, g.unsaid = Arrival{Verdict: gate.Verdict{Err: err}}, true
	}
	if v.Dropped != nil {
		g.queue.remove(v.Dropped)
		v.Wait = g.advice(now, &g.known, v.Dropped)
	}
	switch {
	case v.Outcome == gate.Allowed || v.Outcome == gate.Shadowed:
		g.fly(now, t)
	case v.aside:
		g.queue.add(t)
		g.queue.parked++
	case v.Outcome == gate.Queued:
		g.queue.push(t)
	}
	return v
}

// pass lets a request go in shadow mode, whatever the verdict.
func (g *Gate) pass(now clock.Moment, s *shared, self *worker, t *Ticket, v *Arrival) {
	reason := v.Reason
	if v.Outcome == gate.Queued {
		reason = gate.WouldWait
	}
	*v = says(gate.Shadowed, reason)
	if self != nil {
		g.say(now, self, nil) // it doesn't wait after all
	}
	g.start(now, s, self, t)
}

// judge decides about a new request by the record, and notes it there.
func (g *Gate) judge(now clock.Moment, s *shared, self *worker, t *Ticket) Arrival {
	if self == nil {
		return turnedAway(gate.Full, time.Second)
	}
	s.meet(now, t)
	by, waiting := s.waiting(now)
	if now < s.shutFor(t) { // its own caller is not to come back yet, and keeps nobody else up
		v := g.room(now, s, self, t, waiting, by)
		if v.aside = v.Outcome == gate.Queued; v.aside {
			self.waiting[t.Priority]++
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
		s.went(now, t, t.tag)
		g.start(now, s, self, t)
		return Arrival{}
	}
	v := g.room(now, s, self, t, waiting, by)
	if v.Outcome == gate.Queued {
		g.enter(s, self, t)
	}
	return v
}

// enter notes in the record that a request begins to wait.
func (g *Gate) enter(s *shared, self *worker, t *Ticket) {
	alone := g.queue.line(t) == nil
	if alone {
		t.tag = s.enter(t)
	}
	self.waiting[t.Priority]++
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
	switch {
	case waiting < c.QueueMax:
		return says(gate.Queued, "")
	case g.queue.parked > 0 && now >= s.shutFor(t):
		idle := g.queue.idlest()
		self.waiting[idle.Priority]--
		return inPlaceOf(idle)
	case waiting < c.Room():
		return says(gate.Queued, gate.PassedFull)
	case c.WhenFull == config.QueueBypass:
		g.start(now, s, self, t)
		return says(gate.Allowed, gate.Bypassed)
	case c.Room() == 0:
		return turnedAway(gate.Shed, g.advice(now, s, t))
	case c.WhenFull == config.QueueDropLowest:
		for p := config.Low; p < t.Priority; p++ {
			if by[p] > 0 {
				return g.displace(s, self, p)
			}
		}
	}
	if longest := g.queue.longest(t.Priority); longest != nil && longest.count > g.queue.line(t).length()+1 {
		self.waiting[t.Priority]--
		return inPlaceOf(longest.last)
	}
	if now >= s.shutFor(t) && s.makesRoom(self, t, uint32(g.queue.line(t).length())) {
		return says(gate.Queued, "")
	}
	return turnedAway(gate.Full, g.advice(now, s, t))
}

// turnedAway is what becomes of a request for which there is no room.
func turnedAway(reason string, wait time.Duration) Arrival {
	a := says(gate.Rejected, reason)
	a.Wait = wait
	return a
}

// inPlaceOf lets a request wait in another's place.
func inPlaceOf(dropped *Ticket) Arrival {
	a := says(gate.Queued, "")
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
		case w.idle > 0:
			w.idle--
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
		self.waiting[p]--
		return inPlaceOf(newest)
	}
	for i := range s.workers {
		if w := &s.workers[i]; w.waiting[p] > w.drop[p] {
			w.drop[p]++
			break
		}
	}
	return says(gate.Queued, "")
}

// Leave takes a request out that is not to be served any more: its client has left, or it was refused elsewhere. One that
// is in flight has to Finish.
func (g *Gate) Leave(t *Ticket) {
	if t.state == stWaiting {
		g.queue.remove(t)
		g.unsaid = true
	}
}

// Answer is how a request in flight ended.
type Answer struct {
	Used             int64         // tokens, prompt and output
	Judged           bool          // the upstream answered, well or not: it counts for the retreat
	Limited          bool          // it answered that it is asked too much (429)
	Closed           time.Duration // it said not to come back for so long; 0: nothing
	Void             bool          // the request doesn't count: its share of the budget of requests is given back
	Requests, Tokens int64         // what it said is left of our share; below 0: nothing was said
}

// Finish ends a request in flight: its slot is free. Serve then finds who takes it.
func (g *Gate) Finish(now clock.Moment, t *Ticket, a Answer) error {
	if t.state != stInFlight {
		return nil
	}
	t.state = stNone
	g.inFlight[t.Priority]--
	g.flying--
	g.flight.remove(t)
	g.unsaid = true
	defer g.stand(t)
	return g.change(now, func(s *shared, _ *worker) bool {
		if g.settings.Tokens.Quantity > 0 {
			s.tokens.Use(min(a.Used, bucket.Most/bucket.Micro) * bucket.Micro)
		}
		if a.Void && g.settings.Requests.Quantity > 0 {
			s.requests.Use(-bucket.Micro)
		}
		if t.paid {
			s.correct(t, a.Used)
		}
		if a.Judged && g.settings.Retreats {
			s.retreat.Record(now, &g.settings.Retreat, t.id(), a.Limited)
			s.retreat.Evaluate(now, &g.settings.Retreat)
		}
		g.heed(now, s, t, a)
		return true
	})
}

// Serve refuses what has waited too long, starts what can go, and keeps the other workers informed. do is told of each
// waiting request that is decided.
func (g *Gate) Serve(now clock.Moment, do func(*Ticket, gate.Verdict)) error {
	g.expire(now, do)
	if (g.others || g.looked == 0) && clock.Sub(now, g.looked) >= Heartbeat {
		if err := g.read(now); err != nil {
			return err
		}
	}
	g.wake(now)
	for g.queue.waiting > 0 || g.unsaid || g.moving() && clock.Sub(now, g.said) >= Heartbeat {
		next, drop, err := g.step(now)
		if err != nil {
			return err
		}
		g.obey(now, drop, do)
		switch {
		case next != nil:
		case drop != [Priorities]uint32{}:
			continue
		default:
			return nil
		}
		g.queue.remove(next)
		g.stand(next)
		g.fly(now, next)
		do(next, gate.Verdict{Waited: next.Waited(now)})
	}
	return nil
}

// step starts the head of the queue if it can go, or else says what there is to say.
func (g *Gate) step(now clock.Moment) (next *Ticket, drop [Priorities]uint32, err error) {
	err = g.change(now, func(s *shared, self *worker) bool {
		next, drop = nil, [Priorities]uint32{}
		if self == nil {
			return false
		}
		drop, self.drop = self.drop, drop
		for p, n := range drop { // or another worker would count on the same room
			self.waiting[p] -= min(n, self.waiting[p])
		}
		head := g.due(now, s)
		if head != nil {
			self.expect(head, head.tag)
		}
		if head != nil && drop == [Priorities]uint32{} && !s.yields(now, g.id, head) && g.allows(now, s, head) {
			next = head
			s.went(now, head, head.tag)
			g.start(now, s, self, head)
			self.waiting[head.Priority]--
			self.expect(g.queue.second(s.due(head, head.tag)))
			return true
		}
		// A turn that has changed has to be told, or each worker would hold back for one that the other no longer has.
		return g.unsaid || drop != [Priorities]uint32{} || !self.sameTurn(&g.told) ||
			head != nil && clock.Sub(now, g.said) >= queueHeartbeat || clock.Sub(now, g.said) >= Heartbeat
	})
	return next, drop, err
}

// due is the request whose turn is next, by what the record says of the subjects: other workers serve them too. Those whose callers are
// not to come back yet wait beside the queue.
func (g *Gate) due(now clock.Moment, s *shared) *Ticket {
	for {
		head := g.queue.head()
		if head == nil {
			return nil
		}
		if now < s.shutFor(head) {
			g.queue.park(head)
			g.unsaid = true
			continue
		}
		tag := s.due(head, head.tag)
		if tag <= head.tag {
			g.queue.retag(head.line, tag)
			return head
		}
		g.queue.retag(head.line, tag)
	}
}

// stand puts what waits of a request's subject where the subject stands.
func (g *Gate) stand(t *Ticket) {
	if l := g.queue.line(t); l != nil {
		g.queue.retag(l, g.known.due(t, l.first.tag))
	}
}

// obey refuses requests that other workers need the room of.
func (g *Gate) obey(now clock.Moment, drop [Priorities]uint32, do func(*Ticket, gate.Verdict)) {
	for p, n := range drop {
		for ; n > 0; n-- {
			t := g.spare(config.Priority(p))
			if t == nil {
				break
			}
			g.refuse(now, t, gate.Dropped, do)
		}
	}
}

// spare is the request of a priority that makes room for another worker's: one that waits beside the queue, else the newest of a line of
// several, else the newest.
func (g *Gate) spare(p config.Priority) *Ticket {
	longest := g.queue.longest(p)
	switch idle := g.queue.idlest(); {
	case idle != nil:
		return idle
	case longest != nil && longest.count > 1:
		return longest.last
	}
	return g.queue.newest(p)
}

// expire refuses what has waited too long.
func (g *Gate) expire(now clock.Moment, do func(*Ticket, gate.Verdict)) {
	for p := range g.queue.lanes {
		for {
			t := g.queue.oldest(config.Priority(p))
			if t == nil || clock.Sub(now, t.since) < g.settings.MaxWait[p] {
				break
			}
			g.refuse(now, t, gate.Timeout, do)
		}
	}
}

func (g *Gate) refuse(now clock.Moment, t *Ticket, reason string, do func(*Ticket, gate.Verdict)) {
	g.queue.remove(t)
	g.unsaid = true
	v := turnedAway(reason, g.advice(now, &g.known, t)).Verdict
	v.Waited = t.Waited(now)
	do(t, v)
}
