package limit

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const fourAtOnce = `{"name":"a","per":["user"],"unit":"inflight","quantity":4}`

func TestNoMoreThanTheQuantityIsUnderWay(t *testing.T) {
	w := newWorld(t, `[`+fourAtOnce+`]`)
	r := with(request("ann"), func(r *Request) { r.Tokens = false }) // also of an operation without tokens
	var under [][]Charge
	for range 4 {
		under = append(under, w.admit(t, start, r))
	}
	v := w.Admit(start, r, nil)
	want := gate.Verdict{Outcome: gate.Rejected, Gate: gate.Limits, Reason: "inflight_exceeded", Measured: 4, Threshold: 4, Requested: 1, Wait: second}
	if want.Limit = v.Limit; v.Verdict != want || v.Limit.Name != "a" || len(v.Charges) != 0 {
		t.Errorf("got %+v, want %+v", v.Verdict, want)
	}
	w.admit(t, start, request("bob"))
	w.settle(t, start, under[0], 1000, 1000)
	w.admit(t, start, r)
	expect(t, "the fifth at once", w.Admit(start+1000*leasePeriod-1, r, nil).Outcome, gate.Allowed) // nobody has renewed anything
}

// However a request ends, its place is free, and nothing is used up.
func TestAPlaceIsFreeHoweverTheRequestEnds(t *testing.T) {
	waits := with(request("ann"), func(r *Request) { r.Waits = true })
	for name, end := range map[string]func(w *world, c []Charge){
		"answered":                 func(w *world, c []Charge) { w.Settle(start, c, "m", Usage{Completion: 9, Total: 9}, 200) },
		"answered 429":             func(w *world, c []Charge) { w.Settle(start, c, "m", Usage{}, 429) },
		"never answered":           func(w *world, c []Charge) { w.Settle(start, c, "m", Usage{}, 0) },
		"given back":               func(w *world, c []Charge) { w.Refund(start, c) },
		"made to wait, given back": func(w *world, c []Charge) { w.Lease(start, c); w.Refund(start, c) },
		"sent, then answered":      func(w *world, c []Charge) { w.Lease(start, c); w.Send(start, c); w.Settle(start, c, "m", Usage{}, 200) },
		"renewed, then answered": func(w *world, c []Charge) {
			w.Renew(start+leasePeriod, c)
			w.Settle(start+leasePeriod, c, "m", Usage{}, 200)
		},
	} {
		for _, r := range []*Request{request("ann"), waits} {
			w := newWorld(t, `[`+fourAtOnce+`]`)
			charges := w.admit(t, start, r)
			expect(t, name+": while it is under way", w.balance(t, start, 0, r), 3)
			end(w, charges)
			state := w.state(t, start+leasePeriod, 0, r)
			expect(t, name, state.Full(), true)
		}
	}
}

// Time frees no place that somebody renews, and every place that nobody does: its worker is dead.
func TestAPlaceLastsAsLongAsItsWorker(t *testing.T) {
	w := newWorld(t, `[`+fourAtOnce+`]`)
	r, now := request("ann"), start
	living, dead := w.admit(t, now, r), w.admit(t, now, r)
	for range 100 {
		now += leasePeriod
		expect(t, "stale", w.Stale(now, living), true)
		if o := w.Renew(now, living); o != (Outcome{}) {
			t.Fatalf("%+v", o)
		}
		want := int64(3)
		if now == start+leasePeriod { // forgotten after two periods, and not before
			want = 2
		}
		expect(t, "free", w.balance(t, now, 0, r), want)
	}
	w.settle(t, now, dead, 0, 0) // it lives after all: it gives back nothing that isn't its own
	expect(t, "free", w.balance(t, now, 0, r), 3)
	w.settle(t, now, living, 0, 0)
	expect(t, "free at the end", w.balance(t, now, 0, r), 4)
}

// A change of the quantity keeps what is under way; where that is more than it may be, nothing is admitted until it is less.
func TestAChangedQuantityKeepsTheCount(t *testing.T) {
	w := newWorld(t, `[`+fourAtOnce+`]`)
	r := request("ann")
	var under [][]Charge
	for range 4 {
		under = append(under, w.admit(t, start, r))
	}
	less := w.again(t, `[{"name":"a","per":["user"],"unit":"inflight","quantity":2}]`)
	for i, charges := range under {
		v := less.Admit(start, r, nil)
		expect(t, fmt.Sprint("refused with ", 4-i), v.Outcome.Refuses(), 4-i >= 2)
		expect(t, "measured", v.Measured == float64(4-i) || !v.Outcome.Refuses(), true)
		less.Refund(start, v.Charges)
		w.settle(t, start, charges, 0, 0)
	}
	more := w.again(t, `[{"name":"a","per":["user"],"unit":"inflight","quantity":6}]`)
	expect(t, "free", more.balance(t, start, 0, r), 6)
}

// Limits of different subjects hold together: what one of them refuses has no place in the others, whichever page they are in.
func TestPlacesInSeveralLimits(t *testing.T) {
	const limits = `[{"name":"user","per":["user"],"unit":"inflight","quantity":3},
		{"name":"all","unit":"inflight","quantity":4},
		{"name":"large","per":["tenant","user"],"match":{"models":["large-*"]},"unit":"inflight","quantity":1},
		{"name":"requests","per":["user"],"unit":"requests","quantity":100,"window":"1h"}]`
	w := newWorld(t, limits)
	ann, bob := request("ann"), request("bob")
	large := with(request("ann"), func(r *Request) { r.Model = "large-1" })
	refused := func(r *Request, by string) {
		t.Helper()
		before := [3]int64{w.balance(t, start, 0, r), w.balance(t, start, 1, r), w.balance(t, start, 3, r)}
		v := w.Admit(start, r, nil)
		if !v.Outcome.Refuses() || v.Limit.Name != by || len(v.Charges) != 0 {
			t.Errorf("%+v, want a refusal by %s", v.Verdict, by)
		}
		expect(t, "what it left", [3]int64{w.balance(t, start, 0, r), w.balance(t, start, 1, r), w.balance(t, start, 3, r)}, before)
	}
	first := w.admit(t, start, large)
	refused(large, "large")
	w.admit(t, start, ann)
	w.admit(t, start, ann)
	refused(ann, "user")
	w.admit(t, start, bob)
	refused(bob, "all")
	w.settle(t, start, first, 1, 1)
	v := w.Admit(start, ann, nil)
	if v.Outcome.Refuses() || v.Requests.Limit == nil || v.Requests.Limit.Name != "requests" || v.Tokens.Limit != nil {
		t.Errorf("the headers would speak of %+v and %+v", v.Requests, v.Tokens)
	}
	refused(large, "user")
}

func TestAShadowOfPlaces(t *testing.T) {
	w := newWorld(t, `[{"name":"a","unit":"inflight","quantity":1,"mode":"shadow"}]`)
	r := request("ann")
	first := w.admit(t, start, r)
	for range 3 {
		v := w.Admit(start, r, nil)
		expect(t, "would be refused", v.Outcome, gate.Shadowed)
		expect(t, "has a place", len(v.Charges), 0)
	}
	w.settle(t, start, first, 0, 0)
	expect(t, "when one has ended", w.Admit(start, r, nil).Outcome, gate.Allowed)
}

// places is several workers, what they really have under way, and what the limits make of it.
type places struct {
	t       *rapid.T
	store   *recordtest.Memory
	clock   int64
	back    int64 // by how much it was set back, in all: what a dead worker holds lasts longer by that
	workers []*simWorker
	dying   bool // a worker has died lately
}

const placesOf = `{"limits":[{"name":"user","per":["user"],"unit":"inflight","quantity":2},{"name":"all","unit":"inflight","quantity":3},
	{"name":"r","per":["priority"],"unit":"requests","quantity":1000000,"window":"1h"}]}`

// act lets one worker go on with what it does, or begin something else.
func (p *places) act() {
	w := rapid.SampledFrom(p.workers).Draw(p.t, "worker")
	now := clock.Moment(p.clock) + w.skew
	switch choice := rapid.IntRange(0, 99).Draw(p.t, "action"); {
	case choice < 2: // it dies, and its streams with it
		if w.next != nil {
			w.stop()
		}
		w.next, w.open, p.dying = nil, nil, true
		w.set, _ = worker(p.t, placesOf, pausing{p.store, w})
	case w.next != nil:
		w.step()
	case choice < 15:
		p.advance()
	case choice < 50 && len(w.open) > 0:
		i := rapid.IntRange(0, len(w.open)-1).Draw(p.t, "which")
		r := w.open[i]
		w.open = append(w.open[:i], w.open[i+1:]...)
		w.begin(func() {
			switch choice % 4 {
			case 0:
				w.set.Refund(now, r.charges)
			case 1:
				w.set.Send(now, r.charges)
				w.set.Settle(now, r.charges, "m", Usage{}, 503)
			default:
				w.set.Settle(now, r.charges, "m", Usage{Completion: 9, Total: 9}, 200)
			}
		}, nil)
	default:
		r := &simRequest{user: rapid.IntRange(0, users-1).Draw(p.t, "user")}
		w.begin(func() {
			v := w.set.Admit(now, with(request(fmt.Sprint(r.user)), func(r *Request) { r.Waits = choice%2 == 0 }), nil)
			if r.charges = v.Charges; !v.Outcome.Refuses() {
				w.open = append(w.open, r)
			}
		}, nil)
	}
}

// advance moves the clock, back too, and has the workers renew what they hold.
func (p *places) advance() {
	p.drain()
	by := rapid.Int64Range(-second, leasePeriod/2).Draw(p.t, "time")
	p.clock += by
	p.back += max(-by, 0)
	for _, w := range p.workers {
		w.begin(func() {
			for _, r := range w.open {
				if w.set.Stale(clock.Moment(p.clock)+w.skew, r.charges) {
					w.set.Renew(clock.Moment(p.clock)+w.skew, r.charges)
				}
			}
		}, nil)
	}
	p.drain()
}

func (p *places) drain() {
	for _, w := range p.workers {
		for w.next != nil {
			w.step()
			p.check()
		}
	}
}

// check: what is really under way is never more than may be, at no moment.
func (p *places) check() {
	var of [users]int
	all := 0
	for _, w := range p.workers {
		for _, r := range w.open {
			of[r.user]++
			all++
		}
	}
	if of[0] > 2 || of[1] > 2 || all > 3 {
		p.t.Fatalf("%v are under way, 2 may be of each and 3 of all", of)
	}
}

// exact: while nothing goes on and nobody has died, what is held is what is under way.
func (p *places) exact(observer *Set) {
	open := 0
	for _, w := range p.workers {
		open += len(w.open)
	}
	state := observer.state(p.t, clock.Moment(p.clock), 1, request("0"))
	if held := int(state.Reserved[0] + state.Reserved[1]); held < open || held > open && !p.dying || state.Used != 0 {
		p.t.Fatalf("%d held, %d millionths used, %d under way", held, state.Used, open)
	}
}

func TestPlacesAreExactOverAllWorkers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &places{t: t, store: recordtest.NewMemory(), clock: int64(start)}
		observer, _ := worker(t, placesOf, p.store)
		for range rapid.IntRange(1, 4).Draw(t, "workers") {
			w := &simWorker{skew: clock.Moment(rapid.Int64Range(-2*second, 2*second).Draw(t, "skew"))}
			w.set, _ = worker(t, placesOf, pausing{p.store, w})
			p.workers = append(p.workers, w)
		}
		for range rapid.IntRange(1, 150).Draw(t, "actions") {
			p.act()
			p.check()
		}
		p.drain()
		p.exact(observer)
		for _, w := range p.workers {
			for _, r := range w.open {
				w.begin(func() { w.set.Settle(clock.Moment(p.clock)+w.skew, r.charges, "m", Usage{}, 200) }, nil)
				p.drain()
			}
			w.open = nil
		}
		if p.dying {
			p.clock += 2*leasePeriod + 4*second + p.back
		}
		for i, free := range []int64{2, 3} {
			if got := observer.balance(t, clock.Moment(p.clock), i, request("0")); got != free {
				t.Fatalf("limit %d has %d places when all have ended, want %d", i, got, free)
			}
		}
	})
}
