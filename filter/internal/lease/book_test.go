package lease

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// tells is an answer that tells a count.
func tells(count int64) *status {
	return &status{code: "OK", limit: MostQuantity, remaining: MostQuantity - count}
}

const (
	windowEnds = start + 1000*second
	wait       = 3 * time.Second
)

// asking begins an ask of an entry.
func asking(t *testing.T, e *Entry, now clock.Moment, w Want) ask {
	t.Helper()
	a := ask{Want: w}
	a.Terms = hourly
	if !e.begin(now, &a, wait) {
		t.Fatal("nobody asks")
	}
	return a
}

// A lease is what lies below the limit of what was added; the rest is to be given back.
func TestALeaseEndsAtTheLimit(t *testing.T) {
	for told, want := range map[int64][2]int64{1000: {100, 0}, 1001: {99, 1}, 1099: {1, 99}, 1100: {0, 100}, 5000: {0, 100}} {
		e := Entry{}
		a := asking(t, &e, start, Want{Need: 100})
		if leased, beyond := e.answered(start, start, windowEnds, &a, tells(told)); leased != want[0] || beyond != want[1] {
			t.Errorf("told %d: %d are leased, and %d to be given back", told, leased, beyond)
		}
	}
	e := Entry{}
	a := asking(t, &e, start, Want{Need: 100})
	if leased, beyond := e.answered(start, start, windowEnds, &a, &status{over: true, limit: MostQuantity}); leased != 0 || beyond != 0 {
		t.Error("beyond what the service counts", leased, beyond)
	}
}

// What is given back counts for those who ask after they were told of it: who asked before may have been first.
func TestWhatIsGivenBackCountsForLaterAsks(t *testing.T) {
	e := Entry{End: windowEnds, Known: true, seen: 1000}
	before := asking(t, &e, start, Want{Need: 100})
	back := asking(t, &e, start, Want{GivesBack: true, End: windowEnds})
	e.answered(start, start, windowEnds, &back, tells(200))
	if leased, _ := e.answered(start, start, windowEnds, &before, tells(1100)); leased != 0 {
		t.Error("to who asked before", leased)
	}
	after := asking(t, &e, start+second, Want{Need: 50})
	if leased, _ := e.answered(start+second, start+second, windowEnds, &after, tells(1100+after.lease)); leased != after.lease {
		t.Error("to who asks after it", leased, after.lease)
	}
}

// What a proxy has given back it has taken no more, as soon as it is told that the count is still there.
func TestWhatIsGivenBackIsNotTaken(t *testing.T) {
	e := Entry{End: windowEnds, Known: true, seen: 100, Taken: 100}
	a := asking(t, &e, start, Want{GivesBack: true, Need: 40, End: windowEnds})
	e.answered(start, start, windowEnds, &a, tells(40))
	a = asking(t, &e, start, Want{})
	e.answered(start, start, windowEnds, &a, tells(100))
	if e.Taken != 60 || e.Given != 0 || e.Counted() != 60 {
		t.Errorf("%+v", e)
	}
}

// Nothing is given back to another window than it was taken from; where the service's clock was ahead it is taken from that one, too.
func TestNothingIsGivenBackToAnotherWindow(t *testing.T) {
	const hour = clock.Moment(time.Hour)
	for _, w := range []struct{ end, now clock.Moment }{{windowEnds, windowEnds - 2*second}, {windowEnds - hour, start}, {windowEnds, windowEnds + second}} {
		e := Entry{End: windowEnds, Taken: 100, Known: true, seen: 100}
		if a := (ask{Want: Want{GivesBack: true, Need: 10, End: w.end, Terms: hourly}}); e.begin(w.now, &a, wait) {
			t.Errorf("of a window that ends at %d, at %d", w.end, w.now)
		}
	}
	e := Entry{End: windowEnds, Taken: 100, Known: true, seen: 100}
	a := asking(t, &e, start, Want{GivesBack: true, Need: 10, End: windowEnds})
	e.answered(start+second, start, windowEnds+hour, &a, tells(10))
	if e.owed != 10 || e.rest(hourly) != 1000 {
		t.Errorf("%+v", e)
	}
	e = Entry{End: windowEnds, Known: true, seen: 1400, Back: 500}
	a = asking(t, &e, start, Want{Need: 100})
	if leased, _ := e.answered(start+second, start, windowEnds+hour, &a, tells(1400)); leased != 0 {
		t.Error("what was given back in the window before counts for this one", leased)
	}
}

// A count that is lost is owed again, with what was given back since it was told; what was given back before is lost with it.
func TestALostCountIsOwedAgain(t *testing.T) {
	e := Entry{End: windowEnds, Known: true, seen: 1400, Back: 500, Taken: 900}
	back := asking(t, &e, start, Want{GivesBack: true, Need: 100, End: windowEnds})
	e.answered(start, start, windowEnds, &back, tells(600))
	if e.Taken-e.Given != 800 {
		t.Errorf("%+v", e)
	}
	a := asking(t, &e, start+second, Want{Need: 150})
	leased, _ := e.answered(start+second, start+second, windowEnds, &a, tells(a.lease))
	if leased != 100 || e.owed != 900 || e.Back != 0 { // of 1000 this proxy has had 900
		t.Errorf("%d are leased, %+v", leased, e)
	}
	a = asking(t, &e, start+2*second, Want{})
	if a.lease != 0 || a.hits() != 900 {
		t.Errorf("%+v", a)
	}
	e.answered(start+2*second, start+2*second, windowEnds, &a, tells(1050))
	if e.owed != 0 || e.Counted() != 1050 {
		t.Errorf("%+v", e)
	}
}

// Who is used up is looked at again from time to time, by whoever asks.
func TestWhatIsUsedUpIsLookedAtAgain(t *testing.T) {
	e := Entry{End: windowEnds, Known: true, seen: 1000}
	a := asking(t, &e, start, Want{GivesBack: true, End: windowEnds})
	e.answered(start, start, windowEnds, &a, tells(0))
	refused := ask{Want: Want{Need: 10, Terms: hourly}}
	if !e.Empty || e.begin(start+second, &refused, wait) {
		t.Errorf("%+v", e)
	}
	now := start + clock.Moment(lookAgain)
	a = asking(t, &e, now, Want{Need: 10})
	if a.GivesBack || a.hits() != 0 {
		t.Errorf("%+v", a)
	}
	e.answered(now, now, windowEnds, &a, tells(1000))
	a = asking(t, &e, now, Want{GivesBack: true, End: windowEnds})
	e.answered(now, now, windowEnds, &a, tells(30))
	if a = asking(t, &e, now, Want{Need: 10}); e.Empty || a.lease != 10 || a.GivesBack {
		t.Errorf("%+v, %+v", a, e)
	}
}
