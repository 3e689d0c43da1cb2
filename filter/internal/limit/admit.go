package limit

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// Admission is the outcome of asking the limits. The verdict is that of the limit with the longest wait: of those that refuse, else of
// those in shadow mode that would have. A store that failed (Err) has charged nothing: the request is admitted all the same.
type Admission struct {
	gate.Verdict
	Charges          []Charge      // what was charged; to be settled once
	Requests, Tokens gate.Headroom // the tightest limits of either kind that have a window, after this request
	Evicted          int           // live buckets that had to go
	Unpriced         bool          // a limit of dollars applies, and the model has no price
	Nearly           bool          // little is left of a limit that says what becomes of requests then (Charge.Nearly)
}

// Charge is what one limit holds of a request.
type Charge struct {
	limit    *limit
	by       *limit // as it was when the request was admitted
	subject  table.Hash
	used     int64  // millionths, counted already
	window   uint32 // in which; 0: the limit has none
	reserved uint32 // units
	period   uint32 // lease period of the reservation
	open     bool   // a change of its bucket is to be made
	near     bool   // little was left when it was made
}

// Nearly gives the limit that was charged if little of it was left, the charge included; nil: it is none that looks at that, or enough was left.
func (c *Charge) Nearly() *config.Limit {
	if !c.near {
		return nil
	}
	return &c.limit.Limit
}

// id is the bucket's id in its page.
func (c *Charge) id() uint64 { return uint64(c.subject) ^ c.limit.salt }

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
func (s *Set) Admit(now clock.Moment, r *Request, into []Charge) Admission {
	v := Admission{Charges: into}
	s.candidates, s.pages = s.candidates[:0], s.pages[:0]
	clear(s.hashed)
	if v.Err = s.load(now, r); v.Err == nil {
		s.decide(now, r, &v)
	}
	for _, page := range s.pages {
		s.table.Release(page)
	}
	return v
}

// load finds the limits that apply, and reads their subjects' pages.
func (s *Set) load(now clock.Moment, r *Request) error {
	for i := range s.limits {
		l := &s.limits[i]
		if !l.matches(r) {
			continue
		}
		subject := s.hash(l, r)
		page, err := s.page(subject, now)
		if err != nil {
			return err
		}
		own := s.grantedTo(now, l, subject)
		s.candidates = append(s.candidates, candidate{Charge: Charge{limit: own, by: own, subject: subject}, page: page})
		if l.terms != nil {
			if err := s.stock(now, &s.candidates[len(s.candidates)-1], r); err != nil {
				return err
			}
		}
	}
	return nil
}

// decide decides by what was read, and charges it.
func (s *Set) decide(now clock.Moment, r *Request, v *Admission) {
	for i := range s.candidates {
		s.judge(&s.candidates[i], now, r, v)
	}
	if !v.stops() {
		s.commit(now, r, v)
	}
	if !v.stops() && v.Err == nil {
		s.accept(now, r, v)
	}
}

// stops says that the request doesn't go on now: nothing is charged.
func (v *Admission) stops() bool { return v.Outcome.Refuses() || v.Outcome == gate.Queued }

// page gives the subject's page, loaded once a request.
func (s *Set) page(subject table.Hash, now clock.Moment) (*table.Page, error) {
	for _, page := range s.pages {
		if page.Index() == subject.Page() {
			return page, nil
		}
	}
	page, err := s.table.Load(subject, now)
	s.pages = append(s.pages, page)
	return page, err
}

// judge decides for one limit, on the page as it was read.
func (s *Set) judge(c *candidate, now clock.Moment, r *Request, v *Admission) {
	c.state = c.page.Get(c.id())
	rate := s.rate(now, c.limit)
	c.state.Leak(now, rate)
	c.skip = false
	if c.limit.Unit.Money() && s.prices.lacks(r.Model) {
		if v.Unpriced = true; s.prices.reject {
			s.refuseFor(c, now, r, v, gate.Never, gate.Unpriced)
			return
		}
	}
	if c.free = s.free(c.limit, r); c.free {
		c.need = 0
		return
	}
	c.need = s.need(c.limit, r, &c.state)
	wanted := s.wanted(c.limit, c.need)
	wait := c.state.Wait(wanted, rate)
	switch {
	case wait == 0:
		return
	case c.limit.Lifetime && wanted <= c.limit.rate.Burst:
		if wanted > c.limit.rate.Burst-c.state.Used { // else it is only reserved, and may come back
			s.refuseFor(c, now, r, v, wait, gate.Spent)
			return
		}
		wait = untilOneEnds
	case c.limit.Window == 0 && !c.limit.Lifetime:
		wait = untilOneEnds
	case c.limit.terms != nil && c.need <= c.limit.size():
		s.dry(c, now, r, v)
		return
	}
	s.refuseFor(c, now, r, v, wait, reason(c.limit, wait))
}

// refuseFor has a request refused for a limit, or noted that it would be.
func (s *Set) refuseFor(c *candidate, now clock.Moment, r *Request, v *Admission, wait time.Duration, why string) {
	outcome := gate.Rejected
	if c.limit.Mode == config.Shadow {
		c.skip, outcome = true, gate.Shadowed
	}
	if v.Outcome == outcome && wait <= v.Wait || v.stops() && c.skip {
		return // another one weighs more
	}
	v.Verdict = gate.Because(outcome, gate.Limits, why)
	rate := s.rate(now, c.limit)
	used := c.limit.units(c.limit.size() - c.state.Balance(rate))
	v.Measured, v.Threshold = c.limit.shown(used), c.limit.shown(c.limit.Burst)
	v.Limit, v.Wait, v.Reset = &c.limit.Limit, wait, min(full(&c.limit.Limit, used), c.state.Wait(rate.Burst, rate))
	if rate.Now != nil {
		v.Reset = c.state.Ends(rate)
	}
	v.Requested = c.limit.units(max(s.asked(c.limit, r), c.need))
}

// untilOneEnds is how long to wait where a limit without a window has no room: nobody knows when a request ends.
const untilOneEnds = time.Second

func reason(l *limit, wait time.Duration) string {
	if wait == gate.Never {
		return gate.TooLarge
	}
	return l.Unit.Reason
}

// full is how long a bucket takes to be full again.
func full(l *config.Limit, used int64) time.Duration {
	perUnit := float64(l.Window) / float64(l.Quantity)
	return time.Duration(min(float64(used)*perUnit, math.MaxInt64/2))
}

// asked is what the request, by its own bound, may use in all.
func (s *Set) asked(l *limit, r *Request) int64 {
	e := &r.Estimate
	if e.OutputBound == 0 || !l.Unit.Tokens() {
		return 0
	}
	return s.expected(l, r.Model, Usage{Prompt: e.Prompt, Completion: e.OutputBound, Total: e.Prompt + e.OutputBound})
}

// commit writes the pages. A page that another worker changed meanwhile is read and judged again; if there is no room
// any more, what was written before is taken back.
func (s *Set) commit(now clock.Moment, r *Request, v *Admission) {
	for done, page := range s.pages {
		if s.commitPage(page, now, r, v); v.stops() || v.Err != nil {
			s.rollback(now, s.pages[:done], v)
			return
		}
	}
}

// commitPage writes a page that was judged. If it can't be written for the crowd of workers the request is refused, rather than passed
// uncounted.
func (s *Set) commitPage(page *table.Page, now clock.Moment, r *Request, v *Admission) {
	for !v.stops() {
		written, err := s.write(page, now, r, v)
		if err == nil && !written {
			err = s.table.Reload(page, now)
		}
		switch {
		case err == nil && written:
			return
		case err == nil: // and the page was read anew
		case err == record.ErrContended:
			s.contended(page, v)
			return
		default:
			v.Err = err
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
func (s *Set) write(page *table.Page, now clock.Moment, r *Request, v *Admission) (bool, error) {
	s.ids = s.ids[:0]
	for i := range s.candidates {
		c := &s.candidates[i]
		if c.page != page || c.skip {
			continue
		}
		state := c.state
		c.used, c.window, c.reserved, c.period = 0, state.Window, 0, page.Period()
		if c.limit.Unit.Charged == config.WhenSent && !r.Waits {
			c.used = c.need
			state.Use(c.used)
		} else {
			c.reserved = uint32(min(ceil(c.need, c.limit.rate.Grain), math.MaxUint32))
			state.Reserve(c.reserved)
		}
		page.Again(c.id())
		page.Set(c.id(), state, c.limit.rate)
		s.ids = append(s.ids, c.id())
	}
	if len(s.ids) == 0 {
		return true, nil
	}
	written, evicted, err := s.table.Save(page, now, s.ids...)
	if written {
		v.Evicted += evicted
	}
	return written, err
}

// rollback takes back what was charged in the pages.
func (s *Set) rollback(now clock.Moment, pages []*table.Page, v *Admission) {
	for _, page := range pages {
		s.back = s.back[:0]
		for i := range s.candidates {
			if c := &s.candidates[i]; c.page == page && !c.skip {
				s.back = append(s.back, c.Charge)
			}
		}
		if outcome := s.Refund(now, s.back); outcome.Err != nil && v.Err == nil {
			v.Err = outcome.Err
		}
	}
}

// contended refuses for the first limit of a page.
func (s *Set) contended(page *table.Page, v *Admission) {
	for i := range s.candidates {
		if c := &s.candidates[i]; c.page == page {
			v.Verdict = gate.Because(gate.Rejected, gate.Limits, gate.Contended)
			v.Limit, v.Wait, v.Reset = &c.limit.Limit, time.Second, time.Second
			return
		}
	}
}

// accept notes what was charged and how much is left.
func (s *Set) accept(now clock.Moment, r *Request, v *Admission) {
	for i := range s.candidates {
		c := &s.candidates[i]
		if c.skip {
			continue
		}
		c.near = c.limit.Nearly.At > 0 && !c.free && s.nearly(now, c)
		v.Nearly = v.Nearly || c.near
		v.Charges = append(v.Charges, c.Charge)
		if c.limit.terms != nil && !c.free {
			s.replenish(now, c, r)
		}
		if c.limit.Mode != config.Enforce || c.limit.Window == 0 || c.limit.Unit.Headers == nil {
			continue
		}
		v.tell(s.headroom(now, c))
	}
}

// tell takes what a limit has left, if that is the least of its kind.
func (v *Admission) tell(h gate.Headroom) {
	kind := &v.Tokens
	if !h.Limit.Unit.Tokens() {
		kind = &v.Requests
	}
	if kind.Limit == nil || tighter(h, *kind) {
		*kind = h
	}
}

// headroom is what is left of a limit, when it was charged.
func (s *Set) headroom(now clock.Moment, c *candidate) gate.Headroom {
	rate, state := s.rate(now, c.limit), c.page.Get(c.id())
	h := gate.Headroom{
		Limit:     &c.limit.Limit,
		Remaining: max(state.Balance(rate), 0) / bucket.Micro,
		Reset:     state.Wait(rate.Burst, rate),
	}
	if rate.Now != nil {
		state.Leak(now, rate)
		h.Reset = state.Ends(rate)
	}
	s.fleetHeadroom(now, c, state.At, &h)
	return h
}

// nearly says that little is left of a limit, when it was charged.
func (s *Set) nearly(now clock.Moment, c *candidate) bool {
	size := c.limit.size()
	state := c.page.Get(c.id())
	left := state.Balance(c.limit.rate)
	if c.limit.terms != nil { // what was leased and is left, and what the fleet has left beside that, as far as it is known
		h := gate.Headroom{Remaining: left / bucket.Micro}
		s.fleetHeadroom(now, c, state.At, &h)
		left = h.Remaining * bucket.Micro
	}
	return isNearly(&c.limit.Limit, size-left, size)
}

// isNearly says that so much of a limit's size, both in millionths, is used or reserved that little is left. A unit that has come back in part counts
// as used, as it does where clients are told what is left: else the eighth of ten requests would be near only if it came at the moment of the first.
func isNearly(l *config.Limit, used, size int64) bool {
	return l.Nearly.At > 0 && ceil(used, parts(l.Unit))*parts(l.Unit) >= int64(math.Round(l.Nearly.At*float64(size)))
}

// tighter compares what is left as a share of the bucket.
func tighter(a, b gate.Headroom) bool {
	return float64(a.Remaining)*float64(b.Limit.Burst) < float64(b.Remaining)*float64(a.Limit.Burst)
}

// units rounds millionths up to whole units: those that leases are counted in.
func units(amount int64) int64 { return ceil(amount, bucket.Micro) }

// units rounds millionths up to those that the limit's quantity is in.
func (l *limit) units(amount int64) int64 { return ceil(amount, parts(l.Unit)) }

func ceil(amount, unit int64) int64 {
	if amount <= 0 {
		return 0
	}
	return (amount-1)/unit + 1
}
