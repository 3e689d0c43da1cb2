package admit

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/lease"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// Limits of the fleet are spent from leases (package lease). Here a worker asks for them, and here those requests wait for which nothing is left, at
// the gate of the limits: when there is news, and every leasePoll, since another worker may have asked, the limits are asked again. Who has waited as
// long as fleet.timeout says is asked for a last time, and doesn't wait again.

// leasePoll is how often the limits are asked again for those that wait.
const leasePoll = 10 * time.Millisecond

// idlePoll is how often it is looked at which leases lie idle, and whether the service is to be asked what it has counted.
const idlePoll = time.Second

// leasing is what the engine has of that.
type leasing struct {
	client   *lease.Client
	call     []byte    // the body of the call that is to be made
	awaiting streamSet // requests that wait for a lease
	news     bool      // the service has answered since they were asked for last
}

// The longest that a call may take: its answer is worth having after fleet.timeout, too.
const (
	leastPatience = time.Second
	mostPatience  = 10 * time.Second
)

// FleetCall is what an effect Ask sends to the fleet's service, by POST /json, and how long its answer is waited for.
func (e *Engine) FleetCall() (c *config.Fleet, body []byte, patience time.Duration) {
	return &e.latest.cfg.Fleet, e.leasing.call, e.patience()
}

func (e *Engine) patience() time.Duration {
	return min(max(4*e.latest.cfg.Fleet.Timeout, leastPatience), mostPatience)
}

// askFleet asks for what is wanted, if it is time for that.
func (e *Engine) askFleet(now clock.Moment) {
	body, err := e.leasing.client.Call(now, e.latest.cfg.Fleet.Domain, e.patience())
	if err != nil {
		e.storeFailed("the record of leases can't be used", err)
	}
	if body != nil {
		e.leasing.call = body
		e.out.add(Ask, nil)
	}
}

// FleetAnswered takes what became of an Ask: status 0 is no answer.
func (e *Engine) FleetAnswered(now clock.Moment, status int, body []byte) {
	e.current = nil
	x := &e.leasing
	wrong := x.client.Answered(now, status, body)
	if wrong == lease.ErrStray {
		return
	}
	x.news = true
	if err := e.latest.limits.Credit(now, x.client.Credits); err != nil {
		e.storeFailed("a lease is lost, since its bucket can't be used", err)
	}
	for i, n := range x.client.Results {
		e.out.count(metric.FleetLeases(lease.ResultNames[i]), n)
	}
	x.client.Results = lease.Results{}
	if x.client.Turned(wrong != nil) {
		e.fleetTurned(wrong)
	}
	e.askFleet(now)
}

// fleetTurned says, once for all workers, that the service has stopped to answer, or has begun again.
func (e *Engine) fleetTurned(wrong error) {
	c := &e.latest.cfg.Fleet
	down, text := int64(0), "answers again: limits of the fleet are leased from it"
	if wrong != nil {
		down = 1
		text = wrong.Error() + ": what is leased already is spent, and then fleet.onDown, " + c.OnDown + ", says what becomes of requests, until it answers"
	}
	e.out.gauge(metric.FleetDown(), down)
	e.out.warn("the fleet's service at cluster " + c.Cluster + " " + text)
}

// await has a request wait for a lease.
func (e *Engine) await(s *Stream, now clock.Moment) {
	if !e.leasing.awaiting.has(s) {
		e.leasing.awaiting.add(s)
		s.rules.limits.Waits(1)
		s.leaseBy = now.Add(e.cfg.Fleet.Timeout)
	}
	s.action = isHeld
}

// endAwait ends that.
func (e *Engine) endAwait(s *Stream) {
	if e.leasing.awaiting.has(s) {
		e.leasing.awaiting.remove(s)
		s.rules.limits.Waits(-1)
	}
}

// tickFleet has the limits asked again for those that wait, and asks the service for what is wanted.
func (e *Engine) tickFleet(now clock.Moment) {
	x := &e.leasing
	for s, next := x.awaiting.first, (*Stream)(nil); s != nil && e.turns > 0; s = next {
		next = x.awaiting.after(s)
		e.tryAgain(s, now)
	}
	x.news = x.awaiting.count > 0 && e.turns <= 0
	if err := e.latest.limits.GiveBack(now); err != nil {
		e.storeFailed("the record of leases can't be used", err)
	}
	if e.latest.limits.Leases() {
		e.askFleet(now)
	}
}

// tryAgain asks the limits again for a request that waits, and lets it go on, or refuses it, if they say so.
func (e *Engine) tryAgain(s *Stream, now clock.Moment) {
	defer e.use(e.use(s.rules))
	s.action = goesOn
	before := now < s.leaseBy
	if e.passesFrom(s, now, gate.Limits, e.gates[:e.atDecision]) {
		e.endAwait(s)
		e.wentOn(s, now)
	} else if !before || s.Refused() {
		e.endAwait(s)
	}
	e.conclude(s)
	e.refuseDropped(now)
}

// wentOn lets a request go on that has waited for a lease, as far as it has come meanwhile.
func (e *Engine) wentOn(s *Stream, now clock.Moment) {
	switch {
	case !s.upload.open:
		e.proceed(s, now)
	case e.keeps(s):
		e.hold(s, now)
	}
	s.upload.passes = s.upload.passes || s.action == goesOn
}

// fleetPeriod is how soon there is something to be done for leases; 0: there is nothing.
func (e *Engine) fleetPeriod() time.Duration {
	switch x := &e.leasing; {
	case x.awaiting.count > 0 && x.news:
		return time.Millisecond
	case x.awaiting.count > 0:
		return leasePoll
	case x.client.Busy():
		return 5 * leasePoll
	case e.latest.limits.Leases():
		return idlePoll
	}
	return 0
}
