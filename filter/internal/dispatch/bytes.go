package dispatch

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// What waits is kept in the host's memory, so a queue is bounded by its bytes as well (Settings.MaxBytes). A request comes to the gate when
// all of its body has come, so how many bytes are kept back of it is known and doesn't grow; who announces a large body and sends none holds nothing here.
//
// One half of the bytes is for all places alike: what is no larger than its place's share needs a place only. What is larger has to find room in
// the other half, beside all that waits. So large bodies can't shut out small ones, and all together are never above MaxBytes: the large
// ones go in while there is half of it at most, the small ones are a place's share each.

// mostBytes bounds what a worker says that it keeps back, so that sums don't overflow.
const mostBytes = 1 << 53

// isLarge says that a request is larger than its place's share.
func (s *Settings) isLarge(t *Ticket) bool {
	return s.MaxBytes > 0 && s.Room() > 0 && t.Bytes > s.MaxBytes/2/int64(s.Room())
}

// excess is by how many bytes there is too little room for a large request; at most 0: there is enough.
func (g *Gate) excess(now clock.Moment, s *shared, t *Ticket) int64 {
	if !g.settings.isLarge(t) {
		return 0
	}
	return s.bytes(now) + t.Bytes - g.settings.MaxBytes/2
}

// bytes is what is kept back of the waiting requests of all workers that are alive.
func (s *shared) bytes(now clock.Moment) (all int64) {
	for i := range s.workers {
		if w := &s.workers[i]; now.Sub(w.heard) <= alive {
			all += w.bytes
		}
	}
	return all
}

// roomForBytes finds a place in the queue for a request for which there is room but for so many bytes: that of one of this worker's that is at
// least as large. (How large those are that wait in others isn't known here.)
func (g *Gate) roomForBytes(now clock.Moment, s *shared, self *worker, t *Ticket, over int64) Arrival {
	most := g.settings.MaxBytes / 2
	switch {
	case g.settings.WhenFull == config.QueueBypass:
		g.start(now, s, self, t)
		return arrivalOf(gate.Allowed, gate.Bypassed)
	case t.Bytes > most:
		return refusedFor(gate.TooLarge, gate.Never, t.Bytes, most)
	case now >= s.backoffFor(t):
		if out := g.makesWay(self, t, over); out != nil {
			return inPlaceOf(out)
		}
	}
	return refusedFor(gate.FullBytes, g.advice(now, s, t), s.bytes(now), most)
}

// refusedFor is what becomes of a request for whose bytes there is no room.
func refusedFor(reason string, wait time.Duration, bytes, most int64) Arrival {
	a := turnedAway(reason, wait)
	a.Measured, a.Threshold = float64(bytes), float64(most)
	return a
}

// makesWay finds the waiting request that makes room for the bytes of another one, as where the places are used up: one beside the queue, one of a lower priority
// where the queue drops these, or the newest of the subject of its own priority with most bytes, if that are more than its own with it. Nil: none does.
func (g *Gate) makesWay(self *worker, t *Ticket, over int64) *Ticket {
	for p := config.Low; p <= t.Priority; p++ {
		if self.drop[p] > 0 { // which of them go is another worker's to say already
			continue
		}
		var heaviest *line
		lower := p < t.Priority && g.settings.WhenFull == config.QueueDropLowest
		if p == t.Priority {
			heaviest = g.queue.heaviest(p, g.queue.line(t).bytes()+t.Bytes)
		}
		for x := g.queue.newest(p); x != nil; x = x.previous {
			switch {
			case x.Bytes < over:
			case x.line == nil:
				self.losesParked(x)
				return x
			case lower || x.line == heaviest:
				self.loses(x)
				return x
			}
		}
	}
	return nil
}

// losesParked notes that a request that waits beside the queue waits no more.
func (w *worker) losesParked(t *Ticket) {
	w.waiting[t.Priority]--
	w.parked--
	w.bytes -= min(t.Bytes, w.bytes)
}

// heaviest is the line of a priority in which most bytes wait, and more than so many; nil if there is none.
func (q *queue) heaviest(p config.Priority, than int64) (heaviest *line) {
	for _, l := range q.lanes[p].heap {
		if bytes := l.bytes(); bytes > than {
			heaviest, than = l, bytes
		}
	}
	return heaviest
}

// bytes is what waits in a line, which may be nil.
func (l *line) bytes() (all int64) {
	if l == nil {
		return 0
	}
	for t := l.first; t != nil; t = t.behind {
		all += t.Bytes
	}
	return all
}
