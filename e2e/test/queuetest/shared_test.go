package queuetest

import (
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// part is a part of a test.
type part struct {
	name string
	test func(*testing.T, *gateway)
}

// Nearly all of the time goes by waiting for something, so there are more of these at once than there are CPUs. To start an
// Envoy costs seconds, to reconfigure one next to nothing: what needs no Envoy of its own shares one with others. Each part
// brings its configuration, with an upstream of a name of its own, because what the workers know of an upstream outlives
// configurations.
func TestQueue(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for name, test := range map[string]func(*testing.T){
		// Its order is exact, and it makes no difference to it how Envoy holds requests.
		"one worker": share(1, part{"order", serveInOrder}, part{"refusals", refuse}, part{"leaving", leave}, part{"by model", byModel}, part{"revoke", revoke}),
		// They have to agree.
		"four workers": share(4, part{"order", serveInOrder}, part{"refusals", refuse}, part{"leaving", leave}, part{"by model", byModel},
			part{"fairness", shareFairly}, part{"flows", serveFlows}, part{"turns", takeTurns}, part{"hammer", hammer}, part{"shadow", shadow}, part{"shadow of more", shadowMore},
			part{"slots learned in shadow", learnInShadow}, part{"slots learned before", keepLearned}, part{"slots of a server that shrinks", followCapacity},
			part{"revoke", revoke}, part{"weights", weigh}),
		"budgets":       share(4, part{"budget", keepBudget}, part{"weights", weighBudget}, part{"what the upstream says", heedUpstream}, part{"retreat", retreat}),
		"gates":         share(4, part{"four workers", gates}),
		"crowds":        crowds,
		"faults":        faults,
		"misconfigured": misconfigured,
	} {
		all.Go(func() { t.Run(name, test) })
	}
	all.Wait()
}

func share(workers int, parts ...part) func(*testing.T) {
	return func(t *testing.T) {
		g := start(t, harness.Options{Concurrency: workers}, llmsim.Options{})
		for _, part := range parts {
			t.Run(part.name, func(t *testing.T) { part.test(t, g) })
		}
		t.Run("metrics", func(t *testing.T) { asDocumented(t, g) })
	}
}

// holds runs a part under each way in which Envoy may hold requests; with several workers only under the first, since it
// makes no difference between them.
func (g *gateway) holds(t *testing.T, config string, test func(*testing.T)) {
	holds := []harness.Hold{harness.HoldStopIteration, harness.HoldBufferFilter, harness.HoldNone}
	if g.workers > 1 {
		holds = holds[:1]
	}
	for _, hold := range holds {
		t.Run(string(hold), func(t *testing.T) {
			g.configure(t, hold, config)
			test(t)
		})
	}
}
