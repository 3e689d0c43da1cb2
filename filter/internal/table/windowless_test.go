package table

import (
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// A bucket without a window is as long in its page as something is reserved in it: it goes last where others have debts, and at once when
// nothing is reserved any more, or has not been for two lease periods.
func TestABucketWithoutAWindowStaysWhileItIsReserved(t *testing.T) {
	table := newTable(t, recordtest.NewMemory())
	now, held := int64(10000*second), bucket.Rate{Burst: 4 * micros, Quantity: 4 * micros}
	come := func(id uint64, state bucket.State, rate bucket.Rate) (evicted int) {
		for range 2 { // again
			page := load(t, table, 5, now)
			page.Again(id)
			page.Set(id, state, rate)
			evicted += save(t, table, page, now, id)
		}
		return evicted
	}
	come(1, bucket.State{At: clock.Moment(now), Reserved: [2]uint32{2, 0}}, held)
	evicted := 0
	for id := range uint64(2 * Ways) {
		evicted += come(1000+id, bucket.State{Used: 100 * micros, At: clock.Moment(now)}, rate)
	}
	page := load(t, table, 5, now+lease)
	if got := page.Get(1).Reserved; evicted != Ways+1 || got != [2]uint32{0, 2} {
		t.Errorf("%d evicted, %v reserved", evicted, got)
	}
	page.Set(1, bucket.State{At: clock.Moment(now)}, held)
	save(t, table, page, now+lease, 1)
	page = load(t, table, 5, now+lease)
	if len(page.buckets) != Ways-1 || page.find(1) >= 0 {
		t.Errorf("%d buckets after the release", len(page.buckets))
	}
	now += lease
	come(2, bucket.State{At: clock.Moment(now), Reserved: [2]uint32{2, 0}}, held)
	page = load(t, table, 5, now+2*lease)
	save(t, table, page, now+2*lease)
	if page = load(t, table, 5, now+2*lease); page.find(2) >= 0 {
		t.Errorf("%d buckets when its worker is dead", len(page.buckets))
	}
}
