package health

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/breaker"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/throttle"
)

// Snapshot is how the gates stand, for status and metrics. What is off is left out.
type Snapshot struct {
	Models   []Model // those that are known, and "all", if there is such a record
	Throttle []View  // the whole, and then each signal; empty if it is off
	Severity float64 // of the throttle, from 0 to 1
}

// Model is how the gates of one model stand.
type Model struct {
	Name    string  // "all": of all models together
	Breaker View    // Value is the share of failed and slow requests
	TTFT    View    // milliseconds
	ITL     View    // milliseconds
	Unary   float64 // milliseconds: how long answers take that come as a whole
}

// View is how one gate stands, or one of its signals.
type View struct {
	Name             string // of a throttle's signal
	State            string // "": it is off, or nothing is known
	Value, Threshold float64
	LastAt           clock.Moment // when it shut last, or opened
	LastReason       string       // "": never
	RecoversIn       time.Duration
}

// The states of gates other than the breaker.
const (
	Passing  = "PASSING"
	Warning  = "WARNING"
	Refusing = "REFUSING" // of the throttle: by priority
)

// Snapshot reads all records of the upstream: one for each model that is known, and two.
func (g *Gates) Snapshot(now clock.Moment) (s Snapshot, err error) {
	if g == nil {
		return s, nil
	}
	if g.settings.Breaker != nil || g.settings.Latency != nil {
		if err = g.lookModels(now, &s); err != nil {
			return s, err
		}
	}
	if g.settings.Throttle != nil {
		err = g.lookThrottle(now, &s)
	}
	return s, err
}

func (g *Gates) lookModels(now clock.Moment, s *Snapshot) error {
	if err := g.readNames(now); err != nil {
		return err
	}
	for at := range place(keys) {
		if at < places && g.names[at].hash == 0 || at == all && !g.settings.Global {
			continue
		}
		o := g.open(now, at, nil, unasked)
		if !g.load(o) {
			return o.err
		}
		if at < places && o.hash == g.names[at].hash || at == all && o.modelRecord != (modelRecord{}) {
			s.Models = append(s.Models, g.view(now, o))
		}
	}
	return nil
}

func (g *Gates) view(now clock.Moment, o *opened) Model {
	m := Model{Name: string(o.name[:o.length])}
	if o.at == all {
		m.Name = "all"
	}
	if c := g.settings.Breaker; c != nil && o.at != all {
		b := &o.breaker
		failed, slow, _ := b.Shares(now, c)
		m.Breaker = View{State: b.Phase().String(), Value: failed + slow, Threshold: c.ErrorRate, RecoversIn: b.RecoversIn(now, c)}
		m.Breaker.LastAt, m.Breaker.LastReason = b.Last().At, b.Last().String()
		if b.Phase() != breaker.Closed {
			m.Breaker.Value = b.Last().Share
		}
	}
	if c := g.settings.Latency; c != nil && (o.at == all) == g.settings.Global {
		ttft, itl, unary := o.latency.Averages(now, c)
		m.TTFT, m.ITL = g.timing(now, &o.latency, latency.TTFT, ttft), g.timing(now, &o.latency, latency.ITL, itl)
		m.Unary = unary / 1e6
	}
	return m
}

// timing is the view of one of the latency gate's signals.
func (g *Gates) timing(now clock.Moment, state *latency.State, signal latency.Signal, average float64) View {
	c := g.settings.Latency
	bounds := [...]time.Duration{c.TTFT, 0}
	threshold := c.TTFT
	if signal == latency.ITL {
		bounds, threshold = [...]time.Duration{0, c.ITL}, c.ITL
	}
	v := View{State: Passing, Value: average / 1e6, Threshold: float64(threshold) / 1e6}
	r := state.Misses(now, c, bounds[0], bounds[1])
	switch {
	case r.Over:
		v.State, v.RecoversIn = Refusing, r.RecoversIn
	case average >= c.WarnAt*float64(threshold):
		v.State = Warning
	}
	if last := state.Last(); last.Signal == signal {
		v.LastAt, v.LastReason = last.At, last.String()
	}
	return v
}

func (g *Gates) lookThrottle(now clock.Moment, s *Snapshot) error {
	u := record.Open(g.store, g.throttleKey)
	if !u.Read() {
		return u.Err()
	}
	var state throttle.State
	if value := u.Value; len(value) > throttleHead && value[0] == layout {
		state.Decode(value[throttleHead:])
	}
	levels, r := state.Snapshot(now, g.settings.Throttle)
	whole := View{Name: gate.Throttle, State: Passing, Value: r.Severity, LastAt: r.Last.At, LastReason: r.Last.String(), RecoversIn: r.RecoversIn}
	if r.Tripped {
		whole.State = Refusing
	}
	s.Severity = r.Severity
	s.Throttle = append(s.Throttle, whole)
	for signal, l := range levels {
		if signal == int(throttle.None) {
			continue
		}
		v := View{Name: throttle.Signal(signal).String(), Value: l.Value, Threshold: l.Threshold}
		switch {
		case l.Over:
			v.State = Refusing
		case l.Known:
			v.State = Passing
		}
		if signal == int(throttle.TailLatency) {
			v.Value, v.Threshold = v.Value/1e6, v.Threshold/1e6
		}
		s.Throttle = append(s.Throttle, v)
	}
	return nil
}
