package limit

import (
	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// Outcome is what became of a change to buckets.
type Outcome struct {
	Evicted   int   // live buckets that had to go
	Contended bool  // some bucket could not be changed for the crowd of workers
	Err       error // the store failed
}

// Settle replaces the reservations by what the request really used, for which the upstream answered with the status; 0 is no
// answer. Requests are counted for good when they are sent. A limit that refunds the status gives everything back.
func (s *Set) Settle(now clock.Moment, charges []Charge, model string, used Usage, status int) Outcome {
	wants := func(c *Charge) bool {
		return c.limit.Unit.Charged == config.WhenEnded || c.reserved > 0 || c.limit.refunds(status)
	}
	return s.change(now, charges, wants, func(c *Charge, p *table.Page, state *bucket.State) {
		state.Release(c.reserved, p.Period()-c.period)
		switch {
		case c.limit.refunds(status):
			state.Use(-c.used)
		case c.limit.Unit.Charged == config.Never:
		case c.limit.Unit.Charged == config.WhenEnded || c.used == 0:
			state.Use(s.amount(c.limit, model, used))
		}
	})
}

// refunds says that an answer of the status costs nothing.
func (l *limit) refunds(status int) bool {
	for _, r := range l.Refund {
		if r.Contains(status) {
			return true
		}
	}
	return false
}

// Refund takes everything back.
func (s *Set) Refund(now clock.Moment, charges []Charge) Outcome {
	wants := func(c *Charge) bool { return c.reserved > 0 || c.used != 0 }
	return s.change(now, charges, wants, func(c *Charge, p *table.Page, state *bucket.State) {
		state.Release(c.reserved, p.Period()-c.period)
		state.Use(-c.used)
	})
}

// Lease makes reservations of requests that were counted, since they have to wait before they are sent: should the worker die
// meanwhile, they are forgotten, and not lost to their subject.
func (s *Set) Lease(now clock.Moment, charges []Charge) Outcome {
	wants := func(c *Charge) bool { return c.limit.Unit.Charged == config.WhenSent && c.used > 0 }
	outcome := s.change(now, charges, wants, func(c *Charge, p *table.Page, state *bucket.State) {
		c.renewed = p.Period()
		state.Use(-c.used)
		state.Reserve(1)
	})
	for i := range charges {
		if c := &charges[i]; c.done {
			c.used, c.reserved, c.period = 0, 1, c.renewed
		}
	}
	return outcome
}

// Send counts requests for good that were leased.
func (s *Set) Send(now clock.Moment, charges []Charge) Outcome {
	wants := func(c *Charge) bool { return c.limit.Unit.Charged == config.WhenSent && c.reserved > 0 }
	outcome := s.change(now, charges, wants, func(c *Charge, p *table.Page, state *bucket.State) {
		state.Release(c.reserved, p.Period()-c.period)
		state.Use(bucket.Micro)
	})
	for i := range charges {
		if c := &charges[i]; c.done {
			c.used, c.reserved = bucket.Micro, 0
		}
	}
	return outcome
}

// Renew moves the reservations into the current lease period. A request that runs for longer than one calls it at least
// once a period.
func (s *Set) Renew(now clock.Moment, charges []Charge) Outcome {
	wants := func(c *Charge) bool { return c.reserved > 0 }
	outcome := s.change(now, charges, wants, func(c *Charge, p *table.Page, state *bucket.State) {
		c.renewed = p.Period()
		state.Release(c.reserved, c.renewed-c.period)
		state.Reserve(c.reserved)
	})
	for i := range charges {
		if c := &charges[i]; c.done {
			c.period = c.renewed
		}
	}
	return outcome
}

// Stale says that the charges hold a reservation of an earlier lease period.
func (s *Set) Stale(now clock.Moment, charges []Charge) bool {
	for i := range charges {
		if charges[i].reserved > 0 && charges[i].period != s.table.Period(now) {
			return true
		}
	}
	return false
}

// change applies a change to the buckets of the charges that want it, page by page, and marks those as done whose page was
// written. apply may be called several times.
func (s *Set) change(now clock.Moment, charges []Charge, wants func(*Charge) bool, apply func(*Charge, *table.Page, *bucket.State)) Outcome {
	var outcome Outcome
	for i := range charges {
		charges[i].done, charges[i].open = false, wants(&charges[i])
	}
	for i := range charges {
		if charges[i].open {
			s.changePage(now, charges[i:], apply, &outcome)
		}
	}
	return outcome
}

// changePage applies the change to the open charges that share the first one's page, and closes them.
func (s *Set) changePage(now clock.Moment, charges []Charge, apply func(*Charge, *table.Page, *bucket.State), outcome *Outcome) {
	page, err := s.table.Load(charges[0].subject, now)
	defer s.table.Release(page)
	written := false
	for err == nil && !written {
		var changed [8]uint64
		ids := changed[:0]
		for i := range charges {
			if c := &charges[i]; c.changes(page) {
				state := page.Get(c.id())
				state.Leak(now, c.limit.rate)
				apply(c, page, &state)
				page.Set(c.id(), state, c.limit.rate)
				ids = append(ids, c.id())
			}
		}
		var evicted int
		if written, evicted, err = s.table.Save(page, now, ids...); written {
			outcome.Evicted += evicted
		} else if err == nil {
			err = s.table.Reload(page, now)
		}
	}
	if err == record.ErrContended {
		outcome.Contended = true
	} else if err != nil {
		outcome.Err = err
	}
	for i := range charges {
		if c := &charges[i]; c.changes(page) {
			c.open, c.done = false, written
		}
	}
}

// changes says that a change of the charge's bucket is to be made, in this page.
func (c *Charge) changes(p *table.Page) bool { return c.open && c.subject.Page() == p.Index() }
