package limit

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const threeADay = `[{"name":"d","per":["user"],"unit":"requests","quantity":3,"window":"day","timezone":"+08:00"}]`

// clockAt has a worker read the wall clock.
func (s *Set) clockAt(t fataler, now clock.Moment, wall string) {
	t.Helper()
	at, err := time.Parse(time.RFC3339, wall)
	if err != nil {
		t.Fatal(err)
	}
	s.table.Wall.Read(now, at.UnixNano())
	s.table.Wall.Read(now, at.UnixNano())
}

func TestAQuantityComesBackAtMidnight(t *testing.T) {
	w := newWorld(t, threeADay)
	w.clockAt(t, start, "2024-02-29T15:59:30Z") // half a minute before midnight in +08:00
	r := request("ann")
	for range 3 {
		w.admit(t, start, r)
	}
	v := w.Admit(start+10*second, r, nil)
	if !v.Outcome.Refuses() || v.Wait != 20*second || v.Reset != 20*second || v.Measured != 3 {
		t.Errorf("%+v", v.Verdict)
	}
	expect(t, "a nanosecond before", w.Admit(start+30*second-1, r, nil).Outcome, gate.Rejected)
	v = w.Admit(start+30*second, r, nil)
	if v.Outcome.Refuses() || v.Requests.Remaining != 2 || v.Requests.Reset != 24*time.Hour {
		t.Errorf("%+v %+v", v.Verdict, v.Requests)
	}
	expect(t, "what another has", w.balance(t, start, 0, request("bob")), 3)
	look, err := w.Look(start+40*second, w.named(t, "d", "ann"))
	if err != nil || look.Used != 1 || look.Ends != 24*time.Hour-10*second {
		t.Errorf("%+v, %v", look, err)
	}
}

func (s *Set) named(t fataler, limit, who string) Subject {
	t.Helper()
	found, wrong := s.Subject(limit, who)
	if wrong != "" {
		t.Fatal(wrong)
	}
	return found
}

// A request that is admitted in one window and ends in the next is charged to that, where its reservation holds until then. What is given back of the
// earlier window is nobody's.
func TestRequestsAcrossABoundary(t *testing.T) {
	w := newWorld(t, `[{"name":"t","per":["user"],"unit":"totalTokens","quantity":100,"window":"hour"},
		{"name":"r","per":["user"],"unit":"requests","quantity":3,"window":"hour","refund":["5xx"]}]`)
	w.clockAt(t, start, "2024-02-29T15:59:59Z")
	r, next := request("ann"), start+2*second
	across, failed := w.admit(t, start, r), w.admit(t, start, r)
	expect(t, "tokens left before it", w.balance(t, start, 0, r), 40)
	expect(t, "tokens left after it", w.balance(t, next, 0, r), 40)
	expect(t, "requests left after it", w.balance(t, next, 1, r), 3)
	within := w.admit(t, next, r)
	w.settle(t, next, across, 30, 40)
	w.Settle(next, failed, "m", Usage{}, 503)
	expect(t, "requests left when an earlier window's was given back", w.balance(t, next, 1, r), 2)
	w.Settle(next, within, "m", Usage{}, 503)
	expect(t, "when one of this window was", w.balance(t, next, 1, r), 3)
	expect(t, "tokens left", w.balance(t, next, 0, r), 30)
}

// The clock is set back: what was used stays used, until the window that had begun is over; and a page that is written meanwhile forgets nothing.
func TestAClockThatIsSetBackGivesNothing(t *testing.T) {
	w := newWorld(t, threeADay)
	w.clockAt(t, start, "2024-02-29T16:00:05Z")
	r := request("ann")
	for range 3 {
		w.admit(t, start, r)
	}
	w.clockAt(t, start, "2024-02-29T15:59:00Z")
	v := w.Admit(start, r, nil)
	if !v.Outcome.Refuses() || v.Wait != 24*time.Hour+60*second {
		t.Errorf("%+v", v.Verdict)
	}
	day := clock.Moment(24 * 3600 * second)
	w.clockAt(t, start+day, "2024-02-29T15:59:30Z") // a day has passed, and the clock knows of nothing
	w.admit(t, start+day, request("bob"))           // who may be in the same page
	expect(t, "after a day that wasn't", w.Admit(start+day, r, nil).Outcome, gate.Rejected)
	w.clockAt(t, start+day, "2024-03-01T16:00:00Z")
	w.admit(t, start+day, r)
}

// When the window is configured anew, what was used stays used, unless the new window began later than the one it was used in, by half of its length or more.
func TestAReloadKeepsAWindowsUse(t *testing.T) {
	w := newWorld(t, threeADay)
	w.clockAt(t, start, "2024-02-29T12:30:00Z")
	r := request("ann")
	w.admit(t, start, r)
	w.admit(t, start, r)
	for window, left := range map[string]int64{`"window":"month"`: 1, `"window":"week","timezone":"-03:30"`: 1, `"window":"24h"`: 1, `"window":"day","timezone":"+08:00"`: 1,
		`"window":"24h","refill":"window"`: 1, `"window":"day"`: 1, `"window":"day","timezone":"-05:00"`: 3, `"window":"hour"`: 3} {
		other := w.again(t, `[{"name":"d","per":["user"],"unit":"requests","quantity":3,`+window+`}]`)
		other.clockAt(t, start, "2024-02-29T12:30:00Z")
		expect(t, window, other.balance(t, start.Add(bucket.Settling+time.Second), 0, r), left) // what a bucket's change is told by has whole seconds
	}
}

// Workers whose clocks differ a little pass no more of a window together than its quantity, at the boundary, too.
func TestWorkersAtABoundary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store, limits := recordtest.NewMemory(), `{"limits":[{"name":"s","unit":"requests","quantity":5,"window":"2s","refill":"window"}]}`
		var workers []*Set
		for range rapid.IntRange(1, 4).Draw(t, "workers") {
			set, _ := worker(t, limits, store)
			set.table.Wall.Read(start, 1_700_000_000*second+rapid.Int64Range(0, second/10).Draw(t, "skew"))
			workers = append(workers, set)
		}
		now, passed := start, 0
		for range rapid.IntRange(1, 100).Draw(t, "requests") {
			now += clock.Moment(rapid.Int64Range(0, second/5).Draw(t, "time"))
			if v := rapid.SampledFrom(workers).Draw(t, "worker").Admit(now, request("ann"), nil); !v.Outcome.Refuses() {
				passed++
			}
			windows := int((now-start+second/10)/(2*second)) + 1
			if passed > 5*windows {
				t.Fatalf("%d have passed in %d windows", passed, windows)
			}
		}
	})
}

// What is told to wait passes when it has waited, and would not before.
func TestTheWaitIsTheWindowsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		window := rapid.SampledFrom([]string{`"hour"`, `"day"`, `"week"`, `"month","timezone":"-05:00"`, `"7s","refill":"window"`}).Draw(t, "window")
		set, _ := worker(t, `{"limits":[{"name":"s","unit":"requests","quantity":1,"window":`+window+`}]}`, recordtest.NewMemory())
		set.table.Wall.Read(start, rapid.Int64Range(0, 4_000_000_000).Draw(t, "wall")*second)
		set.Admit(start, request("ann"), nil)
		v := set.Admit(start, request("ann"), nil)
		if !v.Outcome.Refuses() || v.Wait <= 0 || v.Wait > 32*24*time.Hour {
			t.Fatalf("%+v", v.Verdict)
		}
		if got := set.Admit(start.Add(v.Wait-1), request("ann"), nil).Outcome; got != gate.Rejected {
			t.Fatalf("before it is over: %v", got)
		}
		if got := set.Admit(start.Add(v.Wait), request("ann"), nil).Outcome; got != gate.Allowed {
			t.Fatalf("after %v: %v", v.Wait, got)
		}
	})
}

// In shadow mode nothing is refused, and what would be is told.
func TestAWindowInShadow(t *testing.T) {
	w := newWorld(t, `[{"name":"d","unit":"requests","quantity":1,"window":"day","mode":"shadow"}]`)
	w.clockAt(t, start, "2024-02-29T12:00:00Z")
	for i, want := range []gate.Outcome{gate.Allowed, gate.Shadowed} {
		v := w.Admit(start, request("ann"), nil)
		expect(t, fmt.Sprint(i), v.Outcome, want)
		expect(t, "wait", v.Wait, time.Duration(i)*12*time.Hour)
	}
}

// The figures of docs/limits.md: of who asks for as much as he can, what passes in his first window, which begins in the middle of one of the calendar,
// and in the one of the calendar in which most passes.
func TestWhatEachRefillLetsPass(t *testing.T) {
	for _, test := range []struct {
		keys           string
		first, aligned int
	}{{`"window":"1h"`, 200, 200}, {`"window":"1h","refill":"window"`, 200, 100}, {`"window":"hour"`, 200, 100}, {`"lifetime":true`, 100, 100}} {
		w := newWorld(t, `[{"name":"a","unit":"requests","quantity":100,`+test.keys+`}]`)
		w.clockAt(t, start, "2024-02-29T15:30:00Z")
		first, now := 0, map[string]int{}
		for at := time.Duration(0); at <= 3*time.Hour; at += 6 * time.Second {
			for !w.Admit(start.Add(at), request("ann"), nil).Outcome.Refuses() {
				if at <= time.Hour {
					first++
				}
				now[fmt.Sprint((at+30*time.Minute)/time.Hour)]++
			}
		}
		most := 0
		for _, n := range now {
			most = max(most, n)
		}
		if test.first == test.aligned && test.aligned == 200 { // the bucket was full in the middle of an hour of the clock
			most = first
		}
		expect(t, test.keys+" in its first hour", first, test.first)
		expect(t, test.keys+" in one of the calendar", most, test.aligned)
	}
}
