package table

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

var session = bucket.Rate{Burst: 10 * micros, Quantity: 10 * micros, Idle: 24 * time.Hour}

// A bucket of a lifetime is kept until it was left alone for so long, whoever else comes to its page.
func TestALifetimeIsKeptUntilItIsIdle(t *testing.T) {
	const now = 10000 * second
	table := newTable(t, recordtest.NewMemory())
	put := func(at int64) {
		page := load(t, table, 5, at)
		page.Again(1)
		page.Set(1, bucket.State{Used: 10 * micros, At: clock.Moment(at)}, session)
		save(t, table, page, at, 1)
	}
	used := func(at int64) int64 {
		page := load(t, table, 5, at)
		page.Set(2, live(at), rate) // another one's request, which has the page written
		save(t, table, page, at, 2)
		return load(t, table, 5, at).Get(1).Used
	}
	put(now)
	put(now + hour)
	for _, test := range []struct {
		at   int64
		want int64
	}{{now + hour, 10 * micros}, {now + 24*hour, 10 * micros}, {now + 25*hour - 1, 10 * micros}, {now + 25*hour + 3*second, 0}} {
		if got := used(test.at); got != test.want {
			t.Errorf("%v after it was spent: %d used, want %d", time.Duration(test.at-now-hour), got, test.want)
		}
	}
	put(now + 50*hour)
	put(now + 50*hour)
	if evicted := crowd(t, table, now+50*hour, 5000, 1); evicted < 4900 || load(t, table, 5, now+50*hour).Get(1).Used != 10*micros {
		t.Errorf("names that come once push out who came again: %d evicted", evicted)
	}
}
