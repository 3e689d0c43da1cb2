package limit

import (
	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// Outcome is what became of a change to buckets.
type Outcome struct {
	Evicted   int   // live buckets that had to go
	Contended bool  // some bucket could not be changed for the crowd of workers
	Err       error // the store failed
}

// Settle replaces the reservations by what the request really used. Requests are counted for good at admission.
func (s *Set) Settle(now int64, charges []Charge, model string, used Usage) Outcome {
	open := charges[:0]
	for _, c := range charges {
		if c.limit.Unit != config.Requests {
			open = append(open, c)
		}
	}
	return s.change(now, open, func(c *Charge, p *table.Page, state *bucket.State) {
		state.Release(c.reserved, p.Period()-c.period)
		state.Use(s.amount(c.limit, model, used))
	})
}

// Refund takes everything back.
func (s *Set) Refund(now int64, charges []Charge) Outcome {
	return s.change(now, charges, func(c *Charge, p *table.Page, state *bucket.State) {
		state.Release(c.reserved, p.Period()-c.period)
		state.Use(-c.used)
	})
}

// Renew moves the reservations into the current lease period. A request that runs for longer than one calls it at least
// once a period.
func (s *Set) Renew(now int64, charges []Charge) Outcome {
	for i := range charges {
		charges[i].renewed = charges[i].period
	}
	outcome := s.change(now, charges, func(c *Charge, p *table.Page, state *bucket.State) {
		c.renewed = p.Period()
		state.Release(c.reserved, c.renewed-c.period)
		state.Reserve(c.reserved)
	})
	for i := range charges {
		charges[i].period = charges[i].renewed
	}
	return outcome
}

// Stale says that the charges hold a reservation of an earlier lease period.
func (s *Set) Stale(now int64, charges []Charge) bool {
	for i := range charges {
		if charges[i].reserved > 0 && charges[i].period != s.table.Period(now) {
			return true
		}
	}
	return false
}

// change applies a change to the buckets of all charges, page by page.
func (s *Set) change(now int64, charges []Charge, apply func(*Charge, *table.Page, *bucket.State)) Outcome {
	var outcome Outcome
	for i := range charges {
		if firstOfPage(charges, i) {
			s.changePage(now, charges[i:], apply, &outcome)
		}
	}
	return outcome
}

func firstOfPage(charges []Charge, i int) bool {
	for j := range i {
		if charges[j].subject.Page() == charges[i].subject.Page() {
			return false
		}
	}
	return true
}

// changePage applies the change to the charges that share the first one's page.
func (s *Set) changePage(now int64, charges []Charge, apply func(*Charge, *table.Page, *bucket.State), outcome *Outcome) {
	page, err := s.table.Load(charges[0].subject, now)
	defer s.table.Release(page)
	for try := 0; err == nil; try++ {
		if try == attempts {
			outcome.Contended = true
			notRenewed(charges)
			return
		}
		var changed [8]uint64
		ids := changed[:0]
		for i := range charges {
			c := &charges[i]
			if c.subject.Page() != charges[0].subject.Page() {
				continue
			}
			state := page.Get(c.id())
			state.Leak(now, c.limit.rate)
			apply(c, page, &state)
			page.Set(c.id(), state, c.limit.rate)
			ids = append(ids, c.id())
		}
		var written bool
		var evicted int
		if written, evicted, err = s.table.Save(page, now, ids...); written {
			outcome.Evicted += evicted
			return
		}
		if err == nil {
			err = s.table.Reload(page, now)
		}
	}
	outcome.Err = err
	notRenewed(charges)
}

// notRenewed leaves the reservations of the first charge's page in the periods they are in: the page was not written.
func notRenewed(charges []Charge) {
	for i := range charges {
		if charges[i].subject.Page() == charges[0].subject.Page() {
			charges[i].renewed = charges[i].period
		}
	}
}
