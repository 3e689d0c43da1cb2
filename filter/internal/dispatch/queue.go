package dispatch

import "github.com/spillway-proxy/spillway/config"

// Priorities is how many there are.
const Priorities = int(config.Urgent) + 1

// Ticket is one request at a gate. It belongs to the caller, who sets the exported fields before Arrive and must not change
// them while the ticket waits or is in flight.
type Ticket struct {
	Priority config.Priority
	Subject  uint64 // who shares turns; requests of the same value are served in their order
	Tokens   int64  // what it is expected to use, at least 0
	Owner    any    // the caller's

	state ticketState
	since int64  // when it came
	tag   uint64 // its turn inside its priority: the lowest goes first
	order uint64 // of arrival in this worker
	index int    // in its heap; -1: in none

	previous, next *Ticket // of its priority, in order of arrival
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

// Waited is how long the request has been at the gate, in nanoseconds.
func (t *Ticket) Waited(now int64) int64 { return max(now-t.since, 0) }

// queue holds the waiting requests of one worker: by turn, and by arrival.
type queue struct {
	lanes   [Priorities]lane
	waiting int
	arrived uint64
}

// lane is one priority.
type lane struct {
	heap        []*Ticket // a binary heap by tag, then by arrival
	first, last *Ticket   // by arrival
}

func (q *queue) push(t *Ticket) {
	l := &q.lanes[t.Priority]
	q.arrived++
	t.state, t.order, t.previous, t.next = stWaiting, q.arrived, l.last, nil
	if l.last == nil {
		l.first = t
	} else {
		l.last.next = t
	}
	l.last = t
	t.index = len(l.heap)
	l.heap = append(l.heap, t)
	l.up(t.index)
	q.waiting++
}

// remove takes a waiting ticket out.
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
	at, end := t.index, len(l.heap)-1
	l.swap(at, end)
	l.heap[end] = nil
	l.heap = l.heap[:end]
	if at < end {
		l.down(at)
		l.up(at)
	}
	t.state, t.index, t.previous, t.next = stNone, -1, nil, nil
	q.waiting--
}

// head is the request whose turn is next; nil if none waits.
func (q *queue) head() *Ticket {
	if q.waiting == 0 {
		return nil
	}
	for p := Priorities - 1; p >= 0; p-- {
		if heap := q.lanes[p].heap; len(heap) > 0 {
			return heap[0]
		}
	}
	return nil
}

// second is the request whose turn comes after the head's; nil if there is none.
func (q *queue) second() *Ticket {
	skip := true // the head
	for p := Priorities - 1; p >= 0; p-- {
		l := &q.lanes[p]
		switch {
		case len(l.heap) == 0:
		case !skip:
			return l.heap[0]
		case len(l.heap) == 1:
			skip = false
		case len(l.heap) > 2 && l.before(2, 1):
			return l.heap[2]
		default:
			return l.heap[1]
		}
	}
	return nil
}

// oldest is the request of a priority that has waited longest.
func (q *queue) oldest(p config.Priority) *Ticket { return q.lanes[p].first }

// newest is the request of a priority that came last.
func (q *queue) newest(p config.Priority) *Ticket { return q.lanes[p].last }

// count is how many of a priority wait.
func (q *queue) count(p config.Priority) int { return len(q.lanes[p].heap) }

func (l *lane) before(i, j int) bool {
	a, b := l.heap[i], l.heap[j]
	return a.tag < b.tag || a.tag == b.tag && a.order < b.order
}

func (l *lane) swap(i, j int) {
	l.heap[i], l.heap[j] = l.heap[j], l.heap[i]
	l.heap[i].index, l.heap[j].index = i, j
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
