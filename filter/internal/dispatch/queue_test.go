package dispatch

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
)

// TestTheQueueServesByPriorityThenTagThenArrival holds the queue to a list that is sorted each time.
func TestTheQueueServesByPriorityThenTagThenArrival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var all []*Ticket
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			switch i := rapid.IntRange(0, 9).Draw(t, "what"); {
			case i < 6 || len(all) == 0:
				x := &Ticket{Priority: config.Priority(rapid.IntRange(0, Priorities-1).Draw(t, "priority")), tag: rapid.Uint64Range(0, 5).Draw(t, "tag")}
				q.push(x)
				all = append(all, x)
			case i < 8:
				at := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				q.remove(all[at])
				all = slices.Delete(all, at, at+1)
			default:
				head := q.head()
				q.remove(head)
				all = slices.DeleteFunc(all, func(x *Ticket) bool { return x == head })
			}
			checkQueue(t, &q, all)
		}
	})
}

func checkQueue(t *rapid.T, q *queue, all []*Ticket) {
	sorted := slices.Clone(all) // by arrival
	slices.SortStableFunc(sorted, func(a, b *Ticket) int {
		switch {
		case a.before(b):
			return -1
		case b.before(a):
			return 1
		}
		return 0
	})
	at := func(i int) *Ticket {
		if i < len(sorted) {
			return sorted[i]
		}
		return nil
	}
	if q.head() != at(0) || q.second() != at(1) || q.waiting != len(all) {
		t.Fatalf("head %v, second %v, %d waiting; want %v, %v, %d", q.head(), q.second(), q.waiting, at(0), at(1), len(all))
	}
	for p := range q.lanes {
		var lane []*Ticket
		for _, x := range all {
			if x.Priority == config.Priority(p) {
				lane = append(lane, x)
			}
		}
		var first, last *Ticket
		if len(lane) > 0 {
			first, last = lane[0], lane[len(lane)-1]
		}
		if q.oldest(config.Priority(p)) != first || q.newest(config.Priority(p)) != last || q.count(config.Priority(p)) != len(lane) {
			t.Fatalf("priority %d: oldest, newest or number are wrong", p)
		}
	}
}
