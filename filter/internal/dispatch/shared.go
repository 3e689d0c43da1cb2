package dispatch

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/autosize"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/retreat"
)

const (
	layout      = 11  // of the record; another one's counts as damaged
	mostWorkers = 256 // with something to say at one time
	mostTurns   = 256 // subjects whose turns are known; the one that is due first is forgotten

	// alive is how long a worker's requests in flight count without word from it. A worker with any sends word every Heartbeat.
	alive = 5 * time.Second
	// Heartbeat is how often a worker with requests in flight says so.
	Heartbeat = time.Second
	// fresh is how long a worker's waiting requests count without word from it, and queueHeartbeat how often one with any sends word.
	fresh          = 250 * time.Millisecond
	queueHeartbeat = 80 * time.Millisecond
	// patience is how much longer another worker's request of the same turn must have waited to go first.
	patience = 250 * time.Millisecond
)

// shared is what the workers know together of one upstream.
type shared struct {
	requests, tokens bucket.State
	doubted          bool     // not in the record: the retreat is one caller's word alone, and there are others
	lender           uint64   // the caller alone on whose word something was taken from the budgets; 0: none
	lent             [2]int64 // how much of requests and tokens that is, in the meters' unit
	aside            [2]aside // of requests and tokens
	virtual          [Priorities]uint64
	pace             float64      // starts a second, an exponentially decaying average
	paced            clock.Moment // when it was last brought up to date
	pacing           clock.Moment // since when there is one
	revoked          uint64       // low streams that have been ended for urgent requests
	revokedAt        clock.Moment // when the latest of them had ended
	retreat          retreat.State
	auto             autosize.State
	callers          []caller
	turns            []turn
	workers          []worker
}

// turn is a subject's place in the fair order of one priority. Priorities have an order each: what is served at one says
// nothing about who is due at another.
type turn struct {
	who, served uint64 // served: tokens, as if it had always waited; the tag of its next request
}

// worker is what one worker says of itself.
type worker struct {
	id        uint64
	heard     clock.Moment
	inFlight  [Priorities]uint32 // units: a request with a weight is several
	waiting   [Priorities]uint32
	drop      [Priorities]uint32 // how many it is asked to refuse, by another worker that needs their room
	longest   [Priorities]uint32 // how many wait in its longest line
	longestOf [Priorities]uint64 // whose line that is
	parked    uint32             // how many wait beside its queue
	bytes     int64              // that are kept back of its waiting requests
	claims    uint32             // units that its urgent requests are to have of low streams, or of what is free
	revocable uint32             // units of its low streams that can be ended
	ending    uint32             // units of those that are being ended
	reserved  int64              // tokens that its requests in flight are expected to use
	waits     bool
	head      config.Priority // of its best waiting request, if any waits
	tag       uint64
	since     clock.Moment // when that one came
}

// sameTurn says that the heads of two entries' queues have the same turn.
func (w *worker) sameTurn(other *worker) bool {
	return w.waits == other.waits && w.head == other.head && w.tag == other.tag && w.since == other.since
}

func (s *shared) reset() {
	*s = shared{callers: s.callers[:0], turns: s.turns[:0], workers: s.workers[:0]}
}

// self gives a worker's own entry; nil if there is no place for another one.
func (s *shared) self(id uint64) *worker {
	for i := range s.workers {
		if s.workers[i].id == id {
			return &s.workers[i]
		}
	}
	if len(s.workers) >= mostWorkers {
		return nil
	}
	s.workers = append(s.workers, worker{id: id})
	return &s.workers[len(s.workers)-1]
}

// prune drops the entries of workers that are dead or have nothing to say. What was heard long after now is garbage, or of a clock that was
// set back since: else its slots would never come back.
func (s *shared) prune(now clock.Moment, self uint64) {
	kept := s.workers[:0]
	for i := range s.workers {
		w := &s.workers[i]
		idle := w.inFlight == [Priorities]uint32{} && w.waiting == [Priorities]uint32{} && !w.waits
		if quiet := now.Sub(w.heard); w.id == self || !idle && quiet <= alive && quiet >= -alive {
			kept = append(kept, *w)
		}
	}
	s.workers = kept
}

// hasOthers says that there are entries of other workers.
func (s *shared) hasOthers(self uint64) bool {
	for i := range s.workers {
		if s.workers[i].id != self {
			return true
		}
	}
	return false
}

// inFlight counts what is in flight of all workers, by priority: requests, each by its weight.
func (s *shared) inFlight() (by [Priorities]int, all int) {
	for i := range s.workers {
		for p, n := range s.workers[i].inFlight {
			by[p] += int(n)
			all += int(n)
		}
	}
	return by, all
}

// waiting counts the waiting requests of all workers that are alive to serve them, without those that are to be dropped.
func (s *shared) waiting(now clock.Moment) (by [Priorities]int, all int) {
	for i := range s.workers {
		w := &s.workers[i]
		if now.Sub(w.heard) > alive {
			continue
		}
		for p, n := range &w.waiting {
			left := max(int(n)-int(w.drop[p]), 0)
			by[p] += left
			all += left
		}
	}
	return by, all
}

// reserved is how many tokens all requests in flight are expected to use.
func (s *shared) reserved() (tokens int64) {
	for i := range s.workers {
		tokens = min(tokens+s.workers[i].reserved, bucket.Most/bucket.Micro)
	}
	return tokens
}

// yields says that another worker's best waiting request goes before t. A difference of less than t's own cost does not
// matter, unless the other one has waited for longer by patience: without that, a worker whose slots are all in use by
// others would never get one while they have requests of the same turn.
func (s *shared) yields(now clock.Moment, self uint64, t *Ticket) bool {
	for i := range s.workers {
		w := &s.workers[i]
		if w.id == self || !w.waits || now.Sub(w.heard) > fresh {
			continue
		}
		if w.head > t.Priority {
			return true
		}
		if w.head == t.Priority && w.tag <= t.tag && (t.tag-w.tag > t.cost() || t.since.Sub(w.since) > patience) {
			return true
		}
	}
	return false
}

// who is a subject at a priority.
func who(t *Ticket) uint64 { return t.Subject ^ uint64(t.Priority)<<62 }

// due is where a request's subject stands, or, if that isn't known, stood as far as the worker knows.
func (s *shared) due(t *Ticket, stood uint64) uint64 {
	for i := range s.turns {
		if known := &s.turns[i]; known.who == who(t) {
			return known.served
		}
	}
	return stood
}

// enqueue notes that a subject begins to wait. What it let pass while it didn't is lost to it.
func (s *shared) enqueue(t *Ticket) (tag uint64) {
	known := s.turn(who(t))
	known.served = max(known.served, s.virtual[t.Priority])
	return known.served
}

// dequeued notes that a request's turn has come. The virtual time is that of the one which waits and has got least: what a
// worker doesn't hold back for would else be lost to those it went before, whenever they begin to wait in one more worker.
func (s *shared) dequeued(now clock.Moment, t *Ticket, tag uint64) {
	last := tag
	for i := range s.workers {
		if w := &s.workers[i]; w.waits && w.head == t.Priority && now.Sub(w.heard) <= fresh {
			last = min(last, w.tag)
		}
	}
	s.virtual[t.Priority] = max(s.virtual[t.Priority], last)
	known := s.turn(who(t))
	known.served = max(known.served, tag) + t.cost()
	t.paid = true
}

// correct makes up for what a request whose turn was counted used beyond what was expected, or less.
func (s *shared) correct(of *Ticket, used int64) {
	expected := of.Tokens
	for i := range s.turns {
		if t := &s.turns[i]; t.who == who(of) {
			if used >= expected {
				t.served += uint64(used - expected)
			} else {
				t.served -= min(uint64(expected-used), t.served)
			}
			return
		}
	}
}

// turn finds a subject's turn, or begins one, in the place of the one that is due first if there is no room.
func (s *shared) turn(who uint64) *turn {
	due := 0
	for i := range s.turns {
		if s.turns[i].who == who {
			return &s.turns[i]
		}
		if s.turns[i].served < s.turns[due].served {
			due = i
		}
	}
	if len(s.turns) < mostTurns {
		s.turns = append(s.turns, turn{who: who})
		return &s.turns[len(s.turns)-1]
	}
	s.turns[due] = turn{who: who}
	return &s.turns[due]
}

// pacePeriod is the time constant of the pace: how far back the measured drain rate looks.
const pacePeriod = 10 * time.Second

// started notes a start in the pace. After a long pause it begins anew.
func (s *shared) started(now clock.Moment) {
	if now.Sub(s.paced) > 6*pacePeriod {
		s.pace, s.pacing = 0, now
	}
	s.pace = s.pace*decay(now.Sub(s.paced)) + float64(time.Second)/float64(pacePeriod)
	s.paced = now
}

// paceAt is how many requests a second have started lately. The average begins at zero; what it lacks for that is made up
// for (Kingma, Ba: Adam, 2015, section 3), as far as it is a second old.
func (s *shared) paceAt(now clock.Moment) float64 {
	return s.pace * decay(now.Sub(s.paced)) / (1 - decay(max(now.Sub(s.pacing), time.Second)))
}

func decay(elapsed time.Duration) float64 {
	return math.Exp(-float64(max(elapsed, 0)) / float64(pacePeriod))
}

// The record's bytes, little endian: a header, the callers, the turns, the workers.
const (
	learned    = 10 // where it says whether slots are
	headerSize = 12 + 2*16 + 3*8 + 2*24 + 8*Priorities + 5*8 + retreat.Size
	turnSize   = 16
	workerSize = 16 + 4*4*Priorities + 8*Priorities + 4*4 + 8 + 8 + 8 + 8 + 8
)

var order = binary.LittleEndian

func (s *shared) encode(b []byte) []byte {
	b = order.AppendUint32(b, layout)
	b = order.AppendUint16(b, uint16(len(s.turns)))
	b = order.AppendUint16(b, uint16(len(s.workers)))
	b = order.AppendUint16(b, uint16(len(s.callers)))
	b = order.AppendUint16(b, 0) // 1: slots are learned
	for _, meter := range []*bucket.State{&s.requests, &s.tokens} {
		b = order.AppendUint64(b, uint64(meter.Used))
		b = order.AppendUint64(b, uint64(meter.At))
	}
	b = order.AppendUint64(b, s.lender)
	b = order.AppendUint64(b, uint64(s.lent[0]))
	b = order.AppendUint64(b, uint64(s.lent[1]))
	for i := range s.aside {
		a := &s.aside[i]
		b = order.AppendUint64(b, uint64(a.Used))
		b = order.AppendUint64(b, uint64(a.At))
		b = order.AppendUint64(b, uint64(a.burst))
	}
	for _, virtual := range &s.virtual {
		b = order.AppendUint64(b, virtual)
	}
	b = order.AppendUint64(b, math.Float64bits(s.pace))
	b = order.AppendUint64(b, uint64(s.paced))
	b = order.AppendUint64(b, uint64(s.pacing))
	b = order.AppendUint64(b, s.revoked)
	b = order.AppendUint64(b, uint64(s.revokedAt))
	b = s.retreat.Append(b)
	if s.auto != (autosize.State{}) {
		b[learned] = 1
		b = s.auto.Append(b)
	}
	for i := range s.callers {
		b = s.callers[i].encode(b)
	}
	for i := range s.turns {
		t := &s.turns[i]
		b = order.AppendUint64(b, t.who)
		b = order.AppendUint64(b, t.served)
	}
	for i := range s.workers {
		b = s.workers[i].encode(b)
	}
	return b
}

func (c *caller) encode(b []byte) []byte {
	keyed := uint64(0)
	if c.keyed {
		keyed = 1
	}
	for _, n := range [...]uint64{c.id, keyed, uint64(c.heard), uint64(c.backoff), uint64(c.requests), uint64(c.tokens)} {
		b = order.AppendUint64(b, n)
	}
	return b
}

func (w *worker) encode(b []byte) []byte {
	b = order.AppendUint64(b, w.id)
	b = order.AppendUint64(b, uint64(w.heard))
	for _, counts := range []*[Priorities]uint32{&w.inFlight, &w.waiting, &w.drop, &w.longest} {
		for _, n := range counts {
			b = order.AppendUint32(b, n)
		}
	}
	for _, subject := range &w.longestOf {
		b = order.AppendUint64(b, subject)
	}
	for _, n := range [...]uint32{w.parked, w.claims, w.revocable, w.ending} {
		b = order.AppendUint32(b, n)
	}
	b = order.AppendUint64(b, uint64(w.bytes))
	b = order.AppendUint64(b, uint64(w.reserved))
	b = order.AppendUint64(b, w.tag)
	b = order.AppendUint64(b, uint64(w.since))
	head := uint64(Priorities)
	if w.waits {
		head = uint64(w.head)
	}
	return order.AppendUint64(b, head)
}

// decode reads a record. One that is damaged leaves s as if nothing were known, and false.
func (s *shared) decode(b []byte) bool {
	s.reset()
	if len(b) < headerSize || order.Uint32(b) != layout {
		return false
	}
	turns, workers, callers := int(order.Uint16(b[4:])), int(order.Uint16(b[6:])), int(order.Uint16(b[8:]))
	auto := int(order.Uint16(b[learned:])) * autosize.Size
	if turns > mostTurns || workers > mostWorkers || callers > mostCallers || auto > autosize.Size ||
		len(b) != headerSize+auto+callers*callerSize+turns*turnSize+workers*workerSize {
		return false
	}
	r := reader(b[12:])
	for _, meter := range []*bucket.State{&s.requests, &s.tokens} {
		meter.Used, meter.At = min(max(int64(r.next()), 0), bucket.Most), clock.Moment(r.next())
	}
	s.lender = r.next()
	for i := range s.lent {
		s.lent[i] = min(max(int64(r.next()), 0), bucket.Most)
	}
	for i := range s.aside {
		a := &s.aside[i]
		a.Used, a.At, a.burst = min(max(int64(r.next()), 0), bucket.Most), clock.Moment(r.next()), min(max(int64(r.next()), 0), bucket.Most)
	}
	for p := range &s.virtual {
		s.virtual[p] = r.next()
	}
	s.pace, s.paced, s.pacing = math.Float64frombits(r.next()), clock.Moment(r.next()), clock.Moment(r.next())
	s.revoked, s.revokedAt = r.next(), clock.Moment(r.next())
	if !s.retreat.Decode(r[:retreat.Size]) || !(s.pace >= 0 && s.pace < 1e9) {
		s.reset()
		return false
	}
	r = r[retreat.Size:]
	if auto > 0 {
		s.auto.Decode(r) // what is garbage is learned anew
		r = r[autosize.Size:]
	}
	for range callers {
		s.callers = append(s.callers, r.caller())
	}
	for range turns {
		s.turns = append(s.turns, turn{r.next(), r.next()})
	}
	for range workers {
		s.workers = append(s.workers, worker{})
		r.worker(&s.workers[len(s.workers)-1])
	}
	return true
}

// reader takes a record apart, whose length is right.
type reader []byte

func (r *reader) next() uint64 {
	n := order.Uint64(*r)
	*r = (*r)[8:]
	return n
}

func (r *reader) caller() caller {
	return caller{
		id: max(r.next(), 1), keyed: r.next() == 1, heard: clock.Moment(r.next()), backoff: clock.Moment(r.next()), requests: int64(r.next()), tokens: int64(r.next()),
	}
}

func (r *reader) worker(w *worker) {
	w.id, w.heard = r.next(), clock.Moment(r.next())
	for _, counts := range []*[Priorities]uint32{&w.inFlight, &w.waiting, &w.drop, &w.longest} {
		for p := range counts {
			counts[p] = order.Uint32(*r)
			*r = (*r)[4:]
		}
	}
	for p := range &w.longestOf {
		w.longestOf[p] = r.next()
	}
	for _, n := range [...]*uint32{&w.parked, &w.claims, &w.revocable, &w.ending} {
		*n = order.Uint32(*r)
		*r = (*r)[4:]
	}
	w.bytes = min(max(int64(r.next()), 0), mostBytes)
	w.reserved = min(max(int64(r.next()), 0), bucket.Most/bucket.Micro)
	w.tag = r.next()
	w.since = clock.Moment(r.next())
	head := r.next()
	w.waits = head < uint64(Priorities)
	if w.waits {
		w.head = config.Priority(head)
	}
}
