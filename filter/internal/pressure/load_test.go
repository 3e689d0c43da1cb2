package pressure

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// The engines' numbers of all that are fresh are added up; what one doesn't tell is no 0.
func TestLoadOfAllEngines(t *testing.T) {
	b := NewMonitor(recordtest.NewMemory(), "n", 2*second)
	if l := b.Load(start, 10*second); l != (Load{}) {
		t.Errorf("%+v, before anything is known", l)
	}
	instances := []Instance{
		{Decode: 0.5, Running: 3, Waiting: 2, Age: second}, {Decode: 0.9, Running: Absent, Waiting: 1, Age: 2 * second},
		{Decode: Absent, Running: 4, Waiting: 0}, {Decode: 1, Running: 9, Waiting: Absent}, {Decode: 1, Running: 9, Waiting: 9, Age: 11 * second},
	}
	if err := b.Publish(start, Snapshot{Instances: instances}); err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]Load{
		0: {start - 2*second, 7, 3, 0.7}, 9 * second: {start - second, 7, 2, 0.5}, 10 * second: {start, 4, 0, 0}, 11 * second: {},
	} {
		if l := b.Load(start+clock.Moment(after), 10*second); l != want {
			t.Errorf("after %v %+v, want %+v", after, l, want)
		}
	}
}
