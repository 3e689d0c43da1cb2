package bucket

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

var session = Rate{Burst: 300 * Micro, Quantity: 300 * Micro, Idle: time.Hour}

// However long it lasts, nothing of a lifetime comes back while something is done with it; and a bucket that was left alone for long enough is new.
func TestNothingOfALifetimeComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s State
		now, used, changed := clock.Moment(time.Hour), int64(0), clock.Moment(0)
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(-int64(time.Minute), int64(70*time.Minute)).Draw(t, "time passes")))
			if now.Sub(changed) >= session.Idle {
				used = 0
			}
			s.Leak(now, session)
			if s.Used != used {
				t.Fatalf("%d used, want %d", s.Used, used)
			}
			changed = max(changed, now)
			amount := rapid.Int64Range(0, 100*Micro).Draw(t, "amount")
			s.Use(amount)
			used += amount
			if want := session.Burst - used; s.Balance(session) != want {
				t.Fatalf("balance %d, want %d", s.Balance(session), want)
			}
			if wait := s.Wait(1, session); (wait == 0) != (used < session.Burst) || wait != 0 && wait != 1<<63-1 {
				t.Fatalf("wait %v with %d used", wait, used)
			}
		}
	})
}
