package throttle

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// A period was slow. Ten answers of the next one are enough to tell that this is over, if nine of them are quick; a P99 of which one in ten is part stays.
func TestWhatWasSlowIsOverOnceAnswersAreQuick(t *testing.T) {
	c := NewSettings(&config.Throttle{P99: config.ThrottleP99{Factor: 1.8, Max: time.Hour, Period: 10 * time.Second, Periods: 3}})
	for _, test := range []struct {
		slow int // of the ten
		over bool
	}{{0, false}, {3, true}} {
		var tail Tail
		now := clock.Moment(time.Hour)
		period := func(took time.Duration) {
			for range 20 {
				tail.Observe(now, &c, took)
			}
			now = now.Add(11 * time.Second)
		}
		for range 10 {
			period(time.Second)
		}
		for range 5 {
			period(20 * time.Second)
		}
		for i := range 9 {
			took := time.Second
			if i < test.slow {
				took = 20 * time.Second
			}
			tail.Observe(now, &c, took)
		}
		if !tail.Level(now, &c).Over {
			t.Error("nine answers have acquitted it")
		}
		if tail.Observe(now, &c, time.Second); tail.Level(now, &c).Over != test.over {
			t.Errorf("%d of ten slow: %+v", test.slow, tail.Level(now, &c))
		}
	}
}
