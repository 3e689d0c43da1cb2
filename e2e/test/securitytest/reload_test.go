package securitytest

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// A reload that cuts streams leaves nothing behind: no slot, and no gauge that shows for ever what is gone, whether the upstream is still
// in the configuration or not.
func TestAReloadThatCutsStreamsLeavesNothing(t *testing.T) {
	t.Parallel()
	server := newUpstream(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	e := harness.Start(t, harness.Options{Upstream: server.URL, Concurrency: 2})
	upstream := func(name string, more int) string {
		return fmt.Sprintf(`{"upstreams":[{"name":%q,"concurrency":{"max":2},"queue":{"max":%d}}]}`, name, more)
	}
	configure(t, e, harness.HoldStopIteration, upstream("kept", 10))
	for range 3 {
		r := dial(t, e)
		r.head(chatPath, "ann", "Content-Length", fmt.Sprint(len(chatBody)))
		r.write(chatBody)
	}
	shows := func(upstream string, inFlight, waiting int) func() bool {
		return func() bool {
			return metric(e, "spillway_inflight", "upstream", upstream) == inFlight &&
				metric(e, "spillway_queue_depth", "upstream", upstream) == waiting
		}
	}
	harness.Await(t, patience, "two are in flight and one waits", shows("kept", 2, 1))
	configure(t, e, harness.HoldStopIteration, upstream("kept", 11))
	harness.Await(t, patience, "nothing is shown of what was cut", shows("kept", 0, 0))

	r := dial(t, e)
	r.head(chatPath, "ann", "Content-Length", fmt.Sprint(len(chatBody)))
	r.write(chatBody)
	harness.Await(t, patience, "one is in flight", shows("kept", 1, 0))
	configure(t, e, harness.HoldStopIteration, upstream("other", 10))
	harness.Await(t, patience, "nothing is shown of an upstream that is gone", shows("kept", 0, 0))
	if rpm := metric(e, "spillway_effective_rpm", "upstream", "kept"); rpm != 0 {
		t.Errorf("it is shown to take %d requests a minute", rpm)
	}
}
