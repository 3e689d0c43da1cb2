package autosize

import (
	"math"
	"slices"
	"time"
)

// fixed is hand-tuned slots.
type fixed int

func (f fixed) slots() int                    { return int(f) }
func (f fixed) record(*Sample, time.Duration) {}

// little is this package.
type little struct {
	State
	c Settings
}

func newLittle() *little { return &little{c: Settings{Min: 1, Limit: 256}} }

// informed is the same, with the engine's own numbers.
type informed struct{ *little }

func (z *informed) hear(x Load) { z.c.Load = x }

func (l *little) slots() int   { return l.Slots(&l.c) }
func (l *little) learned() int { return int(l.State.slots + 0.5) }
func (l *little) record(x *Sample, whole time.Duration) {
	if x.TTFT > 0 {
		l.Record(&l.c, x)
	}
}

// gradient is Netflix's Gradient2Limit: a long average against a short one, with a tolerance of 1.5 and room for the root of the limit.
type gradient struct {
	limit, long float64
	n           int
	sum         float64
	count, full int
}

func (g *gradient) slots() int { return max(int(g.limit), 1) }
func (g *gradient) record(x *Sample, _ time.Duration) {
	if x.TTFT <= 0 {
		return
	}
	if g.limit == 0 {
		g.limit = 20
	}
	g.sum += x.TTFT.Seconds()
	g.count++
	g.full = max(g.full, x.InFlight)
	if g.count < 10 {
		return
	}
	short := g.sum / float64(g.count)
	full := g.full
	g.sum, g.count, g.full = 0, 0, 0
	if g.n++; g.n < 10 {
		g.long += (short - g.long) / float64(g.n)
	} else {
		g.long += (short - g.long) * 2 / 601
	}
	if g.long/short > 2 {
		g.long *= 0.95
	}
	if float64(full) < g.limit/2 {
		return
	}
	grad := max(0.5, min(1, 1.5*g.long/short))
	next := g.limit*grad + 4
	g.limit = min(max(g.limit*0.8+next*0.2, 1), 256)
}

// envoy is Envoy's adaptive concurrency: the median against the least that is measured each minute with 3 requests in flight.
type envoy struct {
	limit, min float64
	window     []float64
	opened     float64
	measured   float64
	measuring  bool
	probe      []float64
}

func (e *envoy) slots() int {
	if e.measuring || e.min == 0 {
		return 3
	}
	return max(int(e.limit), 1)
}

func (e *envoy) record(x *Sample, _ time.Duration) {
	if x.TTFT <= 0 {
		return
	}
	now := x.At.Sub(noon).Seconds()
	if e.min == 0 || e.measuring {
		if x.InFlight <= 3 {
			e.probe = append(e.probe, x.TTFT.Seconds())
		}
		if len(e.probe) >= 50 {
			slices.Sort(e.probe)
			e.min = e.probe[len(e.probe)/2]
			if e.limit == 0 {
				e.limit = 3
			}
			e.probe, e.measuring, e.measured, e.window, e.opened = nil, false, now, nil, now
		}
		return
	}
	e.window = append(e.window, x.TTFT.Seconds())
	if now-e.opened < 0.1 || len(e.window) < 5 {
		return
	}
	slices.Sort(e.window)
	sample := e.window[len(e.window)/2]
	grad := min(max(e.min*1.25/sample, 0.5), 2)
	limit := e.limit * grad
	e.limit = min(limit+math.Sqrt(limit), 256)
	e.window, e.opened = e.window[:0], now
	if now-e.measured > 60 {
		e.measuring = true
	}
}

// vegas is Netflix's VegasLimit: limit × (1 - least/now) is the queue, by the time of whole answers.
type vegas struct {
	limit, least float64
	sum          float64
	count, full  int
	n            int
	byTTFT       bool
}

func (v *vegas) slots() int { return max(int(v.limit), 1) }
func (v *vegas) record(x *Sample, whole time.Duration) {
	took := whole.Seconds()
	if v.byTTFT {
		took = x.TTFT.Seconds()
	}
	if took <= 0 {
		return
	}
	if v.limit == 0 {
		v.limit = 20
	}
	if v.n++; v.least == 0 || took < v.least || float64(v.n) > 30*v.limit*10 {
		v.least, v.n = took, 0
	}
	v.sum += took
	v.count++
	v.full = max(v.full, x.InFlight)
	if v.count < 10 {
		return
	}
	rtt, full := v.sum/float64(v.count), v.full
	v.sum, v.count, v.full = 0, 0, 0
	if float64(full)*2 < v.limit {
		return
	}
	queue := math.Ceil(v.limit * (1 - v.least/rtt))
	log := max(1, math.Log10(v.limit))
	switch {
	case queue <= log:
		v.limit += 6 * log
	case queue < 3*log:
		v.limit += log
	case queue > 6*log:
		v.limit -= log
	}
	v.limit = min(max(v.limit, 1), 256)
}

// aimd is additive increase, multiplicative decrease: TTFT above twice the best.
type aimd struct {
	limit, best float64
	sum         float64
	count, full int
	n           int
}

func (a *aimd) slots() int { return max(int(a.limit), 1) }
func (a *aimd) record(x *Sample, _ time.Duration) {
	if x.TTFT <= 0 {
		return
	}
	if a.limit == 0 {
		a.limit = 20
	}
	took := x.TTFT.Seconds()
	a.sum += took
	a.count++
	a.full = max(a.full, x.InFlight)
	if a.count < 8 {
		return
	}
	mean, full := a.sum/float64(a.count), a.full
	a.sum, a.count, a.full = 0, 0, 0
	if a.n++; a.best == 0 || mean < a.best || a.n > 300 {
		a.best, a.n = mean, 0
	}
	switch {
	case mean > 2*a.best:
		a.limit *= 0.9
	case float64(full) >= a.limit:
		a.limit++
	}
	a.limit = min(max(a.limit, 1), 256)
}
