package throttle

import "testing"

// A client whose answers take long doesn't trip the tail for others who are answered quickly; several do.
func TestOneCallersLongAnswersAreItsOwn(t *testing.T) {
	for _, test := range []struct {
		name  string
		slow  []uint64
		trips bool
	}{{"one of several", []uint64{7}, false}, {"several", []uint64{7, 8, 9}, true}} {
		var s State
		var quick, slow Delta // of two workers
		now := noon
		tripped := false
		for i := range uint64(600) { // two minutes
			now += second / 5
			quick.Answer(now, &standard, &s, 100+i%3, second/10)
			quick.Requests++
			s.Merge(now, &standard, &quick)
			quick.Reset()
			for _, subject := range test.slow {
				slow.Answer(now, &standard, &s, subject, 20*second)
			}
			s.Merge(now, &standard, &slow)
			slow.Reset()
			tripped = tripped || s.Read(now).Tripped
		}
		if tripped != test.trips {
			t.Errorf("%s: tripped %v, %v", test.name, tripped, s.Read(now).Last)
		}
	}
	var s State
	var d Delta
	now := noon
	for range 600 {
		now += second / 5
		d.Answer(now, &standard, &s, 7, 20*second)
		s.Merge(now, &standard, &d)
		d.Reset()
	}
	if !s.Read(now).Tripped {
		t.Error("one that is alone isn't believed")
	}
}

// What a limit refuses is no arrival, also if it was merged before that was known.
func TestWhatWasTakenBackIsNotCounted(t *testing.T) {
	var s State
	d := Delta{Requests: -3}
	if !d.Empty() {
		t.Error("there is something to merge")
	}
	s.Merge(noon, &standard, &d)
	if d.Reset(); d.Requests != -3 {
		t.Errorf("%d are remembered", d.Requests)
	}
	d.Requests += 5
	s.Merge(noon, &standard, &d)
	if d.Reset(); d.Requests != 0 || s.rate.count != 2 {
		t.Errorf("%d were counted", s.rate.count)
	}
}
