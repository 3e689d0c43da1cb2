package table

import (
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// A bucket with a window keeps all of it in its record, until the wall clock says that the window is over.
func TestBucketsWithWindows(t *testing.T) {
	const wall, begin, end = int64(1_700_000_000), uint32(1_699_999_990), uint32(1_700_000_030)
	store := recordtest.NewMemory()
	table, err := New(store, "n", 10*second, []byte("0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	now := clock.Moment(10000*second + 123)
	table.Wall.Read(now, wall*second)
	at := func(now clock.Moment) bucket.State {
		t.Helper()
		page, err := table.Load(7, now)
		if err != nil {
			t.Fatal(err)
		}
		defer table.Release(page)
		return page.Get(7)
	}
	write := func(now clock.Moment, id uint64, used int64) {
		t.Helper()
		page, _ := table.Load(7, now)
		defer table.Release(page)
		state := page.Get(id)
		rate := bucket.Rate{Burst: 300 * micros, Quantity: 300 * micros, Now: &bucket.Window{Begin: begin, End: end, After: end + 40, Ends: table.Wall.Moment(int64(end))}}
		state.Leak(now, rate)
		state.Use(used)
		page.Set(id, state, rate)
		if written, _, err := table.Save(page, now, id); !written || err != nil {
			t.Fatal(written, err)
		}
	}
	write(now, 7, 5)
	if got := at(now); got.Used != 5 || got.Window != begin || got.At != 10000*second {
		t.Errorf("%+v", got)
	}
	table.Wall.Read(now, (wall-20)*second) // it is set back
	write(now+31*second, 8, 1)             // another bucket of the page
	if got := at(now + 31*second); got.Used != 5 {
		t.Errorf("what was used is forgotten before the wall clock says so: %+v", got)
	}
	write(now+52*second, 8, 1)
	if got := at(now + 52*second); got != (bucket.State{}) {
		t.Errorf("it is kept beyond its window: %+v", got)
	}
}
