package sim

import (
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// worker is one of the proxy's threads with its gate, as the engine drives it.
type worker struct {
	world   *World
	place   int
	gate    *dispatch.Gate
	busy    bool
	clock   int64 // as it was looked at for what is being done
	heard   int64 // by its clock, when it last wrote the record
	buried  bool  // the others don't count it any more
	stalled int64 // until then it does nothing
	tick    int64 // when it comes next; 0: there is none

	open     []*request // that wait or are in flight
	waiting  [dispatch.Priorities]int
	inFlight int
	lines    map[line][]*request // that wait, in their order
}

// line is whose requests keep their order.
type line struct {
	subject  uint64
	priority uint8
}

func lineOf(r *request) line { return line{r.ticket.Subject, uint8(r.ticket.Priority)} }

func (w *World) newWorker(place int) *worker {
	w.ids++
	k := &worker{world: w, place: place, lines: map[line][]*request{}, heard: -1 << 62}
	k.gate = dispatch.New(w.Settings, store{w.memory, k}, key, w.ids)
	return k
}

// begin looks at the clock; done is called when all is done that the worker does then.
func (k *worker) begin() int64 {
	k.busy = true
	k.clock = k.world.look()
	return k.clock
}

func (k *worker) done() {
	k.busy = false
	period := int64(k.gate.Period())
	if period == 0 {
		return
	}
	due := k.world.now + period
	if late := k.world.Faults.Tick; late > 0 {
		due += k.world.random.Int64N(late)
	}
	if k.tick == 0 || due < k.tick && period < int64(dispatch.Heartbeat) && k.tick-k.world.now > period+k.world.Faults.Tick {
		k.tick = due
		k.world.agenda.add(event{at: due, kind: tick, worker: k.place})
	}
}

func (k *worker) arrive(r *request) {
	now := k.begin()
	r.worker = k
	k.world.Arrived++
	v := k.gate.Arrive(clock.Moment(now), &r.ticket)
	k.world.checks.arrived(k, r, v.Verdict)
	if v.Dropped != nil {
		dropped := v.Dropped.Owner.(*request)
		k.refused(dropped, gate.Verdict{Outcome: gate.Rejected, Reason: gate.Dropped, Wait: v.Wait})
	}
	switch v.Outcome {
	case gate.Allowed:
		k.join(r)
		k.start(r, v.Verdict)
	case gate.Queued:
		k.join(r)
		k.wait(r)
	case gate.Rejected:
		k.join(r)
		k.refused(r, v.Verdict)
	}
	k.done()
}

func (k *worker) join(r *request) {
	r.at = len(k.open)
	k.open = append(k.open, r)
}

// serve is the engine's tick.
func (k *worker) serve() {
	k.giveTurns(k.begin())
	k.done()
}

func (k *worker) giveTurns(now int64) {
	d := k.gate.Dequeue(clock.Moment(now))
	for d.Next() {
		r := d.Ticket.Owner.(*request)
		if d.Verdict.Outcome == gate.Allowed {
			k.start(r, d.Verdict)
		} else {
			k.refused(r, d.Verdict)
		}
	}
	if d.Err() != nil {
		k.world.StoreErrors++
	}
	k.world.checks.served(k)
}

func (k *worker) wait(r *request) {
	w := k.world
	if r.state != created {
		w.wrong("a request waits again")
	}
	r.state = waiting
	k.waiting[r.ticket.Priority]++
	k.lines[lineOf(r)] = append(k.lines[lineOf(r)], r)
	w.checks.waits(k, r)
}

// start sends a request to the upstream.
func (k *worker) start(r *request, v gate.Verdict) {
	w := k.world
	if r.state != created && r.state != waiting {
		w.wrong("a request starts in state %d", r.state)
	}
	w.checks.starts(k, r, v)
	k.leaveLine(r)
	r.state, r.began = inFlight, w.now
	k.inFlight++
	w.started(r, v)
	w.agenda.add(event{at: w.now + w.serviceTime(r), kind: answered, worker: k.place, of: r})
}

// reserved is how many tokens its requests in flight hold: less with time, and none after a window.
func (k *worker) reserved(now int64, rate bucket.Rate) (tokens float64) {
	for _, r := range k.open {
		if r.state == inFlight {
			part := 1 - float64(now-r.began)/float64(rate.Window)
			tokens += float64(min(r.ticket.Tokens, rate.Burst/bucket.Micro)) * min(max(part, 0), 1)
		}
	}
	return tokens
}

func (k *worker) refused(r *request, v gate.Verdict) {
	k.world.checks.refused(k, r, v)
	if k.world.Refused == nil {
		k.world.Refused = map[string]int{}
	}
	k.world.Refused[v.Reason]++
	k.world.RefusedOf[r.ticket.Priority]++
	k.end(r, &k.world.Rejected)
}

// answered ends a request in flight, and gives its slot to the next.
func (k *worker) answered(r *request) {
	if r.state == inFlight {
		k.finish(r, k.world.answer(r))
		k.world.TokensServed[r.source.index] += r.used
		k.world.Finished++
	}
}

func (k *worker) finish(r *request, a dispatch.Answer) {
	now := k.begin()
	if err := k.gate.Finish(clock.Moment(now), &r.ticket, a); err != nil {
		k.world.StoreErrors++
	}
	k.world.served.count--
	k.inFlight--
	k.world.checks.finished(a)
	k.end(r, nil)
	k.giveTurns(now)
	k.done()
}

func (k *worker) hangsUp(r *request) {
	switch r.state {
	case waiting:
		k.begin()
		k.gate.Leave(&r.ticket)
		k.end(r, &k.world.Left)
		k.done()
	case inFlight:
		k.world.Left++
		k.finish(r, dispatch.Answer{Used: r.used / 2, Requests: -1, Tokens: -1})
	}
}

// end notes that a request is over.
func (k *worker) end(r *request, count *int) {
	if r.state == ended {
		k.world.wrong("a request ends twice")
	}
	k.leaveLine(r)
	r.state = ended
	last := len(k.open) - 1
	k.open[r.at] = k.open[last]
	k.open[r.at].at = r.at
	k.open[last] = nil
	k.open = k.open[:last]
	if count != nil {
		*count++
	}
}

// leaveLine takes a request that waits out of those that do.
func (k *worker) leaveLine(r *request) {
	if r.state != waiting {
		return
	}
	k.waiting[r.ticket.Priority]--
	k.world.checks.waitsNoMore(r)
	l := k.lines[lineOf(r)]
	for i, other := range l {
		if other == r {
			l = append(l[:i], l[i+1:]...)
			break
		}
	}
	if len(l) == 0 {
		delete(k.lines, lineOf(r))
		return
	}
	k.lines[lineOf(r)] = l
}
