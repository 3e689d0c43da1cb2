package sim

import (
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
)

// fairness has one user with 100 times the load of nine others, who all want more than their share.
func fairness(workers int, bursts bool) Scene {
	s := Scene{
		Seed: 1, Workers: workers, Length: 300 * second,
		Settings: dispatch.Settings{Slots: 8, QueueMax: 500, MaxWait: waits},
		Upstream: Upstream{Service: second, Uneven: true},
	}
	for i := range 10 {
		source := Source{Subject: uint64(i + 1), Rate: 1.5, Tokens: 1000, Uneven: true, Misjudge: 0.5, Mix: only(config.Normal)}
		if bursts {
			source.Batch = 10
		}
		if i == 0 {
			source.Rate *= 100
			source.Batch *= 30
		}
		s.Sources = append(s.Sources, source)
	}
	return s
}

func TestFairness(t *testing.T) {
	for _, workers := range []int{1, 4} {
		for _, bursts := range []bool{false, true} {
			w := run(t, fairness(workers, bursts))
			index := Jain(w.TokensServed)
			t.Logf("%d workers, bursts %v: Jain's index %.3f of %v", workers, bursts, index, w.TokensServed)
			if index < 0.95 {
				t.Errorf("Jain's index %.3f", index)
			}
		}
	}
}

// TestWhoWaitsInVainPaysNothing: two users want more LOW requests than there are slots for; most are refused after 2 s.
func TestWhoWaitsInVainPaysNothing(t *testing.T) {
	for _, workers := range []int{1, 4} {
		w := run(t, Scene{
			Seed: 1, Workers: workers, Length: 120 * second, Upstream: Upstream{Service: second},
			Settings: dispatch.Settings{Slots: 10, QueueMax: 500, MaxWait: waits},
			Sources: []Source{
				{Subject: 1, Mix: only(config.Low), Rate: 100, Tokens: 1000},
				{Subject: 2, Mix: only(config.Low), Rate: 11, Tokens: 1000},
			},
		})
		if index := Jain(w.TokensServed); index < 0.95 {
			t.Errorf("%d workers: Jain's index %.3f of %v", workers, index, w.TokensServed)
		}
	}
}
