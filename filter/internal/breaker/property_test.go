package breaker

import (
	"bytes"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

func someSettings(t *rapid.T) Settings {
	return Settings{
		ErrorRate:   rapid.Float64Range(0.01, 1).Draw(t, "error rate"),
		slowCall:    rapid.SampledFrom([]time.Duration{0, second}).Draw(t, "slow call"),
		window:      time.Duration(rapid.Int64Range(second, 60*second).Draw(t, "window")),
		openFor:     time.Duration(rapid.Int64Range(second/10, 55*second).Draw(t, "open for")),
		minRequests: rapid.Int64Range(1, 10).Draw(t, "min requests"),
		probes:      rapid.Uint32Range(1, 6).Draw(t, "probes"),
	}
}

// record is where the workers keep the state, in bytes.
type record struct {
	value   []byte
	version int
}

func (r *record) load(t *rapid.T) State {
	s, sound := decoded(r.value)
	if !sound {
		t.Fatalf("a state that was written can't be read: %x", r.value)
	}
	return s
}

// machine is several workers that share a record. Each of them reads in one step, and writes in a later one, if nobody else
// has written in between; else it begins again.
type machine struct {
	t        *rapid.T
	settings Settings
	shared   record
	now      clock.Moment
	workers  []machineWorker

	// What the written states add up to.
	entered   clock.Moment
	inFlight  map[owned]int // probes of the present period
	succeeded int
	stuck     bool // one of them lasts for longer than OpenFor
}

// owned is a pass and its worker: two workers can have equal passes.
type owned struct {
	worker uint64
	pass   Pass
}

type machineWorker struct {
	id       uint64
	begun    bool
	finishes bool
	read     State
	version  int
	flying   []Pass
}

func (m *machine) begin(w *machineWorker) {
	w.begun, w.read, w.version = true, m.shared.load(m.t), m.shared.version
	w.finishes = len(w.flying) > 0 && rapid.Bool().Draw(m.t, "finishes")
}

// complete decides on what was read, and writes it if it is still what is there.
func (m *machine) complete(w *machineWorker) {
	w.begun = false
	s := w.read
	if w.finishes {
		m.finish(w, s)
		return
	}
	p, v, changed := s.Admit(m.now, &m.settings, w.id, rapid.Uint64Range(1, 3).Draw(m.t, "subject"))
	if w.version != m.shared.version {
		if changed {
			return // lost: void
		}
		// Nothing to write, so what was read decides, though it is a moment old.
		if !v.Refused {
			w.flying = append(w.flying, p)
		}
		return
	}
	if changed {
		m.write(&w.read, &s)
	}
	if v.Refused {
		if v.Phase == Closed || p.Probe {
			m.t.Fatalf("refused with %+v %+v", p, v)
		}
		return
	}
	if s.phase == Open || s.phase == HalfOpen && !p.Probe && (s.sole == 0 || s.sole == p.subject) {
		m.t.Fatalf("passed in %v with %+v", s.phase, p)
	}
	w.flying = append(w.flying, p)
	if p.Probe {
		m.inFlight[owned{w.id, p}]++
		m.checkProbes()
	}
}

func (m *machine) finish(w *machineWorker, s State) {
	p := w.flying[0]
	result := Result(rapid.IntRange(0, 2).Draw(m.t, "result"))
	duration := rapid.SampledFrom([]time.Duration{0, second}).Draw(m.t, "duration")
	changed := s.Finish(m.now, &m.settings, w.id, p, result, time.Duration(duration))
	if changed && w.version != m.shared.version {
		return // lost: it reads again
	}
	w.flying = w.flying[1:]
	if !changed {
		if p.period == s.period && m.inFlight[owned{w.id, p}] > 0 && w.version == m.shared.version && !m.stuck {
			m.t.Fatalf("the end of a probe in flight counts for nothing: %+v in %+v", p, s)
		}
		return
	}
	if p.period != w.read.period {
		m.t.Fatalf("a late answer of %+v changed %+v", p, w.read)
	}
	if p.Probe {
		if m.inFlight[owned{w.id, p}]--; m.inFlight[owned{w.id, p}] < 0 {
			m.t.Fatalf("%+v ended twice", p)
		}
	}
	bad := result == Failed || result == Succeeded && m.settings.slowCall > 0 && duration >= m.settings.slowCall
	if w.read.phase == HalfOpen {
		if result == Succeeded && !bad {
			m.succeeded++
		}
		if bad != (s.phase == Open) {
			m.t.Fatalf("a probe that failed %v led to %v", bad, s.phase)
		}
		if (s.phase == Closed) != (m.succeeded == int(m.settings.probes)) {
			m.t.Fatalf("%v after %d of %d probes", s.phase, m.succeeded, m.settings.probes)
		}
	}
	m.write(&w.read, &s)
	m.checkProbes()
}

func (m *machine) write(from, to *State) {
	if !to.possible() {
		m.t.Fatalf("%+v", to)
	}
	if from.phase != to.phase {
		switch [2]Phase{from.phase, to.phase} {
		case [2]Phase{Closed, Open}, [2]Phase{HalfOpen, Open}:
		case [2]Phase{Open, HalfOpen}:
			if m.now.Sub(m.entered) < m.settings.openFor && from.sole == 0 {
				m.t.Fatalf("half open after %d, want %d", m.now-m.entered, m.settings.openFor)
			}
		case [2]Phase{HalfOpen, Closed}:
			if to.window.sum() != (counts{}) {
				m.t.Fatalf("the window isn't clean: %+v", to.window)
			}
		default:
			m.t.Fatalf("from %v to %v", from.phase, to.phase)
		}
		m.entered, m.succeeded, m.stuck = m.now, 0, false
		clear(m.inFlight)
	} else if from.period != to.period {
		m.t.Fatalf("a new period of the same phase: %+v to %+v", from, to)
	}
	m.shared = record{to.Append(nil), m.shared.version + 1}
}

// checkProbes holds what is in flight in workers that are alive, plus what has succeeded, to the number of probes. Those that last for
// longer than OpenFor don't count, nor does their success.
func (m *machine) checkProbes() {
	out := 0
	for o, n := range m.inFlight {
		if m.now.Sub(o.pass.began) >= m.settings.openFor {
			m.stuck = m.stuck || n > 0
			continue
		}
		out += n
	}
	if !m.stuck {
		out += m.succeeded
	}
	if out > int(m.settings.probes) {
		m.t.Fatalf("%d probes are out or have succeeded, want %d", out, m.settings.probes)
	}
}

// die takes a worker away, whose probes come back after a lease; another one takes its place.
func (m *machine) die(w *machineWorker, id uint64) {
	for _, p := range w.flying {
		delete(m.inFlight, owned{w.id, p})
	}
	*w = machineWorker{id: id}
}

// Whatever workers do at once, whoever loses the race, and whoever dies: only legal transitions are written, and there are
// never more probes than there may be.
func TestWorkersShareOneBreaker(t *testing.T) {
	phases := map[Phase]int{}
	rapid.Check(t, func(t *rapid.T) {
		m := machine{
			t: t, settings: someSettings(t), now: noon, entered: noon, inFlight: map[owned]int{},
			shared: record{value: new(State).Append(nil)}, workers: make([]machineWorker, rapid.IntRange(1, 4).Draw(t, "workers")),
		}
		for i := range m.workers {
			m.workers[i].id = uint64(i + 1)
		}
		ids := uint64(len(m.workers))
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			// Less than a lease passes while a probe is in flight, so that none expires whose worker is alive.
			m.now += rapid.SampledFrom([]clock.Moment{0, 1, second / 10, clock.Moment(m.settings.openFor / 3)}).Draw(t, "pause")
			w := &m.workers[rapid.IntRange(0, len(m.workers)-1).Draw(t, "worker")]
			m.renew()
			switch {
			case rapid.IntRange(0, 40).Draw(t, "fate") == 0:
				ids++
				m.die(w, ids)
			case !w.begun:
				m.begin(w)
			default:
				m.complete(w)
			}
			s := m.shared.load(t)
			phases[s.phase]++
		}
	})
	t.Logf("steps in each phase: %v", phases)
	if phases[Open] == 0 || phases[HalfOpen] == 0 {
		t.Errorf("the phases that were seen: %v", phases)
	}
}

// renew is what the workers' ticks do.
func (m *machine) renew() {
	s := m.shared.load(m.t)
	before := s
	for i := range m.workers {
		s.Renew(m.now, m.workers[i].id)
	}
	if s != before {
		m.write(&before, &s)
	}
}

// In HALF_OPEN, while nothing is given back and nobody dies: of any number of requests in any number of workers, exactly
// Probes pass.
func TestExactlyProbesPass(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := standard
		c.probes = rapid.Uint32Range(1, 50).Draw(t, "probes")
		shared := record{value: opened(&c).Append(nil)}
		now := noon + clock.Moment(c.openFor)
		workers := make([]machineWorker, rapid.IntRange(1, maxHolders).Draw(t, "workers"))
		for i := range workers {
			workers[i].id = uint64(i + 1)
		}
		passed := 0
		for range 6 * int(c.probes) * len(workers) {
			w := &workers[rapid.IntRange(0, len(workers)-1).Draw(t, "worker")]
			if !w.begun {
				w.begun, w.read, w.version = true, shared.load(t), shared.version
				continue
			}
			w.begun = false
			s := w.read
			p, v, changed := s.Admit(now, &c, w.id, 1)
			if changed && w.version != shared.version {
				continue
			}
			if !v.Refused {
				if !p.Probe {
					t.Fatalf("%+v passed", p)
				}
				passed++
			}
			if changed {
				shared = record{s.Append(nil), shared.version + 1}
			}
		}
		s := shared.load(t)
		for { // whoever comes now finds none, or makes up the number
			_, v, _ := s.Admit(now, &c, 1, 1)
			if v.Refused {
				break
			}
			passed++
		}
		if passed != int(c.probes) {
			t.Fatalf("%d of %d probes passed", passed, c.probes)
		}
	})
}

// A clock may do what it likes.
func TestClocksCantHarm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := someSettings(t)
		var s State
		var flying []Pass
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now := rapid.Int64().Draw(t, "now")
			if p, v, _ := s.Admit(clock.Moment(now), &c, self, 1); !v.Refused {
				flying = append(flying, p)
			} else if v.RecoversIn < 0 || v.RecoversIn > c.openFor {
				t.Fatalf("%+v", v)
			}
			s.Renew(clock.Moment(rapid.Int64().Draw(t, "then")), self)
			if len(flying) > 0 && rapid.Bool().Draw(t, "ends") {
				s.Finish(clock.Moment(rapid.Int64().Draw(t, "then")), &c, self, flying[0], Result(rapid.IntRange(0, 2).Draw(t, "result")), time.Duration(rapid.Int64().Draw(t, "duration")))
				flying = flying[1:]
			}
			if got, sound := decoded(s.Append(nil)); !sound || got != s {
				t.Fatalf("%+v became %+v", s, got)
			}
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	c := preset
	s := opened(&c)
	s.Admit(noon+30*second, &c, self, 1)
	good := s.Append([]byte("before"))[len("before"):]
	if got, sound := decoded(good); !sound || got != *s || len(good) != Size {
		t.Fatal("what is right was refused")
	}
	for name, edit := range map[string]func([]byte) []byte{
		"nothing":                 func([]byte) []byte { return nil },
		"a byte less":             func(b []byte) []byte { return b[1:] },
		"a byte more":             func(b []byte) []byte { return append(b, 0) },
		"no such phase":           func(b []byte) []byte { b[0] = 3; return b },
		"no such cause":           func(b []byte) []byte { b[1] = 6; return b },
		"open with a probe":       func(b []byte) []byte { b[0] = byte(Open); return b },
		"closed with a probe":     func(b []byte) []byte { b[0] = byte(Closed); return b },
		"half open at first":      func(b []byte) []byte { clear(b[2:10]); return b },
		"half open with a window": func(b []byte) []byte { b[headSize+8] = 1; return b },
		"more failed than were":   func(b []byte) []byte { b[0] = byte(Closed); b[headSize+12] = 1; return b },
		"an entry of nobody":      func(b []byte) []byte { b[headSize+windowSize] = 1; return b },
		"a share above the whole": func(b []byte) []byte { b[Size-9] = 0x7f; return b },
		"a negative window":       func(b []byte) []byte { b[Size-1] = 0x80; return b },
	} {
		if got, sound := decoded(edit(bytes.Clone(good))); sound || got != (State{}) {
			t.Errorf("%s: %+v was taken", name, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(new(State).Append(nil), int64(0))
	f.Add(opened(&standard).Append(nil), int64(noon))
	s := opened(&preset)
	s.Admit(noon+30*second, &preset, self, 1)
	f.Add(s.Append(nil), int64(noon+31*second))
	f.Fuzz(func(t *testing.T, b []byte, now int64) {
		s, sound := decoded(b)
		if !sound {
			if s != (State{}) {
				t.Fatalf("refused, but gave %+v", s)
			}
			return
		}
		if got := s.Append(nil); !bytes.Equal(got, b) {
			t.Fatalf("%x became %x", b, got)
		}
		_ = s.Last().String()
		for i := range 40 {
			p, _, _ := s.Admit(clock.Moment(now), &preset, self, 1)
			s.Renew(clock.Moment(now), self)
			s.Finish(clock.Moment(now), &preset, self, p, Result(i%3), 0)
			if !s.possible() {
				t.Fatalf("%+v", s)
			}
			now += second
		}
	})
}

// decoded is what can be read of a record, by who has read another one before.
func decoded(b []byte) (s State, sound bool) {
	s = State{phase: HalfOpen, period: 1, since: 1, succeeded: 1, sole: 1, failedLast: 1, last: Trigger{At: 1, Share: 1, Over: 1}}
	sound = s.Decode(b)
	return s, sound
}
