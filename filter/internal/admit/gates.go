package admit

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/account"
	"github.com/spillway-proxy/spillway/filter/internal/breaker"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/health"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/pressure"
)

// The gates of an upstream that learn: breaker, latency, throttle. A request that they let pass is tracked, as part of what they learn
// from, until it ends: sent (finishTracked), or not (leaveTracked).

// gateSlots are the headers that an upstream's gates look at.
type gateSlots struct {
	ttft, itl ident.Slot   // what the request itself asks for, in milliseconds
	fairness  ident.Slot   // by which turns in the queue are shared
	fallback  []ident.Slot // of fallback.routeHeader, in the order of routes
	routes    [][2]string
}

// wantObjectives has the headers looked at in which requests say what they can bear, where a gate wants to know.
func (e *Engine) wantObjectives(u *upstream) {
	none := e.picker.Want("") // no header has this name
	u.slots.ttft, u.slots.itl = none, none
	c := &u.cfg.Latency
	latency := c.Mode.Under(e.cfg.Mode) != config.Off
	if c.TTFTHeader != "" && (latency || u.cfg.Queue.Deadline == config.DeadlineSLO) {
		u.slots.ttft = e.picker.Want(c.TTFTHeader)
	}
	if c.ITLHeader != "" && latency {
		u.slots.itl = e.picker.Want(c.ITLHeader)
	}
}

// newHealth makes the gates that learn of an upstream, if any is on.
func (e *Engine) newHealth(u *upstream) {
	settings := health.NewSettings(u.cfg, e.cfg.Mode)
	if !settings.Any() {
		return
	}
	settings.Models = namedModels(e.cfg)
	if u.site.health == nil {
		u.site.health = health.New(settings, e.host, e.cfg.Namespace+"/a1/"+u.name, u.id)
	} else {
		u.site.health.Change(settings)
	}
	u.health = u.site.health
	u.byModel = settings.Breaker != nil || settings.Latency != nil && !settings.Global
	for name, value := range u.cfg.Breaker.Fallback.RouteHeader {
		u.slots.fallback = append(u.slots.fallback, e.picker.Want(name))
		u.slots.routes = append(u.slots.routes, [2]string{name, value})
	}
}

// assign finds the upstream of a request, and says what its gates are to know of it.
func (e *Engine) assign(s *Stream, now clock.Moment) {
	s.upstream = e.find(s)
	u := s.upstream
	switch {
	case u == nil:
		return
	case s.leg != nil && s.leg.fellBack:
		s.decision.Outcome, s.upstream = gate.FellBack, nil
		return
	case u.health == nil:
		return
	}
	subject, _ := e.subject(s)
	var prompt int64
	if u.health.Predicts() {
		prompt = e.accountant.Expect(&s.exchange, now).Prompt
	}
	s.track = health.Request{
		Model: s.exchange.Model, Priority: s.caller.Priority, Subject: subject, Memory: e.gpuMemory(u, now), Prompt: prompt,
		TTFT: bound(s.headers.Get(u.slots.ttft)), ITL: bound(s.headers.Get(u.slots.itl)),
	}
	s.tracked = true
}

// fallBack sends a request that the breaker refused to the fallback route, if there is one, and its route can still be chosen.
// A request that has the route's headers already has been sent there before: sending it again could go on for ever.
func (e *Engine) fallBack(s *Stream, now clock.Moment, v *gate.Verdict) bool {
	u := s.upstream
	if len(u.slots.routes) == 0 || s.upload.passes || !u.cfg.Breaker.Fallback.For(s.operation) {
		return false
	}
	there := true
	for i, slot := range u.slots.fallback {
		there = there && s.headers.Get(slot) == u.slots.routes[i][1]
	}
	if there {
		return false
	}
	e.leave(s, now)
	for _, route := range u.slots.routes {
		e.out.setRequestHeader(s, route[0], route[1])
	}
	e.out.add(ChooseRoute, s)
	s.decision = *v
	s.decision.Outcome = gate.FellBack
	s.upstream = nil // it goes elsewhere: nothing there is ours to govern or to measure
	return true
}

// leaveTracked ends what the gates that learn know of a request that is not sent to the upstream.
func (e *Engine) leaveTracked(s *Stream, now clock.Moment) {
	if !s.tracked {
		return
	}
	s.tracked = false
	e.gateError(s, s.upstream.health.Cancel(now, &s.track))
}

// observeTracked tells the gates of the first token, as soon as it has come.
func (e *Engine) observeTracked(s *Stream, now clock.Moment) {
	if !s.tracked {
		return
	}
	ttft := s.took(now)
	if ttft == 0 { // it can't be told how much of it was the upstream's
		return
	}
	e.gateError(s, s.upstream.health.Observe(now, &s.track, latency.Sample{TTFT: ttft}))
}

// finishTracked tells the gates how a request that was sent has ended.
func (e *Engine) finishTracked(s *Stream, now clock.Moment, end *account.Settlement) {
	if !s.tracked {
		return
	}
	s.tracked = false
	left := s.tookAtEnd(now, end)
	o := health.Outcome{Stream: s.exchange.Stream, Duration: s.took(s.pace.answered(s, now)), Result: s.result(now, end), ITL: s.between()}
	if left.Left {
		o.Left = left.TTFT
	}
	e.gateError(s, s.upstream.health.Finish(now, &s.track, o))
}

// result is what a request's end says about the upstream. A 429 is the retreat's business: the upstream is well.
func (s *Stream) result(now clock.Moment, end *account.Settlement) health.Result {
	status := cmp.Or(end.Failure, end.Status)
	switch {
	case s.foreign():
		return health.Neither
	case s.exchange.Origin == origin.TimedOut && s.uploads(now):
		return health.Neither
	case s.torn || status >= 500:
		return health.Failed
	case !end.Complete || status >= 400:
		return health.Neither
	default:
		return health.Succeeded
	}
}

// gateError takes note of a record that can't be used, if one can't.
func (e *Engine) gateError(s *Stream, err error) {
	if err == nil {
		return
	}
	e.storeFailed("a record of upstream "+s.upstream.name+"'s gates can't be used", err)
}

// gpuMemory is the share of GPU memory in use, if it is fetched and not too old; 0: not known.
func (e *Engine) gpuMemory(u *upstream, now clock.Moment) float64 {
	if e.monitor == nil || u.cfg.Throttle.Mode == config.Off {
		return 0
	}
	g := e.monitor.Gauge(now)
	if g.Memory == pressure.Absent || g.Age == pressure.Absent || g.Age > e.cfg.PressureSource.StaleAfter {
		return 0
	}
	return g.Memory
}

// bound reads a request's own bound, in milliseconds; 0: none.
func bound(value string) time.Duration {
	const most = 3600_000
	if value == "" {
		return 0
	}
	ms, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
	if err != nil || !(ms > 0 && ms <= most) {
		return 0
	}
	return time.Duration(ms * float64(time.Millisecond))
}

// tickTracked lets the gates write what they have counted.
func (e *Engine) tickTracked(now clock.Moment) {
	for _, u := range e.upstreams {
		if u.health == nil {
			continue
		}
		err := u.health.Tick(now)
		e.out.count(metric.Errors("record_damaged"), int64(u.health.Damaged()))
		u.health.Transitions(func(from, to breaker.Phase, n int) {
			e.out.count(metric.BreakerTransitions(u.name, from.String(), to.String()), int64(n))
		})
		if err != nil {
			e.storeFailed("a record of upstream "+u.name+"'s gates can't be used", err)
		}
	}
}

// trackedPeriod is the shortest that such a gate wants. What they have learned changes while nothing comes: averages decay, a breaker's time
// runs out.
func (e *Engine) trackedPeriod() time.Duration {
	period := describePeriod
	for _, u := range e.upstreams {
		if u.health != nil {
			period = shorter(period, u.health.Period())
		}
	}
	return period
}

// describeTracked publishes how the gates stand.
func (e *Engine) describeTracked(now clock.Moment) {
	for _, u := range e.upstreams {
		if u.health != nil {
			e.describeGates(u, now)
		}
	}
}

// describeGates publishes how an upstream's gates stand. Models that share a label have the worst of theirs.
func (e *Engine) describeGates(u *upstream, now clock.Moment) {
	snapshot, err := u.health.Snapshot(now)
	if err != nil {
		e.out.count(metric.Errors("store"), 1)
		return
	}
	for _, w := range e.worst(snapshot.Models) {
		switch w.of {
		case gate.Breaker:
			e.out.gauge(metric.BreakerState(u.name, w.label), w.level)
		case gate.Latency:
			e.out.gauge(metric.GateState(w.of, u.name, w.label), w.level)
		default:
			e.out.gauge(metric.LatencyAverage(w.of, u.name, w.label), w.level)
		}
	}
	if len(snapshot.Throttle) > 0 {
		e.out.gauge(metric.GateState(gate.Throttle, u.name, "all"), level(snapshot.Throttle[0].State))
		e.out.gauge(metric.ThrottleSeverity(u.name), int64(snapshot.Severity*1000+0.5))
	}
}

// worst is how the worst stands of the models that share a label.
type worst struct {
	of, label string // a gate, or a latency: ttft or itl
	level     int64
}

// worst gives the worst level of each gate and label, and the longest latencies. (A map of these pairs brings reflection into TinyGo's module.)
func (e *Engine) worst(models []health.Model) []worst {
	e.levels = e.levels[:0]
	for i := range models {
		m := &models[i]
		label := m.Name
		if label != "all" {
			label = e.label(m.Name)
		}
		if m.Breaker.State != "" {
			e.note(gate.Breaker, label, breakerLevel(m.Breaker.State))
		}
		e.noteLatency("ttft", label, &m.TTFT)
		e.noteLatency("itl", label, &m.ITL)
	}
	return e.levels
}

func (e *Engine) noteLatency(kind, label string, v *health.View) {
	if v.State != "" {
		e.note(gate.Latency, label, level(v.State))
		e.note(kind, label, int64(v.Value+0.5))
	}
}

// note takes a level into account.
func (e *Engine) note(of, label string, level int64) {
	for i := range e.levels {
		if w := &e.levels[i]; w.of == of && w.label == label {
			w.level = max(w.level, level)
			return
		}
	}
	e.levels = append(e.levels, worst{of, label, level})
}

// level is a gate's state as a number: 0 passing, 1 warning, 2 refusing.
func level(state string) int64 {
	switch state {
	case health.Refusing:
		return 2
	case health.Warning:
		return 1
	default:
		return 0
	}
}

// breakerLevel is a breaker's state as a number: 0 closed, 1 half open, 2 open.
func breakerLevel(state string) int64 {
	switch state {
	case "OPEN":
		return 2
	case "HALF_OPEN":
		return 1
	default:
		return 0
	}
}
