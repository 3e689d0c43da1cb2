package dispatch

import (
	"encoding/binary"
	"math"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/retreat"
)

const (
	layout      = 1   // of the record; another one's counts as damaged
	mostWorkers = 256 // with something to say at one time
	mostTurns   = 256 // subjects whose turns are known; the one that is due first is forgotten

	second      = int64(1e9)
	millisecond = int64(1e6)

	// alive is how long a worker's requests in flight count without word from it. A worker with any sends word every Beat.
	alive = 5 * second
	// Beat is how often a worker with requests in flight says so.
	Beat = second
	// fresh is how long a worker's waiting requests count without word from it, and beat how often one with any sends word.
	fresh = 250 * millisecond
	beat  = 80 * millisecond
)

// shared is what the workers know together of one upstream.
type shared struct {
	requests, tokens bucket.State
	closed           int64 // nothing starts before this time: the upstream said when to come back
	virtual          uint64
	pace             float64 // starts a second, an exponentially decaying average
	paced            int64   // when it was last brought up to date
	retreat          retreat.State
	turns            []turn
	workers          []worker
}

// turn is a subject's place in the fair order.
type turn struct {
	subject, finish, last uint64 // finish: the tag of its next request at least; last: of the one before
}

// worker is what one worker says of itself.
type worker struct {
	id       uint64
	heard    int64
	inFlight [Priorities]uint32
	waiting  [Priorities]uint32
	drop     [Priorities]uint32 // how many of its newest it is asked to refuse, by another worker
	reserved int64              // tokens that its requests in flight are expected to use
	waits    bool
	head     config.Priority // of its best waiting request, if any waits
	tag      uint64
}

func (s *shared) reset() { *s = shared{turns: s.turns[:0], workers: s.workers[:0]} }

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

// bury drops the entries of workers that are dead or have nothing to say.
func (s *shared) bury(now int64, self uint64) {
	kept := s.workers[:0]
	for i := range s.workers {
		w := &s.workers[i]
		idle := w.inFlight == [Priorities]uint32{} && !w.waits
		if w.id == self || !idle && now-w.heard <= alive {
			kept = append(kept, *w)
		}
	}
	s.workers = kept
}

// inFlight counts the requests in flight of all workers, by priority.
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
func (s *shared) waiting(now int64) (by [Priorities]int, all int) {
	for i := range s.workers {
		w := &s.workers[i]
		if now-w.heard > alive {
			continue
		}
		for p, n := range w.waiting {
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

// yields says that another worker's best waiting request goes first. slack is the difference of tags that does not matter.
func (s *shared) yields(now int64, self uint64, p config.Priority, tag, slack uint64) bool {
	for i := range s.workers {
		w := &s.workers[i]
		if w.id == self || !w.waits || now-w.heard > fresh {
			continue
		}
		if w.head > p || w.head == p && w.tag < tag && tag-w.tag > slack {
			return true
		}
	}
	return false
}

// due is the tag that a subject's next request gets.
func (s *shared) due(subject uint64) uint64 {
	for i := range s.turns {
		if t := &s.turns[i]; t.subject == subject {
			return max(s.virtual, t.finish, t.last)
		}
	}
	return s.virtual
}

// enter gives a subject's request its tag and pushes the subject's turn on by the cost.
func (s *shared) enter(subject, cost uint64) uint64 {
	t := s.turn(subject)
	tag := max(s.virtual, t.finish, t.last)
	t.last = tag
	t.finish = tag + max(cost, 1)
	return tag
}

// correct makes up for what a request used beyond what was expected, or less.
func (s *shared) correct(subject uint64, expected, used int64) {
	for i := range s.turns {
		if t := &s.turns[i]; t.subject == subject {
			if used >= expected {
				t.finish += uint64(used - expected)
			} else {
				t.finish -= min(uint64(expected-used), t.finish)
			}
			return
		}
	}
}

// turn finds a subject's turn, or begins one, in the place of the one that is due first if there is no room.
func (s *shared) turn(subject uint64) *turn {
	due := 0
	for i := range s.turns {
		if s.turns[i].subject == subject {
			return &s.turns[i]
		}
		if s.turns[i].finish < s.turns[due].finish {
			due = i
		}
	}
	if len(s.turns) < mostTurns {
		s.turns = append(s.turns, turn{subject: subject})
		return &s.turns[len(s.turns)-1]
	}
	s.turns[due] = turn{subject: subject}
	return &s.turns[due]
}

// pacePeriod is the time constant of the pace: how far back the measured drain rate looks.
const pacePeriod = 10 * second

// started notes a start in the pace.
func (s *shared) started(now int64) {
	s.pace = s.paceAt(now) + float64(second)/float64(pacePeriod)
	s.paced = now
}

// paceAt is how many requests a second have started lately.
func (s *shared) paceAt(now int64) float64 {
	elapsed := now - s.paced
	if elapsed <= 0 {
		return s.pace
	}
	return s.pace * math.Exp(-float64(elapsed)/float64(pacePeriod))
}

// The record's bytes, little endian: a header, the turns, the workers.
const (
	headerSize = 8 + 2*16 + 8 + 8 + 8 + 8 + retreat.Size
	turnSize   = 24
	workerSize = 16 + 3*4*Priorities + 8 + 8 + 8
)

var order = binary.LittleEndian

func (s *shared) encode(b []byte) []byte {
	b = order.AppendUint32(b, layout)
	b = order.AppendUint16(b, uint16(len(s.turns)))
	b = order.AppendUint16(b, uint16(len(s.workers)))
	for _, meter := range []*bucket.State{&s.requests, &s.tokens} {
		b = order.AppendUint64(b, uint64(meter.Used))
		b = order.AppendUint64(b, uint64(meter.At))
	}
	b = order.AppendUint64(b, uint64(s.closed))
	b = order.AppendUint64(b, s.virtual)
	b = order.AppendUint64(b, math.Float64bits(s.pace))
	b = order.AppendUint64(b, uint64(s.paced))
	b = s.retreat.Append(b)
	for i := range s.turns {
		t := &s.turns[i]
		b = order.AppendUint64(b, t.subject)
		b = order.AppendUint64(b, t.finish)
		b = order.AppendUint64(b, t.last)
	}
	for i := range s.workers {
		b = s.workers[i].encode(b)
	}
	return b
}

func (w *worker) encode(b []byte) []byte {
	b = order.AppendUint64(b, w.id)
	b = order.AppendUint64(b, uint64(w.heard))
	for _, counts := range []*[Priorities]uint32{&w.inFlight, &w.waiting, &w.drop} {
		for _, n := range counts {
			b = order.AppendUint32(b, n)
		}
	}
	b = order.AppendUint64(b, uint64(w.reserved))
	b = order.AppendUint64(b, w.tag)
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
	turns, workers := int(order.Uint16(b[4:])), int(order.Uint16(b[6:]))
	if turns > mostTurns || workers > mostWorkers || len(b) != headerSize+turns*turnSize+workers*workerSize {
		return false
	}
	r := reader(b[8:])
	for _, meter := range []*bucket.State{&s.requests, &s.tokens} {
		meter.Used, meter.At = min(max(int64(r.next()), 0), bucket.Most), int64(r.next())
	}
	s.closed, s.virtual = int64(r.next()), r.next()
	s.pace, s.paced = math.Float64frombits(r.next()), int64(r.next())
	var sound bool
	if s.retreat, sound = retreat.Decode(r[:retreat.Size]); !sound || !(s.pace >= 0 && s.pace < 1e9) {
		s.reset()
		return false
	}
	r = r[retreat.Size:]
	for range turns {
		s.turns = append(s.turns, turn{r.next(), r.next(), r.next()})
	}
	for range workers {
		s.workers = append(s.workers, r.worker())
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

func (r *reader) worker() worker {
	w := worker{id: r.next(), heard: int64(r.next())}
	for _, counts := range []*[Priorities]uint32{&w.inFlight, &w.waiting, &w.drop} {
		for p := range counts {
			counts[p] = order.Uint32(*r)
			*r = (*r)[4:]
		}
	}
	w.reserved = min(max(int64(r.next()), 0), bucket.Most/bucket.Micro)
	w.tag = r.next()
	head := r.next()
	w.waits = head < uint64(Priorities)
	if w.waits {
		w.head = config.Priority(head)
	}
	return w
}
