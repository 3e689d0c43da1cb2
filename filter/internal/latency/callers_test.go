package latency

import "testing"

// A client that makes its own requests slow doesn't close the gate while others measure fine.
func TestOneCallersTimesAreItsOwn(t *testing.T) {
	for _, slow := range []Sample{{TTFT: 40 * second, Subject: 7}, {ITL: second, Subject: 7}, {TTFT: 40 * second, ITL: second, Subject: 7}} {
		var s State
		now := noon
		s.Record(now, &standard, Sample{TTFT: second / 10, ITL: 10 * millisecond, Subject: 8})
		for i := range uint64(300) {
			now += second / 10
			if s.Record(now, &standard, slow); s.Judge(now, &standard).Over {
				t.Fatalf("%+v closes it after %d", slow, i)
			}
			s.Record(now, &standard, Sample{TTFT: second / 10, ITL: 10 * millisecond, Subject: 8 + i%3})
		}
	}
}

// If several are slow it closes, for all.
func TestSeveralCloseIt(t *testing.T) {
	for _, subjects := range []uint64{2, 3, 50} {
		var s State
		now := noon
		for i := range uint64(100) {
			now += second
			s.Record(now, &standard, Sample{TTFT: 3 * second, Subject: i%subjects*0x9e3779b97f4a7c15 + 1})
		}
		if r := s.Judge(now, &standard); !r.Over || !s.Concerns(123) {
			t.Errorf("%d callers: %+v, concerns a stranger: %v", subjects, r, s.Concerns(123))
		}
	}
}

// One that is alone is believed, but its samples close the gate for it alone; another one's tell more.
func TestAloneItClosesItForItself(t *testing.T) {
	var s State
	s.Record(noon, &standard, Sample{TTFT: 40 * second, Subject: 7})
	if !s.Judge(noon, &standard).Over || !s.Concerns(7) || s.Concerns(8) {
		t.Errorf("concerns it: %v, a stranger: %v", s.Concerns(7), s.Concerns(8))
	}
	slow, well := s, s
	slow.Record(noon+second, &standard, Sample{TTFT: 5 * second, Subject: 8})
	if !slow.Judge(noon+second, &standard).Over || !slow.Concerns(9) {
		t.Error("it isn't closed for all once it is slow for two")
	}
	well.Record(noon+second, &standard, Sample{TTFT: second / 10, Subject: 8})
	if !well.Concerns(7) || well.Concerns(9) {
		t.Error("it is closed for others whom it serves well")
	}
}
