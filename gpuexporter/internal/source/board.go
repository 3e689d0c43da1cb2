package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Timing says how often a source measures, and how long one measurement may take.
type Timing struct {
	Interval, Deadline time.Duration
}

// Board runs sources and holds what they saw.
type Board struct {
	now        func() time.Time
	log        *slog.Logger
	generation atomic.Uint64
	feeds      []*feed
	running    sync.WaitGroup
}

// NewBoard makes a board without sources. Ages are measured with now.
func NewBoard(now func() time.Time, log *slog.Logger) *Board {
	return &Board{now: now, log: log}
}

// Add adds a source. All are added before Start.
func (b *Board) Add(name string, kind Kind, s Source, t Timing) {
	f := &feed{board: b, source: s, timing: t, log: b.log.With("source", name, "kind", string(kind))}
	f.state.Store(&State{Name: name, Kind: kind})
	b.feeds = append(b.feeds, f)
}

// Start measures with every source, at once and then at every interval, until ctx is done.
func (b *Board) Start(ctx context.Context) {
	for _, f := range b.feeds {
		b.running.Go(func() { f.run(ctx) })
	}
}

// Wait waits until the sources' goroutines have ended. A measurement that hangs is left behind.
func (b *Board) Wait() {
	b.running.Wait()
}

// States gives what is known of every source, in the order in which they were added. It never blocks.
func (b *Board) States() []*State {
	states := make([]*State, len(b.feeds))
	for i, f := range b.feeds {
		states[i] = f.state.Load()
	}
	return states
}

// Generation changes whenever a sample arrives.
func (b *Board) Generation() uint64 {
	return b.generation.Load()
}

// feed is a source and its last state. Only run's goroutine stores states.
type feed struct {
	board  *Board
	source Source
	timing Timing
	log    *slog.Logger
	state  atomic.Pointer[State]
}

type result struct {
	sample   Sample
	err      error
	duration time.Duration
}

func (f *feed) run(ctx context.Context) {
	for {
		started := f.board.now()
		if !f.measure(ctx, started) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(f.timing.Interval - f.board.now().Sub(started)):
		}
	}
}

// measure runs one measurement to its end, and says whether there is to be another one.
func (f *feed) measure(ctx context.Context, started time.Time) bool {
	deadline, cancel := context.WithTimeout(ctx, f.timing.Deadline)
	defer cancel()
	done := make(chan result, 1)
	go func() { done <- f.sample(deadline, started) }()
	select {
	case r := <-done:
		f.finish(r, started)
		return true
	case <-deadline.Done():
	}
	// The source may have noticed the deadline itself and be about to say so.
	select {
	case r := <-done:
		f.finish(r, started)
		return true
	case <-ctx.Done():
		return false
	case <-time.After(f.timing.Deadline / 4):
	}
	f.overdue()
	select {
	case r := <-done:
		f.finish(r, started)
		return true
	case <-ctx.Done():
		return false
	}
}

// sample measures. Sources parse what others wrote, so a panic is made an error of that source.
func (f *feed) sample(ctx context.Context, started time.Time) (r result) {
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("panic: %v", p)
		}
		r.duration = f.board.now().Sub(started)
	}()
	r.sample, r.err = f.source.Sample(ctx)
	return r
}

func (f *feed) finish(r result, started time.Time) {
	old := f.state.Load()
	next := *old
	next.Hung, next.Duration, next.Err = false, r.duration, r.err
	if r.err == nil {
		next.Good++
		next.Sample, next.SampledAt = &r.sample, started
	} else {
		next.Failed++
	}
	f.publish(old, &next)
	if r.err == nil {
		f.board.generation.Add(1)
	}
}

// errOverdue is the error of a measurement that hasn't ended in time.
var errOverdue = errors.New("no answer within the deadline")

func (f *feed) overdue() {
	old := f.state.Load()
	next := *old
	next.Hung, next.Err = true, errOverdue
	next.Late++
	f.publish(old, &next)
}

// publish stores a state, and logs it if the source came up or went down: once, not at each interval.
func (f *feed) publish(old, next *State) {
	f.state.Store(next)
	first := old.Good+old.Failed+old.Late == 0
	switch {
	case next.Up() && (first || !old.Up()):
		f.log.Info("source is up", "duration", next.Duration)
	case !next.Up() && (first || old.Up() || next.Hung != old.Hung):
		f.log.Warn("source is down: answers go on with its last sample", "error", next.Err, "hung", next.Hung)
	}
}
