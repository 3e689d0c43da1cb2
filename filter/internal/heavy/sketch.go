package heavy

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/oneline"
)

// The shape of a sketch.
const (
	Counters  = 128
	Published = 64 // of which a worker's record tells
	HalfLife  = 5 * time.Minute

	mostName   = 64
	mostReason = 24
	slots      = 2 * Counters // of the hash table
)

// Sketch counts what its greatest subjects come to. The zero value is empty.
type Sketch struct {
	counters [Counters]Counter
	used     int             // so many of them
	heap     [Counters]uint8 // their numbers, the least counter first (a binary heap)
	place    [Counters]uint8 // where each stands in the heap
	table    [slots]uint8    // their numbers plus one, by id: open addressing; 0: free
	period   int64           // the period of HalfLife that its counts are of
}

// Counter is a subject's.
type Counter struct {
	id     uint64
	count  float64 // never too little
	over   float64 // of which so much may be another's
	last   clock.Moment
	named  uint8 // the name's length
	why    uint8 // the reason's length
	name   [mostName]byte
	reason [mostReason]byte
}

// Add adds to a subject's count, which is above 0, and gives its counter. fresh says that it has had none, and the counter has no name.
func (s *Sketch) Add(now clock.Moment, id uint64, weight float64) (c *Counter, fresh bool) {
	s.age(now)
	slot := s.find(id)
	if n := s.table[slot]; n != 0 {
		s.counters[n-1].count += weight
		s.down(int(s.place[n-1]))
		return &s.counters[n-1], false
	}
	if s.used < Counters {
		n := s.used
		s.used++
		s.counters[n] = Counter{id: id, count: weight}
		s.table[slot] = uint8(n + 1)
		s.heap[n], s.place[n] = uint8(n), uint8(n)
		s.up(n)
		return &s.counters[n], true
	}
	n := s.heap[0]
	least := s.counters[n].count
	s.free(s.find(s.counters[n].id))
	s.counters[n] = Counter{id: id, count: least + weight, over: least}
	s.table[s.find(id)] = n + 1
	s.down(0)
	return &s.counters[n], true
}

// Name gives the counter the name that its subject is shown by. A long one is cut.
func (c *Counter) Name(name []byte) {
	c.named = uint8(len(oneline.Append(c.name[:0], inplace.String(name), mostName)))
}

// Refused notes why the subject was refused last.
func (c *Counter) Refused(now clock.Moment, reason string) {
	c.last, c.why = now, uint8(copy(c.reason[:], reason))
}

// age halves the counts for each period that has ended.
func (s *Sketch) age(now clock.Moment) {
	period := int64(now) / int64(HalfLife)
	if period <= s.period {
		return
	}
	factor := halved(period - s.period)
	s.period = period
	if factor == 0 {
		s.used, s.table = 0, [slots]uint8{}
		return
	}
	for i := range s.used {
		s.counters[i].count *= factor
		s.counters[i].over *= factor
	}
}

// halved is what is left of one after so many periods: of more than 60, in which nothing was counted, nothing.
func halved(periods int64) float64 {
	switch {
	case periods <= 0:
		return 1
	case periods > 60:
		return 0
	}
	return 1 / float64(uint64(1)<<periods)
}

// find gives the place in the table where an id is, or would be.
func (s *Sketch) find(id uint64) int {
	slot := home(id)
	for s.table[slot] != 0 && s.counters[s.table[slot]-1].id != id {
		slot = (slot + 1) % slots
	}
	return slot
}

// home is where an id's search begins. Ids are keyed hashes, any bits of which are random to who can choose names.
func home(id uint64) int { return int(id >> 24 % slots) }

// free frees a place of the table, and moves up what stands behind it for its sake (Knuth, The Art of Computer Programming, 6.4, algorithm R).
func (s *Sketch) free(slot int) {
	for next := (slot + 1) % slots; s.table[next] != 0; next = (next + 1) % slots {
		from := home(s.counters[s.table[next]-1].id)
		if (next-from+slots)%slots >= (next-slot+slots)%slots {
			s.table[slot] = s.table[next]
			slot = next
		}
	}
	s.table[slot] = 0
}

// down puts what stands at a place of the heap, and has grown, behind all that are less.
func (s *Sketch) down(at int) {
	for {
		least := at
		for child := 2*at + 1; child <= 2*at+2 && child < s.used; child++ {
			if s.less(child, least) {
				least = child
			}
		}
		if least == at {
			return
		}
		s.swap(at, least)
		at = least
	}
}

// up puts what stands at a place of the heap before all that are more.
func (s *Sketch) up(at int) {
	for at > 0 && s.less(at, (at-1)/2) {
		s.swap(at, (at-1)/2)
		at = (at - 1) / 2
	}
}

func (s *Sketch) less(a, b int) bool {
	return s.counters[s.heap[a]].count < s.counters[s.heap[b]].count
}

func (s *Sketch) swap(a, b int) {
	s.heap[a], s.heap[b] = s.heap[b], s.heap[a]
	s.place[s.heap[a]], s.place[s.heap[b]] = uint8(a), uint8(b)
}
