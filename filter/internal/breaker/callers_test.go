package breaker

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// call leads one request of a subject through, if it may pass.
func (s *State) call(now clock.Moment, c *Settings, subject uint64, r Result, duration int64) (v Verdict) {
	p, v, _ := s.Admit(now, c, self, subject)
	if !v.Refused {
		s.Finish(now, c, self, p, r, time.Duration(duration))
	}
	return v
}

// A client whose requests make the server fail, or take long, doesn't open it for others, however many they are.
func TestOneCallersFailuresAreItsOwn(t *testing.T) {
	slow := standard
	slow.slowCall = second
	for _, bad := range []struct {
		result   Result
		duration int64
	}{{Failed, 0}, {Succeeded, 5 * second}} {
		var s State
		now := noon
		for i := range uint64(500) {
			s.call(now, &slow, 7, bad.result, bad.duration)
			if i%4 == 0 {
				s.call(now, &slow, 8+i%3, Succeeded, 0)
			}
			if now += second / 10; s.Phase() != Closed && i > 0 {
				t.Fatalf("%v after %d: %v", s.Phase(), i, s.Last())
			}
		}
	}
}

// If it fails for several it opens, exactly as for one; the reason tells what is believed.
func TestFailuresOfSeveralOpenIt(t *testing.T) {
	for _, subjects := range []uint64{1, 2, 3, 20} {
		var s State
		for i := range uint64(20) {
			if s.Phase() != Closed {
				t.Errorf("%d callers: open after %d", subjects, i)
			}
			s.call(noon, &standard, i%subjects*0x9e3779b97f4a7c15+1, Failed, 0)
		}
		if s.Phase() != Open || s.Last().String() != "5xx_rate_100%_in_30s" {
			t.Errorf("%d callers: %v, %v", subjects, s.Phase(), s.Last())
		}
	}
}

// What one caller has opened alone another one may try at once; if that fails, too, it is open for all.
func TestAStrangerTriesWhatOneHasOpened(t *testing.T) {
	alone := func() *State {
		var s State
		for range 20 {
			s.call(noon, &standard, 7, Failed, 0)
		}
		if v := s.call(noon, &standard, 7, Failed, 0); !v.Refused || s.Phase() != Open {
			t.Fatalf("%+v", v)
		}
		return &s
	}
	well := alone()
	if v := well.call(noon+second, &standard, 8, Succeeded, 0); v.Refused || well.Phase() != Closed {
		t.Errorf("%+v, %v", v, well.Phase())
	}
	ill := alone()
	ill.call(noon+second, &standard, 8, Failed, 0)
	for subject := range uint64(20) {
		if v := ill.call(noon+2*second, &standard, subject, Succeeded, 0); !v.Refused {
			t.Errorf("%d passed", subject)
		}
	}
	if v := ill.call(noon+61*second, &standard, 7, Succeeded, 0); v.Refused || ill.Phase() != Closed {
		t.Errorf("after its time: %+v, %v", v, ill.Phase())
	}
}

// What one caller has opened alone keeps no others up while one of them tries it, however long that takes. The one may keep failing.
func TestOthersPassBesideTheProbeOfWhatOneHasOpened(t *testing.T) {
	var s State
	fail := func(now clock.Moment) {
		for range 20 {
			s.call(now, &standard, 7, Failed, 0)
		}
	}
	fail(noon)
	now := noon
	var slow []Pass
	for subject := uint64(10); subject < 20; subject++ {
		now += second
		p, v, _ := s.Admit(now, &standard, self, subject)
		if v.Refused {
			t.Fatalf("%d is refused: %+v", subject, v)
		}
		slow = append(slow, p)
		fail(now)
	}
	if !slow[0].Probe || slow[1].Probe {
		t.Errorf("the first one is a probe: %v, the second: %v", slow[0].Probe, slow[1].Probe)
	}
	if v := s.call(now, &standard, 7, Failed, 0); !v.Refused {
		t.Error("the one that fails passes, too")
	}
	if s.Finish(now, &standard, self, slow[0], Failed, 0); !s.call(now, &standard, 50, Succeeded, 0).Refused {
		t.Error("it isn't open for all when it fails for another, too")
	}
}

// A client whose requests fail by its own fault is the first to come whenever it may be tried: it can't keep it open.
func TestAFailedProbeIsFollowedByAnothersProbe(t *testing.T) {
	s := opened(&standard)
	s.sole = 0
	now := noon + 60*second
	if v := s.call(now, &standard, 7, Failed, 0); v.Refused || s.Phase() != Open {
		t.Fatalf("%+v", v)
	}
	now += 60 * second
	if v := s.call(now, &standard, 7, Failed, 0); !v.Refused || v.RecoversIn != 60*second {
		t.Errorf("the same one tries again: %+v", v)
	}
	if v := s.call(now, &standard, 8, Succeeded, 0); v.Refused || s.Phase() != Closed {
		t.Errorf("%+v, %v", v, s.Phase())
	}
	// If nobody else comes it may, a while later.
	s = opened(&standard)
	s.sole = 0
	now = noon + 60*second
	s.call(now, &standard, 7, Failed, 0)
	now += 120 * second
	if v := s.call(now, &standard, 7, Succeeded, 0); v.Refused || s.Phase() != Closed {
		t.Errorf("%+v, %v", v, s.Phase())
	}
}

// Several probes are needed, and one caller fails whichever it gets: others close it all the same.
func TestOthersCloseItBetweenOnesFailures(t *testing.T) {
	c := standard
	c.probes = 3
	s := opened(&c)
	s.sole = 0
	now := noon
	for range 600 {
		now += second
		s.call(now, &c, 7, Failed, 0)
		if s.call(now, &c, 8, Succeeded, 0); s.Phase() == Closed {
			return
		}
	}
	t.Error("it never closes")
}

// A probe that doesn't end, such as one whose client sends or reads slowly, isn't waited for by others, nor are many of them.
func TestAStuckProbeIsntWaitedFor(t *testing.T) {
	s := opened(&standard)
	s.sole = 0
	now := noon + 60*second
	for stuck := range uint64(20) {
		if p, v, _ := s.Admit(now, &standard, self, 100+stuck); !p.Probe {
			t.Fatalf("the %d. probe doesn't pass: %+v", stuck, v)
		}
		for range 60 {
			if _, v, _ := s.Admit(now, &standard, self, 200); !v.Refused {
				t.Fatal("a probe passes while another one is out")
			}
			now += second
			s.Renew(now, self)
		}
	}
	if v := s.call(now, &standard, 8, Succeeded, 0); v.Refused || s.Phase() != Closed {
		t.Errorf("%+v, %v", v, s.Phase())
	}
}
