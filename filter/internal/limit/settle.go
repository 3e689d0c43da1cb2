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
	return s.change(now, charges, &change{kind: settling, model: model, used: used, status: status})
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
	return s.change(now, charges, &change{kind: refunding})
}

// Lease makes reservations of requests that were counted, since they have to wait before they are sent: should the worker die
// meanwhile, they are forgotten, and not lost to their subject.
func (s *Set) Lease(now clock.Moment, charges []Charge) Outcome {
	return s.change(now, charges, &change{kind: leasing})
}

// Send counts requests for good that were leased.
func (s *Set) Send(now clock.Moment, charges []Charge) Outcome {
	return s.change(now, charges, &change{kind: sending})
}

// Renew moves the reservations into the current lease period. A request that runs for longer than one calls it at least
// once a period.
func (s *Set) Renew(now clock.Moment, charges []Charge) Outcome {
	return s.change(now, charges, &change{kind: renewing})
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

// Adopt has the charges of another set settled by the limits of this one, as far as it has them. What they come to flows away at the rate by which they were
// admitted, if that is the faster one (package bucket).
func (s *Set) Adopt(charges []Charge) {
	for i := range charges {
		for j := range s.limits {
			if own := &s.limits[j]; own.salt == charges[i].limit.salt {
				charges[i].limit = own
			}
		}
	}
}

// change is what is to be done to the buckets of a request's charges.
type change struct {
	kind kind

	// Of settling.
	model  string
	used   Usage
	status int
}

// kind says which change it is: that of Settle, Refund, Lease, Send or Renew.
type kind uint8

const (
	settling kind = iota
	refunding
	leasing
	sending
	renewing
)

// wanted says that the change is one for the charge's bucket.
func (x *change) wanted(c *Charge) bool {
	unit := c.limit.Unit
	switch x.kind {
	case settling:
		return unit.Charged == config.WhenEnded || c.reserved > 0 || c.limit.refunds(x.status)
	case refunding:
		return c.reserved > 0 || c.used != 0
	case leasing:
		return unit.Charged == config.WhenSent && c.used > 0
	case sending:
		return unit.Charged == config.WhenSent && c.reserved > 0
	default:
		return c.reserved > 0
	}
}

// apply changes a bucket, as it was read in a lease period. It can be called several times, until one of the results is written, and
// changes nothing else.
func (s *Set) apply(x *change, c *Charge, period uint32, state *bucket.State) {
	state.Release(c.reserved, period-c.period)
	back := -c.used
	if c.window != state.Window { // that is over, and nobody gets back now what was used then
		back = 0
	}
	switch x.kind {
	case settling:
		switch {
		case c.limit.refunds(x.status):
			state.Use(back)
		case c.limit.Unit.Charged == config.Never:
		case c.limit.Unit.Charged == config.WhenEnded || c.used == 0:
			state.Use(s.amount(c.limit, x.model, x.used))
		}
	case refunding:
		state.Use(back)
	case leasing:
		state.Use(back)
		state.Reserve(1)
	case sending:
		state.Use(bucket.Micro)
	case renewing:
		state.Reserve(c.reserved)
	}
}

// made notes in a charge what was written, in a lease period and a window.
func (x *change) made(c *Charge, period, window uint32) {
	switch x.kind {
	case leasing:
		c.used, c.reserved, c.period = 0, 1, period
	case sending:
		c.used, c.window, c.reserved = bucket.Micro, window, 0
	case renewing:
		c.period = period
	}
}

// change makes a change to the buckets of the charges that it is for, page by page.
func (s *Set) change(now clock.Moment, charges []Charge, x *change) Outcome {
	var outcome Outcome
	for i := range charges {
		charges[i].open = x.wanted(&charges[i])
	}
	for i := range charges {
		if charges[i].open {
			s.changePage(now, charges[i:], x, &outcome)
		}
	}
	return outcome
}

// changePage makes the change to the buckets of the open charges that share the first one's page, and closes them.
func (s *Set) changePage(now clock.Moment, charges []Charge, x *change, outcome *Outcome) {
	page, err := s.table.Load(charges[0].subject, now)
	written := false
	for err == nil && !written {
		var evicted int
		s.changeAll(page, now, charges, x)
		if written, evicted, err = s.table.Save(page, now, s.ids...); written {
			outcome.Evicted += evicted
		} else if err == nil {
			err = s.table.Reload(page, now)
		}
	}
	switch { // the usual first: TinyGo compares interfaces by reflection
	case err == nil:
	case err == record.ErrContended:
		outcome.Contended = true
	default:
		outcome.Err = err
	}
	for i := range charges {
		if c := &charges[i]; c.changes(page) {
			if c.open = false; written {
				x.made(c, page.Period(), page.Get(c.id()).Window)
			}
		}
	}
	s.table.Release(page)
}

// changeAll makes the change to the buckets of a page as it was read, and notes their ids.
func (s *Set) changeAll(page *table.Page, now clock.Moment, charges []Charge, x *change) {
	s.ids = s.ids[:0]
	for i := range charges {
		c := &charges[i]
		if !c.changes(page) {
			continue
		}
		state := page.Get(c.id())
		rate := s.rate(now, c.limit)
		state.Leak(now, rate)
		s.apply(x, c, page.Period(), &state)
		page.SetBy(c.id(), state, &rate, &c.by.rate)
		s.ids = append(s.ids, c.id())
	}
}

// changes says that a change of the charge's bucket is to be made, in this page.
func (c *Charge) changes(p *table.Page) bool { return c.open && c.subject.Page() == p.Index() }
