package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const (
	second      = 1_000_000_000 // of moments and durations alike
	millisecond = second / 1000
	minute      = 60 * second

	start = 3 * 60 * minute // a monotonic clock doesn't begin at zero
	key   = "upstream"
)

// Scene is what is simulated. Times are nanoseconds, and rates are per second.
type Scene struct {
	Seed     uint64
	Workers  int
	Settings dispatch.Settings
	Sources  []Source
	Upstream Upstream
	Faults   Faults
	Length   int64 // how long requests come; what is there by then is served
}

// Source is clients that ask.
type Source struct {
	Subject  uint64 // 0: each request is a subject of its own
	Mix      [dispatch.Priorities]float64
	Rate     float64
	Batch    int   // requests that come at once
	On, Off  int64 // it asks only in the first of the two, in turn; both 0: always
	Workers  []int // that it comes to; none: all
	Tokens   int64 // expected of a request, on average
	Uneven   bool  // they differ: exponentially
	Misjudge float64
	Patience int64 // of a client, on average; 0: without end
}

// Upstream is what answers.
type Upstream struct {
	Service int64                   // time that an answer takes
	Uneven  bool                    // it differs: exponentially
	Allowed func(now int64) float64 // requests a second that are served, evenly; nil: all
	Burst   float64                 // of them at once
	Says    func(*dispatch.Answer)  // adds to an answer of 429 what the upstream says of its limits
}

// Faults is what goes wrong. Intervals are means of exponential distributions; 0 is never.
type Faults struct {
	Crash     int64 // of some worker
	Stall     int64 // of some worker
	StallFor  int64
	ClockStep int64   // of all clocks
	ClockBy   int64   // at most, back or forth
	Jitter    int64   // of each look at the clock, at most, back or forth
	Tick      int64   // by which ticks are late at most
	Conflicts float64 // how often another worker acts between a worker's read and its write
	Store     float64 // how often the store fails
}

// World is one run.
type World struct {
	Scene
	Report

	random  *rand.Rand
	now     int64 // true time
	offset  int64 // of the clocks
	latest  int64 // that any clock has shown at a write
	agenda  agenda
	memory  *recordtest.Memory
	workers []*worker
	ids     uint64
	served  upstream
	checks  checks
	onWait  func(r *request, waited int64) // is told of each start
	closing bool                           // no more arrivals, nor faults
}

// source is a Source and where it is.
type source struct {
	Source
	index int
}

// request is one of a client's.
type request struct {
	ticket dispatch.Ticket
	source *source
	worker *worker
	state  state
	came   int64 // true time
	began  int64
	used   int64
	over   bool // the upstream answers 429
	at     int  // in worker.open
}

type state uint8

const (
	created state = iota
	waiting
	inFlight
	ended
)

// New gives a world at its beginning.
func New(scene Scene) *World {
	w := &World{
		Scene: scene, random: rand.New(rand.NewPCG(scene.Seed, 1)), now: start, memory: recordtest.NewMemory(),
	}
	w.checks.init(w)
	w.memory.Conflict = w.interfere
	for i := range scene.Workers {
		w.workers = append(w.workers, w.newWorker(i))
	}
	for i := range scene.Sources {
		s := &source{Source: scene.Sources[i], index: i}
		w.agenda.add(event{at: w.now + w.gap(s), kind: arrival, source: s})
	}
	w.plan(crash, scene.Faults.Crash)
	w.plan(stall, scene.Faults.Stall)
	w.plan(step, scene.Faults.ClockStep)
	return w
}

// Run lets the world's time pass, and says what was not as promised.
func (w *World) Run() error {
	for len(w.agenda.events) > 0 && len(w.Wrong) == 0 {
		e := w.agenda.next()
		w.advance(e.at)
		w.Events++
		if w.now >= start+w.Length {
			w.closing = true
		}
		w.happen(e)
	}
	if len(w.Wrong) == 0 {
		w.checks.end()
	}
	if len(w.Wrong) > 0 {
		return fmt.Errorf("seed %d: %s", w.Seed, w.Wrong[0])
	}
	return nil
}

func (w *World) advance(to int64) {
	if busy := min(w.served.count, max(w.Settings.Slots, 1)); !w.closing {
		w.SlotTime += int64(busy) * (to - w.now)
	}
	w.now = to
}

func (w *World) happen(e event) {
	switch e.kind {
	case arrival:
		w.arrive(e)
		return
	case crash:
		w.crash()
		return
	case stall:
		w.stall()
		return
	case step:
		if !w.closing {
			w.offset += w.within(w.Faults.ClockBy)
			w.plan(step, w.Faults.ClockStep)
		}
		return
	}
	k := w.workers[e.worker]
	if e.of != nil && e.of.worker != k {
		return // it went down with its worker
	}
	if k.stalled > w.now {
		e.at = k.stalled
		w.agenda.add(e)
		return
	}
	switch e.kind {
	case tick:
		if k.tick == e.at || k.tick <= w.now && k.tick != 0 {
			k.tick = 0
			k.serve()
		}
	case answered:
		k.answered(e.of)
	case hangsUp:
		k.hangsUp(e.of)
	}
}

func (w *World) plan(k kind, mean int64) {
	if mean > 0 && !w.closing {
		w.agenda.add(event{at: w.now + w.exponential(mean), kind: k})
	}
}

func (w *World) crash() {
	if w.closing {
		return
	}
	w.Crashes++
	w.kill(w.random.IntN(len(w.workers)))
	w.plan(crash, w.Faults.Crash)
}

// kill ends a worker; another one takes its place.
func (w *World) kill(i int) {
	k := w.workers[i]
	for len(k.open) > 0 {
		r := k.open[len(k.open)-1]
		if r.state == inFlight {
			w.served.count--
		}
		k.end(r, &w.Lost)
		r.worker = nil
	}
	w.workers[i] = w.newWorker(i)
}

func (w *World) stall() {
	if w.closing {
		return
	}
	k := w.workers[w.random.IntN(len(w.workers))]
	k.stalled = max(k.stalled, w.now+w.exponential(w.Faults.StallFor))
	w.Stalls++
	w.plan(stall, w.Faults.Stall)
}

// arrive brings a source's next requests.
func (w *World) arrive(e event) {
	if w.closing {
		return
	}
	s := e.source
	for range max(s.Batch, 1) {
		w.bring(s)
	}
	e.at = w.now + w.gap(s)
	w.agenda.add(e)
}

// gap is the time until a source's next arrival.
func (w *World) gap(s *source) int64 {
	gap := w.exponential(int64(float64(second) * float64(max(s.Batch, 1)) / s.Rate))
	if s.On == 0 || s.Off == 0 {
		return gap
	}
	// The time of its arrivals stands still while it is silent.
	at := min((w.now-start)%(s.On+s.Off), s.On)
	return gap + (at+gap)/s.On*s.Off
}

// bring gives a new request to a worker.
func (w *World) bring(s *source) {
	i := w.random.IntN(len(w.workers))
	if len(s.Workers) > 0 {
		i = s.Workers[w.random.IntN(len(s.Workers))]
	}
	k := w.workers[i]
	if k.stalled > w.now || k.busy {
		w.Elsewhere++ // its client is accepted later, by another worker
		return
	}
	r := &request{source: s, came: w.now}
	r.ticket = dispatch.Ticket{Priority: w.priority(s), Subject: s.Subject, Tokens: s.Tokens, Owner: r}
	if s.Subject == 0 {
		r.ticket.Subject = w.random.Uint64()
	}
	if s.Uneven {
		r.ticket.Tokens = w.exponential(s.Tokens)
	}
	r.used = max(int64(float64(r.ticket.Tokens)*(1+s.Misjudge*(2*w.random.Float64()-1))), 0)
	k.arrive(r)
	if s.Patience > 0 && r.state != ended {
		w.agenda.add(event{at: w.now + w.exponential(s.Patience), kind: hangsUp, worker: i, of: r})
	}
}

func (w *World) priority(s *source) config.Priority {
	var sum float64
	for _, weight := range s.Mix {
		sum += weight
	}
	at := w.random.Float64() * sum
	for p, weight := range s.Mix {
		if at < weight {
			return config.Priority(p)
		}
		at -= weight
	}
	return config.Normal
}

// interfere lets another worker act in the middle of what one does.
func (w *World) interfere(string) {
	if w.closing || w.random.Float64() >= w.Faults.Conflicts {
		return
	}
	k := w.workers[w.random.IntN(len(w.workers))]
	if k.busy || k.stalled > w.now {
		return
	}
	w.Conflicts++
	k.serve()
}

// look gives the time by a worker's clock.
func (w *World) look() int64 {
	now := w.now + w.offset
	if !w.closing {
		now += w.within(w.Faults.Jitter)
	}
	return now
}

func (w *World) exponential(mean int64) int64 {
	return max(int64(w.random.ExpFloat64()*float64(mean)), 1)
}

// within is a time from -most to most.
func (w *World) within(most int64) int64 {
	if most == 0 {
		return 0
	}
	return w.random.Int64N(2*most+1) - most
}

var errStore = errors.New("the store fails")

// store is the shared store as one worker has it.
type store struct {
	*recordtest.Memory
	worker *worker
}

// Put implements record.Store.
func (s store) Put(key string, value []byte, version uint32) (bool, error) {
	w := s.worker.world
	if w.Faults.Store > 0 && !w.closing && w.random.Float64() < w.Faults.Store {
		return false, errStore
	}
	written, err := s.Memory.Put(key, value, version)
	if written {
		w.written(s.worker)
	}
	return written, err
}

// written notes a write: its worker is heard, and those that it has not heard of for too long are dead to all.
func (w *World) written(by *worker) {
	w.Writes++
	w.latest = max(w.latest, by.clock)
	if by.buried {
		w.checks.returns(by)
	}
	by.heard, by.buried = by.clock, false
	for _, k := range w.workers {
		k.buried = k.buried || by.clock-k.heard > alive
	}
}
