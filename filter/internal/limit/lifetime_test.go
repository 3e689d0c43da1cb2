package limit

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

const hours = clock.Moment(time.Hour)

// inSession is a request of a session.
func (w *world) inSession(id string) *Request {
	r := request("ann")
	w.picker.Pick([][2]string{{"x-session-id", id}}, r.Headers)
	return r
}

// ends wants a request refused since its session is over.
func (w *world) ends(t *testing.T, now clock.Moment, r *Request, used float64) {
	t.Helper()
	v := w.Admit(now, r, nil)
	if v.Outcome != gate.Rejected || v.Reason != gate.Spent || v.Wait != gate.Never || v.Measured != used || len(v.Charges) != 0 {
		t.Errorf("%v: %+v", time.Duration(now), v.Verdict)
	}
}

func TestASessionHasSoManyRequestsEver(t *testing.T) {
	w := newWorld(t, `[{"name":"s","per":["header:x-session-id"],"unit":"requests","quantity":3,"lifetime":true,"idle":"24h"},
		{"name":"u","per":["user"],"unit":"requests","quantity":100,"window":"1h"}]`)
	a, b := w.inSession("a"), w.inSession("b")
	for i := range clock.Moment(3) {
		w.settle(t, start+i*20*hours, w.admit(t, start+i*20*hours, a), 1, 1) // used again before it is forgotten
	}
	w.ends(t, start+40*hours, a, 3)
	w.admit(t, start+40*hours, b)
	w.ends(t, start+63*hours, a, 3) // to be refused is no use of it
	w.admit(t, start+64*hours, a)   // and it was left alone for a day
	if v := w.Admit(start+64*hours, b, nil); v.Requests.Limit.Name != "u" {
		t.Errorf("told in x-ratelimit-*: %+v", v.Requests)
	}
	found, wrong := w.Subject("s", "a")
	view, err := w.Look(start+64*hours, found)
	if wrong != "" || err != nil || view.Used != 1 || view.Remaining != 2 || view.Full != 0 {
		t.Errorf("as an operator sees it: %+v, %s, %v", view, wrong, err)
	}
	for range 2 {
		w.admit(t, start+64*hours, a)
	}
	w.ends(t, start+64*hours, a, 3)
	if err := w.Reset(start+64*hours, found); err != nil {
		t.Fatal(err)
	}
	w.admit(t, start+64*hours, a)
}

// What is only reserved may come back: the session isn't over.
func TestASessionIsNotOverWhileItsRequestsMayUseLess(t *testing.T) {
	w := newWorld(t, `[{"name":"s","per":["header:x-session-id"],"unit":"totalTokens","quantity":60,"lifetime":true}]`)
	a := w.inSession("a")
	first, second := w.admit(t, start, a), w.admit(t, start, a) // 30 and more each
	v := w.Admit(start, a, nil)
	if v.Outcome != gate.Rejected || v.Reason != "tokens_exceeded" || v.Wait != untilOneEnds {
		t.Errorf("while others are under way: %+v", v.Verdict)
	}
	w.settle(t, start, first, 5, 5)
	w.settle(t, start, second, 5, 5)
	third := w.admit(t, start, a)
	w.settle(t, start, third, 20, 30)
	w.ends(t, start+23*hours, a, 70)
	w.admit(t, start+24*hours, a)
}

// A strict limit refuses for good what is larger than all of it, and for this session what is larger than what is left.
func TestWhatIsLeftOfASession(t *testing.T) {
	w := newWorld(t, `[{"name":"s","per":["header:x-session-id"],"unit":"completionTokens","quantity":100,"lifetime":true,"admission":"strict"}]`)
	asks := func(bound int64) *Request {
		return with(w.inSession("a"), func(r *Request) { r.Estimate.OutputBound = bound })
	}
	w.settle(t, start, w.admit(t, start, asks(90)), 1, 60)
	if v := w.Admit(start, asks(101), nil); v.Reason != gate.TooLarge || v.Wait != gate.Never {
		t.Errorf("more than all of it: %+v", v.Verdict)
	}
	w.ends(t, start, asks(41), 60)
	w.settle(t, start, w.admit(t, start, asks(40)), 1, 40)
	w.ends(t, start, asks(1), 100)
}

// In shadow mode it is noted, and what passes is not charged to what is spent already.
func TestASessionInShadow(t *testing.T) {
	w := newWorld(t, `[{"name":"s","per":["header:x-session-id"],"unit":"requests","quantity":1,"lifetime":true,"mode":"shadow"}]`)
	w.admit(t, start, w.inSession("a"))
	if v := w.Admit(start, w.inSession("a"), nil); v.Outcome != gate.Shadowed || v.Reason != gate.Spent || v.Wait != gate.Never {
		t.Errorf("%+v", v.Verdict)
	}
}
