package limit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/lease"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// A fleet in time that a test makes: proxies of several workers each, and one service that counts as envoyproxy/ratelimit was measured to do.

// event is something that happens at a moment.
type event struct {
	at   clock.Moment
	turn int
	do   func()
}

// fleetWorld is a fleet.
type fleetWorld struct {
	t        fataler
	now      clock.Moment
	events   []event
	turn     int
	service  service
	proxies  []*proxy
	limits   string
	clocks   int // seconds that a proxy's wall clock may be off, up to
	onDown   string
	draw     func(label string, most int) int
	lossy    bool // calls and answers are lost, come twice and late
	latency  clock.Moment
	admitted map[int64]*windowUse // by the service's window
	byUser   map[string]int64     // what was admitted, in all windows
	refused  map[string]int
	calls    int      // for some subject
	beats    int      // for none
	ids      uint64   // of proxies, the last one
	why      []string // of the answers, what was wrong
	seen     string   // of each request: . it passed, n so near the limit that config.Nearly holds, x it was refused
}

// windowUse is what was admitted in a window.
type windowUse struct {
	used     int64
	inflight map[*recordtest.Memory]int64 // what those used that were in flight at a proxy's last admission; one that is restarted is another one
}

// service is the fleet's.
type service struct {
	offset  clock.Moment // its clock is ahead of the proxies'
	counts  map[string]int64
	down    bool
	stops   bool         // what goes over isn't added
	slow    clock.Moment // between what it counts and its look at the clock for when the window ends
	added   int64
	garbage string
	lie     func(told int64) int64 // nil: it says what it has counted
}

// proxy is one Envoy.
type proxy struct {
	store   *recordtest.Memory
	workers []*fleetWorker
	running map[*running]bool
}

// fleetWorker is one of its workers.
type fleetWorker struct {
	*Set
	client *lease.Client
	proxy  *proxy
	dead   bool
}

// running is a request under way.
type running struct {
	use     int64
	window  int64
	charges []Charge
}

const hour = int64(3600 * second)

func newFleet(t fataler, proxies, workers int, limits string) *fleetWorld {
	t.Helper()
	f := &fleetWorld{t: t, now: start, limits: limits, onDown: config.DownRefuse, latency: 5 * second / 1000, admitted: map[int64]*windowUse{}, byUser: map[string]int64{}, refused: map[string]int{}}
	f.service.counts = map[string]int64{}
	f.draw = func(string, int) int { return 0 }
	for range proxies {
		p := &proxy{running: map[*running]bool{}}
		f.proxies = append(f.proxies, p)
		f.restart(p, workers)
	}
	return f
}

// restart starts a proxy anew: its memory is empty, and so are its balances.
func (f *fleetWorld) restart(p *proxy, workers int) {
	for _, w := range p.workers {
		w.dead = true
	}
	p.store, p.workers, p.running = recordtest.NewMemory(), nil, map[*running]bool{}
	wall := f.service.offset + clock.Moment(f.draw("its wall clock", f.clocks))*second
	for range workers {
		f.ids += 2
		set, _ := worker(f.t, `{"limits":`+f.limits+`}`, p.store)
		w := &fleetWorker{Set: set, proxy: p, client: lease.New(p.store, "default", f.ids)}
		set.LeaseFrom(w.client, &config.Fleet{Timeout: 100 * time.Millisecond, OnDown: f.onDown}, func() int64 { return int64(f.now + wall) })
		p.workers = append(p.workers, w)
		f.after(second, func() { f.tick(w) })
	}
}

// configure has all workers take other limits, in a proxy that goes on.
func (f *fleetWorld) configure(limits string) {
	f.limits = limits
	for _, p := range f.proxies {
		for _, w := range p.workers {
			w.Set, _ = worker(f.t, `{"limits":`+limits+`}`, p.store)
			w.LeaseFrom(w.client, &config.Fleet{Timeout: 100 * time.Millisecond, OnDown: f.onDown}, func() int64 { return int64(f.now) })
		}
	}
}

// tick is what a worker does from time to time.
func (f *fleetWorld) tick(w *fleetWorker) {
	if w.dead {
		return
	}
	if err := w.GiveBack(f.now); err != nil {
		f.t.Fatal(err)
	}
	f.callFrom(w)
	wait := clock.Moment(second)
	if w.client.Busy() {
		wait /= 20
	}
	f.after(wait, func() { f.tick(w) })
}

// after has something happen later.
func (f *fleetWorld) after(wait clock.Moment, do func()) {
	f.turn++
	e := event{f.now + wait, f.turn, do}
	i, _ := slices.BinarySearchFunc(f.events, e, func(a, b event) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.turn, b.turn)) })
	f.events = slices.Insert(f.events, i, e)
}

// run lets time pass.
func (f *fleetWorld) run(for_ clock.Moment) {
	until := f.now + for_
	for len(f.events) > 0 && f.events[0].at <= until {
		e := f.events[0]
		f.events = f.events[1:]
		f.now = e.at
		e.do()
	}
	f.now = until
}

// window is the service's.
func (f *fleetWorld) window() int64 { return (int64(f.now+f.service.offset) / second) / 3600 }

// call is what the service does with a call.
func (s *service) call(now clock.Moment, body string) string {
	type entry struct{ Key, Value string }
	var call struct {
		Domain      string
		Descriptors []struct {
			Entries    []entry
			HitsAddend string
			Limit      struct {
				RequestsPerUnit int64
				Unit            string
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &call); err != nil || call.Domain != "llm" {
		panic(fmt.Sprint("what is asked is none: ", err, body))
	}
	seconds, then := int64(now+s.offset)/second, int64(now+s.slow+s.offset)/second
	var statuses []string
	for _, d := range call.Descriptors {
		hits, err := strconv.ParseUint(d.HitsAddend, 10, 64)
		period := map[string]int64{"HOUR": 3600, "DAY": 24 * 3600, "MONTH": 30 * 24 * 3600}[d.Limit.Unit]
		if err != nil || period == 0 {
			panic(body)
		}
		key := fmt.Sprint(d.Entries, seconds/period)
		limit := d.Limit.RequestsPerUnit
		if !s.stops || s.counts[key]+int64(hits) <= limit {
			s.counts[key] += int64(hits)
			if !strings.Contains(key, "proxy") {
				s.added += int64(hits)
			}
		} else if s.stops {
			statuses = append(statuses, fmt.Sprintf(`{"code":"OVER_LIMIT","currentLimit":{"requestsPerUnit":%d,"unit":%q},"durationUntilReset":"%ds"}`, limit, d.Limit.Unit, period-then%period))
			continue
		}
		code, remaining := "OK", ""
		told := s.counts[key]
		if s.lie != nil {
			told = s.lie(told)
		}
		switch left := limit - told; {
		case left < 0:
			code = "OVER_LIMIT"
		case left > 0:
			remaining = fmt.Sprintf(`"limitRemaining":%d, `, left)
		}
		statuses = append(statuses, fmt.Sprintf(`{"code":%q, "currentLimit":{"requestsPerUnit":%d, "unit":%q}, %s"durationUntilReset":"%ds"}`,
			code, limit, d.Limit.Unit, remaining, period-then%period))
	}
	return `{"overallCode":"OK", "statuses":[` + strings.Join(statuses, ", ") + `]}`
}

// callFrom makes the call that a worker wants to make.
func (f *fleetWorld) callFrom(w *fleetWorker) {
	const patience = time.Second
	body, err := w.client.Call(f.now, "llm", patience)
	if err != nil {
		f.t.Fatal(err)
	}
	if body == nil || w.dead {
		return
	}
	text, answered := string(body), false
	if strings.Contains(text, "subject") {
		f.calls++
	} else {
		f.beats++
	}
	answer := func(status int, body string) func() {
		return func() {
			if w.dead || answered {
				return
			}
			answered = true // the host tells once, however often an answer comes
			err := w.client.Answered(f.now, status, []byte(body))
			f.why = append(f.why, fmt.Sprint(err, body))
			if err := w.Credit(f.now, w.client.Credits); err != nil {
				f.t.Fatal(err)
			}
			f.callFrom(w)
		}
	}
	f.after(clock.Moment(patience), answer(0, "")) // Envoy's timeout
	fate := 0
	if f.lossy {
		fate = f.draw("fate of a call", 9)
	}
	there, back := f.latency/2, f.latency/2
	switch fate {
	case 1: // it never comes
		return
	case 2: // its answer never comes
		f.after(there, func() { f.service.call(f.now, text) })
		return
	case 3:
		there = clock.Moment(f.draw("delay", 1500)) * second / 1000
	case 4:
		back = clock.Moment(f.draw("delay", 1500)) * second / 1000
	}
	f.after(there, func() {
		switch {
		case f.service.down:
			f.after(back, answer(503, "no healthy upstream"))
		case f.service.garbage != "":
			f.after(back, answer(200, f.service.garbage))
		default:
			f.after(back, answer(200, f.service.call(f.now, text)))
		}
	})
}

// ask asks for a request that will use so much and take so long.
func (f *fleetWorld) ask(w *fleetWorker, user string, expected, use int64, takes clock.Moment) {
	r := request(user)
	r.Estimate.Output = expected
	f.try(w, r, f.now+second/10, use, takes)
}

func (f *fleetWorld) try(w *fleetWorker, r *Request, deadline clock.Moment, use int64, takes clock.Moment) {
	if w.dead {
		return
	}
	v := w.Admit(f.now, r, nil)
	if v.Err != nil {
		f.t.Fatal(v.Err)
	}
	f.callFrom(w)
	switch {
	case v.Outcome == gate.Queued && r.Waited:
		f.t.Fatal("it waits for longer than it may")
	case v.Outcome == gate.Queued:
		f.after(second/100, func() {
			r.Again, r.Waited = true, f.now >= deadline
			f.try(w, r, deadline, use, takes)
		})
		return
	case v.Outcome.Refuses():
		f.refused[v.Reason]++
		f.seen += "x"
		if v.Wait <= 0 || v.Wait > time.Hour {
			f.t.Fatalf("a refusal (%s) says to wait for %v", v.Reason, v.Wait)
		}
		return
	}
	f.seen += map[bool]string{true: "n", false: "."}[v.Nearly]
	x := &running{use: use, window: f.window(), charges: v.Charges}
	w.proxy.running[x] = true
	all := f.admitted[x.window]
	if all == nil {
		all = &windowUse{inflight: map[*recordtest.Memory]int64{}}
		f.admitted[x.window] = all
	}
	all.used += use
	f.byUser[r.Caller.User] += use
	all.inflight[w.proxy.store] = 0
	for other := range w.proxy.running {
		if other.window == x.window {
			all.inflight[w.proxy.store] += other.use
		}
	}
	p := w.proxy
	f.after(takes, func() {
		if !p.running[x] {
			return // its proxy is gone
		}
		delete(p.running, x)
		u := Usage{Prompt: 10, Completion: use, Total: use + 10}
		u.Spend = w.Spend("m", "", u, 200)
		w.Settle(f.now, x.charges, "m", u, 200)
	})
}

// beyond is how much more was used in a window than what was in flight at the last admission explains.
func (f *fleetWorld) beyond(window int64) int64 {
	all := f.admitted[window]
	if all == nil {
		return 0
	}
	used := all.used
	for _, inflight := range all.inflight {
		used -= inflight
	}
	return used
}
