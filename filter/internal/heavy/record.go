package heavy

import (
	"encoding/binary"
	"math"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/told"
)

// A worker's record of a limit: a header (package told), the period, and for either sketch the floor, how many counters follow, and these: id, count, what may
// be another's, last refusal, name and reason.
const (
	layout     = 'h'
	sketchSize = 8 + 1
	fixedSize  = 8 + 8 + 8 + 8 + 1 + 1
	// MostRecord is how many bytes a record has at most.
	MostRecord = told.HeaderSize + 8 + 2*(sketchSize+Published*(fixedSize+mostName)) + Published*mostReason
)

// AppendRecord appends what a worker tells of a limit.
func (s *Subjects) AppendRecord(b []byte, worker, limit uint64, now clock.Moment) []byte {
	s.Used.age(now)
	s.Refused.age(now)
	header := told.Header{Layout: layout, Worker: worker, Of: limit, At: now}
	b = binary.LittleEndian.AppendUint64(header.Append(b), uint64(max(s.Used.period, s.Refused.period)))
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
	b = append(binary.LittleEndian.AppendUint64(b, math.Float64bits(floor)), uint8(n))
	for _, number := range order[:n] {
		c := &s.counters[number]
		for _, n := range [...]uint64{c.id, math.Float64bits(c.count), math.Float64bits(c.over), uint64(c.last)} {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		b = told.AppendText(told.AppendText(b, c.name[:c.named]), c.reason[:c.why])
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

// tale is what a record tells.
type tale struct {
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

// decode reads what follows the header. It says false of a record that is damaged.
func decode(r *told.Reader) (t tale, whole bool) {
	t.period = int64(r.Uint64())
	t.used, t.floors[0] = readSketch(r)
	t.refused, t.floors[1] = readSketch(r)
	return t, r.Whole() && t.period >= 0
}

func readSketch(r *told.Reader) (counters []toldCounter, floor float64) {
	floor = readAmount(r)
	n := int(r.Byte())
	r.Sound = r.Sound && n <= Published
	for i := 0; i < n && r.Sound; i++ {
		c := toldCounter{id: r.Uint64(), count: readAmount(r), over: readAmount(r), last: clock.Moment(r.Uint64()), name: r.Text(mostName), reason: r.Text(mostReason)}
		r.Sound = r.Sound && c.over <= c.count
		counters = append(counters, c)
	}
	return counters, floor
}

// readAmount reads an amount: what is none, or too much to be added up, is a damage.
func readAmount(r *told.Reader) float64 {
	const most = 1e30
	f := math.Float64frombits(r.Uint64())
	if !(f >= 0 && f <= most) {
		r.Sound = false
		return 0
	}
	return f
}
