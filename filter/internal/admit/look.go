package admit

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/admin"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/calendar"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/health"
	"github.com/spillway-proxy/spillway/filter/internal/heavy"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/pressure"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/retreat"
)

// What the admin surface shows is what the workers share: records, of which every worker reads the same. An admin listener has no gates of its own;
// it makes itself an engine of the gateway's configuration, as that was put up (Announce), to read the records as the gateway does. No stream ever
// comes to that one, and it has no ticks.

// gateway is the engine that knows the gateway's gates: this one, or what an admin listener has of it; nil: there is no gateway yet.
func (e *Engine) gateway() *Engine {
	if e.IsGateway() {
		return e
	}
	x := &e.surface
	text, version, found, err := e.host.Get(e.configKey())
	if err != nil || !found {
		return x.view
	}
	if x.view != nil && x.viewOf == version {
		x.view.follow()
		x.view.mute()
		return x.view
	}
	text = append([]byte(nil), text...)
	cfg, err := config.Parse(text)
	if err != nil {
		return x.view
	}
	var random [16]byte
	binary.LittleEndian.PutUint64(random[:], e.worker.id)
	view, err := New(&cfg, e.host, e.worker, random[:])
	if err != nil {
		return x.view
	}
	view.overrideBy(text)
	view.mute()
	x.view, x.viewOf = view, version
	return view
}

// mute drops what an engine has to tell that nobody asks: those of the gateway tell it themselves.
func (e *Engine) mute() {
	for e.Next() != nil {
		continue
	}
}

// look finds out how everything stands.
func (e *Engine) look(now clock.Moment, s *admin.Status) {
	*s = admin.Status{Version: e.worker.Version, Uptime: e.uptime(now), PressureAge: -1}
	var counts [counted]int64
	all, err := e.beat.roster.Sum(now, counts[:])
	if err != nil {
		e.storeFailed("the records of the workers can't be read", err)
	}
	s.Workers, s.Configurations, e.surface.workers = all.Workers, all.Configurations, all.Revisions
	for _, o := range outcomes {
		s.Requests = append(s.Requests, admin.Count{Name: o.String(), N: counts[o]})
	}
	s.Tokens = []admin.Count{{Name: "prompt", N: counts[countPrompt]}, {Name: "completion", N: counts[countCompletion]}, {Name: "total", N: counts[countTotal]}}
	g := e.gateway()
	if g != nil {
		s.Overrides = g.appendOverrides(nil, all.Revisions)
	}
	if g == nil {
		s.Mode = string(e.cfg.Mode)
		return
	}
	v := viewer{Engine: g, now: now, wall: e.host.Wall()}
	s.Mode = string(g.cfg.Mode)
	g.readShut()
	v.limits(s)
	e.lookUnpriced(g, now, s)
	v.pressure(s)
	if g.limits.Leases() {
		if s.Fleet = "ANSWERS"; g.leasing.client.Gone() {
			s.Fleet = "GONE"
		}
	}
	for _, u := range g.upstreams {
		s.Upstreams = append(s.Upstreams, v.upstream(u))
	}
	if g != e {
		g.mute()
	}
}

// uptime is how long ago the first worker of the namespace began.
func (e *Engine) uptime(now clock.Moment) time.Duration {
	u := record.Open(e.host, e.cfg.Namespace+"/admin/began")
	for u.Read() {
		if len(u.Value) == 8 {
			return max(now.Sub(clock.Moment(binary.LittleEndian.Uint64(u.Value))), 0)
		}
		u.Write(binary.LittleEndian.AppendUint64(nil, uint64(now)))
	}
	return 0
}

// viewer is a look at an engine's gates.
type viewer struct {
	*Engine
	now  clock.Moment
	wall int64 // the time of day now
}

// time is a moment's time of day.
func (v *viewer) time(m clock.Moment) int64 { return v.wall - int64(v.now.Sub(m)) }

func (v *viewer) limits(s *admin.Status) {
	for i := range v.cfg.Limits {
		l := &v.cfg.Limits[i]
		s.Limits = append(s.Limits, admin.Limit{
			Name: l.Name, Per: l.Per, Unit: l.Unit, Quantity: l.Quantity, Burst: l.Burst, Window: l.Window, Idle: l.Idle, Calendar: string(l.Calendar),
			Ends: windowEnd(l, v.wall), Nearly: l.Nearly.At, Admission: string(l.Admission), Mode: string(l.Mode.Under(v.cfg.Mode)), Scope: l.Scope,
		})
	}
}

// mostUnpriced is how many models without a price a status names.
const mostUnpriced = 20

// lookUnpriced looks at which models without a price were asked for lately, where limits count dollars.
func (e *Engine) lookUnpriced(g *Engine, now clock.Moment, s *admin.Status) {
	if s.Spends = g.limits.Spends(); !s.Spends {
		return
	}
	merged := heavy.Merge(now, g.limits.UnpricedID(), e.collect(func(place int) string { return e.subjectsKey(place, limit.UnpricedNumber) }))
	for _, m := range merged.TopByUse(mostUnpriced) {
		s.Unpriced = append(s.Unpriced, admin.Count{Name: m.Name, N: int64(m.Used.Low / bucket.Micro)})
	}
}

// windowEnd is when the window of a limit ends that it is at a time, both in nanoseconds since 1970; 0: it has none.
func windowEnd(l *config.Limit, wall int64) int64 {
	windows := calendar.New(l)
	if !windows.Any() {
		return 0
	}
	_, end := windows.At(max(wall, 0) / int64(time.Second))
	return end * int64(time.Second)
}

// pressure looks at the measurements.
func (v *viewer) pressure(s *admin.Status) {
	if v.monitor == nil {
		return
	}
	if err := v.monitor.Look(); err != nil {
		v.storeFailed("the record of pressure can't be used", err)
	}
	v.tellLoad(v.now)
	g := v.monitor.Gauge(v.now)
	if g.Age != pressure.Absent {
		s.PressureAge, s.Instances = g.Age, g.Instances
	}
	known := func(n float64) float64 {
		if n == pressure.Absent {
			return admin.Absent
		}
		return n
	}
	all := v.monitor.Instances()
	for _, x := range all[:min(len(all), admin.MostServers)] {
		s.Servers = append(s.Servers, admin.Instance{Decode: known(x.Decode), Prefill: known(float64(x.Prefill)), Memory: known(x.Memory), Age: x.Age})
	}
}

func (v *viewer) upstream(u *upstream) admin.Upstream {
	view := admin.Upstream{Name: u.name, Drained: u.site.shut}
	if u.queue != nil {
		v.queue(u, &view)
	}
	if u.health != nil {
		v.health(u, &view)
	}
	if u.pressure != nil {
		view.Pressure = v.pressureGate(u)
	}
	return view
}

// queue looks at an upstream's budget, queue and retreat.
func (v *viewer) queue(u *upstream, view *admin.Upstream) {
	s := u.queue.Snapshot(v.now)
	waiting := 0
	for _, n := range s.Waiting {
		waiting += n
	}
	q := admin.View{Value: float64(waiting), Threshold: float64(s.Room), State: "EMPTY", Counts: []admin.Count{{Name: "inFlight", N: int64(s.InFlight)},
		{Name: "slots", N: int64(s.Slots)}, {Name: "bytes", N: s.Bytes}, {Name: "maxBytes", N: s.MaxBytes}}, Why: s.Why}
	switch {
	case waiting >= s.Room && waiting > 0:
		q.State = "FULL"
	case waiting > 0:
		q.State = "WAITING"
	}
	if u.cfg.Queue.Revoke || s.Revoked > 0 {
		q.Counts = append(q.Counts, admin.Count{Name: "revoked", N: int64(s.Revoked)})
	}
	if s.Revoked > 0 {
		q.LastAt, q.LastReason = v.time(s.RevokedAt), gate.Revoked
	}
	for p := config.Urgent; ; p-- {
		q.Counts = append(q.Counts, admin.Count{Name: strings.ToLower(p.String()), N: int64(s.Waiting[p])})
		if p == config.Low {
			break
		}
	}
	view.Queue = &q
	view.Budget = budget(&s)
	if u.cfg.Retreat.Mode.Under(v.cfg.Mode) == config.Off || view.Budget == nil {
		return
	}
	r := admin.View{Value: s.Share, Threshold: u.cfg.Retreat.Threshold, State: s.Phase.String(), RecoversIn: s.RecoversIn,
		Counts: []admin.Count{{Name: "budgetThousandths", N: s.Scale * 1000 / dispatch.Whole}, {Name: "effectiveRpm", N: u.site.base * s.Scale / dispatch.Whole}}}
	if s.Phase != retreat.Normal {
		r.LastAt, r.LastReason = v.time(s.Lowered), "429"
	}
	view.Retreat = &r
}

// budget is what is left of an upstream's budget: of requests, or, where it has none of these, of tokens.
func budget(s *dispatch.Snapshot) *admin.View {
	m := s.Requests
	if m.Burst == 0 {
		m = s.Tokens
	}
	if m.Burst == 0 {
		return nil
	}
	b := admin.View{Value: float64(m.Left), Threshold: float64(m.Burst), State: "AVAILABLE", Counts: []admin.Count{{Name: "requestsLeft", N: s.Requests.Left},
		{Name: "requestsBurst", N: s.Requests.Burst}, {Name: "tokensLeft", N: s.Tokens.Left}, {Name: "tokensBurst", N: s.Tokens.Burst}}}
	if m.Left <= 0 {
		b.State = "USED_UP"
	}
	return &b
}

// health looks at the gates that learn.
func (v *viewer) health(u *upstream, view *admin.Upstream) {
	s, err := u.health.Snapshot(v.now)
	if err != nil {
		v.storeFailed("the records of upstream "+u.name+"'s gates can't be read", err)
		return
	}
	var breakers, latencies, throttles []admin.View
	for i := range s.Models {
		m := &s.Models[i]
		if m.Breaker.State != "" {
			breakers = append(breakers, v.gate(&m.Breaker, m.Name))
		}
		for _, signal := range [...]struct {
			name string
			view *health.View
		}{{" ttft", &m.TTFT}, {" itl", &m.ITL}} {
			if signal.view.State != "" && signal.view.Threshold > 0 {
				latencies = append(latencies, v.gate(signal.view, m.Name+signal.name))
			}
		}
	}
	for i := range s.Throttle {
		throttles = append(throttles, v.gate(&s.Throttle[i], s.Throttle[i].Name))
	}
	if u.cfg.Breaker.Mode.Under(v.cfg.Mode) != config.Off {
		view.Breaker = whole(breakers, "OPEN", "HALF_OPEN", "CLOSED")
	}
	if u.cfg.Latency.Mode.Under(v.cfg.Mode) != config.Off {
		view.Latency = whole(latencies, health.Refusing, health.Warning, health.Passing)
	}
	if len(throttles) > 0 {
		t := throttles[0]
		t.Name, t.Parts, t.Threshold = "", throttles[1:], 1
		view.Throttle = &t
	}
}

// whole is how a gate stands as a whole: as the worst of its parts.
func whole(parts []admin.View, states ...string) *admin.View {
	w := worstState(parts, states...)
	w.Name, w.Parts = "", parts
	return &w
}

// gate is a gate's view.
func (v *viewer) gate(of *health.View, name string) admin.View {
	view := admin.View{Name: name, Value: of.Value, Threshold: of.Threshold, State: of.State, LastReason: of.LastReason, RecoversIn: of.RecoversIn}
	if view.LastReason != "" {
		view.LastAt = v.time(of.LastAt)
	}
	return view
}

// pressureGate looks at an upstream's gate by what is known of the pressure.
func (v *viewer) pressureGate(u *upstream) *admin.View {
	verdict := v.monitor.Judge(v.now, u.pressure, config.Urgent)
	view := admin.View{Value: verdict.Measured, Threshold: u.cfg.Pressure.ActiveDecodeBlocks, State: health.Passing}
	if verdict.Measured == pressure.Absent {
		view.Value = admin.Absent
	}
	if verdict.Reason != "" {
		view.State, view.LastReason, view.LastAt = health.Refusing, verdict.Reason, v.wall
	}
	return &view
}
