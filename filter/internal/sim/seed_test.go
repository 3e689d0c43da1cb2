package sim

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// gates gives workers' gates on one store, with one slot which is taken.
func gates(t *testing.T, workers int, s dispatch.Settings) []*dispatch.Gate {
	t.Helper()
	store := recordtest.NewMemory()
	var all []*dispatch.Gate
	s.Slots, s.MaxWait = 1, waits
	for i := range workers {
		all = append(all, dispatch.New(s, store, key, uint64(i+1)))
	}
	wantOutcome(t, all[0].Arrive(start, ticket(config.Normal)).Verdict, gate.Allowed, "")
	return all
}

var subjects uint64

func ticket(p config.Priority) *dispatch.Ticket {
	subjects++
	return &dispatch.Ticket{Priority: p, Subject: subjects, Tokens: 10}
}

func wantOutcome(t *testing.T, v gate.Verdict, outcome gate.Outcome, reason string) {
	t.Helper()
	if v.Outcome != outcome || v.Reason != reason || v.Err != nil {
		t.Fatalf("%+v, want outcome %d, reason %q", v, outcome, reason)
	}
	if v.Outcome == gate.Rejected && (v.Wait < second || v.Wait > minute) {
		t.Fatalf("advice of %d ns", v.Wait)
	}
}

// fill lets 500 requests wait, in turn at each gate.
func fill(t *testing.T, all []*dispatch.Gate, p config.Priority) (tickets []*dispatch.Ticket) {
	t.Helper()
	for i := range 500 {
		tickets = append(tickets, ticket(p))
		wantOutcome(t, all[i%len(all)].Arrive(clock.Moment(start+int64(i)), tickets[i]).Verdict, gate.Queued, "")
	}
	return tickets
}

func TestSeedQueueOf500(t *testing.T) {
	for workers := 1; workers <= 4; workers++ {
		all := gates(t, workers, dispatch.Settings{QueueMax: 500})
		fill(t, all, config.Normal)
		for _, g := range all {
			wantOutcome(t, g.Arrive(start+second, ticket(config.Urgent)).Verdict, gate.Rejected, gate.Full)
		}
	}
}

func TestSeedPassthrough(t *testing.T) {
	all := gates(t, 2, dispatch.Settings{QueueMax: 500, WhenFull: config.QueuePassthrough})
	fill(t, all, config.Normal)
	wantOutcome(t, all[1].Arrive(start+second, ticket(config.Low)).Verdict, gate.Queued, gate.PassedFull)
}

func TestSeedDropLowest(t *testing.T) {
	settings := dispatch.Settings{QueueMax: 500, WhenFull: config.QueueDropLowest}
	all := gates(t, 1, settings)
	tickets := fill(t, all, config.Low)
	v := all[0].Arrive(start+second, ticket(config.High))
	wantOutcome(t, v.Verdict, gate.Queued, "")
	if v.Dropped != tickets[499] || v.Wait < second {
		t.Errorf("dropped %p with advice %d, want the newest, %p", v.Dropped, v.Wait, tickets[499])
	}
	wantOutcome(t, all[0].Arrive(start+second, ticket(config.Low)).Verdict, gate.Rejected, gate.Full)

	all = gates(t, 2, settings)
	tickets = fill(t, all[1:], config.Low)
	wantOutcome(t, all[0].Arrive(start+second, ticket(config.High)).Verdict, gate.Queued, "")
	var dropped []*dispatch.Ticket
	d := all[1].Dequeue(start + second + 10*millisecond)
	for d.Next() {
		wantOutcome(t, d.Verdict, gate.Rejected, gate.Dropped)
		dropped = append(dropped, d.Ticket)
	}
	if err := d.Err(); err != nil || len(dropped) != 1 || dropped[0] != tickets[499] {
		t.Errorf("the other worker drops %v (%v), want its newest", dropped, d.Err())
	}
}

func TestSeedLowWaitsTwoSeconds(t *testing.T) {
	all := gates(t, 1, dispatch.Settings{QueueMax: 500})
	low, normal := ticket(config.Low), ticket(config.Normal)
	wantOutcome(t, all[0].Arrive(start, low).Verdict, gate.Queued, "")
	wantOutcome(t, all[0].Arrive(start, normal).Verdict, gate.Queued, "")
	ended := map[*dispatch.Ticket]time.Duration{}
	for now := clock.Moment(start); now <= start+61*second; now += clock.Moment(all[0].Period()) {
		if all[0].Period() == 0 {
			t.Fatal("no tick while a request is in flight")
		}
		d := all[0].Dequeue(now)
		for d.Next() {
			wantOutcome(t, d.Verdict, gate.Rejected, gate.Timeout)
			ended[d.Ticket] = d.Verdict.Waited
		}
		if err := d.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if ended[low] < 2*second || ended[low] > 2*second+gateTick || ended[normal] < minute || ended[normal] > minute+gateTick {
		t.Errorf("LOW waited %d, NORMAL %d", ended[low], ended[normal])
	}
}
