package dispatch

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/autosize"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/retreat"
)

// Settings is what one upstream lets through.
type Settings struct {
	Requests, Tokens             bucket.Rate       // Quantity 0: no budget
	Slots                        int               // units in flight at most, one a request without a weight; 0: no limit
	Auto                         autosize.Settings // in place of Slots: they are learned; Limit 0: they aren't
	ReservedUrgent, ReservedHigh int
	QueueMax                     int
	MaxBytes                     int64           // of what waits; 0: no limit
	WhenFull                     config.WhenFull // "" is to reject
	MaxWait                      [Priorities]time.Duration
	Foresees                     bool // what can't have its turn in time is refused at once
	Revokes                      bool // low streams are ended for urgent requests
	Retreat                      retreat.Settings
	Retreats                     bool // the retreat is measured
	Yields                       bool // and lowers the budget
	Shadow                       bool // all is measured, nothing is held back
}

// leastPast is how many can wait past a queue, however short that is.
const leastPast = 100

// Room is how many can wait in all workers together. Past a queue as many can wait as in it: what waits takes memory.
func (s *Settings) Room() int {
	if s.WhenFull == config.QueuePassthrough {
		return s.QueueMax + max(s.QueueMax, leastPast)
	}
	return s.QueueMax
}

// NewSettings translates the configuration.
func NewSettings(u *config.Upstream, mode config.Mode) Settings {
	s := Settings{
		Requests: rate(u.Budget.Requests, u.Budget.Burst, u.Budget.Window),
		Slots:    u.Concurrency.Max, ReservedUrgent: u.Concurrency.ReservedUrgent, ReservedHigh: u.Concurrency.ReservedHigh,
		QueueMax: u.Queue.Max, MaxBytes: u.Queue.MaxBytes, WhenFull: u.Queue.WhenFull, Retreat: retreat.NewSettings(u), Shadow: mode == config.Shadow,
	}
	if u.Concurrency.Auto() {
		s.Slots, s.Auto = 0, autosize.Settings{Min: u.Concurrency.Min, Limit: u.Concurrency.Limit}
	}
	burst := u.Budget.Burst
	if u.Budget.Requests > 0 { // which the burst is meant for, then
		burst = 0
	}
	s.Tokens = rate(u.Budget.Tokens, burst, u.Budget.Window)
	for p, wait := range u.Queue.MaxWait {
		s.MaxWait[p] = wait
	}
	s.Foresees = u.Queue.Deadline == config.DeadlineMaxWait || u.Queue.Deadline == config.DeadlineSLO
	s.Revokes = u.Queue.Revoke
	s.Retreats = u.Retreat.Mode != config.Off && (s.Requests.Quantity > 0 || s.Tokens.Quantity > 0)
	s.Yields = s.Retreats && u.Retreat.Mode == config.Enforce
	return s
}

// rate is a budget of whole units. A burst of 0 is one window's worth.
func rate(quantity, burst int64, window time.Duration) bucket.Rate {
	if burst == 0 {
		burst = quantity
	}
	return bucket.Rate{Burst: burst * bucket.Micro, Quantity: quantity * bucket.Micro, Window: window}
}

// Governs says that there is anything to keep: else requests pass straight through.
func (s *Settings) Governs() bool {
	return s.Slots > 0 || s.Learns() || s.Requests.Quantity > 0 || s.Tokens.Quantity > 0
}

// Learns says that the slots are learned.
func (s *Settings) Learns() bool { return s.Auto.Limit > 0 }

// ceilings are the shares of slots and budget, in thousandths, that a priority may take where nothing can wait: what is
// left is for the higher ones, so that low ones are shed first. Where requests can wait, their order does that.
var ceilings = [Priorities]int64{config.Low: 800, config.Normal: 900, config.High: 950, config.Urgent: 1000}

// ceiling is a priority's part of an amount: at least one unit.
func (s *Settings) ceiling(p config.Priority, amount, unit int64) int64 {
	if s.Room() > 0 {
		return amount
	}
	return max(amount/1000*ceilings[p]+amount%1000*ceilings[p]/1000, min(unit, amount))
}

// scaled is a budget as the retreat leaves it: at least one unit at once.
func (s *Settings) scaled(r bucket.Rate, scale int64) bucket.Rate {
	if !s.Yields {
		return r
	}
	r.Burst, r.Quantity = max(part(r.Burst, scale), bucket.Micro), max(part(r.Quantity, scale), 1)
	return r
}

// part is what a scale leaves of an amount.
func part(n, scale int64) int64 { return n/retreat.Whole*scale + n%retreat.Whole*scale/retreat.Whole }
