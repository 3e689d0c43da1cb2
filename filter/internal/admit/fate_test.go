package admit

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// fate leads streams through an engine as a host does that loses streams and runs its filters anew, over a store that panics now and then. It
// carries out what comes of an event as the binding does, and knows what a host would not stand.
type fate struct {
	t            *rapid.T
	h            *host
	store        *faulty
	all          map[*Stream]*doomed
	open         []*doomed
	panics, dies bool // the store does now and then; so does a stream
}

// doomed is a stream, and how it stands with the host.
type doomed struct {
	*exchange
	headers                           [][2]string
	held, broken, gone, answered, met bool // met: by a response
}

const fatalLimits = `"priority":{"trust":[{}]},"models":{"labels":["*"]},"limits":[{"name":"f","per":["user"],"unit":"inflight","quantity":4},{"name":"g","unit":"inflight","quantity":9},
	{"name":"r","per":["user"],"unit":"requests","quantity":9000,"window":"1h"},{"name":"t","per":["user"],"unit":"totalTokens","quantity":1000000,"window":"1h"}],
	"upstreams":[{"name":"big","models":["big"],"concurrency":{"max":1},"queue":{"max":1,"whenFull":"dropLowest","maxWait":{"low":"1s"}}},
		{"name":"rest","concurrency":{"max":2},"queue":{"max":2,"whenFull":"dropLowest","revoke":true},"breaker":{"mode":"enforce","minRequests":2},"throttle":{"mode":"enforce"}}]`

func (f *fate) chance(of int, what string) bool { return rapid.IntRange(1, of).Draw(f.t, what) == 1 }

// drain does what has come of an event of own's; nil: of nobody's.
func (f *fate) drain(own *doomed) {
	for e := f.h.Next(); e != nil; e = f.h.Next() {
		x := f.all[e.Stream]
		switch {
		case e.Kind == UpdateMetric:
			f.h.gauges[named(&e.Metric.Series)] = e.Metric.N
		case x == nil:
		case x.gone && x != own:
			f.t.Fatalf("effect %d for a stream that is over", e.Kind)
		case f.dies && x != own && f.chance(4, "it is gone"):
			f.over(x)
			f.h.Gone(&x.Stream, f.h.now)
		default:
			x.take(f.t, e.Kind, own)
		}
	}
}

// take does one thing to a stream, if that can be done.
func (x *doomed) take(t *rapid.T, kind EffectKind, own *doomed) {
	switch kind {
	case Pause:
		if x != own {
			t.Fatal("a message is kept back that nobody has brought")
		}
		x.held = true
	case Resume:
		if !x.held { // that of an event may be let go on after it was kept back, when another one is found gone
			t.Fatal("a request is let go on that isn't held")
		}
		x.held = false
	case Answer:
		if own != nil && x != own || x.met || x.answered || x.broken {
			t.Fatal("an answer inside another's event, a second one, or one to a stream that is left alone")
		}
		x.answered, x.held = true, false
	case BreakOff:
		if own != nil || !x.met || x.answered {
			t.Fatal("a stream is broken off in an event, before its response, or twice")
		}
		x.answered = true // nothing comes of it any more but its end
	}
}

// event lets one happen, in which there may be a fault.
func (f *fate) event(x *doomed, happens func()) {
	if x.held = false; x.broken { // the binding lets it pass
		return
	}
	defer f.contain(func() {
		x.broken, x.held = true, false
		f.h.Fault(&x.Stream)
	})
	f.mayPanic()
	happens()
	f.store.after = 0
	f.drain(x)
}

// mayPanic has the store panic at one of its next writes.
func (f *fate) mayPanic() {
	if f.panics && f.chance(5, "a fault") {
		f.store.after = rapid.IntRange(1, 8).Draw(f.t, "after so many writes")
	}
}

// contain ends a fault; the test's own failures are none.
func (f *fate) contain(then func()) {
	f.store.after = 0
	if cause := recover(); cause == "a fault" {
		then()
	} else if cause != nil {
		panic(cause)
	}
}

func (f *fate) tick() {
	func() {
		defer f.contain(func() {})
		f.mayPanic()
		f.h.Tick(f.h.now)
	}()
	f.drain(nil)
}

func (f *fate) begin(headers [][2]string) {
	x := &doomed{exchange: &exchange{host: f.h, properties: map[string]string{}}, headers: headers}
	f.all[&x.Stream] = x
	f.open = append(f.open, x)
	f.h.headers = headers
	f.event(x, func() { f.h.RequestHeaders(&x.Stream, f.h.now, f.chance(4, "no body")) })
}

// end tells of a stream's end, in which there is no fault.
func (f *fate) end(x *doomed, details string) {
	f.h.details = details
	f.h.Done(&x.Stream, f.h.now)
	f.drain(x)
	f.h.details = "via_upstream"
	f.over(x)
}

func (f *fate) over(x *doomed) {
	x.gone = true
	f.open = slices.DeleteFunc(f.open, func(other *doomed) bool { return other == x })
}

func (f *fate) headers() [][2]string {
	one := func(name string, of ...string) [2]string {
		return [2]string{name, rapid.SampledFrom(of).Draw(f.t, name)}
	}
	return [][2]string{{":method", "POST"}, one(":path", "/v1/chat/completions", "/api/chat", "/v1/models"), one("x-user-id", "a", "b", "c"),
		one("x-priority", "low", "normal", "urgent")}
}

// step lets one thing happen.
func (f *fate) step() {
	switch pick := rapid.IntRange(0, 14).Draw(f.t, "event"); {
	case pick < 4 || len(f.open) == 0:
		f.begin(f.headers())
	case pick < 6:
		f.h.now += clock.Moment(rapid.Int64Range(0, 3*second).Draw(f.t, "time"))
		f.h.holdsBack = rapid.Bool().Draw(f.t, "the host keeps bodies back")
		f.tick()
	default:
		x := rapid.SampledFrom(f.open).Draw(f.t, "stream")
		switch {
		case x.answered || pick == 6:
			f.end(x, "")
		case pick == 7 && x.endedUnanswered() && !x.broken: // the host begins anew
			f.end(x, "internal_redirect")
			f.begin(x.headers)
		case pick < 11:
			f.upload(x)
		default:
			f.respond(x)
		}
	}
}

func (f *fate) upload(x *doomed) {
	body, end := rapid.SampledFrom([]string{chatBody, streamBody, `{"model":"big"}`, "x"}).Draw(f.t, "body"), rapid.Bool().Draw(f.t, "end")
	if f.chance(6, "trailers") {
		f.event(x, func() { f.h.Engine.RequestTrailers(&x.Stream, f.h.now) })
		return
	}
	f.h.piece = []byte(body)
	f.event(x, func() { f.h.RequestBody(&x.Stream, f.h.now, len(body), end) })
}

func (f *fate) respond(x *doomed) {
	end := rapid.Bool().Draw(f.t, "end")
	if x.met {
		piece := rapid.SampledFrom(wildAnswer).Draw(f.t, "answer")
		f.h.piece = []byte(piece)
		f.event(x, func() { f.h.ResponseBody(&x.Stream, f.h.now, len(piece), end) })
		return
	}
	f.h.headers = [][2]string{{":status", rapid.SampledFrom(wildStatus).Draw(f.t, "status")}, {"content-type", "text/event-stream"}}
	f.event(x, func() { f.h.ResponseHeaders(&x.Stream, f.h.now, end) })
	x.met = !x.answered
}

// hangs checks that whoever was sent has been told to go on, or is about to be.
func (f *fate) hangs() {
	for _, x := range f.open {
		if x.held && !x.met && x.phase == stSent && !x.upload.open &&
			!slices.ContainsFunc(f.h.out.list[f.h.out.next:], func(e Effect) bool { return e.Stream == &x.Stream }) {
			f.t.Fatal("a request was sent, and nobody lets it go on")
		}
	}
}

// TestFate: whatever the host does to streams, and wherever a fault ends an event, nothing is answered twice, inside another stream's event or
// after its end, nobody hangs who was sent, and when all have ended nothing is held or has a place.
func TestFate(t *testing.T) {
	for _, hold := range holds {
		for how := range 4 {
			t.Run(fmt.Sprintf("%s, %d", hold, how), func(t *testing.T) {
				rapid.Check(t, func(t *rapid.T) {
					f := &fate{t: t, store: &faulty{Store: recordtest.NewMemory()}, all: map[*Stream]*doomed{}, panics: how&1 != 0, dies: how&2 != 0}
					f.h = newHost(t, `{"requestHold":"`+hold+`",`+fatalLimits+`}`, f.store)
					for range rapid.IntRange(1, 60).Draw(t, "events") {
						f.step()
						f.hangs()
					}
					for len(f.open) > 0 {
						f.end(f.open[0], "")
					}
					f.panics = false
					for range 8 {
						f.h.now += second
						f.tick()
					}
					for name, n := range f.h.gauges {
						if n != 0 && (name == "inflight big" || name == "inflight rest") {
							t.Fatalf("%s: %d for ever", name, n)
						}
					}
					if f.h.guard.holding.count+f.h.reserving.count+f.h.leaving.count+len(f.h.owed) > 0 {
						t.Fatal("something is held")
					}
				})
			})
		}
	}
}
