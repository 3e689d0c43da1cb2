package limit

import (
	"math"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// Verdict is the outcome of an admission.
type Verdict struct {
	Charges          []Charge // what was charged; to be settled once
	Denied           *Denial  // the limit that refused, with the longest wait; nil: admitted
	Shadowed         *Denial  // a limit in shadow mode that would have refused
	Requests, Tokens Headroom // the tightest limits of either kind, after this request
	Evicted          int      // live buckets that had to go
	Err              error    // the store failed: the request was admitted without being charged
}

// Charge is what one limit holds of a request.
type Charge struct {
	limit    *limit
	subject  table.Hash
	used     int64  // millionths, counted already
	reserved uint32 // units
	period   uint32 // lease period of the reservation
	renewed  uint32 // lease period it is being moved to
	open     bool   // a change of its bucket is to be made
	done     bool   // the last change was
}

// id is the bucket's id in its page.
func (c *Charge) id() uint64 { return uint64(c.subject) ^ c.limit.salt }

// Denial says why a limit refused.
type Denial struct {
	Limit     *config.Limit
	Used      int64 // units used and reserved, rounded up
	Requested int64 // units asked for
	Wait      int64 // nanoseconds until it may pass; MaxInt64: never
	Contended bool  // the bucket could not be changed for the crowd of workers
}

// Never says that waiting won't help: the request is larger than the bucket.
func (d *Denial) Never() bool { return d.Wait == math.MaxInt64 }

// Headroom is how much of a limit is left.
type Headroom struct {
	Limit     *config.Limit // nil: no limit of the kind applies
	Remaining int64         // units
	Reset     int64         // nanoseconds until the bucket is full
}

// candidate is a limit that applies to the request being admitted.
type candidate struct {
	Charge
	page  *table.Page
	state bucket.State
	need  int64 // as judged by state
	skip  bool  // in shadow mode, and would refuse: not charged
	free  bool  // nothing is needed: it passes, however little is left
}

// Admit decides a request and charges it. The charges are appended to into, which may be nil.
func (s *Set) Admit(now int64, r *Request, into []Charge) Verdict {
	v := Verdict{Charges: into}
	s.candidates, s.pages = s.candidates[:0], s.pages[:0]
	clear(s.hashed)
	defer s.release()
	for i := range s.limits {
		l := &s.limits[i]
		if !l.matches(r) {
			continue
		}
		subject := s.hash(l, r)
		page, err := s.page(subject, now)
		if err != nil {
			v.Err = err
			return v
		}
		s.candidates = append(s.candidates, candidate{
			Charge: Charge{limit: l, subject: subject}, page: page,
		})
	}
	for i := range s.candidates {
		s.judge(&s.candidates[i], now, r, &v)
	}
	if v.Denied == nil {
		s.commit(now, r, &v)
	}
	if v.Denied == nil && v.Err == nil {
		s.accept(&v)
	}
	return v
}

// page gives the subject's page, loaded once a request.
func (s *Set) page(subject table.Hash, now int64) (*table.Page, error) {
	for _, page := range s.pages {
		if page.Index() == subject.Page() {
			return page, nil
		}
	}
	page, err := s.table.Load(subject, now)
	s.pages = append(s.pages, page)
	return page, err
}

func (s *Set) release() {
	for _, page := range s.pages {
		s.table.Release(page)
	}
}

// judge decides for one limit, on the page as it was read.
func (s *Set) judge(c *candidate, now int64, r *Request, v *Verdict) {
	c.state = c.page.Get(c.id())
	c.state.Leak(now, c.limit.rate)
	c.skip = false
	if c.free = s.free(c.limit, r); c.free {
		c.need = 0
		return
	}
	c.need = s.need(c.limit, r, &c.state)
	wanted := c.need
	if c.limit.Admission == config.Lenient && c.limit.Unit != config.Requests {
		// Lenient: any balance above zero will do. A request's own cost is known to be 1, so there is nothing to be
		// lenient about.
		wanted = 1
	}
	wait := c.state.Wait(wanted, c.limit.rate)
	if wait == 0 {
		return
	}
	d := &Denial{
		Limit:     &c.limit.Limit,
		Used:      units(c.limit.rate.Burst - c.state.Balance(c.limit.rate)),
		Requested: units(max(s.asked(c.limit, r), c.need)),
		Wait:      wait,
	}
	if c.limit.Mode == config.Shadow {
		c.skip = true
		v.Shadowed = worse(v.Shadowed, d)
		return
	}
	v.Denied = worse(v.Denied, d)
}

// asked is what the request, by its own bound, may use in all.
func (s *Set) asked(l *limit, r *Request) int64 {
	e := &r.Estimate
	if e.OutputBound == 0 || l.Unit == config.Requests {
		return 0
	}
	return s.amount(l, r.Model, Usage{Prompt: e.Prompt, Completion: e.OutputBound, Total: e.Prompt + e.OutputBound})
}

func worse(a, b *Denial) *Denial {
	if a == nil || b.Wait > a.Wait {
		return b
	}
	return a
}

// commit writes the pages. A page that another worker changed meanwhile is read and judged again; if there is no room
// any more, what was written before is taken back.
func (s *Set) commit(now int64, r *Request, v *Verdict) {
	for done, page := range s.pages {
		if s.commitPage(page, now, r, v); v.Denied != nil || v.Err != nil {
			s.rollback(now, s.pages[:done], v)
			return
		}
	}
}

// commitPage writes a page that was judged. If it can't be written for the crowd of workers the request is refused, rather than passed
// uncounted.
func (s *Set) commitPage(page *table.Page, now int64, r *Request, v *Verdict) {
	for v.Denied == nil {
		written, err := s.write(page, now, r, v)
		if err == nil && !written {
			err = s.table.Reload(page, now)
		}
		switch {
		case err == record.ErrContended:
			v.Denied = s.contended(page)
			return
		case err != nil:
			v.Err = err
			return
		case written:
			return
		}
		for i := range s.candidates {
			if s.candidates[i].page == page {
				s.judge(&s.candidates[i], now, r, v)
			}
		}
	}
}

// write charges the candidates of a page and saves it.
func (s *Set) write(page *table.Page, now int64, r *Request, v *Verdict) (bool, error) {
	var changed [8]uint64
	ids := changed[:0]
	for i := range s.candidates {
		c := &s.candidates[i]
		if c.page != page || c.skip {
			continue
		}
		c.used, c.reserved, c.period = 0, 0, page.Period()
		state := c.state
		if c.limit.Unit == config.Requests && !r.Waits {
			c.used = c.need
			state.Use(c.used)
		} else {
			c.reserved = uint32(min(units(c.need), math.MaxUint32))
			state.Reserve(c.reserved)
		}
		page.Again(c.id())
		page.Set(c.id(), state, c.limit.rate)
		ids = append(ids, c.id())
	}
	if len(ids) == 0 {
		return true, nil
	}
	written, evicted, err := s.table.Save(page, now, ids...)
	if written {
		v.Evicted += evicted
	}
	return written, err
}

// rollback takes back what was charged in the pages.
func (s *Set) rollback(now int64, pages []*table.Page, v *Verdict) {
	for _, page := range pages {
		var charged []Charge
		for i := range s.candidates {
			if c := &s.candidates[i]; c.page == page && !c.skip {
				charged = append(charged, c.Charge)
			}
		}
		if outcome := s.Refund(now, charged); outcome.Err != nil && v.Err == nil {
			v.Err = outcome.Err
		}
	}
}

func (s *Set) contended(page *table.Page) *Denial {
	for i := range s.candidates {
		if c := &s.candidates[i]; c.page == page {
			return &Denial{Limit: &c.limit.Limit, Contended: true, Wait: int64(1e9)}
		}
	}
	return nil
}

// accept notes what was charged and how much is left.
func (s *Set) accept(v *Verdict) {
	for i := range s.candidates {
		c := &s.candidates[i]
		if c.skip {
			continue
		}
		v.Charges = append(v.Charges, c.Charge)
		if c.limit.Mode != config.Enforce {
			continue
		}
		state := c.page.Get(c.id())
		h := Headroom{
			Limit:     &c.limit.Limit,
			Remaining: max(state.Balance(c.limit.rate), 0) / bucket.Micro,
			Reset:     state.Wait(c.limit.rate.Burst, c.limit.rate),
		}
		kind := &v.Tokens
		if c.limit.Unit == config.Requests {
			kind = &v.Requests
		}
		if kind.Limit == nil || tighter(h, *kind) {
			*kind = h
		}
	}
}

// tighter compares what is left as a share of the bucket.
func tighter(a, b Headroom) bool {
	return float64(a.Remaining)*float64(b.Limit.Burst) < float64(b.Remaining)*float64(a.Limit.Burst)
}

// units rounds millionths up to whole units.
func units(amount int64) int64 {
	if amount <= 0 {
		return 0
	}
	return (amount-1)/bucket.Micro + 1
}
