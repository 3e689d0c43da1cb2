package throttle

import (
	"math"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const (
	second      = 1_000_000_000 // of moments and durations alike
	noon        = clock.Moment(12 * 3600 * second)
	millisecond = second / 1000
)

// standard is the default configuration.
var standard = NewSettings(&config.Throttle{
	QPS:       config.ThrottleQPS{Window: 5 * time.Minute, Sigmas: 2, Factor: 1.5},
	P99:       config.ThrottleP99{Factor: 1.8, Max: 8 * time.Second, Periods: 3, Period: 10 * time.Second},
	GPUMemory: 0.75,
})

func fused() Settings {
	c := standard
	c.fusion = true
	return c
}

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b), 1) }

// feed merges a load, second by second, from now on, and gives the time after it.
func (s *State) feed(now clock.Moment, c *Settings, seconds int, requests func(second int) int64, duration time.Duration) clock.Moment {
	for i := range seconds {
		d := Delta{Requests: requests(i)}
		for range d.Requests {
			d.answers.add(duration)
		}
		s.Merge(now, c, &d)
		now += second
	}
	return now
}

func steady(n int64) func(int) int64 { return func(int) int64 { return n } }

// level gives a signal's level once the second that has just been fed is over.
func (s *State) level(now clock.Moment, c *Settings, signal Signal) Level {
	levels, _ := s.Snapshot(now, c)
	return levels[signal]
}

func expect(t *testing.T, s *State, now clock.Moment, tripped bool, reason string) {
	t.Helper()
	r := s.Read(now)
	if r.Tripped != tripped || r.Last.String() != reason {
		t.Errorf("tripped %v, last %q; want %v, %q", r.Tripped, r.Last, tripped, reason)
	}
}
