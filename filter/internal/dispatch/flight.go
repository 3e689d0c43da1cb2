package dispatch

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// A client decides what its request asks for, and how fast it reads the answer. So of a budget of tokens a request holds no more than
// there is, and of that ever less: after a window, nothing. That is what comes back of a full budget meanwhile, so it is as
// if what it asks for had been used when it started. What it does use is charged when it ends.

// flight is the requests of a worker that hold tokens of the budget, those that started first at its front.
type flight struct {
	first, last *Ticket
	reserved    int64   // by all of them, when each of them started
	moments     float64 // the sum of reservation × start
}

// reserves is how many tokens a request holds when it starts.
func (g *Gate) reserves(t *Ticket) int64 {
	return min(max(t.Tokens, 0), g.settings.Tokens.Burst/bucket.Micro)
}

// held is how many tokens they hold now.
func (f *flight) held(now clock.Moment, window time.Duration) int64 {
	if f.first == nil || window == 0 { // the budget that they held tokens of is gone
		return 0
	}
	gone := (float64(now)*float64(f.reserved) - f.moments) / float64(window)
	return f.reserved - min(max(int64(gone), 0), f.reserved)
}

func (f *flight) add(t *Ticket) {
	if t.reserved == 0 {
		return
	}
	f.reserved += t.reserved
	f.moments += float64(t.reserved) * float64(t.started)
	if t.previous = f.last; t.previous == nil {
		f.first = t
	} else {
		t.previous.next = t
	}
	f.last = t
}

// remove gives back what a request holds.
func (f *flight) remove(t *Ticket) {
	if t.reserved == 0 {
		return
	}
	f.reserved -= t.reserved
	f.moments -= float64(t.reserved) * float64(t.started)
	if t.previous == nil {
		f.first = t.next
	} else {
		t.previous.next = t.next
	}
	if t.next == nil {
		f.last = t.previous
	} else {
		t.next.previous = t.previous
	}
	if t.reserved, t.previous, t.next = 0, nil, nil; f.first == nil {
		f.moments = 0 // what rounding has left
	}
}

// forget forgets those that started before a time.
func (f *flight) forget(before clock.Moment) {
	for f.first != nil && f.first.started <= before {
		f.remove(f.first)
	}
}
