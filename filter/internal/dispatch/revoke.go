package dispatch

import (
	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// With Settings.Revokes a low stream that is under way is ended for an urgent request that would have to wait for a slot.
//
// # How
//
// Each worker says in its entry of the record how many units its waiting urgent requests claim, how many units its low streams have that could
// be ended, and how many of it are being ended. Whoever sees, in one compare-and-swap of the record, that more is claimed than is free and being ended,
// ends one of its own streams, and then the next one, until the sum is even. So no worker ends a stream of another's, none is told to, and a claim is met once however
// many see it. Workers with such streams look at the record at every tick for that, 10 ms.
//
//	in flight → can be ended (Streams: its first output has passed) → being ended (Dequeue says so) → finished, which frees its slot
//
// # Which one
//
// The youngest of the worker that sees the claim first: what was made of it so far is lost, so the least is lost, and as a rule it would have held its slot for longest.
// vLLM preempts the latest for the same reason. And the oldest comes to its end even where one urgent request follows the other. What is left of a stream nobody
// knows: clients say a bound, and would say a low one.
//
// # Bounds
//
// A request claims the units that it takes, once, as long as it waits: so no urgent request costs more than that (and what the last stream has more than is needed).
// It claims only what can be had by ending streams, beside the claims of others: where that isn't enough nobody is ended in vain. Nor is
// anybody for a request that waits for the budget, or until the upstream may be asked again, or where more is in flight than there are slots, since they
// became fewer: one request would cost several streams.
//
// # Who could abuse it
//
//   - Who says that it is urgent and isn't: the configuration wants priority.trust with it.
//   - A storm of urgent requests: each costs one stream at most, and takes its slot; the youngest go, so those that run longest finish.
//   - An urgent client that hangs up at once: its claim is gone with its next word to the record. What is being ended by then is ended.
//   - A low stream that doesn't end: its client doesn't read, its server is silent. The engine breaks it off after a while (package admit).
//   - A low stream that ends by itself at that moment, whose client hangs up, that is being settled: Finish frees a slot once.
//   - A worker that dies: its claims count for fresh, what it is ending for alive, as its slots do.
//   - Other settings in the middle: what is being ended goes on to its end; what began before it was switched on is left alone.

// Streams says that output of a request in flight has passed, as a stream that can be ended in its midst.
func (g *Gate) Streams(t *Ticket) {
	if !g.settings.Revokes || t.Priority != config.Low || t.state != stInFlight || t.place > 0 || t.ending {
		return
	}
	g.streams = append(g.streams, t)
	t.place = len(g.streams)
	g.revocable += t.units
	g.dirty = true
}

// watches says that it has to look at the record for what other workers claim.
func (g *Gate) watches() bool { return g.settings.Revokes && len(g.streams) > 0 }

// forgetStream takes a ticket out of those that can be ended, or are.
func (g *Gate) forgetStream(t *Ticket) {
	if t.ending {
		t.ending = false
		g.ending -= t.units
	}
	if t.place == 0 {
		return
	}
	last := len(g.streams)
	g.streams[t.place-1] = g.streams[last-1]
	g.streams[t.place-1].place = t.place
	g.streams[last-1] = nil
	g.streams, t.place = g.streams[:last-1], 0
	g.revocable -= t.units
}

// youngest is the stream that began last of those that can be ended; nil: there is none.
func (g *Gate) youngest() (t *Ticket) {
	for _, x := range g.streams {
		if t == nil || x.started > t.started {
			t = x
		}
	}
	return t
}

// free is how many units an urgent request finds free; below 0: more are in flight than there are slots. limited says that there is a number of slots.
func (g *Gate) free(s *shared) (units int, limited bool) {
	by, all := s.inFlight()
	room := g.slotsFor(s, config.Urgent, by)
	return room - all, room > 0
}

// claimed is what the workers' waiting urgent requests claim, without one worker's own; can is what low streams could free, and will what those free that
// are being ended.
func (s *shared) claimed(now clock.Moment, without *worker) (claims, can, will int) {
	for i := range s.workers {
		w := &s.workers[i]
		if can, will = can+int(w.revocable), will+int(w.ending); w != without && now.Sub(w.heard) <= fresh {
			claims += int(w.claims)
		}
	}
	return claims, can, will
}

// claim says in the worker's entry what its urgent requests claim, and what its streams could free.
func (g *Gate) claim(now clock.Moment, s *shared, self *worker) {
	self.claims, self.revocable, self.ending = 0, g.revocable, g.ending
	free, limited := g.free(s)
	if !g.settings.Revokes || g.queue.count(config.Urgent) == 0 || !limited || free < 0 || now < s.backoffForAll() {
		return
	}
	others, can, will := s.claimed(now, self)
	left := free + can + will - others
	spent := int64(others) * bucket.Micro // of the budget of requests: at least so much goes to those that are claimed for
	var tokens int64
	for t := g.queue.oldest(config.Urgent); t != nil; t = t.next {
		units := g.takes(s, t)
		switch {
		case t.line == nil: // it waits beside the queue
			continue
		case units > left || !g.hasBudget(s, t, spent, tokens+int64(others)*g.reserves(t)):
			return
		}
		left -= units
		spent += g.spends(t)
		tokens += g.reserves(t)
		self.claims += uint32(units)
	}
}

// has takes back what a request claimed that starts.
func (w *worker) has(t *Ticket) {
	if t.Priority == config.Urgent {
		w.claims -= min(t.units, w.claims)
	}
}

// revokes finds a stream of this worker's that has to end: more is claimed than is free and being ended. Nil: none has to.
func (g *Gate) revokes(now clock.Moment, s *shared, self *worker) *Ticket {
	t := g.youngest()
	if t == nil || !g.settings.Revokes {
		return nil
	}
	free, limited := g.free(s)
	claims, _, will := s.claimed(now, nil)
	if !limited || free < 0 || claims <= free+will {
		return nil
	}
	self.revocable -= t.units
	self.ending += t.units
	return t
}

// revoke has a stream end. It keeps its slot until it has finished.
func (d *Dequeue) revoke(t *Ticket) {
	g := d.gate
	g.forgetStream(t)
	t.ending = true
	g.ending += t.units
	d.Ticket, d.Verdict = t, gate.Because(gate.Rejected, gate.Queue, gate.Revoked)
}
