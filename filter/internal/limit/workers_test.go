package limit

import (
	"fmt"
	"iter"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// The tests here run several workers over one store. Each worker is a coroutine that pauses before every operation of
// the store, so that what the others do can come in between anywhere; a worker can also die there.

// crash ends a worker's operation where it pauses.
type crash struct{}

// pausing is a worker's store.
type pausing struct {
	*recordtest.Memory
	worker *simWorker
}

func (p pausing) Get(key string) ([]byte, uint32, bool, error) {
	p.worker.pause()
	return p.Memory.Get(key)
}

func (p pausing) Put(key string, value []byte, version uint32) (bool, error) {
	p.worker.pause()
	return p.Memory.Put(key, value, version)
}

// simWorker is one worker.
type simWorker struct {
	set  *Set
	skew clock.Moment // of its clock
	open []*simRequest

	next  func() (struct{}, bool) // runs the operation on to its next pause; nil while there is none
	stop  func()
	yield func(struct{}) bool
	died  func() // notes what is uncertain when the operation dies
}

func (w *simWorker) pause() {
	if w.yield != nil && !w.yield(struct{}{}) {
		panic(crash{})
	}
}

// begin starts an operation.
func (w *simWorker) begin(operation, died func()) {
	w.died = died
	w.next, w.stop = iter.Pull(func(yield func(struct{}) bool) {
		w.yield = yield
		defer func() {
			w.yield = nil
			if cause := recover(); cause != nil && cause != (crash{}) {
				panic(cause)
			}
		}()
		operation()
	})
}

// step runs the operation on.
func (w *simWorker) step() {
	if _, more := w.next(); !more {
		w.next = nil
	}
}

// simRequest is one request.
type simRequest struct {
	user    int
	actual  int64 // tokens that it really uses
	charges []Charge
	settled int // the operation at which it was settled; MaxInt: not yet
}

// account is what a bucket has to hold: between low and high, since nobody knows how far an operation came that died.
type account struct{ low, high int64 }

func (a *account) add(n int64) { a.low, a.high = a.low+n, a.high+n }

// maybe adds what may have been written or not.
func (a *account) maybe(n int64) {
	a.low, a.high = a.low+min(n, 0), a.high+max(n, 0)
}

// users is the number of subjects.
const users = 2

// sim is the workers and what they should have done.
type sim struct {
	t        *rapid.T
	limits   string
	strict   bool
	store    *recordtest.Memory
	clock    clock.Moment
	back     clock.Moment // by how much it was set back, in all: what a dead worker holds lasts longer by that
	workers  []*simWorker
	observer *Set // of somebody who only looks
	requests []*simRequest
	counter  int // operations begun
	crashed  bool

	tokens   [users]account // completion tokens of each user
	total    account        // of all
	count    account        // requests
	admitted int64
	refunded int64
	last     [users + 1]int // when the last admission began: of each user, and of all
}

func newSim(t *rapid.T, admission, window string) *sim {
	const all = `[{"name":"user","per":["user"],"unit":"completionTokens","quantity":60,"window":%q,"admission":%q},
		{"name":"all","unit":"completionTokens","quantity":100,"window":%q,"admission":%q},
		{"name":"requests","per":["priority"],"unit":"requests","quantity":12,"window":%q}]`
	s := &sim{t: t, store: recordtest.NewMemory(), clock: start, strict: admission == "strict"}
	s.limits = `{"limits":` + fmt.Sprintf(all, window, admission, window, admission, window) + `}`
	s.observer, _ = worker(t, s.limits, s.store)
	for range rapid.IntRange(2, 4).Draw(t, "workers") {
		w := &simWorker{skew: clock.Moment(rapid.Int64Range(-2*second, 2*second).Draw(t, "skew"))}
		w.set, _ = worker(t, s.limits, pausing{s.store, w})
		s.workers = append(s.workers, w)
	}
	return s
}

func (s *sim) request(user int, output int64) *Request {
	r := request(fmt.Sprint(user))
	r.Estimate = Estimate{Output: output}
	if s.strict {
		r.Estimate.OutputBound = output
	}
	return r
}

// admit begins an admission.
func (s *sim) admit(w *simWorker) {
	user := rapid.IntRange(0, users-1).Draw(s.t, "user")
	expected := rapid.Int64Range(1, 30).Draw(s.t, "expected")
	most := expected
	if !s.strict {
		most = 80
	}
	r := &simRequest{user: user, actual: rapid.Int64Range(0, most).Draw(s.t, "actual"), settled: math.MaxInt}
	begun := s.counter
	w.begin(func() {
		v := w.set.Admit(s.clock+w.skew, s.request(user, expected), nil)
		if v.Outcome.Refuses() {
			return
		}
		r.charges = v.Charges
		s.admitted++
		s.count.add(1)
		s.requests, w.open = append(s.requests, r), append(w.open, r)
		s.last[user], s.last[users] = begun, begun
	}, func() { s.count.maybe(1) })
}

// settle begins a settlement, or a refund.
func (s *sim) settle(w *simWorker, refund bool) {
	i := rapid.IntRange(0, len(w.open)-1).Draw(s.t, "which")
	r := w.open[i]
	w.open = append(w.open[:i], w.open[i+1:]...)
	if refund {
		w.begin(func() {
			w.set.Refund(s.clock+w.skew, r.charges)
			r.settled = s.counter
			s.refunded++
			s.count.add(-1)
		}, func() { s.count.maybe(-1); s.refunded++ })
		return
	}
	w.begin(func() {
		w.set.Settle(s.clock+w.skew, r.charges, "m", Usage{Completion: r.actual}, 200)
		r.settled = s.counter // by now, and not before: an admission that began meanwhile may have seen what was reserved
		s.tokens[r.user].add(r.actual)
		s.total.add(r.actual)
	}, func() {
		s.tokens[r.user].maybe(r.actual)
		s.total.maybe(r.actual)
	})
}

// die ends a worker: in the middle of what it does, if it does something. Another one starts in its place.
func (s *sim) die(w *simWorker) {
	s.crashed = true
	if w.next != nil {
		w.stop()
		w.next = nil
		w.died()
	}
	w.open = nil
	w.set, _ = worker(s.t, s.limits, pausing{s.store, w})
}

// act lets one worker do something.
func (s *sim) act() {
	w := rapid.SampledFrom(s.workers).Draw(s.t, "worker")
	s.counter++
	choice := rapid.IntRange(0, 99).Draw(s.t, "action")
	switch {
	case choice < 2:
		s.die(w)
	case w.next != nil:
		w.step()
	case choice < 10:
		s.advance(clock.Moment(rapid.Int64Range(-second, leasePeriod/2).Draw(s.t, "time")))
	case choice < 50 && len(w.open) > 0:
		s.settle(w, choice < 15)
	default:
		s.admit(w)
	}
	s.check()
}

// drain lets all operations end, in any order.
func (s *sim) drain() {
	for {
		var busy []*simWorker
		for _, w := range s.workers {
			if w.next != nil {
				busy = append(busy, w)
			}
		}
		if len(busy) == 0 {
			return
		}
		rapid.SampledFrom(busy).Draw(s.t, "next").step()
	}
}

// advance moves the clock on and has the workers renew what they hold, as their ticks do.
func (s *sim) advance(by clock.Moment) {
	s.drain()
	s.clock += by
	s.back += max(-by, 0)
	for _, w := range s.workers {
		var stale []*simRequest
		for _, r := range w.open {
			if w.set.Stale(s.clock+w.skew, r.charges) {
				stale = append(stale, r)
			}
		}
		w.begin(func() {
			for _, r := range stale {
				w.set.Renew(s.clock+w.skew, r.charges)
			}
		}, func() {})
	}
	s.drain()
	s.checkReservations()
}

// look gives a user's bucket; those of the other limits are the same for all users.
func (s *sim) look(index, user int) bucket.State {
	return s.observer.state(s.t, s.clock, index, s.request(user, 1))
}

// check: strict limits are never passed, at no moment.
func (s *sim) check() {
	for user := range users {
		if used := s.look(0, user).Used; s.strict && used > 60*bucket.Micro {
			s.t.Fatalf("user %d used %d of 60", user, used)
		}
	}
	if used := s.look(1, 0).Used; s.strict && used > 100*bucket.Micro {
		s.t.Fatalf("all used %d of 100", used)
	}
	if used := s.look(2, 0).Used; used > 12*bucket.Micro {
		s.t.Fatalf("%d of 12 requests", used)
	}
}

// checkReservations: while no operation runs, exactly what the open requests hold is reserved; more only where workers
// have died.
func (s *sim) checkReservations() {
	var want [users]int64
	for _, w := range s.workers {
		for _, r := range w.open {
			want[r.user] += int64(r.charges[0].reserved)
		}
	}
	for user := range users {
		state := s.look(0, user)
		got := int64(state.Reserved[0]) + int64(state.Reserved[1])
		if got < want[user] || got > want[user] && !s.crashed {
			s.t.Fatalf("user %d: %d reserved, want %d", user, got, want[user])
		}
	}
}

// finish settles all that is open, and waits until what the dead had reserved is forgotten.
func (s *sim) finish() {
	s.drain()
	for _, w := range s.workers {
		for len(w.open) > 0 {
			s.counter++
			s.settle(w, false)
			s.drain()
		}
	}
	if s.crashed {
		s.clock += 2*leasePeriod + 4*second + s.back
	}
	for user := range users {
		if state := s.look(0, user); state.Reserved != [2]uint32{} {
			s.t.Fatalf("user %d: %v still reserved", user, state.Reserved)
		}
	}
	if state := s.look(1, 0); state.Reserved != [2]uint32{} {
		s.t.Fatalf("%v still reserved of all", state.Reserved)
	}
}

// holds compares a bucket with its account, to within a unit.
func (s *sim) holds(what string, state bucket.State, a account) {
	if state.Used < (a.low-1)*bucket.Micro || state.Used > (a.high+1)*bucket.Micro {
		s.t.Fatalf("%s: %d millionths used, want %d to %d units", what, state.Used, a.low, a.high)
	}
}

// year is long enough for nothing to leak away during a test.
const year = "8760h"

func TestBalancesAreExactOverAllWorkers(t *testing.T) {
	for _, admission := range []string{"lenient", "strict"} {
		t.Run(admission, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				s := newSim(t, admission, year)
				for range rapid.IntRange(1, 120).Draw(t, "actions") {
					s.act()
				}
				s.finish()
				for user := range users {
					s.holds(fmt.Sprint("user ", user), s.look(0, user), s.tokens[user])
				}
				s.holds("all", s.look(1, 0), s.total)
				s.holds("requests", s.look(2, 0), s.count)
				if s.admitted-s.refunded > 12 {
					t.Fatalf("%d of 12 requests admitted, %d refunded", s.admitted, s.refunded)
				}
				s.checkBound()
			})
		})
	}
}

// checkBound: use is at most the burst and what those used that were in flight when the last request was admitted.
func (s *sim) checkBound() {
	bound := [users + 1]int64{60, 60, 100}
	for _, r := range s.requests {
		if r.settled >= s.last[r.user] {
			bound[r.user] += r.actual
		}
		if r.settled >= s.last[users] {
			bound[users] += r.actual
		}
	}
	for user := range users {
		if used := s.look(0, user).Used; used > bound[user]*bucket.Micro {
			s.t.Fatalf("user %d: %d used, bound %d", user, used, bound[user])
		}
	}
	if used := s.look(1, 0).Used; used > bound[users]*bucket.Micro {
		s.t.Fatalf("all: %d used, bound %d", used, bound[users])
	}
}

func TestStrictLimitsLetNoMoreThanTheirRatePass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const window = 100 // seconds
		s := newSim(t, "strict", "100s")
		latest := s.clock
		for range rapid.IntRange(1, 120).Draw(t, "actions") {
			s.act()
			latest = max(latest, s.clock)
		}
		s.finish()
		elapsed := float64(latest-start+4*second) / float64(second) // the clocks differ by up to 4 seconds
		for user := range users {
			if passed := s.tokens[user].low; float64(passed) > 60+60*elapsed/window+1 {
				t.Fatalf("user %d used %d in %v seconds", user, passed, elapsed)
			}
		}
		if float64(s.total.low) > 100+100*elapsed/window+1 {
			t.Fatalf("all used %d in %v seconds", s.total.low, elapsed)
		}
		if float64(s.admitted-s.refunded) > 12+12*elapsed/window+1 {
			t.Fatalf("%d requests in %v seconds, %d refunded", s.admitted, elapsed, s.refunded)
		}
	})
}
