package envoytest

import (
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// To start an Envoy costs seconds, to reconfigure one next to nothing: what needs no Envoy of its own shares this one.
// Each part brings its configuration and users, and compares counters with what they were before.
func TestOneEnvoyUnderManyConfigurations(t *testing.T) {
	t.Parallel()
	g := start(t, harness.Options{Concurrency: 2, Clusters: []any{unreachable}, Edit: routeToUnreachable},
		llmsim.Options{RecordBody: 6 * megabyte, History: 200})
	for _, part := range []struct {
		name string
		test func(*testing.T, *gateway)
	}{
		{"a request is charged what it used", chargeUse},
		{"an identity must be clear", identify},
		{"a decision is on record", record},
		{"what is published is in the access log", publish},
		{"a client that is refused keeps its connection", keepConnection},
		{"bodies that are not read pass untouched", passUnread},
		{"the configuration can change while Envoy runs", changeConfig},
		{"garbage is answered and the filter lives", answerGarbage},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, g) })
	}
}
