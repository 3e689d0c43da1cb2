package dispatch

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/autosize"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// learnt is a server behind workers that learn its slots: it serves some at once, for 400 ms each, and gives the first token 20 ms after it has
// begun.
type learnt struct {
	t       *testing.T
	gates   []*Gate
	serves  int
	now     clock.Moment
	flying  []*flyer // in the order in which they came to the server
	most    int
	random  *rand.Rand
	waiting int
}

type flyer struct {
	Ticket
	gate        *Gate
	sent, began clock.Moment
	told        bool
}

const served = 400 * millisecond

// run lets more requests come than there is room for.
func (l *learnt) run(length time.Duration) {
	for end := l.now.Add(length); l.now < end; l.now += 10 * millisecond {
		if l.waiting < 50 {
			f := &flyer{gate: l.gates[l.random.IntN(len(l.gates))]}
			f.Ticket = Ticket{Priority: config.Normal, Subject: l.random.Uint64(), Caller: l.random.Uint64N(9), Prompt: 100, Tokens: 200, Owner: f}
			switch v := f.gate.Arrive(l.now, &f.Ticket); v.Outcome {
			case gate.Queued:
				l.waiting++
			case gate.Allowed, gate.Shadowed:
				l.send(f)
			}
		}
		l.serve()
		for _, g := range l.gates {
			d := g.Dequeue(l.now)
			for d.Next() {
				l.waiting--
				if d.Verdict.Outcome == gate.Allowed {
					l.send(d.Ticket.Owner.(*flyer))
				}
			}
		}
	}
}

func (l *learnt) send(f *flyer) {
	if n, slots := len(l.flying)+1, l.gates[0].Snapshot(l.now).Slots; n > slots && n > l.most && !l.gates[0].settings.Shadow {
		l.t.Fatalf("%d in flight, with %d slots", n, slots)
	}
	f.sent = l.now
	l.flying = append(l.flying, f)
	l.most = len(l.flying)
}

func (l *learnt) serve() {
	kept := l.flying[:0]
	for i, f := range l.flying {
		if f.began == 0 && i < l.serves {
			f.began = l.now
		}
		if f.began > 0 && !f.told && l.now.Sub(f.began) >= 20*millisecond {
			f.told = true
			f.gate.Observe(l.now, &f.Ticket, Took{TTFT: l.now.Sub(f.sent)})
		}
		if f.told && l.now.Sub(f.began) >= served {
			if err := f.gate.Finish(l.now, &f.Ticket, Answer{Judged: true, Requests: -1, Tokens: -1}); err != nil {
				l.t.Fatal(err)
			}
			continue
		}
		kept = append(kept, f)
	}
	l.flying = kept
	l.most = len(kept)
}

func learn(t *testing.T, shadow bool, workers int) (*learnt, *recordtest.Memory, Settings) {
	s := Settings{Auto: autosize.Settings{Min: 1, Limit: 64}, QueueMax: 100, MaxWait: longWaits, Shadow: shadow}
	l := &learnt{t: t, serves: 5, now: noon, random: rand.New(rand.NewPCG(7, 7))}
	store := recordtest.NewMemory()
	for id := range workers {
		l.gates = append(l.gates, New(s, store, "x", uint64(id)+1))
	}
	return l, store, s
}

func TestWorkersLearnTheSlotsTogether(t *testing.T) {
	for _, workers := range []int{1, 4} {
		l, store, s := learn(t, false, workers)
		l.run(40 * time.Second)
		v := l.gates[0].Snapshot(l.now)
		if v.Slots < 5 || v.Slots > 7 || v.Why == "" {
			t.Errorf("%d workers: %d slots (%s), want the 5 that the server has, or one or two more", workers, v.Slots, v.Why)
		}
		if again := New(s, store, "x", 99).Snapshot(l.now); again.Slots != v.Slots || again.Why != v.Why {
			t.Errorf("after a reload %d slots: %s", again.Slots, again.Why)
		}
		l.serves = 10
		l.run(40 * time.Second)
		if v := l.gates[0].Snapshot(l.now); v.Slots < 9 || v.Slots > 13 {
			t.Errorf("%d workers: %d slots (%s) of a server that has 10 now", workers, v.Slots, v.Why)
		}
	}
}

// In shadow mode nothing waits, and the status says what would be.
func TestSlotsAreLearnedInShadow(t *testing.T) {
	l, _, _ := learn(t, true, 2)
	l.random = rand.New(rand.NewPCG(8, 8))
	for range 30 { // 6 a second, and 12 are served
		l.run(10 * time.Millisecond)
		l.idle(time.Second / 6)
	}
	if n := l.gates[0].Snapshot(l.now).Slots; n < 5 {
		t.Errorf("%d slots, and all went without a wait", n)
	}
}

// idle lets time pass in which nothing comes.
func (l *learnt) idle(length time.Duration) {
	for end := l.now.Add(length); l.now < end; l.now += 10 * millisecond {
		l.serve()
	}
}

// Fewer slots were learned than are reserved: one is left to the others all the same.
func TestReservesLeaveOneOfFewSlots(t *testing.T) {
	g, _, _ := pair(Settings{Auto: autosize.Settings{Min: 1, Limit: 3}, ReservedUrgent: 1, ReservedHigh: 1, QueueMax: 9})
	arrive(t, g, noon, request(config.Low, 1, 1), gate.Allowed, "")
	arrive(t, g, noon, request(config.Low, 1, 1), gate.Queued, "")
	arrive(t, g, noon, request(config.Urgent, 1, 1), gate.Allowed, "")
	g, _, _ = pair(Settings{Auto: autosize.Settings{Min: 1, Limit: 2}, ReservedUrgent: 1, ReservedHigh: 3, QueueMax: 9})
	arrive(t, g, noon, request(config.Low, 1, 1), gate.Allowed, "")
}

// A record with slots is read as it was written, and what is learned is lost alone where it is damaged.
func TestARecordWithLearnedSlots(t *testing.T) {
	l, store, s := learn(t, false, 1)
	l.run(5 * time.Second)
	value, version, _, _ := store.Get("x")
	var known shared
	if !known.decode(value) || string(known.encode(nil)) != string(value) {
		t.Fatal("it is read otherwise than it was written")
	}
	damaged := append([]byte(nil), value...)
	for i := range 8 { // of the number of slots, no number
		damaged[headerSize+7*8+i] = 0xff
	}
	if _, err := store.Put("x", damaged, version); err != nil {
		t.Fatal(err)
	}
	if v := New(s, store, "x", 7).Snapshot(l.now); v.Slots != 8 || v.InFlight != len(l.flying) {
		t.Errorf("%d slots, %d in flight, want 8 as at first, and those %d", v.Slots, v.InFlight, len(l.flying))
	}
}

func TestSamplesAllocateNothing(t *testing.T) {
	g, _, store := pair(Settings{Auto: autosize.Settings{Min: 1, Limit: 64}, QueueMax: 9})
	store.InPlace = true
	x, now := request(config.Normal, 1, 10), noon
	round := func() {
		now = now.Add(50 * time.Millisecond)
		g.Arrive(now, x)
		g.Observe(now, x, Took{TTFT: 20 * time.Millisecond})
		_ = g.Finish(now, x, Answer{Judged: true, Requests: -1, Tokens: -1, Took: Took{ITL: 10 * time.Millisecond}})
	}
	round()
	if n := testing.AllocsPerRun(200, round); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is told of requests that slots aren't learned from is dropped, and more samples than fit are, too.
func TestSamplesAreBounded(t *testing.T) {
	g, _, store := pair(Settings{Auto: autosize.Settings{Min: 1, Limit: 64}, QueueMax: 9})
	x := request(config.Normal, 1, 10)
	g.Observe(noon, x, Took{TTFT: time.Second})
	if len(g.samples) != 0 {
		t.Error("a request that was not sent counts")
	}
	arrive(t, g, noon, x, gate.Allowed, "")
	for range 1000 {
		g.Observe(noon, x, Took{TTFT: time.Second})
	}
	if len(g.samples) != mostSamples {
		t.Errorf("%d samples are kept", len(g.samples))
	}
	if err := g.Finish(noon, x, Answer{Requests: -1, Tokens: -1}); err != nil || len(g.samples) != 0 {
		t.Errorf("%d samples are left, %v", len(g.samples), err)
	}
	g = New(Settings{Slots: 4}, store, "y", 1)
	arrive(t, g, noon, x, gate.Allowed, "")
	if g.Observe(noon, x, Took{TTFT: time.Second}); len(g.samples) != 0 {
		t.Error("samples are kept where nothing is learned")
	}
}
