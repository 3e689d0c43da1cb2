package sliding

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// What was counted stays for eleven twelfths of the window's length, and never for longer than that length.
func TestWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		length := rapid.Int64Range(Slots, 1_000_000).Draw(t, "length")
		now := clock.Moment(rapid.Int64Range(0, 1<<40).Draw(t, "now"))
		w := Window[int]{Opened: now}
		var counted []clock.Moment
		for range rapid.IntRange(1, 50).Draw(t, "requests") {
			now += clock.Moment(rapid.Int64Range(0, length/2).Draw(t, "pause"))
			w.Advance(now, time.Duration(length))
			w.Slots[0]++
			counted = append(counted, now)
			sum, least, most := 0, 0, 0
			for _, n := range w.Slots {
				sum += n
			}
			for _, at := range counted {
				if at > now-clock.Moment(length/Slots*(Slots-1)) {
					least++
				}
				if at > now-clock.Moment(length) {
					most++
				}
			}
			if sum < least || sum > most {
				t.Fatalf("it holds %d, want %d to %d", sum, least, most)
			}
		}
	})
}

// However many are told to come back, no tenth of the time gets more than its share by much.
func TestSpread(t *testing.T) {
	const length, tenths = 1000, 10
	var s Spread
	var got [tenths]int
	for n := 1; n <= 1000; n++ {
		part := s.Next(length)
		if part < 0 || part >= length {
			t.Fatalf("%d of %d", part, length)
		}
		got[part*tenths/length]++
		for i, count := range got {
			if most := n/tenths + 4; count > most {
				t.Fatalf("of %d the tenth %d has %d, want at most %d", n, i, count, most)
			}
		}
	}
}

// A clock that is set back is waited for, or followed.
func TestAClockThatIsSetBack(t *testing.T) {
	w := Window[int]{Opened: 1000}
	w.Slots[0] = 5
	if w.Advance(950, 120); w.Opened != 1000 || w.Slots[0] != 5 {
		t.Errorf("set back by less than a window: %+v", w)
	}
	if w.Advance(500, 120); w.Opened != 500 || w.Slots[0] != 5 {
		t.Errorf("set back by more: %+v", w)
	}
}
