package llmsim

import (
	"context"
	"sync"
	"sync/atomic"
)

// broadcast wakes those who wait for a condition. It costs next to nothing while
// nobody waits, since every token of every request announces itself here.
type broadcast struct {
	waiters atomic.Int64

	mu sync.Mutex
	ch chan struct{}
}

func (b *broadcast) notify() {
	if b.waiters.Load() == 0 {
		return
	}
	b.mu.Lock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
	b.mu.Unlock()
}

func (b *broadcast) await(ctx context.Context, cond func() bool) error {
	b.waiters.Add(1)
	defer b.waiters.Add(-1)
	for {
		// The channel comes before the look at the condition, so that a change in
		// between is not missed.
		b.mu.Lock()
		if b.ch == nil {
			b.ch = make(chan struct{})
		}
		changed := b.ch
		b.mu.Unlock()
		if cond() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
