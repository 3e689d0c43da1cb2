package admit

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/account"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/health"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/pressure"
)

// gatekeeper leads requests through one gate. It keeps nothing of a request, and nothing of an upstream: that stands in the stream and in the
// upstream, in memory that is used again, so that to ask allocates nothing. What a gate has no use for is nil. It is a table of functions rather
// than an interface, which would take 27 KB more of the module. docs/adding-a-gate.md goes through what a new gate takes.
type gatekeeper struct {
	name string // as decisions name it
	// ask writes what the gate says of a request into v, which is empty. Of its own, such as a record that can't be used, it takes note itself.
	ask func(e *Engine, s *Stream, now clock.Moment, v *gate.Verdict)
	// leave ends a request that the gate may have been asked for, and that goes no further: another gate has refused it, or its client left.
	leave func(e *Engine, s *Stream, now clock.Moment)
	// observe takes the moment of a stream's first output: in an overload it is the earliest sign.
	observe func(e *Engine, s *Stream, now clock.Moment)
	// finish takes the end of a request that was sent, of which is known by now what it used.
	finish func(e *Engine, s *Stream, now clock.Moment, end *account.Settlement)
	// tick lets the gate have its time, for all requests and upstreams, as often as period says (0: not at all, for now).
	tick   func(e *Engine, now clock.Moment)
	period func(e *Engine) time.Duration
	// describe publishes how the gate stands in all workers, once in describePeriod while anything changes.
	describe func(e *Engine, now clock.Moment)
	// whole says that it has to know all of a request, or takes something that no upload may take from others: while it is on, requests
	// are decided when all of them has come.
	whole bool
}

// upstreamGates are the gates of one upstream that its rules have; nil: they have no such gate.
type upstreamGates struct {
	health   *health.Gates // breaker, latency, throttle
	pressure *pressure.Rule
	queue    *dispatch.Gate
}

// makeGates makes the gates of an upstream, those that are on.
func (e *Engine) makeGates(u *upstream) {
	e.wantObjectives(u)
	e.newHealth(u)
	e.newPressure(u)
	e.newQueue(u)
	e.anyGate = e.anyGate || u.upstreamGates != upstreamGates{}
}

// listGates makes the list of gates, in the order in which a request comes to them: those that are on. Of an upstream's the breaker is first,
// since what it keeps away is no business of the others; the limits come after all that can refuse without charging; the queue is
// last, since what waits there has passed everything else, and is asked when all of the request has come (proceed).
func (e *Engine) listGates() {
	var learns, queues bool
	for _, u := range e.upstreams {
		learns = learns || u.health != nil
	}
	for _, u := range e.sites { // what waits in one that these rules don't have is served all the same
		queues = queues || u.queue != nil
	}
	if learns { // what breaker, latency gate and throttle let pass is tracked by all three at once
		e.gates = append(e.gates, gatekeeper{name: gate.Breaker, ask: (*Engine).askBreaker, leave: (*Engine).leaveTracked, finish: (*Engine).finishTracked,
			tick: (*Engine).tickTracked, period: (*Engine).trackedPeriod, describe: (*Engine).describeTracked, whole: true})
	}
	if e.monitor != nil {
		e.gates = append(e.gates, gatekeeper{name: gate.Pressure, ask: (*Engine).askPressure,
			tick: (*Engine).tickPressure, period: (*Engine).pressurePeriod, describe: (*Engine).describePressure})
	}
	if learns {
		e.gates = append(e.gates, gatekeeper{name: gate.Latency, ask: (*Engine).askLatency, observe: (*Engine).observeTracked},
			gatekeeper{name: gate.Throttle, ask: (*Engine).askThrottle})
	}
	if e.limits.Any() {
		e.gates = append(e.gates, gatekeeper{name: gate.Limits, ask: (*Engine).askLimits, leave: (*Engine).giveBack, finish: (*Engine).settle,
			tick: (*Engine).renew, period: (*Engine).renewPeriod})
	}
	if e.atDecision = len(e.gates); queues {
		e.gates = append(e.gates, gatekeeper{name: gate.Queue, ask: (*Engine).askQueue, leave: (*Engine).leaveQueue, observe: (*Engine).observeQueue, finish: (*Engine).finishQueue,
			tick: (*Engine).tickQueue, period: (*Engine).queuePeriod, describe: (*Engine).describeQueue})
	}
	for i := range e.gates {
		e.needsWhole = e.needsWhole || e.gates[i].whole
	}
}

// passes asks the gates that a request comes to when it is decided, or when it is complete, and says whether it goes on. What one of them says
// against it is done here: it is refused, sent elsewhere, kept waiting, or takes note of what a gate in shadow mode would have done.
func (e *Engine) passes(s *Stream, now clock.Moment, complete bool) bool {
	gates := e.gates[:e.atDecision]
	if complete {
		gates = e.gates[e.atDecision:]
	}
	return e.passesAll(s, now, gates)
}

// passesFrom asks the gates from the one of that name on.
func (e *Engine) passesFrom(s *Stream, now clock.Moment, name string, gates []gatekeeper) bool {
	for len(gates) > 0 && gates[0].name != name {
		gates = gates[1:]
	}
	return e.passesAll(s, now, gates)
}

func (e *Engine) passesAll(s *Stream, now clock.Moment, gates []gatekeeper) bool {
	for i := range gates {
		v := &s.verdict
		*v = gate.Verdict{}
		switch gates[i].ask(e, s, now, v); {
		case v.Outcome == gate.Queued && v.Gate == gate.Limits:
			e.await(s, now)
			return false
		case v.Outcome == gate.Queued:
			s.action = isHeld
			return false
		case !v.Outcome.Refuses():
			s.note(v)
		case v.Gate != gate.Breaker || !e.fallBack(s, now, v):
			e.refuse(s, now, v)
			return false
		}
	}
	return true
}

// leave ends what the gates know of a request that goes no further.
func (e *Engine) leave(s *Stream, now clock.Moment) {
	for i := range e.gates {
		if leave := e.gates[i].leave; leave != nil {
			leave(e, s, now)
		}
	}
}

// finishAll tells the gates how a request ended that was sent.
func (e *Engine) finishAll(s *Stream, now clock.Moment) {
	for i := range e.gates {
		if finish := e.gates[i].finish; finish != nil {
			finish(e, s, now, &s.settlement)
		}
	}
}

// observeAll tells the gates of a stream's first output.
func (e *Engine) observeAll(s *Stream, now clock.Moment) {
	for i := range e.gates {
		if observe := e.gates[i].observe; observe != nil {
			observe(e, s, now)
		}
	}
}

// describePeriod is how often gates describe themselves, while anything changes.
const describePeriod = time.Second

// tickGates lets all gates have their time.
func (e *Engine) tickGates(now clock.Moment) {
	for i := range e.gates {
		if tick := e.gates[i].tick; tick != nil {
			tick(e, now)
		}
	}
	since := now.Sub(e.described) // below 0: the clock was set back
	if len(e.sites) > 0 && (e.gatePeriod() == 0 || since >= describePeriod || since < 0) {
		e.described = now
		for i := range e.gates {
			if describe := e.gates[i].describe; describe != nil {
				describe(e, now)
			}
		}
	}
}

// gatePeriod is the shortest that a gate wants.
func (e *Engine) gatePeriod() (period time.Duration) {
	for i := range e.gates {
		if want := e.gates[i].period; want != nil {
			period = shorter(period, want(e))
		}
	}
	return period
}

func (e *Engine) askBreaker(s *Stream, now clock.Moment, v *gate.Verdict) {
	if s.tracked {
		*v = s.upstream.health.Breaker(now, &s.track)
		e.gateError(s, v.Err)
	}
}

func (e *Engine) askPressure(s *Stream, now clock.Moment, v *gate.Verdict) {
	if u := s.upstream; u != nil && u.pressure != nil {
		*v = e.monitor.Judge(now, u.pressure, s.caller.Priority)
	}
}

func (e *Engine) askLatency(s *Stream, now clock.Moment, v *gate.Verdict) {
	if s.tracked {
		*v = s.upstream.health.Latency(now, &s.track)
		e.gateError(s, v.Err)
		if v.Warning {
			e.out.count(metric.Warnings(gate.Latency, s.upstream.name), 1)
		}
	}
}

func (e *Engine) askThrottle(s *Stream, now clock.Moment, v *gate.Verdict) {
	if s.tracked {
		*v = s.upstream.health.Throttle(now, &s.track)
		e.gateError(s, v.Err)
	}
}

func (e *Engine) askLimits(s *Stream, now clock.Moment, v *gate.Verdict) {
	if s.preflight {
		return
	}
	made := e.limits.Admit(now, e.demand(s, now), s.charges[:0])
	s.charges, s.requests, s.tokens = made.Charges, made.Requests, made.Tokens
	if !made.Outcome.Refuses() { // of one that is refused nothing is learned
		e.accountant.Decided(&s.exchange)
	}
	if len(s.charges) > 0 {
		e.reserving.add(s)
	}
	e.report(limit.Outcome{Evicted: made.Evicted, Err: made.Err})
	if made.Err != nil {
		e.out.count(metric.Uncharged("store"), 1)
	}
	if made.Unpriced && !s.limitRequest.Again {
		e.unpriced(s, now)
	}
	if *v = made.Verdict; v.Outcome.Refuses() && s.tracked {
		s.upstream.health.Uncount()
	}
	if e.limits.Leases() {
		e.askFleet(now)
	}
	if v.Limit != nil && v.Outcome != gate.Queued && e.notes() {
		e.limits.Refused(now, &s.limitRequest, v)
	}
	if made.Nearly {
		e.nearly(s, v)
	}
}

// renew renews the reservations of requests that run for long.
func (e *Engine) renew(now clock.Moment) {
	for s, next := e.reserving.first, (*Stream)(nil); s != nil; s = next {
		next = e.reserving.after(s)
		if e.limits.Stale(now, s.charges) {
			e.report(e.limits.Renew(now, s.charges))
		}
	}
	e.tickFleet(now)
}

func (e *Engine) renewPeriod() time.Duration {
	period := e.fleetPeriod()
	if e.reserving.count > 0 {
		period = shorter(period, leasePeriod/2)
	}
	return period
}

// settle charges what a request has used.
func (e *Engine) settle(s *Stream, now clock.Moment, end *account.Settlement) {
	charges := e.handOver(s)
	if end.Spared {
		e.report(e.limits.Refund(now, charges))
	} else {
		used := e.spent(s, end)
		e.report(e.limits.Settle(now, charges, s.exchange.Model, used, end.Status))
		if e.notes() {
			e.limits.Used(now, charges, &s.limitRequest, s.exchange.Model, used, end.Status)
		}
		e.countSpend(s, charges, used.Spend, end.Status)
	}
}

func (e *Engine) askQueue(s *Stream, now clock.Moment, v *gate.Verdict) {
	if s.upstream != nil && s.upstream.queue != nil {
		e.arrive(s, now, v)
	}
}

func (e *Engine) leaveQueue(s *Stream, now clock.Moment) {
	if s.ticket.Waiting() {
		s.upstream.queue.Leave(&s.ticket)
		e.waited(s, s.ticket.Waited(now))
	}
	e.release(s, now, noAnswer)
}

func (e *Engine) finishQueue(s *Stream, now clock.Moment, end *account.Settlement) {
	s.answer.Used = end.Used.Total
	s.answer.Judged, s.answer.Limited = s.exchange.Answered() && !s.foreign(), end.Status == 429 || end.Failure == 429
	if s.ticket.InFlight() && s.upstream.queue.Learns() {
		s.answer.Took = s.tookAtEnd(now, end)
	}
	e.release(s, now, s.answer)
}

// observeQueue tells the queue of the first token, by which slots are learned, and from which on the stream can be ended for an urgent request.
func (e *Engine) observeQueue(s *Stream, now clock.Moment) {
	if s.ticket.InFlight() && s.exchange.Stream {
		e.yields(s)
		s.upstream.queue.Observe(now, &s.ticket, dispatch.Took{TTFT: s.took(now)})
	}
}
