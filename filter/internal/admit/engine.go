// Package admit leads one request from its headers to its end: it reads what passes, decides, and settles.
//
// # States of a stream
//
//	new → (holding →) queued → sent → (responding →) done
//
// From each but "done" a request can be done at once: refused, answered by somebody else, or left by its client.
//
// A request is decided at its headers if they tell all that its limits need (or if no limit applies), else when its body
// is complete. One that is refused at its headers may be answered a little later (drain.go). While it is undecided it is held, in the way the host is set up for (config.Hold). It comes to its upstream's gate when
// its body is complete, whenever it was decided (upload.go). An admitted request owns its charges until it is finished: at the last byte of the response, before the client can send its next request,
// or when the stream ends, whichever comes first; exactly once.
//
// # The gates
//
// What stands in a request's way is a list (list.go): breaker, pressure, latency, throttle, limits, which are asked when it is decided, and
// the queue, which is asked when it is complete. The first that refuses ends it, and refuse answers it, whichever that was. However a request ends
// that was not sent, it leaves all gates (leave); one that was sent finishes at all of them (finish), once it is known what it used.
//
// # What is charged
//
// A request counts as one when it is sent, whatever comes of it; until then it is a lease (package limit). One that the upstream never had
// costs nothing: it was refused, its client left or broke its upload off before, no upstream was to be had, another filter answered (package
// origin).
//
// What tokens it has used, and how that is known, is package account's: its comment has the table of all ways in which a request can end.
//
// A limit whose "refund" has the answer's status gives all of it back.
//
// # The worst moments
//
// The stream dies: Done settles. The worker dies: its reservations, and the requests that it had not sent, are forgotten after two
// lease periods (package bucket). The host never shows the body of a held request: Tick lets it go on, as if nothing could be held
// (guard.go). The body is garbage or too large:
// estimates apply. The store fails: the request passes, counted as
// an error. Time is monotonic and comes in with every event.
package admit

import (
	"encoding/binary"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/grant"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/journal"
	"github.com/spillway-proxy/spillway/filter/internal/lease"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/pressure"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
	"github.com/spillway-proxy/spillway/filter/internal/table"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// leasePeriod is how long a reservation is sure to count without being renewed; it is forgotten after two.
const leasePeriod = 10 * time.Second

// Engine leads the requests of one plugin in one worker, by the rules that its configuration makes (rules.go).
type Engine struct {
	*rules          // of the stream whose event is being handled; of nobody's: the latest
	latest *rules   // by which requests that come now are led
	past   []*rules // those of earlier configurations, by which some still are

	host     Host
	table    *table.Table
	id       uint64            // no other worker's
	sites    []*site           // the upstreams' gates, which stay while rules change
	measures *pressure.Monitor // nil: no rules have asked for pressure yet
	silent   bool              // the exporter has not answered the last time
	scratch  []byte
	pairs    [][2]string
	text     []byte  // what these have as values
	levels   []worst // of the gates' models, as they were described last
	warned   map[usage.Unread]bool
	labels   labels
	refusals refusals

	leaving          streamSet // they are being ended for urgent requests
	untold           streamSet // of these more has passed than the filter state was told
	draining         streamSet // refused, and their answers wait for their bodies
	guard            guard
	reserving        streamSet // admitted with charges
	foundImplausible bool      // an upstream's report was found implausible

	worker    *Worker
	entry     journal.Entry // that is being added to the journal
	gateways  bool          // it governs a gateway: IsGateway
	beat      beat
	shut      shutUpstreams
	surface   surface
	overrides overrides
	grants    grants
	leasing   leasing

	out         effects
	current     *Stream   // whose event is being handled; nil: it is nobody's
	owed        []*Stream // their answers wait for the next tick
	dropped     *Stream   // it has made room for the one that arrives, and is refused after it
	droppedWait time.Duration
	turns       int  // how many others may still be let go on or answered before the next tick
	endedLeg    *leg // the leg of a request that has just ended, and whose next one begins now
	fleetLimit  reply.FleetLimit
	said        reply.Said
	described   clock.Moment // when the gates last described themselves
}

// slots are the headers that the engine itself reads.
type slots struct {
	method, path, length, encoding, accept, expect, status, contentType, priority, retryAfter, shouldRetry ident.Slot

	limit, limitRemaining, limitReset ident.Slot // of a limit that holds over all proxies

	queue, maxWait ident.Slot // of patience.go, where anything can have to wait
	objective      ident.Slot // where objectives are read
}

// New makes a configuration ready. worker is that of all configurations that it lives through; random is 16 random bytes.
func New(cfg *config.Config, host Host, worker *Worker, random []byte) (*Engine, error) {
	t, err := table.New(host, cfg.Namespace, leasePeriod, random)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		host:      host,
		worker:    worker,
		table:     t,
		id:        binary.LittleEndian.Uint64(random),
		warned:    map[usage.Unread]bool{},
		refusals:  refusals{},
		leaving:   streamSet{in: inLeaving},
		untold:    streamSet{in: inUntold},
		draining:  streamSet{in: inDraining},
		guard:     guard{holding: streamSet{in: inHolding}},
		reserving: streamSet{in: inReserving},
		turns:     mostAtOnce,
	}
	t.Wall = &worker.wall
	e.grants.shared = grant.New(host, cfg.Namespace)
	e.leasing = leasing{client: lease.New(host, cfg.Namespace, binary.LittleEndian.Uint64(random[8:])), awaiting: streamSet{in: inAwaiting}}
	e.makeRules(cfg)
	e.gateways = cfg.Mode != config.Off || cfg.Admin.Path == ""
	e.newSurface()
	e.newBeat(worker, random)
	e.readShut()
	e.advise()
	return e, nil
}

// TickPeriod is how often Tick wants to be called, in milliseconds; 0: not at all.
func (e *Engine) TickPeriod() uint32 {
	period := shorter(e.gatePeriod(), e.followPeriod())
	if len(e.owed) > 0 || e.turns <= 0 {
		period = shorter(period, time.Millisecond)
	}
	period = shorter(period, e.leavingPeriod())
	if e.draining.count > 0 {
		period = shorter(period, drainTime/4)
	}
	if e.guard.holding.count > 0 {
		period = shorter(period, guardTime/8)
	}
	return uint32(period.Milliseconds())
}

// shorter gives the shorter of two periods, of which 0 is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// Tick gives the answers that had to wait, lets the streams go that wait in vain for their body, and lets all gates have their time.
func (e *Engine) Tick(now clock.Moment) {
	if e.beatDue(now) { // at once: the wall clock is to be read as the moment was
		e.readWall(now)
	}
	e.current, e.endedLeg = nil, nil // nothing came
	e.turns = mostAtOnce
	e.refuseDropped(now) // if a fault has kept that from its own event
	e.endDrains(now)
	e.endUploads(now)
	e.answerOwed()
	e.endLeaving(now)
	e.checkHolds(now)
	e.tickGates(now)
	e.tickBeat(now)
}

// format is the shape of error bodies that the request's client understands.
func (e *Engine) format(s *Stream) *reply.Format {
	switch {
	case e.cfg.ErrorFormat == config.ErrorsOfDynamo:
		return &reply.Dynamo
	case s.exchange.Dialect == nil:
		return usage.Opaque.Errors
	default:
		return s.exchange.Dialect.Errors
	}
}

// storeFailed takes note of a failure of the store, and says what came of it.
func (e *Engine) storeFailed(what string, err error) {
	e.out.count(metric.Errors("store"), 1)
	e.out.warn(what + ": " + err.Error())
}

// report notes what became of a change to buckets.
func (e *Engine) report(o limit.Outcome) {
	if o.Evicted > 0 {
		e.out.count(metric.Evictions("page_full"), int64(o.Evicted))
	}
	if o.Contended {
		e.out.count(metric.Uncharged("contended"), 1)
	}
	if o.Err != nil {
		e.storeFailed("shared data failed", o.Err)
	}
}
