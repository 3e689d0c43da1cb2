package admit

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/admin"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/grant"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
)

// What an operator looks at and changes of one subject of a limit. A reset changes its bucket, which all workers share, at once. What it is granted for
// a time is in a record of all grants (package grant), which each worker looks at four times a second.

// grants is what an engine knows of them.
type grants struct {
	shared grant.Shared
	known  []grant.Grant
}

// followGrants brings the latest grants into force, if they are others. A gateway's worker ends those that are over.
func (e *Engine) followGrants(now clock.Moment, ends bool) {
	x := &e.grants
	all, news, err := x.shared.Look()
	if err == nil && news {
		x.known = all
		e.latest.limits.Allow(all)
	}
	for i := range x.known {
		if ends && err == nil && !x.known[i].In(now) {
			err = e.endGrants(now)
			break
		}
	}
	if err != nil {
		e.storeFailed("the record of grants can't be used", err)
	}
}

// endGrants takes out the grants that are over, and forgives what was used by them.
func (e *Engine) endGrants(now clock.Moment) error {
	ended, err := e.grants.shared.End(now)
	for _, g := range ended {
		if failed := e.latest.limits.Forgive(now, g); failed != nil {
			err = failed
		}
	}
	return err
}

// subjectOf finds the subject of a limit that a request is about, and the gateway's engine; it answers if there is none.
func (e *Engine) subjectOf(r *admin.Request, a *admin.Answer, text string) (g *Engine, of limit.Subject, found bool) {
	if g = e.gateway(); g == nil {
		a.Error(404, "", notConfigured)
		return nil, of, false
	}
	g.followGrants(e.surface.now, false)
	of, wrong := g.latest.limits.Subject(r.Names[0], text)
	switch {
	case wrong == "":
		return g, of, true
	case of.None():
		a.Error(404, "", wrong)
	default:
		a.Error(422, "subject", wrong)
	}
	return nil, of, false
}

// showLimit answers with how one subject of a limit stands.
func (e *Engine) showLimit(r *admin.Request, a *admin.Answer) {
	subject := r.Query("subject")
	if g, of, found := e.subjectOf(r, a, subject); found {
		e.showSubject(g, of, r.Names[0], subject, a)
	}
}

func (e *Engine) showSubject(g *Engine, of limit.Subject, name, subject string, a *admin.Answer) {
	now := e.surface.now
	v, err := g.latest.limits.Look(now, of)
	if err != nil {
		a.Error(503, "", "the subject's bucket can't be read: "+err.Error())
		return
	}
	var j admin.JSON
	j.Object()
	j.Member("limit", name)
	j.Member("subject", subject)
	amount := func(name string, n int64) { j.MemberAmount(name, n, of.Unit()) }
	for _, n := range [...]admin.Count{{Name: "quantity", N: v.Quantity}, {Name: "burst", N: v.Burst}, {Name: "used", N: v.Used}, {Name: "reserved", N: v.Reserved}, {Name: "remaining", N: v.Remaining}} {
		amount(n.Name, n.N)
	}
	j.MemberFloat("resetsInSeconds", max(v.Full, v.Ends).Seconds())
	if v.Ends > 0 {
		j.Key("windowEnds")
		const second = int64(time.Second) // it is a whole one; the two clocks are read one after the other
		j.Time((e.host.Wall() + int64(v.Ends) + second/2) / second * second)
	}
	if of.Nearly() {
		j.MemberBool("nearly", v.Nearly)
	}
	j.Key("granted")
	if v.Grant == nil {
		j.Null()
	} else {
		j.Object()
		amount(kinds[v.Grant.Kind], v.Grant.Amount)
		j.MemberFloat("endsInSeconds", v.Grant.Until.Sub(now).Seconds())
		j.EndObject()
	}
	if l := v.Lease; l != nil {
		j.Key("lease")
		j.Object()
		amount("taken", l.Taken)
		amount("left", l.Left)
		if l.Counted < 0 {
			j.MemberInt("fleetCounted", l.Counted)
		} else {
			amount("fleetCounted", l.Counted)
		}
		j.MemberFloat("endsInSeconds", l.Ends.Seconds())
		j.EndObject()
	}
	j.EndObject()
	a.JSON(200, j.Bytes())
}

var kinds = [...]string{grant.More: "grant", grant.Quantity: "quantity"}

// changeSubject resets a subject of a limit, or grants it something.
func (e *Engine) changeSubject(r *admin.Request, a *admin.Answer) {
	g, of, found := e.subjectOf(r, a, r.Names[1])
	if !found {
		return
	}
	if of.Fleet() {
		a.Error(409, "", "the limit is the fleet's, and what one proxy knows of its subjects can't be changed; ratelimit's counters are in its Redis")
		return
	}
	if of.Secret() {
		r.Path = "/limits/" + r.Names[0] + "/subjects/***" // as the log has it
	}
	action, err := config.ParseAction(r.Body, of.Unit())
	if err != nil {
		a.Errors(422, faults(err)...)
		return
	}
	now := e.surface.now
	before, err := g.latest.limits.Look(now, of)
	if err == nil {
		err = e.act(g, now, of, &action)
	}
	switch {
	case err == errPast:
		a.Error(422, "until", err.Error())
		return
	case err == grant.ErrFull:
		a.Error(409, "", err.Error())
		return
	case err != nil:
		a.Error(503, "", "the subject can't be changed: "+err.Error())
		return
	}
	g.followGrants(now, false)
	unit := of.Unit()
	a.Change = string(unit.Append(nil, before.Used)) + " used of " + string(unit.Append(nil, before.Burst)) + ": " + told(&action, unit)
	e.showSubject(g, of, r.Names[0], r.Names[1], a)
}

// told is an action in words.
func told(a *config.Action, unit *config.Unit) string {
	switch {
	case a.Reset:
		return "reset"
	case a.Quantity > 0:
		return "quantity " + string(unit.Append(nil, a.Quantity)) + a.Time()
	default:
		return "grant " + string(unit.Append(nil, a.Grant)) + a.Time()
	}
}

// act does what is to be done to a subject.
func (e *Engine) act(g *Engine, now clock.Moment, of limit.Subject, action *config.Action) error {
	if action.Reset {
		return g.latest.limits.Reset(now, of)
	}
	until := now.Add(action.For)
	if action.Until != 0 {
		if until = now + clock.Moment(action.Until-e.host.Wall()); until <= now {
			return errPast
		}
	}
	given := grant.Grant{Kind: grant.More, Amount: action.Grant, Until: until}
	if action.Quantity > 0 {
		given.Kind, given.Amount = grant.Quantity, action.Quantity
	}
	given.Limit, given.Subject = of.IDs()
	return g.grants.shared.Give(given)
}
