package dispatch

import (
	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// Dequeue takes out of the queue what is decided by now, one request after the other: it refuses what has waited too long, starts
// what can go, and keeps the other workers informed.
//
//	d := g.Dequeue(now)
//	for d.Next() {
//		// d.Ticket, and what became of it: d.Verdict
//	}
//	return d.Err()
type Dequeue struct {
	Ticket  *Ticket
	Verdict gate.Verdict // Allowed; or Rejected: it is refused, or, Revoked, in flight and has to end

	gate  *Gate
	now   clock.Moment
	begun bool // all that has waited too long was refused
	ended bool // nothing else is decided by now
	err   error
}

// Dequeue begins to serve the queue. It is for one event. It may be left before its end; the next one does the rest.
func (g *Gate) Dequeue(now clock.Moment) Dequeue { return Dequeue{gate: g, now: now} }

// Next decides about the next request. It says false if there is none that can be decided, or the store has failed.
func (d *Dequeue) Next() bool {
	switch {
	case d.ended:
		return false
	case !d.begun:
		if d.expire() {
			return true
		}
		if d.begun = true; !d.begin() {
			d.ended = true
			return false
		}
	}
	d.ended = !d.makeRoom() && !d.serve()
	return !d.ended
}

// Err is why it ended too early: the store's error; nil if it didn't.
func (d *Dequeue) Err() error { return d.err }

// begin reads what other workers have written, if that is due.
func (d *Dequeue) begin() bool {
	g := d.gate
	if (g.others || g.readAt == 0) && d.now.Sub(g.readAt) >= Heartbeat {
		if d.err = g.refresh(d.now); d.err != nil {
			return false
		}
	}
	g.unpark(d.now)
	return true
}

// serve starts the next request, or refuses one whose room another worker asks for. It says false if there is neither.
func (d *Dequeue) serve() bool {
	g := d.gate
	for g.queue.waiting > 0 || g.dirty || g.watches() || g.moving() && d.now.Sub(g.written) >= Heartbeat {
		next, ends, drop, err := g.step(d.now)
		switch {
		case err != nil:
			d.err = err
			return false
		case next != nil:
			g.queue.remove(next)
			g.refreshTurn(next)
			g.launch(d.now, next)
			d.Ticket, d.Verdict = next, gate.Verdict{Waited: next.Waited(d.now)}
			return true
		case ends != nil:
			d.revoke(ends)
			return true
		case drop == [Priorities]uint32{}:
			return false
		}
		if g.undone = drop; d.makeRoom() {
			return true
		}
	}
	return false
}

// step starts the head of the queue if it can go, or else ends a stream for an urgent request, or says what there is to say.
func (g *Gate) step(now clock.Moment) (next, ends *Ticket, drop [Priorities]uint32, err error) {
	c, s := g.change(now), &g.known
	for g.read(&c) {
		self := c.self
		if next, ends, drop = nil, nil, [Priorities]uint32{}; self == nil {
			break
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
			s.dequeued(now, head, head.tag)
			g.start(now, s, self, head)
			self.loses(head)
			self.has(head)
			self.expect(g.queue.second(s.due(head, head.tag)))
		} else if drop == [Priorities]uint32{} {
			if ends = g.revokes(now, s, self); ends == nil && !g.tells(now, self, head) {
				break
			}
		}
		g.write(&c)
	}
	return next, ends, drop, c.update.Err()
}

// tells says that there is something to write though nothing starts. A turn that has changed has to be told, or each worker would hold
// back for one that the other no longer has.
func (g *Gate) tells(now clock.Moment, self *worker, head *Ticket) bool {
	quiet := now.Sub(g.written)
	return g.dirty || !self.sameTurn(&g.entry) || self.claims != g.entry.claims || head != nil && quiet >= queueHeartbeat || quiet >= Heartbeat
}

// due is the request whose turn is next, by what the record says of the subjects: other workers serve them too. Those whose callers are
// not to come back yet wait beside the queue.
func (g *Gate) due(now clock.Moment, s *shared) *Ticket {
	for {
		head := g.queue.head()
		if head == nil {
			return nil
		}
		if now < s.backoffFor(head) {
			g.queue.park(head)
			g.dirty = true
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

// refreshTurn puts what waits of a request's subject where the subject stands.
func (g *Gate) refreshTurn(t *Ticket) {
	if l := g.queue.line(t); l != nil {
		g.queue.retag(l, g.known.due(t, l.first.tag))
	}
}

// makeRoom refuses one of the requests whose room other workers need. It says false if there is none.
func (d *Dequeue) makeRoom() bool {
	for p := range d.gate.undone {
		if d.gate.undone[p] == 0 {
			continue
		}
		if t := d.gate.victim(config.Priority(p)); t != nil {
			d.gate.undone[p]--
			d.refuse(t, gate.Dropped)
			return true
		}
		d.gate.undone[p] = 0
	}
	return false
}

// victim is the request of a priority that makes room for another worker's: one that waits beside the queue, else the newest of a line of
// several, else, if the other's priority may be higher, the newest. If it can't be, the line was longer when room was asked for; whatever
// has shortened it has made the room, and nobody has to go.
func (g *Gate) victim(p config.Priority) *Ticket {
	longest := g.queue.longest(p)
	switch idle := g.queue.newestParked(); {
	case idle != nil:
		return idle
	case longest != nil && longest.count > 1:
		return longest.last
	case g.settings.WhenFull == config.QueueDropLowest:
		return g.queue.newest(p)
	}
	return nil
}

// expire refuses one that has waited too long. It says false if there is none.
func (d *Dequeue) expire() bool {
	q := &d.gate.queue
	for p := range q.lanes {
		if t := q.oldest(config.Priority(p)); t != nil && d.now.Sub(t.since) >= d.gate.settings.MaxWait[p] {
			d.refuse(t, gate.Timeout)
			return true
		}
		if q.hurried == 0 {
			continue
		}
		for t := q.oldest(config.Priority(p)); t != nil; t = t.next {
			if t.within > 0 && d.now.Sub(t.since) >= t.within {
				d.refuse(t, t.impatience(d.now))
				return true
			}
		}
	}
	return false
}

// impatience is why a request that has waited as long as it may by its own word goes.
func (t *Ticket) impatience(now clock.Moment) string {
	if t.Patience > 0 && now.Sub(t.since) >= t.Patience {
		return gate.MaxWait
	}
	return gate.Late
}

func (d *Dequeue) refuse(t *Ticket, reason string) {
	g := d.gate
	g.queue.remove(t)
	g.dirty = true
	d.Ticket, d.Verdict = t, turnedAway(reason, g.advice(d.now, &g.known, t)).Verdict
	d.Verdict.Waited = t.Waited(d.now)
}
