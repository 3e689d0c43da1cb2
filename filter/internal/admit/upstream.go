package admit

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// An admitted request goes to the gate of its model's upstream when it is complete (upload.go). Only what has a dialect is
// governed. What waits there is held; it goes on, or is answered, from another stream's event or from Tick.

// upstream is one of the configuration, with its gates.
type upstream struct {
	name   string
	models []string
	cfg    *config.Upstream
	upstreamGates
	site    *site
	id      uint64 // of its gates, no other worker's
	byModel bool   // its gates that learn tell models apart
	slots   gateSlots
}

// newUpstreams makes the upstreams, with their gates (list.go).
func (e *Engine) newUpstreams() {
	if e.cfg.Mode == config.Off {
		for _, u := range e.sites {
			if u.queue != nil {
				u.queue.Open()
			}
		}
		return
	}
	for i := range e.cfg.Upstreams {
		c := &e.cfg.Upstreams[i]
		u := &upstream{name: c.Name, models: c.Models, cfg: c, site: e.site(c.Name), id: e.id + uint64(i)}
		e.makeGates(u)
		e.upstreams = append(e.upstreams, u)
	}
}

// newQueue makes the queue of an upstream, if anything has to wait there. One that there is stays: it knows what is in flight.
func (e *Engine) newQueue(u *upstream) {
	settings := dispatch.NewSettings(u.cfg, e.cfg.Mode)
	switch {
	case u.site.queue != nil:
		u.site.queue.Change(settings)
	case !settings.Governs():
		return
	default:
		u.site.queue = dispatch.New(settings, e.host, e.cfg.Namespace+"/u1/"+u.name, u.id)
	}
	u.queue = u.site.queue
	u.site.base = u.cfg.Budget.Requests * int64(time.Minute) / int64(u.cfg.Budget.Window)
	e.hints = newHints(&e.picker)
	e.wantPatience()
	if name, is := strings.CutPrefix(string(u.cfg.Queue.Fairness), config.PerHeader); is {
		u.slots.fairness = e.picker.Want(name)
	}
}

// HasUpstream says that there is an upstream of that name.
func (e *Engine) HasUpstream(name string) bool {
	return slices.ContainsFunc(e.upstreams, func(u *upstream) bool { return u.name == name })
}

// upstreamNeedsModel says that the request's upstream can't be told before its body names the model.
func (e *Engine) upstreamNeedsModel(s *Stream) bool {
	return (e.anyGate || e.shut.any) && len(e.upstreams) > 0 && s.exchange.Asked.Route == "" && (!everything(e.upstreams[0].models) || e.upstreams[0].byModel || e.upstreams[0].weighs())
}

// weighs says that requests count for several there by what they ask for.
func (u *upstream) weighs() bool { return len(u.cfg.Concurrency.Weights)+len(u.cfg.Budget.Weights) > 0 }

// everything says that the globs match whatever there is.
func everything(globs []string) bool { return len(globs) == 0 || len(globs) == 1 && globs[0] == "*" }

// find gives the upstream of a request; nil if there is none, or none that does anything. One whose model can't be told for sure
// may be for any of them: for that of the model that it seems to name, else for the first.
func (e *Engine) find(s *Stream) *upstream {
	if !e.anyGate && !e.shut.any || s.exchange.Dialect == nil {
		return nil
	}
	model := s.exchange.Model
	if s.anyModel {
		model = e.canonical(s.exchange.Asked.Model)
	}
	for _, u := range e.upstreams {
		if config.MatchModel(u.models, model) {
			return u
		}
	}
	if s.anyModel && len(e.upstreams) > 0 {
		return e.upstreams[0]
	}
	return nil
}

// proceed lets an admitted request go on to the upstream, unless it has to wait there.
func (e *Engine) proceed(s *Stream, now clock.Moment) {
	switch {
	case s.Waiting():
		s.action = isHeld
		return
	case s.upload.open || s.phase != stQueued:
		return
	}
	if s.ticket.InFlight() || e.passes(s, now, true) { // it has its place already where a fault has ended the event that gave it
		e.send(s, now)
	}
}

// weight is for how many requests one counts. One whose model can't be told for sure is as heavy as any that it could be for.
func (s *Stream) weight(weights []config.Weight, prompt int64) int {
	most := 1
	for i := range weights {
		switch w := &weights[i]; {
		case w.AbovePrompt > 0 && prompt <= w.AbovePrompt:
		case s.anyModel:
			most = max(most, w.Units)
		case config.MatchModel(w.Models, s.exchange.Model):
			return w.Units
		}
	}
	return most
}

// arrive asks for the request's turn at its upstream.
func (e *Engine) arrive(s *Stream, now clock.Moment, v *gate.Verdict) {
	expected := e.accountant.Expect(&s.exchange, now)
	s.answer = noAnswer
	s.ticket = dispatch.Ticket{
		Priority: s.caller.Priority, Subject: e.turnsOf(s), Tokens: expected.Prompt + expected.Output, Prompt: expected.Prompt, Owner: s,
	}
	s.ticket.Caller, s.ticket.Keyed = e.subject(s)
	s.ticket.Patience, s.ticket.Bytes = s.patience, s.upload.kept
	s.ticket.Units, s.ticket.Spends = s.weight(s.upstream.cfg.Concurrency.Weights, expected.Prompt), s.weight(s.upstream.cfg.Budget.Weights, expected.Prompt)
	if s.upstream.cfg.Queue.Deadline == config.DeadlineSLO {
		s.ticket.Within = bound(s.headers.Get(s.upstream.slots.ttft))
		if s.tracked {
			s.ticket.Takes = s.track.Most()
		}
	}
	arrival := s.upstream.queue.Arrive(now, &s.ticket)
	*v = arrival.Verdict
	if v.Err != nil {
		e.out.count(metric.Uncharged("store"), 1)
		e.out.warn("the upstream's record can't be used: " + v.Err.Error())
	}
	if arrival.Dropped != nil { // refused when all that is the arriving one's has been done
		e.dropped, e.droppedWait = arrival.Dropped.Owner.(*Stream), v.Wait
	}
	switch {
	case v.Outcome == gate.Queued:
		if s.pastQueue = v.Reason; s.pastQueue != "" {
			e.out.count(metric.Passthrough(s.upstream.name, s.pastQueue), 1)
		}
		e.lease(s, now)
	case v.Reason == gate.Bypassed:
		e.out.count(metric.Passthrough(s.upstream.name, v.Reason), 1)
	}
}

// turnsOf is who shares turns with the request. Who doesn't say what the configuration goes by has turns of its own if the upstream can
// tell it: else all that have a key and no name would be one.
func (e *Engine) turnsOf(s *Stream) uint64 {
	var who string
	switch s.upstream.cfg.Queue.Fairness {
	case config.FairToUsers:
		who = s.caller.User
	case config.FairToTenants:
		who = s.caller.Tenant
	case config.FairToKeys:
		who = s.caller.Key
	case config.FairToNone:
		return 0
	default: // a header
		who = e.identity.Nobody()
		if slot := s.upstream.slots.fairness; !s.caller.Untrusted && !s.headers.Repeated(slot) {
			who = cmp.Or(s.headers.Get(slot), who)
		}
	}
	if who == e.identity.Nobody() {
		subject, _ := e.subject(s)
		return subject
	}
	e.scratch = append(append(e.scratch[:0], "turn\x00"...), who...)
	return uint64(e.table.Hash(e.scratch))
}

// refuseDropped refuses the waiting request that has made room for another, if one has.
func (e *Engine) refuseDropped(now clock.Moment) {
	s := e.dropped
	e.dropped = nil
	if s == nil || s.phase != stQueued { // after a fault, another event may have ended it
		return
	}
	defer e.use(e.use(s.rules))
	v := gate.Because(gate.Rejected, gate.Queue, gate.Dropped)
	v.Waited, v.Wait = s.ticket.Waited(now), e.droppedWait
	e.refuse(s, now, &v)
	e.conclude(s)
}

// lease makes what the limits of requests have charged a lease, while the request waits.
func (e *Engine) lease(s *Stream, now clock.Moment) {
	if !s.leased && len(s.charges) > 0 {
		s.leased = true
		e.report(e.limits.Lease(now, s.charges))
	}
}

// giveBack returns what the limits had charged for a request that goes no further.
func (e *Engine) giveBack(s *Stream, now clock.Moment) {
	e.endAwait(s)
	if charges := e.handOver(s); len(charges) > 0 {
		e.report(e.limits.Refund(now, charges))
	}
}

// handOver gives what a request is charged to who settles it, once: should there be a fault, nothing is given back a second time, and what
// is still reserved is forgotten as a dead worker's is.
func (e *Engine) handOver(s *Stream) []limit.Charge {
	e.reserving.remove(s)
	charges := s.charges
	s.charges = s.charges[:0]
	return charges
}

// waited publishes how long a request has waited.
func (e *Engine) waited(s *Stream, wait time.Duration) {
	if wait <= 0 {
		return
	}
	e.out.setNumber(s, filterstate.QueueMillis, wait.Milliseconds())
	e.out.sample(metric.QueueWait(s.caller.Priority), wait.Milliseconds())
}

// dequeued takes what the gate has decided about a waiting request.
func (e *Engine) dequeued(s *Stream, now clock.Moment, v gate.Verdict) {
	if v.Reason == gate.Revoked {
		e.revoke(s, now)
		return
	}
	defer e.use(e.use(s.rules))
	s.action = goesOn
	if v.Outcome == gate.Rejected {
		e.refuse(s, now, &v)
	} else {
		if s.decision.Outcome == gate.Allowed {
			s.decision = gate.Because(gate.Queued, gate.Queue, s.pastQueue)
		}
		e.waited(s, v.Waited)
		e.send(s, now)
	}
	e.conclude(s)
}

// dequeue lets the gate's waiting requests go on, as far as there is room.
func (e *Engine) dequeue(u *site, now clock.Moment) {
	u.slotFreed = false
	dequeue := u.queue.Dequeue(now)
	for e.turns > 0 && dequeue.Next() {
		e.dequeued(dequeue.Ticket.Owner.(*Stream), now, dequeue.Verdict)
	}
	if err := dequeue.Err(); err != nil {
		e.storeFailed("the record of upstream "+u.name+" can't be used", err)
	}
	switch began, ended := u.queue.AlarmTurned(); {
	case began:
		e.out.warn("upstream " + u.name + " answers so many requests with 429 that its budget is at the floor, retreat.minRequests: the alarm" +
			" lasts until it has not for retreat.recoverWindow")
	case ended:
		e.out.warn("upstream " + u.name + " takes requests again: the alarm is over, and its budget recovers")
	}
}

// release frees the request's place at its upstream. The next one has it when the event has been handled (end).
func (e *Engine) release(s *Stream, now clock.Moment, a dispatch.Answer) {
	if !s.ticket.InFlight() {
		return
	}
	if err := s.upstream.queue.Finish(now, &s.ticket, a); err != nil {
		e.storeFailed("the record of upstream "+s.upstream.name+" can't be used", err)
	}
	s.upstream.site.slotFreed = true
}

// abandon ends a request that was not sent to the upstream: the client has left, or something else has answered.
func (e *Engine) abandon(s *Stream, now clock.Moment, outcome gate.Outcome) {
	e.leave(s, now)
	s.phase, s.decision = stDone, gate.Verdict{Outcome: outcome}
	s.upload.reads = nothingOfIt
	e.record(s)
}

// tickQueue serves the upstreams' queues.
func (e *Engine) tickQueue(now clock.Moment) {
	for _, u := range e.sites {
		if u.queue != nil {
			e.dequeue(u, now)
		}
	}
}

// queuePeriod is the shortest that a queue wants.
func (e *Engine) queuePeriod() (period time.Duration) {
	for _, u := range e.sites {
		if u.queue != nil {
			period = shorter(period, u.queue.Period())
		}
	}
	return period
}

// describeQueue publishes what waits and what is under way in all workers, and what the retreat has left of the upstreams' budgets.
func (e *Engine) describeQueue(now clock.Moment) {
	for _, u := range e.sites {
		if u.queue == nil {
			continue
		}
		v := u.queue.Snapshot(now)
		e.out.gauge(metric.InFlight(u.name), int64(v.InFlight))
		if v.Slots > 0 {
			e.out.gauge(metric.Slots(u.name), int64(v.Slots))
		}
		e.out.gauge(metric.QueueBytes(u.name), v.Bytes)
		for p, n := range v.Waiting {
			e.out.gauge(metric.QueueDepth(u.name, config.Priority(p)), int64(n))
		}
		alarm := int64(0)
		if v.Alarm {
			alarm = 1
		}
		e.out.gauge(metric.RetreatState(u.name), int64(v.Phase))
		e.out.gauge(metric.RetreatAlarm(u.name), alarm)
		e.out.gauge(metric.EffectiveRPM(u.name), u.base*v.Scale/dispatch.Whole)
		if v.Requests.Burst > 0 {
			e.out.gauge(metric.BudgetAvailable(u.name, "requests"), v.Requests.Left)
		}
		if v.Tokens.Burst > 0 {
			e.out.gauge(metric.BudgetAvailable(u.name, "tokens"), v.Tokens.Left)
		}
		e.out.gauge(metric.Upstream429Ratio(u.name), int64(v.Share*1000+0.5))
	}
}
