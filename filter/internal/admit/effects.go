package admit

import (
	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/oneline"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// EffectKind is what there is to do.
type EffectKind uint8

// What there can be to do. In the order in which an event brings it about: first what it is for its own stream, then for others, each ending
// in what becomes of the message or the request. Effects of no stream stand in between.
const (
	nothing           EffectKind = iota
	UpdateMetric                 // of no stream: Metric
	LogInfo                      // of no stream: Value
	LogWarning                   // of no stream: Value
	Fetch                        // of no stream: the engine's Source is to be asked, and its answer given to Fetched
	Ask                          // of no stream: the fleet's service is to be asked what FleetCall says, and its answer given to FleetAnswered
	SetProperty                  // Name of the filter state becomes Value
	SetNumber                    // Name of the filter state becomes Number, in decimal digits
	SetRequestHeader             // Name becomes Value; "" takes it out
	EditRequest                  // the request's body, which is complete and held, is changed by the stream's Edit
	ChooseRoute                  // the route is to be chosen again, by the request's headers as they have become
	SetResponseHeader            // Name becomes Value; "" takes it out. The upstream's own of that name speaks of its limit, not of the one that holds here
	ReplaceResponse              // the stream's Body goes on instead of the piece of the response that the event has brought
	Pause                        // the message, as far as the event has brought it, is kept back
	Resume                       // the request, which an earlier event kept back, goes on
	BreakOff                     // the response, of which some has passed, is broken off
	Answer                       // the stream's Reply is sent to the client, and nothing else of the stream goes on
)

// Effect is one thing that is to be done. Those that belong to a stream need the host to be at it.
//
// An effect and what it points to are the engine's: they are good until the stream's next event, and used again then. So what its Kind doesn't speak of
// is some earlier effect's.
type Effect struct {
	Kind        EffectKind
	Stream      *Stream // whose it is; nil: nobody's
	Name, Value string
	Number      int64
	Metric      metric.Update
}

// effects is what has been brought about and isn't done yet.
type effects struct {
	list      []Effect
	next      int
	text      []byte          // what values are parts of that were written for them
	published filterstate.Set // the values of the filter state that are wanted: the others aren't set
}

// Next gives what is to be done next; nil: nothing. It is called until then after each event, Tick and Fetched, and after New. What is given is good until the
// next call of the engine's.
func (e *Engine) Next() *Effect {
	x := &e.out
	for x.next < len(x.list) {
		f := &x.list[x.next]
		if x.next++; f.Kind != nothing {
			return f
		}
	}
	x.list, x.next, x.text = x.list[:0], 0, x.text[:0]
	return nil
}

// drop takes back what was to be done to a stream: it is gone, or nobody knows how far its event came.
func (x *effects) drop(s *Stream) {
	for i := x.next; i < len(x.list); i++ {
		if x.list[i].Stream == s {
			x.list[i].Kind = nothing
		}
	}
}

// add adds something; what is not said by its kind alone is for the caller to fill in. Not all of an effect is written: it is large, and an event has
// many.
func (x *effects) add(kind EffectKind, s *Stream) *Effect {
	n := len(x.list)
	if n < cap(x.list) {
		x.list = x.list[:n+1]
	} else {
		x.list = append(x.list, Effect{})
	}
	f := &x.list[n]
	f.Kind, f.Stream = kind, s
	return f
}

// set sets a value of the filter state, if it is wanted. It leaves out an empty one, which the host can't take. All text that goes into the
// filter state goes through here. Nothing that is set is ever read back: what is left out is missed by nobody here.
func (x *effects) set(s *Stream, v filterstate.Value, text string) {
	if text != "" && x.published.Has(v) {
		f := x.add(SetProperty, s)
		f.Name, f.Value = v.Name(), oneline.Of(text)
	}
}

// setNumber sets a value of the filter state that is a number, if it is wanted.
func (x *effects) setNumber(s *Stream, v filterstate.Value, n int64) {
	if x.published.Has(v) {
		f := x.add(SetNumber, s)
		f.Name, f.Number = v.Name(), n
	}
}

// setDecimal sets a value of the filter state that is a number with a fraction, if it is wanted and a number.
func (x *effects) setDecimal(s *Stream, v filterstate.Value, n float64) {
	from := len(x.text)
	x.text = appendDecimal(x.text, n)
	x.set(s, v, inplace.String(x.text[from:]))
}

// setRequestHeader sets a header of the request; an empty value takes it out.
func (x *effects) setRequestHeader(s *Stream, name, value string) {
	f := x.add(SetRequestHeader, s)
	f.Name, f.Value = name, value
}

// setResponseHeader sets a header of the response; an empty value takes it out.
func (x *effects) setResponseHeader(s *Stream, name, value string) {
	f := x.add(SetResponseHeader, s)
	f.Name, f.Value = name, value
}

// count adds to a counter. The host refuses to add nothing, so it isn't asked to.
func (x *effects) count(counter metric.Counter, n int64) {
	if n > 0 {
		x.update(counter.Add(n))
	}
}

func (x *effects) gauge(gauge metric.Gauge, n int64) { x.update(gauge.Set(n)) }

func (x *effects) sample(histogram metric.Histogram, n int64) { x.update(histogram.Record(n)) }

func (x *effects) update(u metric.Update) {
	x.add(UpdateMetric, nil).Metric = u
}

func (x *effects) info(text string) {
	x.add(LogInfo, nil).Value = oneline.Of(text)
}

func (x *effects) warn(text string) {
	x.add(LogWarning, nil).Value = oneline.Of(text)
}

// action is what becomes of a message, or of a request, when all else of an event is done.
type action uint8

const (
	goesOn action = iota
	isHeld
	isAnswered
)

// mostAtOnce is how many streams are let go on or answered between two ticks beside those whose events they are. Envoy does that when the callback
// has returned, one inside the other: what it does for one may be answered at once, by an upstream that is not to be had, which is the
// next callback, at whose end it goes on with the rest of them. Each takes of the worker's stack, and when that is used up the VM dies: seen
// when some hundred had waited for as long as they may at the same time.
const mostAtOnce = 32

// begin begins the handling of a stream's event.
func (e *Engine) begin(s *Stream) {
	if s.rules == nil {
		s.rules = e.latest
		s.rules.streams++
	}
	e.use(s.rules)
	e.current, s.action = s, goesOn
}

// end ends it: the stream's message goes on or doesn't, and the room that the event has made at upstreams is for others.
func (e *Engine) end(s *Stream, now clock.Moment) {
	e.conclude(s)
	if e.dropped != nil {
		e.refuseDropped(now)
	}
	for _, u := range e.sites {
		if u.slotFreed && e.turns > 0 {
			e.dequeue(u, now)
		}
	}
	e.use(e.latest)
	e.current = nil
}

// conclude says what becomes of a stream when all else of it is done: of the message that its own event has brought, or of its request, which an earlier
// event kept back. An answer waits for the next tick if it is for another stream than the one whose event this is: the host takes what is
// answered inside an event for that event's own answer, and ends its stream.
func (e *Engine) conclude(s *Stream) {
	own, other := s == e.current, e.current != nil && s != e.current
	if !own && s.action != isHeld {
		e.turns--
	}
	switch {
	case s.action == isAnswered && other:
		e.owed, s.owed = append(e.owed, s), true
	case s.action == isAnswered:
		e.out.add(Answer, s)
	case s.action == isHeld && own:
		e.out.add(Pause, s)
	case s.action == goesOn && !own:
		e.out.add(Resume, s)
	}
}

// answerOwed gives the answers that had to wait.
func (e *Engine) answerOwed() {
	n := min(len(e.owed), e.turns)
	for _, s := range e.owed[:n] {
		s.owed = false
		e.out.add(Answer, s)
	}
	rest := copy(e.owed, e.owed[n:])
	clear(e.owed[rest:])
	e.owed, e.turns = e.owed[:rest], e.turns-n
}

// forget drops an answer that comes too late, and what was to end a stream that has ended.
func (e *Engine) forget(s *Stream) {
	e.leaving.remove(s)
	e.untold.remove(s)
	if s.drains {
		s.drains = false
		e.draining.remove(s)
	}
	if !s.owed {
		return
	}
	s.owed = false
	for i := range e.owed {
		if e.owed[i] == s {
			e.owed[i] = e.owed[len(e.owed)-1]
			e.owed = e.owed[:len(e.owed)-1]
			return
		}
	}
}

// Reply is the answer of an effect Answer.
func (s *Stream) Reply() *reply.Reply { return &s.reply }

// Edit is the change of an effect EditRequest. sized says that the request's length was announced, and is to become that of the changed body.
func (s *Stream) Edit() (edit usage.Edit, sized bool) {
	return s.edit, s.exchange.Length >= 0 && !s.upload.unsized
}

// Body is what an effect ReplaceResponse puts in the place of a piece.
func (s *Stream) Body() []byte { return s.body }
