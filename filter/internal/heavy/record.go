package heavy

import (
	"encoding/binary"
	"math"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/oneline"
)

// A worker's record of a limit: the layout's number, the period, and for either sketch the floor, how many counters follow, and these: id, count, what may
// be another's, last refusal, name and reason, each behind its length. All numbers are little-endian.
const (
	layout     = 1
	headerSize = 1 + 8
	sketchSize = 8 + 1
	fixedSize  = 8 + 8 + 8 + 8 + 1 + 1
	// MostRecord is how many bytes a record has at most.
	MostRecord = headerSize + 2*(sketchSize+Published*(fixedSize+mostName)) + Published*mostReason
)

// AppendRecord appends what a worker tells of a limit.
func (s *Subjects) AppendRecord(b []byte, now clock.Moment) []byte {
	s.Used.age(now)
	s.Refused.age(now)
	b = binary.LittleEndian.AppendUint64(append(b, layout), uint64(max(s.Used.period, s.Refused.period)))
	return s.Refused.append(s.Used.append(b))
}

// append appends the greatest counters.
func (s *Sketch) append(b []byte) []byte {
	order := s.order()
	floor := 0.0
	if s.used > Published {
		floor = s.counters[order[Published]].count
	}
	n := min(s.used, Published)
	b = append(appendFloat(b, floor), uint8(n))
	for _, number := range order[:n] {
		c := &s.counters[number]
		b = appendFloat(appendFloat(binary.LittleEndian.AppendUint64(b, c.id), c.count), c.over)
		b = binary.LittleEndian.AppendUint64(b, uint64(c.last))
		b = append(append(b, c.named), c.name[:c.named]...)
		b = append(append(b, c.why), c.reason[:c.why]...)
	}
	return b
}

// order gives the numbers of the counters, the greatest first. It is a heap sort: the heap has the least first already.
func (s *Sketch) order() [Counters]uint8 {
	sorted := s.heap
	for n := s.used - 1; n > 0; n-- {
		sorted[0], sorted[n] = sorted[n], sorted[0]
		for at := 0; ; {
			least := at
			for child := 2*at + 1; child <= 2*at+2 && child < n; child++ {
				if s.counters[sorted[child]].count < s.counters[sorted[least]].count {
					least = child
				}
			}
			if least == at {
				break
			}
			sorted[at], sorted[least] = sorted[least], sorted[at]
			at = least
		}
	}
	return sorted
}

func appendFloat(b []byte, f float64) []byte {
	return binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
}

// told is what a record tells.
type told struct {
	period        int64
	used, refused []toldCounter
	floors        [2]float64
}

// toldCounter is a counter as a record tells of it.
type toldCounter struct {
	id           uint64
	count, over  float64
	last         clock.Moment
	name, reason string
}

// decode reads a record. What it gives is a copy. It says false of a record that is damaged, or another version's.
func decode(b []byte) (t told, whole bool) {
	r := reader{rest: b, whole: true}
	if r.byte() != layout {
		return t, false
	}
	t.period = int64(r.number())
	t.used, t.floors[0] = r.sketch()
	t.refused, t.floors[1] = r.sketch()
	return t, r.whole && len(r.rest) == 0 && t.period >= 0
}

// reader reads a record; whole turns false where that has an end too early, or is no record.
type reader struct {
	rest  []byte
	whole bool
}

func (r *reader) take(n int) []byte {
	if len(r.rest) < n {
		r.rest, r.whole = nil, false
		return make([]byte, n)
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() uint8 { return r.take(1)[0] }

func (r *reader) number() uint64 { return binary.LittleEndian.Uint64(r.take(8)) }

// amount reads an amount: what is none, or too much to be added up, is a damage.
func (r *reader) amount() float64 {
	const most = 1e30
	f := math.Float64frombits(r.number())
	if !(f >= 0 && f <= most) {
		r.whole = false
		return 0
	}
	return f
}

func (r *reader) text() string { return oneline.Of(string(r.take(int(r.byte())))) }

func (r *reader) sketch() (counters []toldCounter, floor float64) {
	floor = r.amount()
	n := int(r.byte())
	r.whole = r.whole && n <= Published
	for i := 0; i < n && r.whole; i++ {
		c := toldCounter{id: r.number(), count: r.amount(), over: r.amount(), last: clock.Moment(r.number()), name: r.text(), reason: r.text()}
		r.whole = r.whole && c.over <= c.count && len(c.name) <= mostName && len(c.reason) <= mostReason
		counters = append(counters, c)
	}
	return counters, floor
}
