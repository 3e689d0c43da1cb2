package sim

import (
	"container/heap"
	"fmt"
	"math/rand/v2"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/admit"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// Proxy is whole engines, limits, estimates and gates together, in several workers over one store, with an adversary among the
// clients. Like World it runs in virtual time by one seed.
//
// # What is checked, and the bounds
//
//   - A subject's tokens: none of its requests is admitted while its bucket, counted here by what really passed, is in debt; and of those
//     that state no bound, no more are in flight than docs/security.md says. So no bucket passes its documented bound.
//   - A subject's requests: no more reach the upstream than its limit lets pass, whatever comes of them.
//   - A subject's requests under way: no more at once than its limit lets pass, those that wait included; those of a worker that died aside.
//   - The upstream never has more at once than it has slots; a worker that died counts for alive.
//   - An honest subject, which stays within its limits, is never refused by one; nobody is told never who doesn't state more than a
//     limit holds; and when the adversary has gone, all honest ones are served.
//   - At the end nothing is reserved, in flight or waiting by any record.
type Proxy struct {
	ProxyScene
	Passed, Refused map[string]int // requests of a kind of client
	Reasons         map[string]int // of the refusals of honest ones
	Most            int            // unbounded requests of one subject that were in flight at once
	MostUnderWay    int            // of one subject's requests, waiting or sent
	Wrong           []string

	random  *rand.Rand
	now     int64
	agenda  happenings
	memory  *recordtest.Memory
	cfg     config.Config
	workers []*engine
	users   map[string]*account
	closing bool // no more arrivals, nor faults
	ghosts  int  // requests that died with their workers, while these count
}

// ProxyScene is what is simulated.
type ProxyScene struct {
	Seed      uint64
	Workers   int
	Admission string
	Tokens    int64 // an hour, for each user; its burst
	Requests  int64 // the same
	AtOnce    int   // of each user's requests under way; 0: as many as there are
	Slots     int
	Crash     int64 // mean time between deaths of workers; 0: none dies
	Length    int64 // for how long clients come
}

// engine is one worker.
type engine struct {
	*admit.Engine
	host
	proxy *Proxy
	open  map[*exchange]bool
	alive bool
	ticks bool
}

// exchange is one request, and what becomes of it.
type exchange struct {
	admit.Stream
	client
	worker  *engine
	account *account
	sent    bool // to the upstream
	there   bool // at the upstream
	over    bool
	charged int64 // completion tokens
}

// client is a request as its client means it, and the upstream answers it.
type client struct {
	kind    string // honest, or one of the adversary's tricks
	user    string
	bound   int64 // max_tokens; 0: none
	stream  bool
	tokens  int64 // of the answer
	reports int64 // that it says it took; below 0: it says nothing
	status  int
	takes   int64 // time of service
	leaves  int64 // time after which the client leaves; 0: never
	partial bool  // its upload never ends
}

// happening is something that happens at a time.
type happening struct {
	at    int64
	order int
	do    func()
}

type happenings []happening

func (h happenings) Len() int      { return len(h) }
func (h happenings) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *happenings) Push(x any)   { *h = append(*h, x.(happening)) }
func (h happenings) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h *happenings) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// NewProxy gives a proxy at its beginning.
func NewProxy(scene ProxyScene) (*Proxy, error) {
	p := &Proxy{
		ProxyScene: scene, random: rand.New(rand.NewPCG(scene.Seed, 2)), now: start, memory: recordtest.NewMemory(),
		users: map[string]*account{}, Passed: map[string]int{}, Refused: map[string]int{}, Reasons: map[string]int{},
	}
	atOnce := ""
	if scene.AtOnce > 0 {
		atOnce = fmt.Sprintf(`{"name":"at-once","per":["user"],"unit":"inflight","quantity":%d},`, scene.AtOnce)
	}
	text := fmt.Sprintf(`{"requestHold":"stopIteration","limits":[%s
		{"name":"tokens","per":["user"],"unit":"completionTokens","quantity":%d,"window":"1h","admission":%q},
		{"name":"requests","per":["user"],"unit":"requests","quantity":%d,"window":"1h"}],
		"upstreams":[{"name":"u","concurrency":{"max":%d},"queue":{"max":100},"breaker":{"mode":"enforce"},"latency":{"mode":"enforce","ttft":"30s"}}]}`,
		atOnce, scene.Tokens, scene.Admission, scene.Requests, scene.Slots)
	var err error
	if p.cfg, err = config.Parse([]byte(text)); err != nil {
		return nil, err
	}
	for range scene.Workers {
		p.workers = append(p.workers, nil)
	}
	for i := range p.workers {
		if p.workers[i], err = p.newEngine(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *Proxy) newEngine() (*engine, error) {
	random := make([]byte, 16)
	for i := range random {
		random[i] = byte(p.random.Uint32())
	}
	e := &engine{host: host{Store: p.memory}, proxy: p, open: map[*exchange]bool{}, alive: true}
	var err error
	e.Engine, err = admit.New(&p.cfg, &e.host, new(admit.Worker), random)
	return e, err
}

// host is what a worker's proxy shows of the event that is being handled. It can't tell more.
type host struct {
	record.Store
	headers [][2]string
	piece   []byte
}

func (h *host) Headers() [][2]string                           { return h.headers }
func (h *host) Piece(from, size int) []byte                    { return h.piece[from:min(from+size, len(h.piece))] }
func (*host) Attribute(string) (string, bool)                  { return "", false }
func (*host) Wall() int64                                      { return 0 }
func (*host) Received(*admit.Stream) (_, _ uint64, known bool) { return 0, 0, false }

// after lets something happen later.
func (p *Proxy) after(wait int64, do func()) {
	heap.Push(&p.agenda, happening{p.now + max(wait, 1), len(p.agenda)<<20 + int(p.random.Uint32()>>12), do})
}

// Run lets the time pass, and says what was not as promised.
func (p *Proxy) Run() error {
	p.arrivals()
	if p.Crash > 0 {
		p.after(p.exponential(p.Crash), p.crash)
	}
	p.after(p.Length, func() { p.closing = true })
	for len(p.agenda) > 0 && len(p.Wrong) == 0 && p.now < start+p.Length+5*minute { // gates tick for ever
		h := heap.Pop(&p.agenda).(happening)
		p.now = h.at
		h.do()
	}
	if len(p.Wrong) == 0 {
		p.end()
	}
	if len(p.Wrong) > 0 {
		return fmt.Errorf("seed %d, at %.3f s: %s", p.Seed, float64(p.now-start)/1e9, p.Wrong[0])
	}
	return nil
}

func (p *Proxy) wrong(format string, args ...any) {
	p.Wrong = append(p.Wrong, fmt.Sprintf(format, args...))
}

func (p *Proxy) exponential(mean int64) int64 {
	return max(int64(p.random.ExpFloat64()*float64(mean)), 1)
}

// crash ends a worker; another one takes its place. Its clients get no answer.
func (p *Proxy) crash() {
	if p.closing {
		return
	}
	i := p.random.IntN(len(p.workers))
	died := p.workers[i]
	died.alive = false
	for x := range died.open {
		x.over = true
		x.account.leave(x)
		if x.sent {
			p.ghosts++
			p.after(2*alive, func() { p.ghosts-- })
		}
	}
	var err error
	if p.workers[i], err = p.newEngine(); err != nil {
		p.wrong("a new worker: %v", err)
	}
	p.after(p.exponential(p.Crash), p.crash)
}

// did takes what an event of a request has brought, for it and for others; x is nil if it was no request's.
func (e *engine) did(x *exchange) {
	for f := e.Next(); f != nil; f = e.Next() {
		if x != nil && f.Stream == &x.Stream {
			e.apply(x, f)
		} else if other := e.exchangeOf(f.Stream); other != nil {
			e.apply(other, f)
		}
	}
	if x != nil {
		e.send(x)
	}
	e.wantTick()
}

// send takes a request to the upstream that nothing keeps back.
func (e *engine) send(x *exchange) {
	if !x.over && !x.sent && !x.partial && x.Decided() && !x.Waiting() {
		e.proxy.sends(x)
	}
}

func (e *engine) exchangeOf(s *admit.Stream) *exchange {
	for x := range e.open {
		if &x.Stream == s {
			return x
		}
	}
	return nil
}

// apply takes what is to become of a request.
func (e *engine) apply(x *exchange, f *admit.Effect) {
	switch {
	case f.Kind == admit.SetNumber && f.Name == "gen_ai.completion.tokens":
		x.charged = f.Number
	case f.Kind == admit.Answer && !x.over:
		e.proxy.refused(x)
	case f.Kind == admit.Resume:
		e.send(x)
	}
}

func (e *engine) wantTick() {
	if period := e.TickPeriod(); period != 0 && !e.ticks {
		e.ticks = true
		e.proxy.after(int64(period)*millisecond, func() {
			e.ticks = false
			if e.alive {
				e.Tick(clock.Moment(e.proxy.now))
				e.did(nil)
			}
		})
	}
}
