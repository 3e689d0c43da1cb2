package dispatch

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// paced is a gate with one slot that has started a request a second for half a minute. One is in flight.
func paced(t *testing.T, s Settings) (g, other *Gate, now clock.Moment) {
	s.Slots, s.QueueMax = 1, 100
	g, other, _ = pair(s)
	now = noon
	for range 30 {
		x := request(config.Urgent, 9, 1)
		arrive(t, g, now, x, gate.Allowed, "")
		now += second
		if err := g.Finish(now, x, quiet); err != nil {
			t.Fatal(err)
		}
	}
	arrive(t, g, now, request(config.Urgent, 9, 1), gate.Allowed, "")
	return g, other, now
}

// What can't have its turn within its longest wait is refused at once, and told when it might; the others wait.
func TestWhatWouldBeLateIsRefusedAtOnce(t *testing.T) {
	g, other, now := paced(t, Settings{Foresees: true})
	for i := range uint64(4) {
		arrive(t, g, now, request(config.Normal, i, 1), gate.Queued, "")
	}
	arrive(t, g, now, request(config.Low, 7, 1), gate.Queued, "") // four seconds: with twice the pace it has its turn within the two that it may wait
	arrive(t, other, now, request(config.Normal, 8, 1), gate.Queued, "")
	v := arrive(t, g, now, request(config.Low, 5, 1), gate.Rejected, gate.Late)
	if v.Wait < 3*second || v.Wait > 5*second {
		t.Errorf("told to come back after %v, want the six before it to go, but for the two seconds that it may wait", v.Wait)
	}
	arrive(t, g, now, request(config.Urgent, 6, 1), gate.Queued, "")
	g, _, now = paced(t, Settings{})
	for i := range uint64(20) {
		arrive(t, g, now, request(config.Normal, i, 1), gate.Queued, "")
	}
	arrive(t, g, now, request(config.Low, 5, 1), gate.Queued, "") // nobody foresees
}

// Who has few waiting has its turn before those who have many, and isn't refused for them.
func TestALightUserIsNotRefusedForAHeavyOne(t *testing.T) {
	g, _, now := paced(t, Settings{Foresees: true})
	for range 50 {
		arrive(t, g, now, request(config.Normal, 1, 1), gate.Queued, "")
	}
	light, heavy := request(config.Normal, 2, 1), request(config.Normal, 1, 1)
	light.Within, heavy.Within = 2*time.Second, 2*time.Second
	arrive(t, g, now, light, gate.Queued, "")
	arrive(t, g, now, heavy, gate.Rejected, gate.Late)
}

// A pace of which too little is known, or that was long ago, refuses nobody.
func TestAnUnknownPaceRefusesNobody(t *testing.T) {
	g, _, _ := pair(Settings{Foresees: true, Slots: 1, QueueMax: 100})
	arrive(t, g, noon, request(config.Normal, 1, 1), gate.Allowed, "")
	for i := range uint64(50) {
		arrive(t, g, noon, request(config.Low, i, 1), gate.Queued, "")
	}
	g, _, now := paced(t, Settings{Foresees: true})
	now += 30 * second
	for i := range uint64(50) {
		arrive(t, g, now, request(config.Low, i, 1), gate.Queued, "")
	}
}

// A request waits no longer than it says itself; those before and behind it do.
func TestADeadlineOfItsOwn(t *testing.T) {
	g, _, now := paced(t, Settings{})
	arrive(t, g, now, request(config.Normal, 1, 1), gate.Queued, "")
	hurried, gone := request(config.Normal, 2, 1), request(config.Normal, 3, 1)
	hurried.Within, gone.Within = 400*time.Millisecond, 300*time.Millisecond
	arrive(t, g, now, hurried, gate.Queued, "")
	arrive(t, g, now, gone, gate.Queued, "")
	arrive(t, g, now, request(config.Normal, 4, 1), gate.Queued, "")
	g.Leave(gone)
	refused := map[*Ticket]gate.Verdict{}
	for range 60 {
		now += 10 * millisecond
		if err := g.dequeue(now, func(x *Ticket, v gate.Verdict) { refused[x] = v }); err != nil {
			t.Fatal(err)
		}
	}
	v := refused[hurried]
	if len(refused) != 1 || v.Outcome != gate.Rejected || v.Reason != gate.Late || v.Waited < 400*time.Millisecond || v.Waited > 420*time.Millisecond {
		t.Errorf("%+v", refused)
	}
	if g.queue.hurried != 0 || g.Waiting() != 2 {
		t.Errorf("%d hurried, %d wait", g.queue.hurried, g.Waiting())
	}
}

// Less is left to the queue of what a request asks for where the upstream is known to take its time.
func TestTheUpstreamsTimeIsLeftToIt(t *testing.T) {
	l, _, _ := learn(t, false, 1)
	l.run(20 * time.Second) // the first token usually comes after 20 ms
	x := request(config.Urgent, 1, 200)
	x.Prompt, x.Within = 100, 500*time.Millisecond
	arrive(t, l.gates[0], l.now, x, gate.Queued, "")
	if x.within < 400*time.Millisecond || x.within > 490*time.Millisecond {
		t.Errorf("it may wait for %v", x.within)
	}
	expected := request(config.Urgent, 1, 200)
	expected.Prompt, expected.Within, expected.Takes = 100, 500*time.Millisecond, 300*time.Millisecond
	arrive(t, l.gates[0], l.now, expected, gate.Queued, "")
	if expected.within != 200*time.Millisecond {
		t.Errorf("of which 300 ms are expected: it may wait for %v", expected.within)
	}
	y := request(config.Urgent, 1, 200)
	y.Prompt, y.Within = 100, time.Millisecond
	arrive(t, l.gates[0], l.now, y, gate.Queued, "")
	if y.within != shortestWithin {
		t.Errorf("it may wait for %v", y.within)
	}
}

// In shadow mode it is only said.
func TestWhatWouldBeLateInShadow(t *testing.T) {
	g, _, now := paced(t, Settings{Foresees: true})
	for i := range uint64(30) {
		arrive(t, g, now, request(config.Normal, i, 1), gate.Queued, "")
	}
	g.settings.Shadow = true
	arrive(t, g, now, request(config.Low, 77, 1), gate.Shadowed, gate.Late)
}
