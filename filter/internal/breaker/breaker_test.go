package breaker

import (
	"math"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const (
	second = 1_000_000_000 // of moments and durations alike
	noon   = clock.Moment(12 * 3600 * second)
	self   = uint64(7)
)

// standard is the default configuration.
var standard = NewSettings(&config.Breaker{ErrorRate: 0.5, Window: 30 * time.Second, MinRequests: 20, OpenFor: time.Minute, Probes: 1})

// preset is that of the seed's trial: 5 %, half open after 30 s, five probes.
var preset = NewSettings(&config.Breaker{ErrorRate: 0.05, Window: 30 * time.Second, MinRequests: 20, OpenFor: 30 * time.Second, Probes: 5})

// serve leads requests through, one after the other at the same time: of total, the first failed ones fail.
func (s *State) serve(now clock.Moment, c *Settings, total, failed int, duration int64) {
	for i := range total {
		p, v, _ := s.Admit(now, c, self, 1)
		if v.Refused {
			return
		}
		result := Succeeded
		if i >= total-failed {
			result = Failed
		}
		s.Finish(now, c, self, p, result, time.Duration(duration))
	}
}

func TestOpens(t *testing.T) {
	slow := standard
	slow.slowCall = 2 * second
	for _, test := range []struct {
		name          string
		settings      Settings
		total, failed int
		duration      int64
		want          Phase
		reason        string
	}{
		{"nothing", standard, 0, 0, 0, Closed, ""},
		{"no failure", standard, 100, 0, 0, Closed, ""},
		{"below 50 %", standard, 21, 10, 0, Closed, ""},
		{"50 %", standard, 20, 10, 0, Open, "5xx_rate_50%_in_30s"},
		{"too few", standard, 19, 19, 0, Closed, ""},
		{"just enough", standard, 20, 20, 0, Open, "5xx_rate_100%_in_30s"},
		{"below the preset's 5 %", preset, 41, 2, 0, Closed, ""},
		{"the preset's 5 %", preset, 40, 2, 0, Open, "5xx_rate_5%_in_30s"},
		{"slow, which doesn't matter", standard, 100, 0, 3600 * second, Closed, ""},
		{"just fast enough", slow, 100, 0, 2*second - 1, Closed, ""},
		{"too slow", slow, 20, 0, 2 * second, Open, "slow_rate_100%_in_30s"},
		{"slow failures are failures", slow, 20, 20, 9 * second, Open, "5xx_rate_100%_in_30s"},
	} {
		var s State
		s.serve(noon, &test.settings, test.total, test.failed, test.duration)
		if s.Phase() != test.want || s.Last().String() != test.reason {
			t.Errorf("%s: %v, %q", test.name, s.Phase(), s.Last())
		}
	}
}

// Failed and slow requests count together; a reason names one of them if it is enough.
func TestSlowAndFailedCountTogether(t *testing.T) {
	c := standard
	c.slowCall = second
	for _, test := range []struct {
		failed, slow, fast int
		want               Phase
		reason             string
	}{
		{4, 5, 11, Closed, ""},
		{5, 5, 10, Open, "5xx_and_slow_rate_50%_in_30s"},
		{2, 12, 6, Open, "slow_rate_60%_in_30s"},
		{17, 3, 0, Open, "5xx_rate_85%_in_30s"},
	} {
		var s State
		for i := range test.failed + test.slow + test.fast {
			p, _, _ := s.Admit(noon, &c, self, 1)
			switch {
			case i < test.fast:
				s.Finish(noon, &c, self, p, Succeeded, 0)
			case i < test.fast+test.slow:
				s.Finish(noon, &c, self, p, Succeeded, second)
			default:
				s.Finish(noon, &c, self, p, Failed, 0)
			}
		}
		if s.Phase() != test.want || s.Last().String() != test.reason {
			t.Errorf("%+v: %v, %q", test, s.Phase(), s.Last())
		}
	}
}

func TestOldRequestsLeaveTheWindow(t *testing.T) {
	var s State
	s.serve(noon, &standard, 19, 19, 0)
	s.serve(noon+30*second, &standard, 19, 19, 0)
	if failed, _, n := s.Shares(noon+30*second, &standard); s.Phase() != Closed || failed != 1 || n != 19 {
		t.Errorf("%v, %v of %d", s.Phase(), failed, n)
	}
	s.serve(noon+57*second, &standard, 1, 1, 0)
	if s.Phase() != Open {
		t.Errorf("%v", s.Phase())
	}
}

// opened is a breaker that has just opened.
func opened(c *Settings) *State {
	s := new(State)
	s.serve(noon, c, 20, 20, 0)
	return s
}

func TestOpenRefusesUntilItsTimeIsOver(t *testing.T) {
	s := opened(&standard)
	for _, after := range []time.Duration{0, 1, 59 * second, 60*second - 1} {
		_, v, changed := s.Admit(noon+clock.Moment(after), &standard, self, 1)
		if !v.Refused || v.Phase != Open || v.RecoversIn != 60*second-after || changed {
			t.Errorf("after %d ns: %+v, changed %v", after, v, changed)
		}
		if got := s.RecoversIn(noon+clock.Moment(after), &standard); got != 60*second-after {
			t.Errorf("after %d ns: recovers in %d", after, got)
		}
	}
	p, v, changed := s.Admit(noon+60*second, &standard, self, 1)
	if v.Refused || !p.Probe || !changed || s.Phase() != HalfOpen {
		t.Errorf("%+v %+v, changed %v, %v", p, v, changed, s.Phase())
	}
}

func TestOneProbe(t *testing.T) {
	for _, test := range []struct {
		name     string
		result   Result
		duration int64
		want     Phase
		reason   string
	}{
		{"success", Succeeded, 0, Closed, "5xx_rate_100%_in_30s"},
		{"failure", Failed, 0, Open, "probe_failed"},
		{"too slow", Succeeded, 5 * second, Open, "probe_slow"},
		{"the client left", Neither, 0, HalfOpen, "5xx_rate_100%_in_30s"},
	} {
		c := standard
		c.slowCall = 5 * second
		s := opened(&c)
		now := noon + 60*second
		p, _, _ := s.Admit(now, &c, self, 1)
		if _, v, _ := s.Admit(now, &c, 8, 1); !v.Refused || v.Phase != HalfOpen {
			t.Errorf("%s: a second probe passed: %+v", test.name, v)
		}
		if !s.Finish(now+second, &c, self, p, test.result, time.Duration(test.duration)) {
			t.Errorf("%s: nothing to write", test.name)
		}
		if s.Phase() != test.want || s.Last().String() != test.reason {
			t.Errorf("%s: %v, %q", test.name, s.Phase(), s.Last())
		}
		_, v, _ := s.Admit(now+second, &c, 8, 1)
		if refused := test.want == Open; v.Refused != refused {
			t.Errorf("%s: then %+v", test.name, v)
		}
	}
}

func TestAllProbesMustSucceed(t *testing.T) {
	s := opened(&preset)
	now := noon + 30*second
	var passes []Pass
	for range 50 {
		if p, v, _ := s.Admit(now, &preset, uint64(len(passes)%3), 1); !v.Refused {
			passes = append(passes, p)
		}
	}
	if len(passes) != 5 {
		t.Fatalf("%d probes passed", len(passes))
	}
	for i, p := range passes {
		if s.Phase() != HalfOpen {
			t.Fatalf("%v before probe %d ended", s.Phase(), i)
		}
		s.Finish(now+second, &preset, uint64(i%3), p, Succeeded, 0)
	}
	if _, _, n := s.Shares(now+second, &preset); s.Phase() != Closed || n != 0 {
		t.Errorf("%v, %d requests in the window", s.Phase(), n)
	}
}

// What was admitted before it opened, and ends late, changes nothing in any later phase.
func TestLateAnswersDontCount(t *testing.T) {
	var s State
	early, _, _ := s.Admit(noon, &standard, self, 1)
	s.serve(noon, &standard, 20, 20, 0)
	finish := func(when string) {
		before := s
		for _, r := range []Result{Failed, Succeeded, Neither} {
			if s.Finish(noon+61*second, &standard, self, early, r, 0) || s != before {
				t.Errorf("%s: a late answer counts", when)
			}
		}
	}
	finish("open")
	p, _, _ := s.Admit(noon+60*second, &standard, self, 1)
	finish("half open")
	s.Finish(noon+61*second, &standard, self, p, Succeeded, 0)
	finish("closed again")
	s.Finish(noon+61*second, &standard, self, p, Failed, 0)
	if _, _, n := s.Shares(noon+61*second, &standard); n != 0 {
		t.Errorf("%d requests in the window", n)
	}
}

// Shadow mode lets requests pass that have no probe.
func TestRequestsWithoutAProbeDontCountInHalfOpen(t *testing.T) {
	s := opened(&standard)
	s.Admit(noon+60*second, &standard, self, 1)
	p, v, _ := s.Admit(noon+60*second, &standard, self, 1)
	if !v.Refused || p.Probe || s.Finish(noon+61*second, &standard, self, p, Failed, 0) || s.Phase() != HalfOpen {
		t.Errorf("%+v %+v, %v", p, v, s.Phase())
	}
}

func TestProbesOfADeadWorkerComeBack(t *testing.T) {
	s := opened(&standard)
	now := noon + 60*second
	dead, _, _ := s.Admit(now, &standard, self, 1)
	if _, v, _ := s.Admit(now+clock.Moment(Lease)-1, &standard, 8, 1); !v.Refused {
		t.Error("a probe passed while another one was out")
	}
	p, v, _ := s.Admit(now+clock.Moment(Lease), &standard, 8, 1)
	if v.Refused || !p.Probe {
		t.Fatalf("%+v", v)
	}
	if s.Finish(now+clock.Moment(Lease), &standard, self, dead, Failed, 0) {
		t.Error("the end of a probe that was given to another worker counts")
	}
	s.Finish(now+clock.Moment(Lease), &standard, 8, p, Succeeded, 0)
	if s.Phase() != Closed {
		t.Error(s.Phase())
	}
}

// A worker that stood still, and takes a probe again: the end of its old one is not that of the new one.
func TestOldProbeIsNotTheNewOne(t *testing.T) {
	s := opened(&standard)
	now := noon + 60*second
	old, _, _ := s.Admit(now, &standard, self, 1)
	fresh, _, _ := s.Admit(now+clock.Moment(Lease), &standard, self, 1)
	if !fresh.Probe || s.Finish(now+clock.Moment(Lease)+1, &standard, self, old, Succeeded, 0) || s.Phase() != HalfOpen {
		t.Errorf("%+v, %v", fresh, s.Phase())
	}
	if !s.Finish(now+clock.Moment(Lease)+1, &standard, self, fresh, Succeeded, 0) || s.Phase() != Closed {
		t.Errorf("%v", s.Phase())
	}
}

func TestRenewedProbesLast(t *testing.T) {
	s := opened(&standard)
	now := noon + 60*second
	p, _, _ := s.Admit(now, &standard, self, 1)
	for range 500 {
		now += clock.Moment(Lease / 4)
		if s.Renew(now-1, self) || s.Renew(now, 8) || !s.Renew(now, self) {
			t.Fatal("it is renewed every quarter of a lease, by its own worker")
		}
		if _, v, _ := s.Admit(now, &standard, 8, 1); !v.Refused {
			t.Fatal("a probe passed while another one was out")
		}
	}
	if s.Finish(now, &standard, self, p, Succeeded, 0); s.Phase() != Closed {
		t.Error(s.Phase())
	}
}

// More workers than there is room for: those without room pass nothing, and all probes are made all the same.
func TestMoreWorkersThanHolders(t *testing.T) {
	c := standard
	c.probes = 20
	s := opened(&c)
	now := noon + 60*second
	type probe struct {
		worker uint64
		pass   Pass
	}
	var out []probe
	for worker := range uint64(20) {
		if p, v, _ := s.Admit(now, &c, worker, 1); !v.Refused {
			out = append(out, probe{worker, p})
		}
	}
	if len(out) != maxHolders {
		t.Errorf("%d probes", len(out))
	}
	for s.Phase() == HalfOpen {
		s.Finish(now, &c, out[0].worker, out[0].pass, Succeeded, 0)
		out = out[1:]
		if p, v, _ := s.Admit(now, &c, uint64(len(out)+30), 1); !v.Refused && p.Probe {
			out = append(out, probe{uint64(len(out) + 30), p})
		}
	}
	if s.Phase() != Closed || s.period != 3 {
		t.Errorf("%v after %d transitions", s.Phase(), s.period)
	}
}

func TestClocks(t *testing.T) {
	s := opened(&standard)
	if _, v, changed := s.Admit(noon-10*second, &standard, self, 1); !v.Refused || v.RecoversIn != 60*second || changed {
		t.Errorf("a clock a little behind: %+v", v)
	}
	back := noon - 3600*second
	if _, v, changed := s.Admit(back, &standard, self, 1); !v.Refused || v.RecoversIn != 60*second || !changed {
		t.Errorf("a clock that was set back: %+v, changed %v", v, changed)
	}
	if p, _, _ := s.Admit(back+60*second, &standard, self, 1); !p.Probe {
		t.Error("it does not follow a clock that was set back")
	}
	var closed State
	closed.serve(noon, &standard, 19, 19, 0)
	closed.serve(back, &standard, 1, 1, 0)
	if closed.Phase() != Open {
		t.Errorf("%v", closed.Phase())
	}
	for _, extreme := range []int64{math.MaxInt64, math.MinInt64, 0, -1, math.MaxInt64} {
		s.serve(clock.Moment(extreme), &standard, 30, 30, 0)
		if wait := s.RecoversIn(clock.Moment(extreme), &standard); !s.possible() || wait < 0 || wait > standard.openFor {
			t.Errorf("at %d: %+v", extreme, s)
		}
	}
}

func TestCountersSaturate(t *testing.T) {
	full := counts{total: math.MaxUint32, failed: 7}
	full.add(true, false)
	if full != (counts{total: math.MaxUint32, failed: 7}) {
		t.Errorf("%+v", full)
	}
	w := window{}
	for i := range w.Slots {
		w.Slots[i] = counts{total: math.MaxUint32, slow: math.MaxUint32}
	}
	if sum := w.sum(); sum.slow != sum.total || sum.failed != 0 {
		t.Errorf("%+v", sum)
	}
}

func TestNames(t *testing.T) {
	if Closed.String() != "CLOSED" || Open.String() != "OPEN" || HalfOpen.String() != "HALF_OPEN" || (Trigger{}).String() != "" {
		t.Errorf("%v %v %v %v", Closed, Open, HalfOpen, Trigger{})
	}
	if got := (Trigger{cause: tooManyErrors, Share: 0.2999, Over: second / 2}).String(); got != "5xx_rate_29%_in_0.5s" {
		t.Error(got)
	}
}

func BenchmarkClosed(b *testing.B) {
	b.ReportAllocs()
	var s State
	for now := noon; b.Loop(); now += second / 1000 {
		p, v, _ := s.Admit(now, &standard, self, 1)
		if v.Refused || !s.Finish(now, &standard, self, p, Succeeded, 0) {
			b.Fatal(v)
		}
	}
}

// A request that comes and ends allocates nothing, whatever becomes of the breaker by it.
func TestARequestAllocatesNothing(t *testing.T) {
	var s State
	var b, text []byte
	now, refused := noon, 0
	request := func() {
		now += 100 * second / 1000
		p, v, _ := s.Admit(now, &standard, self, 1)
		if v.Refused {
			refused++
		}
		s.Renew(now, self)
		s.Finish(now, &standard, self, p, Failed, second)
		if b = s.Append(b[:0]); !s.Decode(b) {
			t.Fatal("what was written can't be read")
		}
		text = s.Last().Append(text[:0])
	}
	request()
	if n := testing.AllocsPerRun(1000, request); n != 0 || refused == 0 {
		t.Errorf("%v allocations, %d refused", n, refused)
	}
}
