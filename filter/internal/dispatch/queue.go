package dispatch

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// Priorities is how many there are.
const Priorities = int(config.Urgent) + 1

// Ticket is one request at a gate. It belongs to the caller, who sets the exported fields before Arrive and must not change
// them while the ticket waits or is in flight.
type Ticket struct {
	Priority config.Priority
	Subject  uint64 // who shares turns; requests of the same value are served in their order
	Caller   uint64 // who the upstream takes it to be from, as a keyed hash: by its key, or else by its name
	Keyed    bool   // it has a key of its own
	Tokens   int64  // what it is expected to use, at least 0
	Prompt   int64  // of that, the prompt
	Bytes    int64  // that are kept back of it while it waits
	Units    int    // of the upstream's concurrency that it takes: its weight; 0 is 1
	Spends   int    // of the upstream's budget of requests; 0 is 1
	// Within is the time to its first token that it asks for itself; 0: none. It waits no longer than leaves the upstream its time:
	// Takes, which is expected of this request, or, where that is 0, what is usual.
	Within, Takes time.Duration
	// Patience is how long it asks to wait for its turn at most; 0: as long as its priority may; below 0: not at all.
	Patience time.Duration
	Owner    any // the caller's

	state ticketState
	since clock.Moment // when it came
	tag   uint64       // its turn inside its priority, if it is the first of its line: the lowest goes first
	order uint64       // of arrival in this worker
	line  *line
	paid  bool // its turn was counted

	ending bool // it is being ended for an urgent request
	place  int  // among the streams that can be, from 1 on; 0: it is not one of them

	started  clock.Moment  // when it was let go
	within   time.Duration // it may wait by its own deadline; 0: as long as its priority may
	beside   int           // how many were in flight then, with itself, where slots are learned; 0: not known
	room     int           // how many could have been
	reserved int64         // tokens of the budget that it holds
	units    uint32        // of concurrency that it took when it started: as many it gives back, whatever the settings are by then
	spent    int64         // of the budget of requests, in millionths

	previous, next *Ticket // of its priority, in order of arrival; of those in flight, in the order of their starts
	ahead, behind  *Ticket // of its line
}

type ticketState uint8

const (
	stNone ticketState = iota
	stWaiting
	stInFlight
)

// Waiting says that the ticket is in a queue.
func (t *Ticket) Waiting() bool { return t.state == stWaiting }

// InFlight says that the request was let go and has not finished.
func (t *Ticket) InFlight() bool { return t.state == stInFlight }

// Waited is how long the request has been at the gate.
func (t *Ticket) Waited(now clock.Moment) time.Duration { return max(now.Sub(t.since), 0) }

// cost is what the request's turn costs.
func (t *Ticket) cost() uint64 { return uint64(max(t.Tokens, 1)) }

// queue holds the waiting requests of one worker: by turn, and by arrival.
type queue struct {
	lanes   [Priorities]lane
	waiting int
	parked  int   // of them, beside the queue: they are in no line
	hurried int   // of them, those with a deadline of their own
	bytes   int64 // that are kept back of them
	arrived uint64
}

// lane is one priority.
type lane struct {
	heap        []*line // a binary heap by tag, then by the first's arrival
	lines       map[uint64]*line
	spare       []*line // in which nobody waits: their memory is used again
	first, last *Ticket // by arrival
	count       int
}

// line is the waiting requests of a subject at one priority. Only the first one's turn is known: what the others' will be
// depends on what is served until then, and one that leaves has cost its subject nothing.
type line struct {
	subject     uint64
	first, last *Ticket
	count       int
	index       int // in the heap
}

// push adds a request at the end of its subject's line; its tag counts if it is the first there.
func (q *queue) push(t *Ticket) {
	q.add(t)
	q.lanes[t.Priority].join(t)
}

// add notes that a request waits, without a line.
func (q *queue) add(t *Ticket) {
	l := &q.lanes[t.Priority]
	q.arrived++
	t.state, t.order, t.previous, t.next = stWaiting, q.arrived, l.last, nil
	if l.last == nil {
		l.first = t
	} else {
		l.last.next = t
	}
	l.last = t
	l.count++
	q.waiting++
	q.bytes += t.Bytes
	if t.within > 0 {
		q.hurried++
	}
}

func (l *lane) join(t *Ticket) {
	mine := l.lines[t.Subject]
	if mine != nil {
		t.line, t.ahead, t.behind = mine, mine.last, nil
		mine.last.behind = t
		mine.last = t
		mine.count++
		return
	}
	if l.lines == nil {
		l.lines = map[uint64]*line{}
	}
	t.ahead, t.behind = nil, nil
	if n := len(l.spare); n > 0 {
		t.line, l.spare = l.spare[n-1], l.spare[:n-1]
	} else {
		t.line = &line{}
	}
	*t.line = line{subject: t.Subject, first: t, last: t, count: 1, index: len(l.heap)}
	l.lines[t.Subject] = t.line
	l.heap = append(l.heap, t.line)
	l.up(t.line.index)
}

// remove takes a waiting ticket out. The next of its line has the same turn.
func (q *queue) remove(t *Ticket) {
	l := &q.lanes[t.Priority]
	if t.previous == nil {
		l.first = t.next
	} else {
		t.previous.next = t.next
	}
	if t.next == nil {
		l.last = t.previous
	} else {
		t.next.previous = t.previous
	}
	l.count--
	q.waiting--
	q.bytes -= t.Bytes
	if t.within > 0 {
		q.hurried--
	}
	if t.line != nil {
		l.part(t)
	} else {
		q.parked--
	}
	t.state, t.line, t.previous, t.next, t.ahead, t.behind = stNone, nil, nil, nil, nil, nil
}

func (l *lane) part(t *Ticket) {
	mine := t.line
	mine.count--
	if t.behind == nil {
		mine.last = t.ahead
	} else {
		t.behind.ahead = t.ahead
	}
	if t.ahead != nil {
		t.ahead.behind = t.behind
		return
	}
	if t.behind != nil {
		mine.first = t.behind
		mine.first.tag = t.tag
		l.settle(mine.index)
		return
	}
	delete(l.lines, mine.subject)
	at, end := mine.index, len(l.heap)-1
	l.swap(at, end)
	l.heap[end] = nil
	l.heap = l.heap[:end]
	if at < end {
		l.settle(at)
	}
	*mine = line{}
	l.spare = append(l.spare, mine)
}

// retag changes the turn of a line.
func (q *queue) retag(mine *line, tag uint64) {
	if mine.first.tag != tag {
		mine.first.tag = tag
		q.lanes[mine.first.Priority].settle(mine.index)
	}
}

// head is the request whose turn is next; nil if none waits.
func (q *queue) head() *Ticket {
	for p := Priorities - 1; p >= 0; p-- {
		if heap := q.lanes[p].heap; len(heap) > 0 {
			return heap[0].first
		}
	}
	return nil
}

// second is the request whose turn comes after the head's, with its tag, if the next of the head's line then has the tag
// due; nil if there is none.
func (q *queue) second(due uint64) (*Ticket, uint64) {
	head := q.head()
	next := head.behind
	l := &q.lanes[head.Priority]
	for i := 1; i < min(len(l.heap), 3); i++ {
		other := l.heap[i].first
		if next == nil || other.tag < due || other.tag == due && other.order < next.order {
			next, due = other, other.tag
		}
	}
	if next != nil {
		return next, due
	}
	for p := int(head.Priority) - 1; p >= 0; p-- {
		if heap := q.lanes[p].heap; len(heap) > 0 {
			return heap[0].first, heap[0].first.tag
		}
	}
	return nil, 0
}

// line is a subject's at a priority; nil if none of its requests waits.
func (q *queue) line(t *Ticket) *line { return q.lanes[t.Priority].lines[t.Subject] }

// length is how many wait in a line, which may be nil.
func (l *line) length() int {
	if l == nil {
		return 0
	}
	return l.count
}

// longest is the line of a priority in which most wait; nil if none does.
func (q *queue) longest(p config.Priority) (longest *line) {
	for _, l := range q.lanes[p].heap {
		if longest == nil || l.count > longest.count {
			longest = l
		}
	}
	return longest
}

// oldest is the request of a priority that has waited longest.
func (q *queue) oldest(p config.Priority) *Ticket { return q.lanes[p].first }

// newest is the request of a priority that came last.
func (q *queue) newest(p config.Priority) *Ticket { return q.lanes[p].last }

// count is how many of a priority wait.
func (q *queue) count(p config.Priority) int { return q.lanes[p].count }

func (l *lane) before(i, j int) bool {
	a, b := l.heap[i].first, l.heap[j].first
	return a.tag < b.tag || a.tag == b.tag && a.order < b.order
}

func (l *lane) swap(i, j int) {
	l.heap[i], l.heap[j] = l.heap[j], l.heap[i]
	l.heap[i].index, l.heap[j].index = i, j
}

// settle moves a line whose order has changed to its place.
func (l *lane) settle(i int) {
	l.down(i)
	l.up(i)
}

func (l *lane) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !l.before(i, parent) {
			return
		}
		l.swap(i, parent)
		i = parent
	}
}

func (l *lane) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(l.heap); child++ {
			if l.before(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		l.swap(i, least)
		i = least
	}
}
