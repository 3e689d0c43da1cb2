package fleettest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// The fleet's bootstrap does what it says with nothing changed but ports and what a busy machine needs, its configuration in YAML included: one proxy answers
// four times, and what it answered is charged.
func TestTheFleetsBootstrapRunsAsItIs(t *testing.T) {
	t.Parallel()
	written, count := harness.AsWritten(t, envoyproc.FleetYAML)
	if count != 1 {
		t.Fatalf("the file has the configurations of %d plugins, want 1", count)
	}
	s := startShared(t)
	_, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{Models: []string{"mock"}, Tokens: answer})
	e := harness.Start(t, harness.Options{Bootstrap: envoyproc.FleetYAML, Upstream: address, Concurrency: 2, Edit: func(b *envoyproc.Bootstrap) {
		b.SetRatelimit(local(s.port))
		b.Edit(patientWithRatelimit)
		written(b)
	}})
	f := &fleet{shared: s, envoys: [2]*harness.Envoy{e, e}}
	f.awaitHealth(true)
	harness.AwaitHour(t, 5*time.Minute)
	var statuses []string
	for i := range 5 {
		statuses = append(statuses, fmt.Sprint(f.send(0, ask{user: "as-it-is"}).status))
		f.awaitCharged("as-it-is", min(i+1, 4)*answer)
	}
	if got := strings.Join(statuses, " "); got != "200 200 200 200 429" {
		t.Errorf("got %s, want 200 200 200 200 429", got)
	}
}
