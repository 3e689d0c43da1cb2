package admit

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// A host shows a request's body while its headers are held only if it is set up for that (config.HoldStopIteration), and can't be
// asked whether it is. If it isn't, a held request would hang. So what is held for guardTime without its body is looked at: a
// host that has received some of it, and not shown it, keeps it back; one that has received nothing has a slow client, who is
// waited for. After giveUp bodies in a row that were kept back nothing is held any more, but for one request in a while, by which
// a host shows that it was set right. One body that is shown ends all suspicion.
const (
	// guardTime is how long a request is held before the host is suspected, and how often it is suspected again.
	guardTime = 2 * time.Second
	// giveUp is how many bodies the host has to keep back before holding is given up.
	giveUp = 3
	// retryTime is how often a request is held all the same.
	retryTime = time.Minute
)

// guard is what is known of the host.
type guard struct {
	holding streamSet    // held at the headers, no body yet
	shown   clock.Moment //  when the headers came of the latest request whose body was shown while it was held
	kept    int          // bodies in a row that were kept back
	tried   clock.Moment // when a request was held last
}

// holds says whether a request can be held at its headers.
func (e *Engine) holds(now clock.Moment) bool {
	g := &e.guard
	return e.cfg.RequestHold == config.HoldStopIteration && (g.kept < giveUp || now.Sub(g.tried) >= retryTime)
}

// hold keeps the headers of a request back.
func (g *guard) hold(s *Stream, now clock.Moment) {
	g.holding.add(s)
	g.tried, s.upload.look = now, now.Add(guardTime)
}

// delivered takes note of a body that is shown.
func (g *guard) delivered(s *Stream) {
	if g.holding.has(s) {
		g.holding.remove(s)
		g.shown, g.kept = max(g.shown, s.exchange.Since), 0
	}
}

// checkHolds lets those go whose bodies the host keeps back. A host that can't tell is taken for one that does: a request that nobody ever
// lets go is worse than one that is not held. A body that was received a moment ago may still be on its way through other
// filters; but if that of a later request has come through, the host is not suspected.
func (e *Engine) checkHolds(now clock.Moment) {
	for s, next := e.guard.holding.first, (*Stream)(nil); s != nil; s = next {
		next = e.guard.holding.after(s)
		if now < s.upload.look || s.exchange.Since < e.guard.shown || e.turns <= 0 {
			continue
		}
		s.upload.look = now.Add(guardTime)
		if bytes, headers, known := e.host.Received(s); known && bytes <= headers {
			continue
		}
		e.guard.kept++
		e.out.count(metric.Errors("body_not_delivered"), 1)
		e.out.warn("the host kept a held request's body back for 2s: set allow_on_headers_stop_iteration: true in the Wasm" +
			" filter's configuration, or requestHold to bufferFilter or none")
		e.endHold(s, now)
	}
}

// endHold ends a hold whose body has not come: the request goes on as where nothing can be held.
func (e *Engine) endHold(s *Stream, now clock.Moment) {
	defer e.use(e.use(s.rules))
	e.guard.holding.remove(s)
	s.action = goesOn
	s.upload.holdable, s.question.wanted, s.upload.passes = false, false, true
	if s.phase == stHolding && !s.modelMatters && !e.needsWhole {
		e.decide(s, now)
	}
	e.proceed(s, now)
	e.conclude(s)
	e.refuseDropped(now)
}
