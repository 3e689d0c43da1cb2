package dispatch

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
)

// TestTheQueueServesByPriorityThenTurnThenArrival holds the queue to a list that is searched each time.
func TestTheQueueServesByPriorityThenTurnThenArrival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var all []*Ticket
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			switch i := rapid.IntRange(0, 9).Draw(t, "what"); {
			case i < 6 || len(all) == 0:
				x := &Ticket{
					Priority: config.Priority(rapid.IntRange(0, Priorities-1).Draw(t, "priority")),
					Subject:  rapid.Uint64Range(0, 5).Draw(t, "subject"), tag: rapid.Uint64Range(0, 5).Draw(t, "tag"),
				}
				q.push(x)
				all = append(all, x)
			case i < 7:
				at := rapid.IntRange(0, len(all)-1).Draw(t, "which")
				q.remove(all[at])
				all = slices.Delete(all, at, at+1)
			case i < 8:
				q.retag(all[rapid.IntRange(0, len(all)-1).Draw(t, "which")].line, rapid.Uint64Range(0, 5).Draw(t, "tag"))
			default:
				serveOne(t, &q, &all)
			}
			checkQueue(t, &q, all)
		}
	})
}

// serveOne takes the head, after whom comes who was said to.
func serveOne(t *rapid.T, q *queue, all *[]*Ticket) {
	head := q.head()
	due := head.tag + rapid.Uint64Range(0, 5).Draw(t, "cost")
	second, tag := q.second(due)
	behind, mine := head.behind, head.line
	q.remove(head)
	if behind != nil {
		q.retag(mine, due)
	}
	*all = slices.DeleteFunc(*all, func(x *Ticket) bool { return x == head })
	if got := q.head(); got != second || got != nil && got.tag != tag {
		t.Fatalf("after the head comes %v, not %v with the tag %d", got, second, tag)
	}
}

func checkQueue(t *rapid.T, q *queue, all []*Ticket) {
	var head *Ticket
	lines := map[uint64]*Ticket{}
	for _, x := range all {
		key := x.Subject<<8 | uint64(x.Priority)
		if lines[key] != nil {
			continue // only the first of a line has a turn
		}
		lines[key] = x
		if head == nil || x.before(head) {
			head = x
		}
	}
	if q.head() != head || q.waiting != len(all) {
		t.Fatalf("head %v, %d waiting; want %v, %d", q.head(), q.waiting, head, len(all))
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
