package admit

import (
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/admin"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// What an operator does to an upstream, he does to the records that all workers share. That of the gates that learn and of the queue is read with every
// request; which upstreams are drained each worker reads four times a second, so that it costs nothing on a request's way.

// shutWait is what a request to a drained upstream is told to wait: nobody knows how long it takes.
const shutWait = 10 * time.Second

// shutUpstreams are the upstreams that an operator drains: that nothing new is let through to.
type shutUpstreams struct {
	text string // their names, a line each, as the record has them
	any  bool
}

func (e *Engine) shutKey() string { return e.cfg.Namespace + "/admin/drained" }

// readShut brings up to date which upstreams are drained.
func (e *Engine) readShut() {
	value, _, _, err := e.host.Get(e.shutKey())
	if err != nil || string(value) == e.shut.text {
		return
	}
	e.shut = shutUpstreams{text: string(value)}
	for _, u := range e.sites {
		u.shut = false
	}
	for name := range strings.SplitSeq(e.shut.text, "\n") {
		if name != "" {
			e.site(name).shut = true
			e.shut.any = true
		}
	}
}

// setShut writes whether an upstream is drained, and says whether it was.
func (e *Engine) setShut(name string, drain bool) (before bool, err error) {
	u := record.Open(e.host, e.shutKey())
	for u.Read() {
		before = false
		text := "\n" // an empty record would be none
		for known := range strings.SplitSeq(string(u.Value), "\n") {
			switch {
			case known == name:
				before = true
			case known != "":
				text += known + "\n"
			}
		}
		if drain {
			text += name + "\n"
		}
		if before == drain {
			break
		}
		u.Write([]byte(text))
	}
	return before, u.Err()
}

// refuseShut refuses a request whose upstream is drained. One that waits already keeps its turn, and what runs goes on.
func (e *Engine) refuseShut(s *Stream, now clock.Moment) bool {
	if s.upstream == nil || !s.upstream.site.shut {
		return false
	}
	v := gate.Because(gate.Rejected, gate.Queue, gate.Drained)
	if v.Wait = shutWait; e.cfg.Mode == config.Shadow {
		v.Outcome = gate.Shadowed
		s.note(&v)
		return false
	}
	e.refuse(s, now, &v)
	return true
}

// upstreamEndpoints are the routes by which an upstream is steered.
func (e *Engine) upstreamEndpoints() []admin.Route {
	post := func(what string, handle func(*target)) admin.Route {
		return admin.Route{Method: "POST", Pattern: "/upstreams/*/" + what, Access: admin.Changes, Handle: func(r *admin.Request, a *admin.Answer) {
			if t := e.target(r, a); t != nil {
				handle(t)
			}
		}}
	}
	return []admin.Route{
		post("retreat/reset", (*target).resetRetreat), post("breaker/reset", (*target).resetBreaker),
		post("drain", func(t *target) { t.drain(true) }), post("resume", func(t *target) { t.drain(false) }),
	}
}

// target is an upstream that a request wants to steer.
type target struct {
	*upstream
	engine  *Engine // whose it is
	now     clock.Moment
	request *admin.Request
	answer  *admin.Answer
}

// target finds the upstream that a request names, and answers if there is none.
func (e *Engine) target(r *admin.Request, a *admin.Answer) *target {
	if g := e.gateway(); g != nil {
		for _, u := range g.latest.upstreams {
			if u.name == r.Names[0] {
				return &target{u, g, e.surface.now, r, a}
			}
		}
	}
	a.Error(404, "", "there is no upstream of this name")
	return nil
}

// done answers what was done: key says what, and before and after how it stood.
func (t *target) done(err error, key, before, after string) {
	if err != nil {
		t.answer.Error(500, "", "the shared record can't be written: "+err.Error())
		return
	}
	var j admin.JSON
	j.Object()
	j.Member("upstream", t.name)
	j.Key(key)
	j.Object()
	j.Member("before", before)
	j.Member("after", after)
	j.EndObject()
	j.EndObject()
	t.answer.JSON(200, j.Bytes())
	t.answer.Change = key + ": " + before + " -> " + after
}

func (t *target) resetRetreat() {
	if t.queue == nil || t.cfg.Retreat.Mode == config.Off || t.cfg.Budget.Requests == 0 && t.cfg.Budget.Tokens == 0 {
		t.answer.Error(409, "", "this upstream has no retreat: it takes a budget, and retreat.mode")
		return
	}
	before, err := t.queue.ResetRetreat(t.now)
	t.done(err, "budgetThousandths", strconv.FormatInt(before*1000/dispatch.Whole, 10), "1000")
}

func (t *target) resetBreaker() {
	if t.cfg.Breaker.Mode == config.Off {
		t.answer.Error(409, "", "this upstream has no breaker: breaker.mode is off")
		return
	}
	models, err := t.health.ResetBreaker(t.now, t.request.Query("model"))
	if err == nil && models == 0 && t.request.Query("model") != "" {
		t.answer.Error(404, "", "nothing is known of this model at this upstream")
		return
	}
	t.done(err, "breaker", "of "+strconv.Itoa(models)+" models", "CLOSED")
}

// drain lets nothing new through to the upstream, or everything again. Other workers follow within followPeriod.
func (t *target) drain(drain bool) {
	states := map[bool]string{false: "open", true: "drained"}
	before, err := t.engine.setShut(t.name, drain)
	t.engine.readShut()
	t.done(err, "state", states[before], states[drain])
}
