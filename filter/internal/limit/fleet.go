package limit

import (
	"encoding/binary"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/lease"
	"github.com/spillway-proxy/spillway/filter/internal/sha256"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// Limits of the fleet (package lease): a subject's bucket holds what is left of this proxy's leases. A request that finds nothing left waits for
// the next lease (gate.Queued), but not for longer than it may (Request.Waited), and not if the service doesn't answer: then the configuration says what
// becomes of it.

// fleet is what a set needs for the limits of the fleet.
type fleet struct {
	client  *lease.Client
	config  *config.Fleet
	wall    func() int64 // the time of day, in nanoseconds since 1970
	text    []byte
	waiting int // requests that wait for a lease
}

// leaseBase is the burst of all leased buckets, whatever their limits are: one that is changed while its window lasts is not worth more or less.
const leaseBase = lease.MostQuantity * bucket.Micro

// MostWaiting is how many requests a worker lets wait for leases at one time.
const MostWaiting = 256

// LeaseFrom has the limits of the fleet lease by a client. wall tells the time of day, in nanoseconds since 1970.
func (s *Set) LeaseFrom(client *lease.Client, c *config.Fleet, wall func() int64) {
	client.Ask(c.Cluster + "/" + c.Domain)
	s.fleet = fleet{client: client, config: c, wall: wall}
}

// terms are a limit as the fleet's service is told of it; nil: it is the proxy's own.
func terms(l *config.Limit) *lease.Terms {
	if l.Scope != config.ScopeFleet {
		return nil
	}
	return &lease.Terms{Name: l.Name, Quantity: l.FleetQuantity(), Unit: l.FleetUnit(), Period: l.Window}
}

// stock gives a candidate what its proxy gives itself, where the service doesn't answer and the configuration says so.
func (s *Set) stock(now clock.Moment, c *candidate, r *Request) error {
	f := &s.fleet
	front, err := f.client.Front(now, c.id(), c.limit.terms)
	if err != nil || f.config.OnDown == config.DownRefuse || front.Empty > now || !r.Waited && !f.client.Down(now, f.config.Timeout) {
		return err
	}
	state := c.page.Get(c.id())
	state.Leak(now, c.limit.rate)
	need := s.need(c.limit, r, &state)
	missing := s.wanted(c.limit, need) - state.Balance(c.limit.rate)
	if missing <= 0 {
		return nil
	}
	c.state, c.need = state, need
	w := s.want(c, r, need+max(-state.Balance(c.limit.rate), 0))
	credit, err := f.client.Own(now, f.wall(), &w, f.config.OnDown == config.DownLocal)
	s.seek(now, c, r, front)
	if err != nil || credit.Amount == 0 {
		return err
	}
	if err := s.grant(now, table.Hash(credit.Subject), c.limit, &credit); err != nil {
		return err
	}
	return s.table.Reload(c.page, now)
}

// Credit puts what has been leased into the buckets.
func (s *Set) Credit(now clock.Moment, credits []lease.Credit) error {
	var failed error
	for i := range credits {
		credit := &credits[i]
		for j := range s.limits {
			if l := &s.limits[j]; l.salt == credit.Limit && l.terms != nil && credit.Amount > 0 {
				if err := s.grant(now, table.Hash(credit.Subject), l, credit); err != nil {
					failed = err
				}
			}
		}
	}
	return failed
}

// grant puts a lease into its bucket.
func (s *Set) grant(now clock.Moment, subject table.Hash, l *limit, credit *lease.Credit) error {
	page, err := s.table.Load(subject, now)
	id := uint64(subject) ^ l.salt
	for written := false; err == nil && !written; {
		state := page.Get(id)
		state.Grant(now, credit.Amount*bucket.Micro, credit.End, l.rate)
		page.Set(id, state, l.rate)
		if written, _, err = s.table.Save(page, now, id); err == nil && !written {
			err = s.table.Reload(page, now)
		}
	}
	s.table.Release(page)
	return err
}

// GiveBack has leases given back that lie idle, and counted again what was counted before a loss.
func (s *Set) GiveBack(now clock.Moment) error {
	f := &s.fleet
	if f.client == nil {
		return nil
	}
	f.client.Idle(now, func(w *lease.Want) int64 {
		left, _ := s.idle(now, w, 0)
		return left
	}, func(w *lease.Want, left int64) clock.Moment {
		_, end := s.idle(now, w, left)
		return end
	})
	return f.client.Recount(now, s.termsOf)
}

// termsOf gives those of a limit; nil: there is none.
func (s *Set) termsOf(salt uint64) *lease.Terms {
	for i := range s.limits {
		if s.limits[i].salt == salt {
			return s.limits[i].terms
		}
	}
	return nil
}

// idle says how much of a lease is left, in whole units; below 0: a request under way has some of it. With a part to be given back, which has to be all of
// it, that is taken out of the bucket; end, when the window ends, is 0 if that can't be.
func (s *Set) idle(now clock.Moment, w *lease.Want, part int64) (left int64, end clock.Moment) {
	for i := range s.limits {
		if l := &s.limits[i]; l.salt == w.Limit && l.terms != nil {
			page, err := s.table.Load(table.Hash(w.Subject), now)
			again := err == nil
			for again {
				left, end, again = s.idleIn(page, now, l, w.ID, part)
			}
			s.table.Release(page)
		}
	}
	return left, end
}

// idleIn is idle in a page that was read; again: another worker has changed it since, and it was read once more.
func (s *Set) idleIn(page *table.Page, now clock.Moment, l *limit, id uint64, part int64) (left int64, end clock.Moment, again bool) {
	state := page.Get(id)
	state.Leak(now, l.rate)
	if left = max(floor(state.Balance(l.rate)), 0); state.Held(l.rate) > 0 {
		left = -1
	}
	if part == 0 || left != part {
		return left, 0, false
	}
	state.Use(part * bucket.Micro)
	page.Set(id, state, l.rate)
	written, _, err := s.table.Save(page, now, id)
	if err == nil && written {
		return left, state.At, false
	}
	return left, 0, err == nil && s.table.Reload(page, now) == nil
}

// dry judges a candidate for which too little is leased: the fleet's limit is used up, or the next lease is waited for.
func (s *Set) dry(c *candidate, now clock.Moment, r *Request, v *Admission) {
	f := &s.fleet
	front, err := f.client.Front(now, c.id(), c.limit.terms)
	if err != nil {
		v.Err = err
		return
	}
	if front.Empty <= now || !front.Quiet(now) {
		s.seek(now, c, r, front)
	}
	wait, why := time.Second, gate.FleetDown
	switch down := r.Waited || f.client.Down(now, f.config.Timeout) || f.waiting >= MostWaiting; {
	case front.Empty > now:
		wait, why = front.Empty.Sub(now), c.limit.Unit.Reason
	case c.limit.Mode == config.Shadow: // it is charged, as debt, of which the fleet is told
		return
	case !down:
		if !v.Outcome.Refuses() {
			v.Verdict = gate.Because(gate.Queued, gate.Limits, gate.Leasing)
			v.Limit = &c.limit.Limit
		}
		return
	case f.config.OnDown == config.DownLocal: // it has given itself all of it
		why = c.limit.Unit.Reason
		if left := c.state.At.Sub(now); left > 0 {
			wait = left
		}
	}
	if s.refuseFor(c, now, r, v, wait, why); v.Limit == &c.limit.Limit {
		v.Reset = v.Wait
	}
}

// replenish has the next lease asked for if the one that an admitted request is charged to runs out.
func (s *Set) replenish(now clock.Moment, c *candidate, r *Request) {
	front, err := s.fleet.client.Front(now, c.id(), c.limit.terms)
	switch {
	case err != nil:
	case front.Wants(now, floor(c.state.Balance(c.limit.rate)-c.need)):
		s.seek(now, c, r, front)
	case !front.Watched():
		w := s.want(c, r, 0)
		s.fleet.client.Watch(now, front, &w)
	}
}

// seek wants what a candidate needs beyond what is left. Where any balance will do it is no more than a quarter of what the fleet has left, beside what is
// owed: else one request that is expected to be long would draw all of a shared limit into its own proxy, from which nothing can be given back.
func (s *Set) seek(now clock.Moment, c *candidate, r *Request, front *lease.Front) {
	need, balance := c.need, c.state.Balance(c.limit.rate)
	if s.wanted(c.limit, need) < need {
		left := front.Left
		if left == 0 {
			left = c.limit.terms.Quantity
		}
		need = min(need, max(left/4, 1)*bucket.Micro)
	}
	need = max(need-balance, 1)
	if front.Asked() {
		if !r.Again && !s.fleet.client.Down(now, s.fleet.config.Timeout) { // else it doesn't wait for that
			s.fleet.client.More(c.id(), units(need))
		}
		return
	}
	w := s.want(c, r, need)
	s.fleet.client.Want(now, &w)
}

// fleetHeadroom adds what the fleet has left beside the lease, as far as it is known, where the limit is the fleet's.
func (s *Set) fleetHeadroom(now clock.Moment, c *candidate, end clock.Moment, h *gate.Headroom) {
	if c.limit.terms == nil {
		return
	}
	h.Reset = max(end.Sub(now), 0)
	if front, err := s.fleet.client.Front(now, c.id(), c.limit.terms); err == nil {
		h.Remaining += front.Left
	}
}

// Lease is how a subject of a limit of the fleet stands in this proxy, in units.
type Lease struct {
	Taken   int64         // in this window
	Left    int64         // of it
	Counted int64         // of the fleet, leases included, when the service was asked last; -1: it wasn't in this window
	Ends    time.Duration // until the window ends; 0: not known
}

// lookFleet says how a subject of a limit of the fleet stands, by its bucket.
func (s *Set) lookFleet(now clock.Moment, l *limit, id uint64, state *bucket.State, v *View) error {
	e, err := s.fleet.client.Look(now, id)
	if err != nil {
		return err
	}
	whole := bucket.Micro / parts(l.Unit) // of the limit's units is one that is leased
	left := state.Balance(l.rate) / parts(l.Unit)
	own := Lease{Taken: (e.Taken - e.Given) * whole, Left: max(left, 0), Counted: -1, Ends: max(e.End.Sub(now), 0)}
	v.Remaining = left
	if e.Known {
		own.Counted = e.Counted() * whole
		v.Remaining += max(l.Quantity-own.Counted, 0)
	}
	v.Used, v.Full, v.Lease = max(l.Quantity-v.Remaining-v.Reserved, 0), own.Ends, &own
	return nil
}

// Fleet says that the limit is the fleet's: what one proxy knows of its subjects is not to be changed.
func (s Subject) Fleet() bool { return s.limit != nil && s.limit.terms != nil }

// Nearly says that the limit looks at whether little is left.
func (s Subject) Nearly() bool { return s.limit != nil && s.limit.Limit.Nearly.At > 0 }

// floor rounds millionths down to whole units.
func floor(amount int64) int64 { return amount / bucket.Micro }

// wanted is how much has to be left for a request that is expected to need so much.
func (s *Set) wanted(l *limit, need int64) int64 {
	if l.Admission == config.Lenient && l.Unit.Tokens() {
		// Lenient: any balance above zero will do. A request's own cost is known to be 1, so there is nothing to be
		// lenient about.
		return 1
	}
	return need
}

// want is what is wanted for a candidate, of so many millionths at least.
func (s *Set) want(c *candidate, r *Request, need int64) lease.Want {
	return lease.Want{ID: c.id(), Limit: c.limit.salt, Subject: uint64(c.subject), Terms: c.limit.terms, Need: units(need), Name: s.nameOf(c.limit, r)}
}

// nameOf names a subject alike in all proxies, which hash their subjects by keys of their own. What clients choose doesn't leave the proxy but as a hash.
func (s *Set) nameOf(l *limit, r *Request) (name [16]byte) {
	b := append(append(append(append(s.fleet.text[:0], l.Unit.Name...), 0), l.terms.Unit...), 0)
	for i := range l.per {
		b = l.per[i].append(append(append(b, l.per[i].name...), 0), r)
		b = append(b, 0)
	}
	s.fleet.text = b
	hash := sha256.Sum(inplace.String(b))
	copy(name[:], hash[:])
	return name
}

// FleetHash hashes a part of an identity that is never shown, alike in all proxies.
func FleetHash(value []byte) uint64 {
	hash := sha256.Sum(inplace.String(value))
	return binary.LittleEndian.Uint64(hash[:])
}

// hashPart hashes a part of an identity as its requests have it.
func (s *Set) hashPart(value string) uint64 {
	if s.fleet.client != nil {
		return FleetHash(inplace.Bytes(value))
	}
	return uint64(s.table.Hash([]byte(value)))
}

// Leases says that there are limits of the fleet.
func (s *Set) Leases() bool { return s.fleet.client != nil }

// Waits notes that a request begins to wait for a lease, or has ended to.
func (s *Set) Waits(more int) { s.fleet.waiting += more }
