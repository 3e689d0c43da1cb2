package health

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/breaker"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// crowd is workers whose calls run into each other: while one writes, others do something, too.
type crowd struct {
	t      *rapid.T
	store  *counting
	gates  []*Gates
	now    clock.Moment
	flying [][]*Request // by worker
	phases map[breaker.Phase]int
}

// interfere lets a worker other than the busy one do something.
func (c *crowd) interfere(busy int) {
	i := rapid.IntRange(0, len(c.gates)-1).Draw(c.t, "other worker")
	if i != busy {
		c.step(i)
	}
}

// step lets a request come to a worker, or one of its requests end.
func (c *crowd) step(i int) {
	g := c.gates[i]
	if len(c.flying[i]) > 0 && rapid.Bool().Draw(c.t, "ends") {
		r := c.flying[i][0]
		c.flying[i] = c.flying[i][1:]
		c.end(g, r)
		return
	}
	r := &Request{Model: rapid.SampledFrom([]string{"a", "a", "a", "b"}).Draw(c.t, "model"), Priority: config.Normal}
	v := g.Breaker(c.now, r)
	if v.Err != nil {
		c.t.Fatal(v.Err)
	}
	if v.Outcome.Refuses() {
		if r.pass.Probe || v.Wait <= 0 {
			c.t.Fatalf("refused with %+v, %+v", r.pass, v)
		}
		return
	}
	if l := g.Latency(c.now, r); l.Outcome.Refuses() || rapid.IntRange(0, 9).Draw(c.t, "later gate") == 0 {
		if err := g.Cancel(c.now, r); err != nil {
			c.t.Fatal(err)
		}
		return
	}
	c.flying[i] = append(c.flying[i], r)
}

func (c *crowd) end(g *Gates, r *Request) {
	o := Outcome{Result: Result(rapid.IntRange(0, 2).Draw(c.t, "result")), Stream: true, ITL: millisecond}
	if err := g.Finish(c.now, r, o); err != nil {
		c.t.Fatal(err)
	}
}

// check holds what the record says to what is in flight.
func (c *crowd) check(probes uint32) {
	for at := range place(places) {
		value := c.store.values[c.gates[0].keys[at]]
		if value == nil {
			continue
		}
		var known modelRecord
		if !known.decode(*value) {
			c.t.Fatalf("%x can't be read", *value)
		}
		c.phases[known.breaker.Phase()]++
		out := 0
		for _, requests := range c.flying {
			for _, r := range requests {
				if r.hash == known.hash && r.pass.Probe && known.breaker.Current(r.pass) {
					out++
				}
			}
		}
		if held, succeeded := known.breaker.Probes(); held != out || out+succeeded > int(probes) {
			c.t.Fatalf("%d probes held, %d in flight, %d succeeded, want %d", held, out, succeeded, probes)
		}
	}
}

// Calls of several workers that run into each other at every write: what the record says is out is what is out, and never
// more than Probes.
func TestWorkersRunIntoEachOther(t *testing.T) {
	phases := map[breaker.Phase]int{}
	rapid.Check(t, func(t *rapid.T) {
		u := upstream()
		u.Breaker.MinRequests, u.Breaker.Probes = 5, rapid.IntRange(1, 4).Draw(t, "probes")
		u.Throttle.Mode = config.Off
		store := newStore()
		gates := workers(u, store, rapid.IntRange(2, 4).Draw(t, "workers"))
		c := &crowd{t: t, store: store, gates: gates, now: noon, flying: make([][]*Request, len(gates)), phases: phases}
		busy := -1
		store.conflict = func() {
			if rapid.IntRange(0, 2).Draw(t, "conflict") == 0 {
				c.interfere(busy)
			}
		}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			c.now += rapid.SampledFrom([]clock.Moment{0, 0, 1, second, 10 * second}).Draw(t, "pause")
			for i, g := range gates {
				busy = i
				if err := g.Tick(c.now); err != nil {
					t.Fatal(err)
				}
			}
			busy = rapid.IntRange(0, len(gates)-1).Draw(t, "worker")
			c.step(busy)
			c.check(uint32(u.Breaker.Probes))
		}
	})
	if t.Logf("%v", phases); phases[breaker.Open] == 0 || phases[breaker.HalfOpen] == 0 {
		t.Error("not all phases were seen")
	}
}
