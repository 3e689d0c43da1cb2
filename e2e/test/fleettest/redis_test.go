package fleettest

import (
	"fmt"
	"strings"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/fleetproc"
)

func (s *shared) must(args ...string) []string {
	s.t.Helper()
	answer, err := fleetproc.Command(s.redisPort, args...)
	if err != nil {
		s.t.Fatalf("ask Redis: %v", err)
	}
	return answer
}

// charged is what Redis has counted for a user.
func (s *shared) charged(user string) int {
	s.t.Helper()
	total, err := fleetproc.Charged(s.redisPort, "llm_user_"+user+"_*")
	if err != nil {
		s.t.Fatalf("ask Redis: %v", err)
	}
	return total
}

// awaitCharged waits until exactly so much is charged: that happens when a request has ended, and a moment later.
func (s *shared) awaitCharged(user string, want int) {
	s.t.Helper()
	got := -1
	defer func() {
		if got != want {
			s.t.Logf("%s is charged %d, want %d", user, got, want)
		}
	}()
	harness.Await(s.t, patience, fmt.Sprint(user, " is charged ", want), func() bool {
		got = s.charged(user)
		return got == want
	})
}

// counted is how often ratelimit has counted something in Redis since the last forgetCounted.
func (s *shared) counted() int {
	s.t.Helper()
	for line := range strings.Lines(strings.Join(s.must("INFO", "commandstats"), "\n")) {
		var calls int
		if _, err := fmt.Sscanf(line, "cmdstat_incrby:calls=%d,", &calls); err == nil {
			return calls
		}
	}
	return 0
}

func (s *shared) forgetCounted() {
	s.t.Helper()
	s.must("CONFIG", "RESETSTAT")
}
