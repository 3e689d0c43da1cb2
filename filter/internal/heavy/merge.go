package heavy

import (
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/told"
)

// Count is what is known of a subject's use or refusals in all workers: at least Low, at most High.
type Count struct{ Low, High float64 }

// Subject is one that some worker tells of.
type Subject struct {
	ID      uint64 // its keyed hash, which is not for showing
	Name    string // as it is shown
	Used    Count  // millionths of the limit's unit
	Refused Count  // requests
	Last    clock.Moment
	Reason  string // of the last refusal; "": none is known
}

// Merged is what all workers know of a limit's subjects.
type Merged struct {
	Workers                 int // that tell of the limit
	Subjects                []Subject
	UsedError, RefusedError float64 // no High is more than its Low by more
}

// merging is how one of the two counts comes about.
type merging struct {
	floors float64 // of all workers
	error  float64
}

// Merge adds up what the workers' records of a limit tell, as of now; in which order they come makes no difference. Damaged ones count as none.
func Merge(now clock.Moment, limit uint64, records [][]byte) Merged {
	var m Merged
	var use, refusals merging
	numbers := map[uint64]int{}
	parts := told.Latest(records, layout, limit)
	for i := range parts {
		t, whole := decode(&parts[i].Reader)
		if !whole {
			continue
		}
		m.Workers++
		factor := halved(int64(now)/int64(HalfLife) - t.period)
		m.add(numbers, t.used, &use, t.floors[0]*factor, factor, func(s *Subject) *Count { return &s.Used })
		m.add(numbers, t.refused, &refusals, t.floors[1]*factor, factor, func(s *Subject) *Count { return &s.Refused })
	}
	for i := range m.Subjects {
		s := &m.Subjects[i]
		s.Used.High = max(s.Used.High+use.floors, s.Used.Low)
		s.Refused.High = max(s.Refused.High+refusals.floors, s.Refused.Low)
	}
	m.UsedError, m.RefusedError = use.error, refusals.error
	return m
}

// add adds a worker's counters. Of High the floor is left out for a subject that the worker names, since all floors are added at the end.
func (m *Merged) add(numbers map[uint64]int, counters []toldCounter, to *merging, floor, factor float64, count func(*Subject) *Count) {
	off := floor
	for i := range counters {
		c := &counters[i]
		n, known := numbers[c.id]
		if !known {
			n = len(m.Subjects)
			numbers[c.id] = n
			m.Subjects = append(m.Subjects, Subject{ID: c.id, Name: c.name})
		}
		s := &m.Subjects[n]
		s.Name = min(s.Name, c.name)
		sum := count(s)
		sum.Low += (c.count - c.over) * factor
		sum.High += c.count*factor - floor
		off = max(off, c.over*factor)
		if c.reason != "" && (s.Reason == "" || c.last > s.Last || c.last == s.Last && c.reason > s.Reason) {
			s.Last, s.Reason = c.last, c.reason
		}
	}
	to.floors += floor
	to.error += off
}

// TopByUse puts those first that have used most for certain, and gives so many of them.
func (m *Merged) TopByUse(n int) []Subject {
	return m.top(n, leastUsed, func(s *Subject) Count { return s.Used })
}

// TopByRefusals puts those first that were refused most often for certain, and gives so many of them.
func (m *Merged) TopByRefusals(n int) []Subject {
	return m.top(n, leastRefused, func(s *Subject) Count { return s.Refused })
}

// What is less, by being halved so often, is forgotten: a hundredth of the limit's unit, and of a refusal.
const (
	leastUsed    = 10_000
	leastRefused = 0.01
)

// top selects the greatest, which are few; to sort by the library would take more of the module than all else here. What is less than least is left out.
func (m *Merged) top(n int, least float64, count func(*Subject) Count) []Subject {
	n = min(n, len(m.Subjects))
	for i := range n {
		greatest := i
		for j := i + 1; j < len(m.Subjects); j++ {
			if before(&m.Subjects[j], &m.Subjects[greatest], count) {
				greatest = j
			}
		}
		m.Subjects[i], m.Subjects[greatest] = m.Subjects[greatest], m.Subjects[i]
		if count(&m.Subjects[i]).Low < least {
			return m.Subjects[:i]
		}
	}
	return m.Subjects[:n]
}

func before(a, b *Subject, count func(*Subject) Count) bool {
	switch x, y := count(a), count(b); {
	case x.Low != y.Low:
		return x.Low > y.Low
	case x.High != y.High:
		return x.High > y.High
	default:
		return a.ID < b.ID
	}
}
