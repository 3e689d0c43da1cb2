package dispatch

import (
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// A budget can become smaller while much of it is in use: the retreat lowers it, or an operator does. What it let pass before is no debt
// to be paid at the new rate: after a flood of 429 that would take the best part of an hour. So what is in use above the smaller burst is set
// aside, and requests go on at the smaller rate from then on. It is not forgotten: it leaks at the rate of the whole budget, and is
// in use again as far as the budget grows, at once where the retreat ends or is undone. Else who can have the budget lowered and raised
// would have all of it each time.

// aside is what was in use of a budget when that became smaller.
type aside struct {
	bucket.State
	burst int64 // of the budget, in millionths, when it was last looked at; 0: never
}

// settle follows a budget's size. whole is the budget that nothing has lowered, rate what there is of it now.
func (a *aside) settle(now clock.Moment, meter *bucket.State, lent *int64, whole, rate bucket.Rate) {
	if rate.Quantity == 0 {
		*a = aside{}
		return
	}
	if a.Used > 0 {
		a.Leak(now, whole)
	} else {
		a.At = meter.At // what is set aside now leaks from where it was counted
	}
	before := a.burst
	a.burst = rate.Burst
	switch {
	case rate.Burst < before && meter.Used > rate.Burst:
		above := meter.Used - rate.Burst
		meter.Used = rate.Burst
		ofOne := min(*lent, above) // what one caller's word took is not the others'
		*lent -= ofOne
		a.Use(above - ofOne)
	case rate.Burst > before && before > 0 && a.Used > 0:
		back := a.Used
		if rate.Burst < whole.Burst {
			back = min(back, max(rate.Burst-meter.Used, 0))
		}
		meter.Use(back)
		a.Use(-back)
	}
}

// settle follows the size of both budgets.
func (g *Gate) settle(now clock.Moment) {
	s := &g.known
	s.aside[0].settle(now, &s.requests, &s.lent[0], g.settings.Requests, g.requests())
	s.aside[1].settle(now, &s.tokens, &s.lent[1], g.settings.Tokens, g.tokens())
}

// charge notes the tokens of a request that has ended. One that started before the budget was lowered is set aside, as far as there is no room for it.
func (g *Gate) charge(s *shared, t *Ticket, used int64) {
	amount, rate := min(used, bucket.Most/bucket.Micro)*bucket.Micro, g.tokens()
	if rate.Burst < g.settings.Tokens.Burst && t.started <= s.retreat.Lowered() {
		now := min(amount, max(rate.Burst-s.tokens.Used, 0))
		s.aside[1].Use(amount - now)
		amount = now
	}
	s.tokens.Use(amount)
}
