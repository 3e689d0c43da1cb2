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

// own is an answer to an ask of an entry that tells what is expected of this proxy's count.
func own(e *Entry, a *ask) *status { return tells(e.noted + a.hits()) }

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
		if leased, beyond := e.answered(start, start, windowEnds, &a, tells(told), own(&e, &a)); leased != want[0] || beyond != want[1] {
			t.Errorf("told %d: %d are leased, and %d to be given back", told, leased, beyond)
		}
	}
	e := Entry{}
	a := asking(t, &e, start, Want{Need: 100})
	if leased, beyond := e.answered(start, start, windowEnds, &a, &status{over: true, limit: MostQuantity}, own(&e, &a)); leased != 0 || beyond != 0 {
		t.Error("beyond what the service counts", leased, beyond)
	}
}

// What is given back counts for those who ask after they were told of it: who asked before may have been first.
func TestWhatIsGivenBackCountsForLaterAsks(t *testing.T) {
	e := Entry{End: windowEnds, Known: true, seen: 1000}
	before := asking(t, &e, start, Want{Need: 100})
	back := asking(t, &e, start, Want{GivesBack: true, End: windowEnds})
	e.answered(start, start, windowEnds, &back, tells(200), own(&e, &back))
	if leased, _ := e.answered(start, start, windowEnds, &before, tells(1100), own(&e, &before)); leased != 0 {
		t.Error("to who asked before", leased)
	}
	after := asking(t, &e, start+second, Want{Need: 50})
	if leased, _ := e.answered(start+second, start+second, windowEnds, &after, tells(1100+after.lease), own(&e, &after)); leased != after.lease {
		t.Error("to who asks after it", leased, after.lease)
	}
}

// What a proxy has given back it has taken no more.
func TestWhatIsGivenBackIsNotTaken(t *testing.T) {
	e := Entry{End: windowEnds, Known: true, seen: 100, Taken: 100, noted: 100}
	a := asking(t, &e, start, Want{GivesBack: true, Need: 40, End: windowEnds})
	e.answered(start, start, windowEnds, &a, tells(40), tells(40))
	if e.Taken-e.Given != 60 || e.Counted() != 60 || e.owed() != 0 {
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
	e.answered(start+second, start, windowEnds+hour, &a, tells(10), own(&e, &a))
	if e.owed() != 10 || e.rest(hourly) != 1000 {
		t.Errorf("%+v", e)
	}
	e = Entry{End: windowEnds, Known: true, seen: 1400, Back: 500}
	a = asking(t, &e, start, Want{Need: 100})
	if leased, _ := e.answered(start+second, start, windowEnds+hour, &a, tells(1400), own(&e, &a)); leased != 0 {
		t.Error("what was given back in the window before counts for this one", leased)
	}
}

// A count that is lost is owed again, less what was given back of it; what others had leased isn't to be had, until they have added it again.
func TestALostCountIsOwedAgain(t *testing.T) {
	e := Entry{End: windowEnds, Known: true, seen: 700, Back: 100, Taken: 500, Given: 100, noted: 500}
	a := asking(t, &e, start, Want{})
	if leased, beyond := e.answered(start, start, windowEnds, &a, tells(0), tells(0)); leased != 0 || beyond != 0 || e.owed() != 400 || e.Back != 0 {
		t.Errorf("%d are leased, %+v", leased, e)
	}
	a = asking(t, &e, start+second, Want{})
	if a.lease != 0 || a.hits() != 400 {
		t.Errorf("%+v", a)
	}
	e.answered(start+second, start+second, windowEnds, &a, tells(400), tells(400))
	if e.owed() != 0 || e.rest(hourly) != 400 { // of 1000 it has had 400, and the others 200
		t.Errorf("%+v", e)
	}
	a = asking(t, &e, start+2*second, Want{Need: 10})
	if e.answered(start+2*second, start+2*second, windowEnds, &a, tells(550+a.lease), tells(400+a.lease)); e.rest(hourly) != 400-a.lease {
		t.Errorf("%d are left, %+v", e.rest(hourly), e)
	}
}

// What Redis has lost is owed exactly, if it is the last it has counted: after a failure of its machine, or of the one that was replicated.
func TestAPartThatIsLostIsOwedAgain(t *testing.T) {
	e := Entry{End: windowEnds, Known: true, seen: 700, Taken: 500, noted: 500}
	a := asking(t, &e, start, Want{Need: 10})
	e.answered(start, start, windowEnds, &a, tells(650+a.lease), tells(470+a.lease))
	if e.owed() != 30-a.lease && e.owed() != 0 {
		t.Errorf("%+v", e)
	}
}

// Where all was lost, what is there was added since, by calls that didn't count since they have shown the loss: it stands for what was lost, or is leased when others may lease again. More than they can
// have added was taken before: the last was lost only, or counts have come back.
func TestWhatIsThereAfterALoss(t *testing.T) {
	for _, test := range []struct{ open, there, owed, found int64 }{{50, 50, 150, 0}, {250, 250, 0, 50}, {0, 50, 250, 0}, {0, 400, 0, 0}, {60, 400, 0, 60}} {
		e := Entry{End: windowEnds, Known: true, seen: 300, Taken: 300, Given: 100, noted: 300, open: test.open}
		a := asking(t, &e, start, Want{})
		a.era, a.settles = 1, true
		if leased, _ := e.answered(start, start, windowEnds, &a, tells(test.there), tells(test.there)); leased != 0 || e.owed() != test.owed {
			t.Errorf("%+v: %d are leased, %+v", test, leased, e)
		}
		a = asking(t, &e, start+second, Want{})
		a.era = 1
		if leased, _ := e.answered(start+second, start+second, windowEnds, &a, tells(test.there+a.owed), tells(test.there+a.owed)); leased != test.found || e.owed() != 0 {
			t.Errorf("%+v: %d are leased then, %+v", test, leased, e)
		}
	}
}

// Where only the last was lost, what was given back may still be counted as that: it isn't taken for lost, however much the calls may have added of which nobody heard. Whether it is shows in what
// came after the era that the entry was of.
func TestWhatWasGivenBackOutlivesALossOfTheLast(t *testing.T) {
	for _, test := range []struct {
		era, now byte
		part     uint64 // losses of the last alone, since all was lost
		owed     int64
	}{{0, 1, 1, 250}, {0, 1, 0, 150}, {0, 2, 1, 150}, {1, 2, 1, 250}, {255, 0, 0, 150}, {255, 0, 1, 250}} {
		e := Entry{End: windowEnds, Known: true, seen: 300, Taken: 300, Given: 100, noted: 300, open: 200, era: test.era}
		a := asking(t, &e, start, Want{})
		a.era, a.part, a.settles = test.now, test.part, true
		if e.answered(start, start, windowEnds, &a, tells(50), tells(50)); e.owed() != test.owed {
			t.Errorf("%+v: %+v", test, e)
		}
	}
}

// A call that was counted and of which no answer is heard is found by the next one: what it has added is leased then, or given back.
func TestACallWithoutAnAnswerIsFound(t *testing.T) {
	for told, want := range map[int64][2]int64{610: {110, 0}, 1000: {110, 0}, 1005: {5, 105}, 1200: {0, 110}} {
		e := Entry{End: windowEnds, Known: true, seen: 500, Taken: 500, noted: 500, Size: 10}
		first := asking(t, &e, start, Want{Need: 100})
		e.failed(start, start)
		if first.lease != 100 {
			t.Fatal(first.lease)
		}
		a := asking(t, &e, start+second, Want{Need: 10})
		if a.lease != 10 {
			t.Fatal(a.lease)
		}
		leased, beyond := e.answered(start+second, start+second, windowEnds, &a, tells(told), tells(610))
		if leased != want[0] || beyond != want[1] || e.Taken != 610 {
			t.Errorf("told %d: %d are leased, and %d to be given back", told, leased, beyond)
		}
	}
}

// An entry that had to go, and comes again, takes nothing for its own that this proxy has leased before.
func TestAnEntryThatComesAgain(t *testing.T) {
	e := Entry{}
	a := asking(t, &e, start, Want{Need: 10})
	if leased, beyond := e.answered(start, start, windowEnds, &a, tells(500+a.lease), tells(300+a.lease)); leased != a.lease || beyond != 0 || e.Taken != 300+a.lease || e.owed() != 0 {
		t.Errorf("%d are leased, %+v", leased, e)
	}
}

// Who is used up is looked at again from time to time, by whoever asks.
func TestWhatIsUsedUpIsLookedAtAgain(t *testing.T) {
	e := Entry{End: windowEnds, Known: true, seen: 1000}
	a := asking(t, &e, start, Want{GivesBack: true, End: windowEnds})
	e.answered(start, start, windowEnds, &a, tells(0), own(&e, &a))
	refused := ask{Want: Want{Need: 10, Terms: hourly}}
	if !e.Empty || e.begin(start+second, &refused, wait) {
		t.Errorf("%+v", e)
	}
	now := start + clock.Moment(lookAgain)
	a = asking(t, &e, now, Want{Need: 10})
	if a.GivesBack || a.hits() != 0 {
		t.Errorf("%+v", a)
	}
	e.answered(now, now, windowEnds, &a, tells(1000), own(&e, &a))
	a = asking(t, &e, now, Want{GivesBack: true, End: windowEnds})
	e.answered(now, now, windowEnds, &a, tells(30), own(&e, &a))
	if a = asking(t, &e, now, Want{Need: 10}); e.Empty || a.lease != 10 || a.GivesBack {
		t.Errorf("%+v, %+v", a, e)
	}
}
