package llmsim

import (
	"context"
	"errors"
	"time"
)

// How a request ends other than by its answer.
var (
	errClientLeft  = errors.New("client left")
	errAborted     = errors.New("connection cut")
	errBodyAborted = errors.New("request body cut")
)

// pacer waits between tokens. It aims at absolute times, so that the time spent on
// writing, and the timer's own lateness, do not add up over a long stream.
type pacer struct {
	ctx   context.Context
	done  <-chan struct{}
	timer *time.Timer
	next  time.Time
}

// start makes now the time that the next wait counts from.
func (p *pacer) start() { p.next = time.Now() }

// wait returns d after the previous wait was due, or with the reason to stop.
func (p *pacer) wait(d time.Duration) error {
	if d <= 0 {
		return p.stopped()
	}
	p.next = p.next.Add(d)
	left := time.Until(p.next)
	if left <= 0 {
		// A slow reader held the writes up: no burst afterwards to catch up.
		p.next = time.Now()
		return p.stopped()
	}
	if p.timer == nil {
		p.timer = time.NewTimer(left)
	} else {
		p.timer.Reset(left)
	}
	select {
	case <-p.timer.C:
		return nil
	case <-p.ctx.Done():
		return errClientLeft
	case <-p.done:
		return errAborted
	}
}

// hang waits for d, or, when it is Forever, until there is a reason to stop.
func (p *pacer) hang(d time.Duration) error {
	if d != Forever {
		return p.wait(d)
	}
	select {
	case <-p.ctx.Done():
		return errClientLeft
	case <-p.done:
		return errAborted
	}
}

func (p *pacer) stopped() error {
	select {
	case <-p.ctx.Done():
		return errClientLeft
	case <-p.done:
		return errAborted
	default:
		return nil
	}
}

func (p *pacer) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}
