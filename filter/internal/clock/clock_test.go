package clock

import (
	"math"
	"testing"
	"time"
)

func TestSub(t *testing.T) {
	for _, test := range []struct {
		from, to Moment
		want     time.Duration
	}{
		{3, 10, 7},
		{10, 3, -7},
		{math.MinInt64, math.MaxInt64, math.MaxInt64},
		{math.MaxInt64, math.MinInt64, math.MinInt64},
		{-1, math.MaxInt64, math.MaxInt64},
		{1, math.MinInt64, math.MinInt64},
		{0, 0, 0}, {7, 7, 0}, {-7, -7, 0}, {math.MinInt64, 0, math.MaxInt64}, {0, math.MinInt64, math.MinInt64}, {-1, 0, 1}, {0, -1, -1},
	} {
		if got := test.to.Sub(test.from); got != test.want {
			t.Errorf("from %d to %d it is %d, want %d", test.from, test.to, got, test.want)
		}
	}
}
