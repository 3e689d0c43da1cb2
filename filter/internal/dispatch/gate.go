package dispatch

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/autosize"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/retreat"
)

// Gate is one upstream in one worker.
type Gate struct {
	settings Settings
	store    record.Store
	key      string
	id       uint64

	queue       queue
	inFlight    [Priorities]uint32 // units
	flying      int                // requests
	flight      flight
	undone      [Priorities]uint32 // how many it was asked to refuse for other workers' room, and hasn't yet; with its next write it is asked again
	dirty       bool               // there is something that no write has told the other workers yet
	written     clock.Moment       // when the last write was
	readAt      clock.Moment       // when the record was last read; 0: never
	others      bool               // it had entries of other workers then: somebody has to see them end
	known       shared
	alarm       bool              // the retreat's alarm, as it was last read
	alarmTurned bool              // it has begun or ended by a write of this worker
	entry       worker            // what the record said of this worker when it was last read
	samples     []autosize.Sample // that no write has told yet
	streams     []*Ticket         // low, and could be ended for an urgent request
	revocable   uint32            // units of these
	ending      uint32            // units of those that are being ended
	buffer      []byte
}

// New gives the gate of the upstream whose record has the key. id tells the worker from all others, of this process and
// of all that it lives through.
func New(settings Settings, store record.Store, key string, id uint64) *Gate {
	return &Gate{settings: settings, store: store, key: key, id: id}
}

// Change has the gate go on by other settings. What waits keeps its place, and what is in flight its slot; what is more than there is room
// for now ends as it would have.
func (g *Gate) Change(settings Settings) {
	settings.Auto.Load = g.settings.Auto.Load
	g.settings = settings
}

// Hear takes what the engines of the upstream say of themselves; the zero value is that nothing recent is known.
func (g *Gate) Hear(load autosize.Load) { g.settings.Auto.Load = load }

// Open has the gate hold nothing back any more: what waits goes on when it is served next.
func (g *Gate) Open() {
	g.settings = Settings{QueueMax: g.settings.QueueMax, MaxWait: g.settings.MaxWait}
}

// Arrival is what was decided about a request that has come: Allowed, Shadowed (it goes, and would not), Queued or Rejected.
type Arrival struct {
	gate.Verdict
	Dropped *Ticket // a waiting request that made room: it is refused, with the same Wait

	parked bool // with Queued: beside the queue
}

// arrivalOf makes an arrival's verdict.
func arrivalOf(outcome gate.Outcome, reason string) Arrival {
	return Arrival{Verdict: gate.Because(outcome, gate.Queue, reason)}
}

// Waiting is how many requests wait in this worker.
func (g *Gate) Waiting() int { return g.queue.waiting }

// Whole is the scale of a budget that is not lowered.
const Whole = retreat.Whole

// Snapshot is what the workers together look like.
type Snapshot struct {
	Waiting  [Priorities]int
	Bytes    int64 // of what waits
	InFlight int   // units: requests, each by its weight
	Phase    retreat.Phase
	Scale    int64   // millionths of the budget that the retreat leaves
	Share    float64 // of 429 in the answers of late
	Alarm    bool    // the share drove the retreat to its floor

	Revoked   uint64       // streams that were ended for urgent requests, and
	RevokedAt clock.Moment // when the latest had ended

	Requests, Tokens Meter         // of the budgets, as the retreat leaves them
	Slots, Room      int           // units in flight and waiting requests at most; 0 slots: no limit
	MaxBytes         int64         // of what waits at most; 0: no limit
	Why              string        // there are as many slots, where they are learned
	Lowered          clock.Moment  // when the retreat lowered the budget last
	RecoversIn       time.Duration // until it is whole again, if nothing more is said against it; 0: it is
}

// Meter is how much of a budget is left, in whole units. Without a budget all is 0.
type Meter struct{ Left, Burst int64 }

// Snapshot gives the state that all workers share.
func (g *Gate) Snapshot(now clock.Moment) Snapshot {
	_ = g.refresh(now) // what was last known will do where the store fails
	s := &g.known
	var v Snapshot
	v.Waiting, _ = s.waiting(now)
	_, v.InFlight = s.inFlight()
	v.Phase, v.Scale, v.Alarm = s.retreat.Phase(), s.scale(), s.retreat.Alarm()
	v.Share, _ = s.retreat.Share(now, &g.settings.Retreat)
	v.Requests, v.Tokens = meter(&s.requests, &g.settings.Requests, g.requests(), 0), meter(&s.tokens, &g.settings.Tokens, g.tokens(), s.reserved())
	v.Slots, v.Room, v.Bytes, v.MaxBytes = g.slots(s), g.settings.Room(), s.bytes(now), g.settings.MaxBytes
	if g.settings.Learns() {
		g.buffer = s.auto.AppendWhy(g.buffer[:0], &g.settings.Auto)
		v.Why = string(g.buffer)
	}
	v.Revoked, v.RevokedAt = s.revoked, s.revokedAt
	v.Lowered, v.RecoversIn = s.retreat.Lowered(), s.retreat.RecoversIn(now, &g.settings.Retreat)
	return v
}

// ResetRetreat forgets what the retreat has learned, so that the budget is whole again, and says what it had left of it, in millionths.
func (g *Gate) ResetRetreat(now clock.Moment) (before int64, err error) {
	u := record.Open(g.store, g.key)
	for u.Read() {
		g.take(now, u.Value)
		before = g.known.retreat.Scale()
		g.known.retreat = retreat.State{}
		g.buffer = g.known.encode(g.buffer[:0])
		u.Write(g.buffer)
	}
	return before, u.Err()
}

// meter is how much of a budget is left beside so many reserved units; rate is what the retreat leaves of it.
func meter(s *bucket.State, budget *bucket.Rate, rate bucket.Rate, reserved int64) Meter {
	if budget.Quantity == 0 {
		return Meter{}
	}
	return Meter{Left: s.Balance(rate)/bucket.Micro - reserved, Burst: rate.Burst / bucket.Micro}
}

// AlarmTurned says, once and in one worker only, that the retreat's alarm has begun, or that it has ended.
func (g *Gate) AlarmTurned() (began, ended bool) {
	if !g.alarmTurned {
		return false, false
	}
	g.alarmTurned = false
	alarm := g.known.retreat.Alarm()
	return alarm, !alarm
}

// Period is how often the queue wants to be served (Dequeue); 0: not at all.
func (g *Gate) Period() time.Duration {
	switch {
	case g.queue.waiting > 0 || g.dirty || g.watches():
		return 10 * time.Millisecond
	case g.moving() || g.others || g.readAt == 0:
		return Heartbeat
	default:
		return 0
	}
}

// moving says that time alone changes something: the word that requests in flight need, or a retreat that ends.
func (g *Gate) moving() bool { return g.flying > 0 || g.known.retreat.Phase() != retreat.Normal }

// refresh reads the record, to change nothing in it.
func (g *Gate) refresh(now clock.Moment) error {
	u := record.Open(g.store, g.key)
	if u.Read() {
		g.take(now, u.Value)
	}
	return u.Err()
}

// take takes in the record as it was read.
func (g *Gate) take(now clock.Moment, value []byte) {
	virtual := g.known.virtual
	if !g.known.decode(value) {
		g.known.virtual = virtual // what waits has its turn by it
		g.known.requests.At, g.known.tokens.At, g.known.paced, g.known.pacing = now, now, now, now
	}
	s := &g.known
	g.alarm = s.retreat.Alarm()
	s.prune(now, g.id)
	g.readAt, g.others = now, s.hasOthers(g.id)
	if g.settings.Retreats {
		s.retreat.Evaluate(now, &g.settings.Retreat)
	}
	s.doubted = s.doubts(now)
	g.settle(now) // before the leak: what is refused writes nothing, and the next one finds the record as it was
	leak(&s.requests, now, g.requests(), &s.lent[0])
	leak(&s.tokens, now, g.tokens(), &s.lent[1])
}

func (g *Gate) requests() bucket.Rate {
	return g.settings.scaled(g.settings.Requests, g.known.scale())
}

func (g *Gate) tokens() bucket.Rate { return g.settings.scaled(g.settings.Tokens, g.known.scale()) }

// scale is what the retreat leaves of the budgets.
func (s *shared) scale() int64 {
	if s.doubted {
		return Whole
	}
	return s.retreat.Scale()
}

// report writes what is true of this worker into its entry. next is the head of its queue as it will be.
func (g *Gate) report(now clock.Moment, self *worker, next *Ticket) {
	self.heard, self.inFlight, self.reserved = now, g.inFlight, g.flight.held(now, g.settings.Tokens.Window)
	// Who has little of the queue is asked for none of it, and what was asked for already is no longer to be had.
	much, asked := g.queue.waiting > 1 && g.queue.waiting >= g.settings.QueueMax/4, 0
	for p := range self.waiting {
		self.waiting[p], self.longest[p], self.longestOf[p] = uint32(g.queue.count(config.Priority(p))), 0, 0
		if longest := g.queue.longest(config.Priority(p)); longest != nil && much {
			self.longest[p], self.longestOf[p] = uint32(max(longest.count-int(self.drop[p]), 0)), longest.subject
		}
		asked += int(self.drop[p])
	}
	self.parked, self.bytes = uint32(max(g.queue.parked-asked, 0)), g.queue.bytes
	self.expect(next, 0)
	if next != nil {
		self.tag = next.tag
	}
}

// loses notes that a request of the worker's waits no more.
func (w *worker) loses(t *Ticket) {
	p := t.Priority
	w.waiting[p]--
	w.bytes -= min(t.Bytes, w.bytes)
	if w.longestOf[p] == t.Subject {
		w.longest[p] -= min(w.longest[p], 1)
	}
}

// expect sets the head of the worker's queue.
func (w *worker) expect(head *Ticket, tag uint64) {
	w.waits, w.head, w.tag, w.since = head != nil, 0, 0, 0
	if head != nil {
		w.head, w.tag, w.since = head.Priority, tag, head.since
	}
}

// change is one change of the record. It is read into what is known, with this worker's entry brought up to date, changed there and
// written, until no other worker has written in between:
//
//	c := g.change(now)
//	for g.read(&c) {
//		// change g.known, and nothing else; with nothing to change, break
//		g.write(&c)
//	}
//	return c.update.Err()
type change struct {
	update record.Update
	now    clock.Moment
	self   *worker // this worker's entry; nil: the record has no place for it
}

func (g *Gate) change(now clock.Moment) change {
	if window := g.settings.Tokens.Window; window > 0 {
		g.flight.forget(now.Add(-window))
	}
	return change{update: record.Open(g.store, g.key), now: now}
}

func (g *Gate) read(c *change) bool {
	if !c.update.Read() {
		return false
	}
	g.take(c.now, c.update.Value)
	if c.self = g.known.self(g.id); c.self != nil {
		g.entry = *c.self
		for p, n := range &g.undone {
			c.self.drop[p] += n
		}
		g.report(c.now, c.self, g.queue.head())
		g.claim(c.now, &g.known, c.self)
	}
	if g.settings.Learns() {
		for i := range g.samples {
			g.known.auto.Record(&g.settings.Auto, &g.samples[i])
		}
	}
	return true
}

func (g *Gate) write(c *change) {
	g.buffer = g.known.encode(g.buffer[:0])
	if c.update.Write(g.buffer) {
		g.dirty, g.written, g.undone, g.samples = false, c.now, [Priorities]uint32{}, g.samples[:0]
		g.alarmTurned = g.alarmTurned || g.known.retreat.Alarm() != g.alarm
	}
}

// allows says that the upstream takes a request of the priority now.
func (g *Gate) allows(now clock.Moment, s *shared, t *Ticket) bool {
	return now >= s.backoffForAll() && g.hasSlot(s, t) && g.hasBudget(s, t, 0, 0)
}

func (g *Gate) hasSlot(s *shared, t *Ticket) bool {
	by, all := s.inFlight()
	room := g.slotsFor(s, t.Priority, by)
	return room == 0 || all+g.takes(s, t) <= room
}

// takes is how many units a request has while it is in flight. One that is heavier than all that its priority can have takes that: it goes when
// nothing else is in flight, rather than never.
func (g *Gate) takes(s *shared, t *Ticket) int {
	if t.Units <= 1 {
		return 1
	}
	if most := g.slotsFor(s, t.Priority, [Priorities]int{}); most > 0 {
		return min(t.Units, most)
	}
	return t.Units
}

// spends is how much of the budget of requests one takes, in millionths: all of it at most.
func (g *Gate) spends(t *Ticket) int64 {
	return min(int64(max(t.Spends, 1))*bucket.Micro, g.requests().Burst)
}

// slotsFor is how many units there are for the requests in flight and a new one of the priority, where so many of each are in flight; 0: there
// is no limit.
func (g *Gate) slotsFor(s *shared, p config.Priority, by [Priorities]int) int {
	c, slots := &g.settings, g.slots(s)
	if slots == 0 {
		return 0
	}
	kept := 0
	if p < config.Urgent {
		kept += max(c.ReservedUrgent-by[config.Urgent], 0)
	}
	if p < config.High {
		kept += max(c.ReservedHigh-by[config.High], 0)
	}
	kept = min(kept, slots-1) // of few that were learned one is left
	return min(slots-kept, int(c.ceiling(p, int64(slots), 1)))
}

// slots is how many there are; 0: no limit.
func (g *Gate) slots(s *shared) int {
	if g.settings.Learns() {
		return s.auto.Slots(&g.settings.Auto)
	}
	return g.settings.Slots
}

// hasBudget says that there is budget for a request, beside what others take of it, in millionths of a request and in tokens.
func (g *Gate) hasBudget(s *shared, t *Ticket, requests, tokens int64) bool {
	c := &g.settings
	if c.Requests.Quantity > 0 {
		need := g.spends(t)
		if s.requests.Used+requests+need > c.ceiling(t.Priority, g.requests().Burst, need) {
			return false
		}
	}
	if c.Tokens.Quantity > 0 {
		burst := g.tokens().Burst
		// One that can never fit goes when nothing else is in use: nobody would be helped by refusing it for ever.
		most := burst / bucket.Micro
		need := min(min(t.Tokens, most)+tokens, most) * bucket.Micro
		if s.tokens.Used+s.reserved()*bucket.Micro+need > c.ceiling(t.Priority, burst, need) {
			return false
		}
	}
	return true
}

// start notes the start of a request in the record.
func (g *Gate) start(now clock.Moment, s *shared, self *worker, t *Ticket) {
	t.units, t.spent = uint32(g.takes(s, t)), 0
	if g.settings.Requests.Quantity > 0 {
		t.spent = g.spends(t)
		s.requests.Use(t.spent)
	}
	s.started(now)
	if self != nil {
		self.inFlight[t.Priority] += t.units
		self.reserved += g.reserves(t)
		if g.settings.Learns() {
			by, all := s.inFlight()
			t.room, t.beside = g.slotsFor(s, t.Priority, by), all
		}
	}
}

// launch notes it in the worker.
func (g *Gate) launch(now clock.Moment, t *Ticket) {
	t.state, t.started, t.reserved = stInFlight, now, g.reserves(t)
	g.inFlight[t.Priority] += t.units
	g.flying++
	g.flight.add(t)
}

// longestAdvice is the longest time that a refused request is told to stay away.
const longestAdvice = time.Minute

// advice is how long a refused request should stay away: until the upstream takes requests again, and the ones that
// wait before it have gone at the pace of late.
func (g *Gate) advice(now clock.Moment, s *shared, t *Ticket) time.Duration {
	const longest = longestAdvice
	wait := max(s.backoffForAll().Sub(now), s.backoffFor(t).Sub(now), 0)
	if g.settings.Requests.Quantity > 0 {
		wait = max(wait, s.requests.Wait(g.spends(t), g.requests()))
	}
	if g.settings.Tokens.Quantity > 0 {
		wait = max(wait, s.tokens.Wait(bucket.Micro, g.tokens()))
	}
	by, _ := s.waiting(now)
	ahead := 1
	for q := int(t.Priority); q < Priorities; q++ {
		ahead += by[q]
	}
	if pace := s.paceAt(now); pace*float64(longest) > float64(ahead)*float64(time.Second) {
		wait = max(wait, time.Duration(float64(ahead)/pace*float64(time.Second)))
	} else if ahead > 1 {
		wait = longest
	}
	return min(max(wait, time.Second), longest)
}
