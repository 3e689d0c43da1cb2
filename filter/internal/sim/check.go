package sim

import (
	"fmt"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// What the gates promise, as doc.go of package dispatch has it.
const (
	alive    = 5 * second
	fresh    = 250 * millisecond
	gateTick = 10 * millisecond
)

// checks holds a world to the bounds of doc.go.
type checks struct {
	world            *World
	requests, tokens meter
	turns            turns
	taken            []int64 // true times at which requests were taken that made a full queue fuller
	extra            int     // waited in workers that had counted as dead
}

// meter is a budget, counted here too. Its time is that of the clock that has gone furthest.
type meter struct {
	used float64
	at   int64
}

func (m *meter) leak(now int64, rate bucket.Rate) {
	m.used = max(m.used-float64(now-m.at)*float64(rate.Quantity)/float64(rate.Window), 0)
	m.at = now
}

func (c *checks) init(w *World) {
	c.world = w
	w.TokensServed = make([]int64, len(w.Sources))
	c.turns.init(w)
}

func (w *World) wrong(format string, args ...any) {
	at := fmt.Sprintf("at %.6f s: ", float64(w.now-start)/1e9)
	w.Wrong = append(w.Wrong, at+fmt.Sprintf(format, args...))
}

// stale says that another worker's requests don't count for this one any more.
func (k *worker) stale(other *worker) bool { return other != k && k.clock-other.heard > fresh }

func (c *checks) arrived(k *worker, r *request, v gate.Verdict) {
	if v.Err != nil && c.world.Faults.Store == 0 {
		c.world.wrong("error %v", v.Err)
	}
	if v.Outcome != gate.Allowed || v.Reason != "" || v.Err != nil {
		return
	}
	if n := len(k.lines[lineOf(r)]); n > 0 {
		c.world.wrong("a request passes %d of its subject", n)
	}
}

// starts is asked before a start is counted.
func (c *checks) starts(k *worker, r *request, v gate.Verdict) {
	w := c.world
	governed := v.Reason == "" && v.Err == nil && w.Faults.Store == 0
	c.spend(k, r, governed)
	if governed {
		c.slots(k)
		c.order(k, r)
		c.late(k, r)
	}
	if v.Reason == "" {
		c.turns.starts(r)
	}
}

func (c *checks) slots(k *worker) {
	w := c.world
	if w.Settings.Slots == 0 {
		return
	}
	flying := 0
	for _, other := range w.workers {
		if !other.buried {
			flying += other.inFlight
		}
	}
	if flying >= w.Settings.Slots {
		w.wrong("a request starts while %d are in flight, of %d slots", flying, w.Settings.Slots)
	}
}

func (c *checks) spend(k *worker, r *request, governed bool) {
	w := c.world
	const rounding = 1e3 // millionths: bucket rounds each leak to one
	if rate := w.Settings.Requests; rate.Quantity > 0 {
		c.requests.leak(w.latest, rate)
		c.requests.used += bucket.Micro
		if governed && c.requests.used > float64(rate.Burst)+rounding {
			w.wrong("a request starts with %.3f in use of a burst of %d", c.requests.used/bucket.Micro, rate.Burst/bucket.Micro)
		}
	}
	if rate := w.Settings.Tokens; rate.Quantity > 0 {
		c.tokens.leak(w.latest, rate)
		reserved := float64(min(r.ticket.Tokens, rate.Burst/bucket.Micro))
		for _, other := range w.workers {
			if !other.buried {
				reserved += other.reserved(w.now+w.Faults.ClockBy+w.Faults.Jitter, rate)
			}
		}
		if use := c.tokens.used + reserved*bucket.Micro; governed && use > float64(rate.Burst)+rounding {
			w.wrong("a request starts with %.0f tokens in use of a burst of %d", use/bucket.Micro, rate.Burst/bucket.Micro)
		}
	}
}

func (c *checks) finished(a dispatch.Answer) {
	if rate := c.world.Settings.Tokens; rate.Quantity > 0 {
		c.tokens.leak(c.world.latest, rate)
		c.tokens.used += float64(a.Used) * bucket.Micro
	}
}

// order says that nobody is passed whose turn is first.
func (c *checks) order(k *worker, r *request) {
	w := c.world
	if r.state == waiting && k.lines[lineOf(r)][0] != r {
		w.wrong("a request passes another one of its subject")
	}
	for _, other := range w.workers {
		if k.stale(other) {
			continue
		}
		for p := int(r.ticket.Priority) + 1; p < dispatch.Priorities; p++ {
			if other.waiting[p] > 0 {
				w.wrong("a request of priority %d starts in worker %d while %d of priority %d wait in worker %d",
					r.ticket.Priority, k.place, other.waiting[p], p, other.place)
			}
		}
	}
}

// late says that nothing waits too long.
func (c *checks) late(k *worker, r *request) {
	w := c.world
	over := w.now - r.came - int64(w.Settings.MaxWait[r.ticket.Priority])
	stood := max(min(k.stalled, w.now)-r.came, 0) > 0 && w.Faults.Stall > 0
	if over <= 0 || stood {
		return
	}
	w.LongestOver = max(w.LongestOver, over)
	slack := gateTick + w.Faults.Tick + 2*w.Faults.Jitter
	if w.Faults.ClockStep > 0 {
		slack += minute + int64(w.Settings.MaxWait[r.ticket.Priority])
	}
	if over > slack {
		w.wrong("a request waited %d ms longer than it may", over/millisecond)
	}
}

// waits is asked after a request was taken into the queue.
func (c *checks) waits(k *worker, r *request) {
	w := c.world
	all := 0
	for _, other := range w.workers {
		if !other.buried {
			for _, n := range other.waiting {
				all += n
			}
		}
	}
	w.MostWaiting = max(w.MostWaiting, all)
	over := all - w.Settings.Room()
	if over <= 0 {
		c.extra = 0
	} else if over > c.excused()+c.extra {
		w.wrong("%d wait, in a queue of %d", all, w.Settings.Room())
	}
	c.turns.waits(r)
}

// returns is asked when a worker writes again that had counted as dead.
func (c *checks) returns(k *worker) {
	for _, n := range k.waiting {
		c.extra += n
	}
}

// excused is how many may wait beyond the queue's length: those that were taken in the place of others, which their
// worker refuses at its next tick, or when it goes on.
func (c *checks) excused() int {
	w := c.world
	switch {
	case w.Settings.WhenFull != config.QueueDropLowest && len(w.workers) == 1:
		return 0
	case w.Faults.Store > 0:
		return w.Settings.Room()
	}
	c.taken = append(c.taken, w.now)
	since := w.now - gateTick - w.Faults.Tick
	for _, k := range w.workers {
		if k.stalled > since { // each place can be taken by a higher priority, again and again
			return (dispatch.Priorities - 1) * w.Settings.Room()
		}
	}
	for len(c.taken) > 0 && c.taken[0] < since {
		c.taken = c.taken[1:]
	}
	return len(c.taken)
}

func (c *checks) waitsNoMore(r *request) { c.turns.waitsNoMore(r) }

func (c *checks) refused(k *worker, r *request, v gate.Verdict) {
	w := c.world
	if v.Outcome != gate.Rejected || v.Reason == "" {
		w.wrong("a refusal is %+v", v)
	}
	if v.Wait < second || v.Wait > minute {
		w.wrong("a request is refused (%s) with the advice to wait %d ns", v.Reason, v.Wait)
	}
	if r.state == waiting {
		c.late(k, r)
	}
}

// served is asked after the queue was served: nothing is left there that has waited too long.
func (c *checks) served(k *worker) {
	w := c.world
	sum := 0
	for _, n := range k.waiting {
		sum += n
	}
	if sum != k.gate.Waiting() {
		w.wrong("a gate says that %d wait, of %d", k.gate.Waiting(), sum)
	}
}

// end says that nothing is left when all is over, and that a full load can go again.
func (c *checks) end() {
	w := c.world
	if over := w.Finished + w.Rejected + w.Left + w.Lost; over != w.Arrived {
		w.wrong("%d requests came, and %d ended", w.Arrived, over)
	}
	if w.served.count != 0 {
		w.wrong("%d are still in flight", w.served.count)
	}
	w.now += 2 * alive
	c.again()
}

// again fills all slots and the burst.
func (c *checks) again() {
	w := c.world
	s := w.Settings
	if s.Yields {
		return // a lowered budget recovers step by step
	}
	for _, m := range []struct {
		rate  bucket.Rate
		meter meter
	}{{s.Requests, c.requests}, {s.Tokens, c.tokens}} {
		if m.rate.Quantity > 0 {
			w.now += int64(float64(m.rate.Window)*(m.meter.used/float64(m.rate.Quantity))) + minute
		}
	}
	now := max(w.now+w.offset, w.latest) + 2*alive + minute
	probe := dispatch.New(s, w.memory, key, 1<<40)
	w.memory.Conflict = nil
	most := s.Slots
	if burst := int(s.Requests.Burst / bucket.Micro); s.Requests.Quantity > 0 && (most == 0 || burst < most) {
		most = burst
	}
	for i := range most {
		t := &dispatch.Ticket{Priority: config.Urgent}
		if v := probe.Arrive(clock.Moment(now), t); v.Outcome != gate.Allowed || v.Reason != "" {
			w.wrong("of %d requests that fit, number %d does not pass: %+v; the record says %+v", most, i+1, v, probe.Snapshot(clock.Moment(now)))
			return
		}
	}
	if v := probe.Snapshot(clock.Moment(now)); v.InFlight != most || v.Waiting != [dispatch.Priorities]int{} {
		w.wrong("at the end the record says %+v, of %d in flight", v, most)
	}
}
