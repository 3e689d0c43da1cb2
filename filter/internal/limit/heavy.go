package limit

import (
	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/heavy"
)

// Who uses most of a limit, and whom it refuses most often, is noted beside what limits decide, and decides nothing (package heavy). What a request has used
// counts when it has ended; of what was given back, nothing.

// Used notes what a request has used that was charged.
func (s *Set) Used(now clock.Moment, charges []Charge, r *Request, model string, used Usage, status int) {
	for i := range charges {
		c := &charges[i]
		l := s.own(c.limit)
		amount := s.amount(c.limit, model, used)
		if l == nil || amount <= 0 || c.limit.refunds(status) {
			continue
		}
		if counter, fresh := s.known(l).Use(now, uint64(c.subject), amount); fresh {
			counter.Name(s.name(l, r))
		}
	}
}

// Refused notes that a limit has refused the request that was asked for last, or would have in shadow mode.
func (s *Set) Refused(now clock.Moment, r *Request, v *gate.Verdict) {
	for i := range s.limits {
		l := &s.limits[i]
		if &l.Limit != v.Limit {
			continue
		}
		if counter, fresh := s.known(l).Refuse(now, uint64(s.hash(l, r)), v.Reason); fresh {
			counter.Name(s.name(l, r))
		}
	}
}

// own gives the set's own limit that is the same as another set's: a request's names are where its own set looks for them.
func (s *Set) own(other *limit) *limit {
	for i := range s.limits {
		if s.limits[i].salt == other.salt {
			return &s.limits[i]
		}
	}
	return nil
}

func (s *Set) known(l *limit) *heavy.Subjects {
	if l.known == nil {
		l.known = s.book.Of(l.salt)
	}
	return l.known
}

// name gives a subject's name in memory that is used again.
func (s *Set) name(l *limit, r *Request) []byte {
	s.shown = s.appendSubject(s.shown[:0], l, r)
	return s.shown
}

// Unit is what the limit at a place counts.
func (s *Set) Unit(number int) *config.Unit { return s.limits[number].Unit }

// Number gives the place of a limit, by its name, among those that are on, and what tells it from others in records.
func (s *Set) Number(name string) (number int, id uint64, on bool) {
	for i := range s.limits {
		if s.limits[i].Name == name {
			return i, s.limits[i].salt, true
		}
	}
	return 0, 0, false
}

// Tell gives what a worker has to tell of each limit's subjects, of which it has told nothing since they changed, in memory that is used again.
func (s *Set) Tell(now clock.Moment, worker uint64, tell func(number int, record []byte) error) error {
	for i := range s.limits {
		l := &s.limits[i]
		if l.known == nil || l.known.Changes == l.told {
			continue
		}
		s.record = l.known.AppendRecord(s.record[:0], worker, l.salt, now)
		if err := tell(i, s.record); err != nil {
			return err
		}
		l.told = l.known.Changes
	}
	return s.tellUnpriced(now, worker, tell)
}
