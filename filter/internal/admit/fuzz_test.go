package admit

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// settings are what workers can be configured with: all gates, each way to hold, each mode. The model "one" is in no limit but that of
// requests under way: whatever a program does, it passes an hour after its end.
var settings = slices.Concat(settingsOf("enforce", "stopIteration"), settingsOf("shadow", "bufferFilter"), settingsOf("enforce", "none"), settingsOf("off", "stopIteration"))

func settingsOf(mode, hold string) []string {
	const gates = `"breaker":{"mode":"enforce","minRequests":3,"openFor":"1s","fallback":{"routeHeader":{"x-fallback":"other"}}},
		"latency":{"mode":"enforce","ttft":"300ms","itl":"100ms"},"throttle":{"mode":"enforce","p99":{"max":"1s","periods":1,"period":"1s"}},
		"retreat":{"mode":"enforce","window":"1s","every":"100ms","minSamples":3,"minRequests":2}`
	return []string{`{"mode":"` + mode + `","requestHold":"` + hold + `","usage":{"maxRequestBytes":3000},"publish":"all","models":{"labels":["m-*"]},"limits":[
		{"name":"u","per":["user"],"match":{"models":["m-*"]},"unit":"totalTokens","quantity":5000,"window":"1m"},
		{"name":"big","match":{"models":["m-big"]},"unit":"completionTokens","quantity":500,"window":"1h","admission":"strict"},
		{"name":"r","match":{"models":["m-*"]},"unit":"requests","quantity":20,"window":"1m"},
		{"name":"f","per":["user"],"unit":"inflight","quantity":3},{"name":"g","unit":"inflight","quantity":6}],"upstreams":[
		{"name":"one","models":["one"],"concurrency":{"max":1},"queue":{"max":2,"maxWait":{"low":"100ms"}}},
		{"name":"big","models":["m-big"],"concurrency":{"max":1},"queue":{"max":2,"whenFull":"dropLowest"},` + gates + `},
		{"name":"rest","budget":{"requests":6,"tokens":5000,"window":"1m"},"queue":{"max":2,"maxWait":{"normal":"5s"}},` + gates + `,
			"pressure":{"mode":"enforce","onStale":"full"}}]}`}
}

var (
	fuzzHeaders = append([][][2]string{
		{{":method", "POST"}, {":path", "/v1/messages"}, {"x-user-id", "c"}, {"content-length", "300"}, {"x-priority", "urgent"}},
		{{":method", "POST"}, {":path", "/api/chat"}, {"x-user-id", "a"}, {"x-slo-ttft-ms", "1"}},
		{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"x-user-id", "c"}, {"x-fallback", "other"}, {"authorization", "Bearer k"}},
	}, wildHeaders...)
	fuzzBodies = append([]string{`{"model":"one"}`, `{"model":"one","stream":true,"max_tokens":3}`, `{"model":"m-1","max_tokens":30}`, `{"model":"m-big","max_tokens":30}`}, wildBodies...)
	fuzzNames  = []string{"content-length", "content-type", "content-encoding", "accept-encoding", "x-user-id", "x-tenant-id", "authorization", "x-api-key",
		"x-priority", "x-slo-ttft-ms", "expect", "upgrade", "connection", ":path", ":method", "retry-after", "retry-after-ms", "x-ratelimit-reset-tokens",
		"x-ratelimit-remaining-tokens", "anthropic-ratelimit-requests-remaining"}
	fuzzTold = [][][2]string{nil, {{"retry-after", "2"}}, {{"x-ratelimit-remaining-requests", "0"}, {"x-ratelimit-reset-requests", "1s"}}, {{"content-encoding", "gzip"}}}
)

// unsteady is a store that fails, loses races and holds garbage, when it is told to.
type unsteady struct {
	watched
	fails, loses int // so many of the next calls
	failed       bool
}

func (u *unsteady) fail() error {
	if u.fails == 0 {
		return nil
	}
	u.fails, u.failed = u.fails-1, true
	return errors.New("the store fails")
}

func (u *unsteady) Get(key string) ([]byte, uint32, bool, error) {
	if err := u.fail(); err != nil {
		return nil, 0, false, err
	}
	return u.watched.Get(key)
}

func (u *unsteady) Put(key string, value []byte, version uint32) (bool, error) {
	if err := u.fail(); err != nil {
		return false, err
	}
	if u.loses > 0 {
		u.loses--
		return false, nil
	}
	return u.watched.Put(key, value, version)
}

// program is a list of events, read from bytes: whatever they are, they are a program.
type program struct {
	testing.TB
	rest    []byte
	store   *unsteady
	now     clock.Moment
	latest  clock.Moment // the latest that it was before the clock was set back
	workers [2]*host
	all     []*host // also those of configurations that were replaced
	begun   uint64  // how many
	gauges  map[string]int64
	open    []*exchange
	with    map[*exchange][][2]string
	free    []*exchange // their memory is used again
	streams uint32
	sent    int64 // requests, which can be several streams
	damaged bool  // the store held garbage
	died    bool  // a worker did, with its streams
}

func newProgram(t testing.TB, events []byte) *program {
	return &program{TB: t, rest: events, now: start, gauges: map[string]int64{}, with: map[*exchange][][2]string{},
		store: &unsteady{watched: watched{Memory: recordtest.NewMemory(), keys: map[string]bool{}}}}
}

// byte gives the next byte; 0 at the end.
func (p *program) byte() byte {
	if len(p.rest) == 0 {
		return 0
	}
	b := p.rest[0]
	p.rest = p.rest[1:]
	return b
}

// bytes gives some of the next ones, as they are.
func (p *program) bytes() []byte {
	n := min(int(p.byte()), len(p.rest))
	b := p.rest[:n]
	p.rest = p.rest[n:]
	return b
}

func pick[T any](p *program, of []T) T { return of[int(p.byte())%len(of)] }

// text is one that is known, or, for some bytes, whatever follows in the program.
func (p *program) text(known []string) string {
	if n := int(p.byte()); n < 4*len(known) {
		return known[n%len(known)]
	}
	return string(p.bytes())
}

// more are headers, and now and then another one, whatever it says.
func (p *program) more(headers [][2]string) [][2]string {
	if p.byte() < 128 {
		return headers
	}
	return append(slices.Clone(headers), [2]string{pick(p, fuzzNames), string(p.bytes())})
}

// configure gives a worker another configuration. What it has begun goes on under the one before.
func (p *program) configure(worker int) {
	p.begun++
	p.store.fails, p.store.loses = 0, 0 // an engine that can't have what is shared refuses to begin
	h := newWorker(p.TB, pick(p, settings), p.store, append(binary.LittleEndian.AppendUint64(nil, p.begun<<8), random[8:]...))
	h.gauges = p.gauges
	p.workers[worker], p.all = h, append(p.all, h)
}

// at is where the time is taken from: all workers have one clock.
func (p *program) at(h *host) *host {
	h.now = p.now
	return h
}

func (p *program) begin(h *host, headers [][2]string) {
	var x *exchange
	if n := len(p.free); n > 0 {
		x, p.free = p.free[n-1], p.free[:n-1]
	} else {
		x = &exchange{}
	}
	x.host, x.properties = p.at(h), map[string]string{}
	p.streams++
	x.Reset(p.streams)
	h.headers = headers
	h.RequestHeaders(&x.Stream, h.now, p.byte()&7 == 0)
	x.did()
	p.open, p.with[x] = append(p.open, x), headers
}

// end ends a stream.
func (p *program) end(i int) {
	x := p.open[i]
	p.at(x.host)
	x.done()
	p.release(i)
}

func (p *program) release(i int) {
	p.free = append(p.free, p.open[i])
	p.open = slices.Delete(p.open, i, i+1)
}

// step lets one thing happen.
func (p *program) step() {
	switch b := p.byte(); {
	case b < 40 || len(p.open) == 0 && b < 200:
		p.sent++
		p.begin(p.workers[b&1], p.more(pick(p, fuzzHeaders)))
	case b < 200:
		i := int(p.byte()) % len(p.open)
		p.lead(i, b%20)
	default:
		p.around(b)
	}
}

// lead brings a stream's next event, whatever came before.
func (p *program) lead(i int, event byte) {
	x := p.open[i]
	p.at(x.host)
	end := p.byte()&3 == 0
	switch {
	case event < 2:
		p.end(i)
	case event == 2 && x.endedUnanswered(): // the host begins anew
		x.endLeg()
		headers := p.with[x]
		p.release(i)
		p.begin(x.host, headers)
	case event == 3: // a fault was contained, and nothing else of the stream is shown but its end
		x.host.Fault(&x.Stream)
		p.end(i)
	case x.Refused(): // the binding keeps everything else from the engine
	case event < 8:
		x.body(p.text(fuzzBodies), end)
	case event == 8:
		x.RequestTrailers()
	case event < 12:
		x.host.comes([]origin.Origin{origin.Upstream, origin.Upstream, origin.TimedOut, origin.Unreachable, origin.Broken, origin.Elsewhere}[p.byte()%6])
		x.status(p.text(wildStatus), p.text(wildTypes), end, p.more(pick(p, fuzzTold))...)
	case event < 18:
		x.response(p.text(wildAnswer), end)
	default:
		x.ResponseTrailers()
	}
}

// around lets something happen to all.
func (p *program) around(b byte) {
	h := p.all[int(p.byte())%len(p.all)]
	switch b % 10 {
	case 0, 1, 2:
		p.now += clock.Moment(p.byte()) * 10 * millisecond
	case 3:
		p.latest = max(p.latest, p.now)
		p.now += clock.Moment(int8(p.byte())) * second
	case 4:
		h.holdsBack = !h.holdsBack
	case 5:
		p.configure(int(b & 1))
	case 6:
		p.store.fails = int(p.byte() % 8)
	case 7:
		p.store.loses = int(p.byte() % 16)
	case 8:
		body := p.bytes()
		p.at(h)
		if h.monitor != nil { // else it has asked for nothing
			h.Fetched(h.now, int(p.byte())*2, body)
			h.drain(nil)
		}
		return
	default:
		p.disturb(b)
		return
	}
	p.at(h).tick()
}

// disturb damages the store, or lets a worker die, each by a chance that is small enough for what else there is to happen.
func (p *program) disturb(b byte) {
	keys := slices.Sorted(maps.Keys(p.store.keys))
	switch {
	case p.byte() > 64 || len(keys) == 0:
	case b&1 == 0:
		key := pick(p, keys)
		value, version, _, _ := p.store.watched.Get(key)
		value = bytes.Clone(value)
		for at, garbage := int(p.byte()), p.bytes(); len(garbage) > 0 && at < len(value); at, garbage = at+1, garbage[1:] {
			value[at] = garbage[0]
		}
		_, _ = p.store.watched.Put(key, value, version)
		p.damaged = true
	default:
		dead := p.workers[0]
		p.open = slices.DeleteFunc(p.open, func(x *exchange) bool { return x.host == dead })
		p.died = true
		p.configure(0)
		p.all = slices.DeleteFunc(p.all, func(h *host) bool { return h == dead })
	}
}

// run runs the program, ends what it has left open, and checks what must be so then, whatever it was.
func (p *program) run() {
	for range p.workers {
		p.workers[len(p.all)] = nil
		p.configure(len(p.all))
	}
	for len(p.rest) > 0 {
		p.step()
	}
	p.store.fails, p.store.loses = 0, 0
	p.now = max(p.now, p.latest) // what a worker that is gone has said counts until then
	for len(p.open) > 0 {
		p.end(len(p.open) - 1)
	}
	p.configure(0) // with all gates: somebody has to see that what the dead had is over
	for range 3 {
		for _, h := range p.all {
			p.at(h).tick()
		}
		p.now += 30 * second
	}
	for _, h := range p.all {
		if n := [...]int{h.guard.holding.count, h.reserving.count, h.draining.count, len(h.owed), h.surface.uploading.count}; n != [len(n)]int{} {
			p.Errorf("held, reserving, draining, owed an answer and uploading to the surface are %v when all have ended", n)
		}
	}
	p.judge()
}

func (p *program) judge() {
	counted := int64(0)
	for _, h := range p.all {
		counted += h.requests()
	}
	if !p.died && counted != p.sent {
		p.Fatalf("%d requests counted, %d sent", counted, p.sent)
	}
	if p.damaged {
		return // what garbage says is in flight may be so for a while
	}
	for name, n := range p.gauges {
		if n != 0 && (strings.HasPrefix(name, "inflight ") || strings.HasPrefix(name, "depth ")) {
			p.Errorf("%s is %d when all have ended", name, n)
		}
	}
	if !p.died && !p.store.failed {
		if reserved := p.store.reserved(); reserved != "" {
			p.Error(reserved)
		}
	}
	p.now += 3600 * second
	for i, h := range p.workers {
		x := p.at(h).start(fmt.Sprint("new", i), false)
		if x.body(`{"model":"one","max_tokens":3}`, true); x.Refused() || x.Waiting() {
			p.Errorf("worker %d: nothing is in flight, and a request doesn't pass: %+v", i, x.decision)
		}
		x.answer(used(1, 1))
	}
}

// FuzzEngine runs programs of events, in any order, in two workers: nothing panics, each request is counted once, and when all have ended,
// nothing is reserved or held, and another passes.
func FuzzEngine(f *testing.F) {
	whole := []byte{0, 3, 1, 20, 0, 1, 0, 100, 0, 1, 2, 109, 0, 1, 0, 0, 1, 0, 112, 0, 0, 0, 200, 0, 9}
	for i := range byte(3) {
		f.Add(append([]byte{i, i + 1}, whole...))
	}
	f.Add(append(bytes.Repeat(whole, 4), 205, 1, 206, 3, 207, 3, 209, 1, 2, 0, 4, 9, 9, 9, 9))
	f.Add(bytes.Repeat([]byte{1, 3, 1, 24, 0, 1, 2, 25, 1, 1, 0, 203, 200, 210, 1, 9, 180, 1, 1}, 9))
	f.Fuzz(func(t *testing.T, events []byte) {
		if len(events) > 4096 {
			return
		}
		newProgram(t, events).run()
	})
}
