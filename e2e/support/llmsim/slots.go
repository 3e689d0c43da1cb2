package llmsim

import (
	"container/list"
	"context"
	"sync"
	"sync/atomic"
)

// slots is the engine's batch: a bounded number of requests generate at once, and
// the others wait in FIFO order.
type slots struct {
	limit int

	mu      sync.Mutex
	queue   list.List // of chan struct{}, closed when its request gets a slot
	running atomic.Int64
	waiting atomic.Int64
	peak    atomic.Int64

	changed func()
}

// acquire waits for a slot. A request that leaves while it waits gives its place
// up at once.
func (q *slots) acquire(ctx context.Context, done <-chan struct{}) error {
	q.mu.Lock()
	if q.free() {
		q.enter()
		q.mu.Unlock()
		q.changed()
		return nil
	}
	ready := make(chan struct{})
	place := q.queue.PushBack(ready)
	q.waiting.Add(1)
	q.mu.Unlock()
	q.changed()

	var err error
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		err = errClientLeft
	case <-done:
		err = errAborted
	}
	q.leave(place, ready)
	return err
}

// free says that one more may run; mu is held.
func (q *slots) free() bool { return q.limit == 0 || q.running.Load() < int64(q.limit) }

// resize changes how many may run. What runs goes on, and as many of the queue enter as there is room for.
func (q *slots) resize(limit int) {
	q.mu.Lock()
	q.limit = limit
	for q.queue.Len() > 0 && q.free() {
		q.promote()
	}
	q.mu.Unlock()
	q.changed()
}

// promote lets the first of the queue run; mu is held.
func (q *slots) promote() {
	ready := q.queue.Remove(q.queue.Front()).(chan struct{})
	q.waiting.Add(-1)
	q.enter()
	close(ready)
}

// enter counts one more running request; mu is held.
func (q *slots) enter() {
	if n := q.running.Add(1); n > q.peak.Load() {
		q.peak.Store(n)
	}
}

// leave takes a request out of the queue, or gives back the slot that reached it
// while it was leaving.
func (q *slots) leave(place *list.Element, ready chan struct{}) {
	q.mu.Lock()
	select {
	case <-ready:
		q.mu.Unlock()
		q.release()
		return
	default:
	}
	q.queue.Remove(place)
	q.waiting.Add(-1)
	q.mu.Unlock()
	q.changed()
}

// release hands the slot to the first in the queue, if any, and if there still is that slot.
func (q *slots) release() {
	q.mu.Lock()
	q.running.Add(-1)
	if q.queue.Len() > 0 && q.free() {
		q.promote()
	}
	q.mu.Unlock()
	q.changed()
}

// resetPeak forgets the highest number of running requests.
func (q *slots) resetPeak() {
	q.mu.Lock()
	q.peak.Store(q.running.Load())
	q.mu.Unlock()
}
