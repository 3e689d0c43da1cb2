package config

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// The finish methods derive values that depend on others, and report fields that contradict each other.

func (c *Config) finish(r *reader, path string) {
	c.finishGroups(r, path)
	c.finishPrices(r, path)
	c.finishNearly(r, path)
	c.finishRevoke(r, path)
	for i, u := range c.Upstreams {
		if i+1 < len(c.Upstreams) && slices.Contains(u.Models, "*") {
			r.problem(join(index(join(path, "upstreams"), i), "models"), `"*"`,
				"matches every model, so that the upstreams after it are never chosen; want it last")
			return
		}
	}
}

func (m *Models) finish(r *reader, path string) {
	for _, alias := range slices.Sorted(maps.Keys(m.Aliases)) {
		canonical := m.Aliases[alias]
		if next, ok := m.Aliases[canonical]; ok && next != canonical {
			r.problem(join(join(path, "aliases"), alias), quote(canonical),
				"is an alias itself; want the name that it stands for, "+quote(next))
		}
	}
}

func (p *PriorityRule) finish(r *reader, path string) {
	if (p.Set == nil) == (p.Max == nil) {
		r.problem(path, "", "want exactly one of set and max")
	}
}

// finish gives every model a price: an entry without fields is the default one.
func (u *Usage) finish(r *reader, path string) {
	for _, w := range u.Cost {
		if slices.Contains(w.Models, "*") {
			return
		}
	}
	var standard CostWeights
	r.section(join(path, "cost"), &standard, nil)
	u.Cost = append(u.Cost, standard)
}

func (l *Limit) finish(r *reader, path string) {
	l.finishWindow(r, path)
	if l.Burst == 0 {
		l.Burst = l.Quantity
	}
	switch {
	case !l.Lifetime && l.Idle > 0:
		r.problem(join(path, "idle"), quote(brief(l.Idle)), "says when a lifetime is forgotten; leave idle out, or want lifetime: true")
	case l.Lifetime && l.Idle == 0:
		l.Idle = day
	}
	l.checkFleet(r, path)
}

// defaultMinRequests is the seed's lowest rate toward a provider, per minute.
const defaultMinRequests = 5

func (u *Upstream) finish(r *reader, path string) {
	bound := u.Budget.Requests
	if u.Retreat.MinRequests == 0 {
		u.Retreat.MinRequests = defaultMinRequests
		if 0 < bound && bound < defaultMinRequests {
			u.Retreat.MinRequests = int(bound)
		}
	}
	if bound > 0 && int64(u.Retreat.MinRequests) > bound {
		r.problem(join(join(path, "retreat"), "minRequests"), strconv.Itoa(u.Retreat.MinRequests),
			"above budget.requests; want at most "+strconv.FormatInt(bound, 10))
	}
}

// finishRevoke wants it to be known who can have others' work ended.
func (c *Config) finishRevoke(r *reader, path string) {
	believed := c.Priority.Trust == nil && (c.Priority.Header != "" || len(c.Priority.Objectives) > 0)
	for i := range c.Upstreams {
		u, here := &c.Upstreams[i], join(join(index(join(path, "upstreams"), i), "queue"), "revoke")
		switch {
		case !u.Queue.Revoke:
		case u.Concurrency.Max == 0:
			r.problem(here, "true", "frees slots of no limit; want concurrency.max above 0, or auto, too")
		case u.Queue.Max == 0:
			r.problem(here, "true", "frees slots for what waits, and nothing can; want queue.max above 0, too")
		case believed:
			r.problem(here, "true", "lets every client end others' streams by saying that it is urgent; want priority.trust, too: who may say so")
		}
	}
}

func (b *Budget) finish(r *reader, path string) {
	if b.Burst > 0 && b.Requests == 0 && b.Tokens == 0 {
		r.problem(join(path, "burst"), strconv.FormatInt(b.Burst, 10), "without a budget; want requests or tokens above 0, too")
	}
	if b.Requests == 0 {
		needs(r, path, b.Weights, "requests above 0")
	}
}

func (c *Concurrency) finish(r *reader, path string) {
	reserved, most := c.ReservedUrgent+c.ReservedHigh, c.Max
	if c.Max == 0 {
		needs(r, path, c.Weights, "max above 0, or auto")
	}
	if c.Auto() {
		most = c.Limit
		if c.Min > c.Limit {
			r.problem(join(path, "min"), strconv.Itoa(c.Min), "above limit; want at most "+strconv.Itoa(c.Limit))
		}
	}
	switch {
	case reserved == 0:
	case c.Max == 0:
		r.problem(join(path, "reserved"), strconv.Itoa(reserved), "reserves slots of no limit; want max above "+strconv.Itoa(reserved))
	case reserved >= most:
		of := "max, "
		if c.Auto() {
			of = "limit, "
		}
		r.problem(join(path, "reserved"), strconv.Itoa(reserved), "leaves no slot to the other priorities; want less than "+of+strconv.Itoa(most))
	}
}

func (w *waits) finish(*reader, string) {
	*w.to = make(map[Priority]time.Duration, len(priorities))
	for _, p := range priorities {
		(*w.to)[p] = w.at[p]
	}
}

func (t *Retreat) finish(r *reader, path string) {
	if t.RecoverThreshold >= t.Threshold {
		r.problem(join(path, "recoverThreshold"), number(t.RecoverThreshold), "want less than threshold, "+number(t.Threshold))
	}
	if t.Every > t.Window {
		r.problem(join(path, "every"), quote(brief(t.Every)), "want at most window, "+quote(brief(t.Window)))
	}
}

func (f *Fallback) finish(r *reader, path string) {
	answers := f.Status != 0 || f.Body != "" || len(f.Headers) > 0
	switch {
	case answers && len(f.RouteHeader) > 0:
		r.problem(path, "", "both an answer and a route; want either status (with body and headers) or routeHeader")
	case answers && f.Status == 0:
		r.problem(join(path, "status"), "", "missing; want the status that goes with body and headers")
	}
}

func (c *ceilings) finish(r *reader, path string) {
	*c.to = make(map[Priority]float64, len(priorities))
	for i, p := range priorities {
		(*c.to)[p] = c.at[p]
		if i > 0 && c.at[p] > c.at[priorities[i-1]] {
			higher := priorities[i-1]
			r.problem(join(path, p.key()), number(c.at[p]), "above that of a higher priority; want at most that of "+higher.key()+", "+
				number(c.at[higher]))
		}
	}
}

func (a *Admin) finish(r *reader, path string) {
	if a.Read == ReadToken && len(a.Tokens) == 0 {
		r.problem(join(path, "read"), string(a.Read), "without tokens nobody could read; want tokens, too, or open")
	}
}

func (p *PressureSource) finish(r *reader, path string) {
	if p.Timeout > p.Interval {
		r.problem(join(path, "timeout"), quote(brief(p.Timeout)), "want at most interval, "+quote(brief(p.Interval)))
	}
	if p.StaleAfter <= p.Interval {
		r.problem(join(path, "staleAfter"), quote(brief(p.StaleAfter)), "want more than interval, "+quote(brief(p.Interval)))
	}
}
