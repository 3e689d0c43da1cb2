package securitytest

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// A full queue is no way around the budget, with several workers neither: what finds it full waits for the budget as long as its
// priority may (seed 001), and the upstream gets no more than was agreed.
func TestAFullQueueIsNoWayAroundTheBudget(t *testing.T) {
	t.Parallel()
	server := newUpstream(t, nil)
	upstream := func(name, wait string) string {
		return fmt.Sprintf(`{"upstreams":[{"name":%q,"budget":{"requests":3,"window":"8760h","burst":3},"queue":{"max":2,"whenFull":"passthrough","maxWait":{"low":%q}}}]}`, name, wait)
	}
	e := harness.Start(t, harness.Options{Upstream: server.URL, Concurrency: 2, Config: upstream("llm", "1s")})
	var all sync.WaitGroup
	var mu sync.Mutex
	got := map[string]int{}
	for i := range 20 {
		all.Go(func() {
			status, header, _ := post(t, e, chatPath, fmt.Sprint("user", i), chatBody, "X-Priority", "low")
			mu.Lock()
			defer mu.Unlock()
			got[fmt.Sprint(status, header.Get("x-spillway-reason"))]++
		})
	}
	all.Wait()
	if len(got) != 2 || got[fmt.Sprint(http.StatusOK)] != 3 || got["429queue/timeout"] != 17 {
		t.Errorf("answers %v, want 3 times 200 and 17 times queue/timeout", got)
	}
	served := 0
	for i := range 20 {
		begun, _ := server.saw(fmt.Sprint("user", i))
		served += begun
	}
	if served != 3 {
		t.Errorf("the upstream saw %d requests of a budget of 3", served)
	}
	// How many find it full is exact where none gives up before all have come.
	configure(t, e, harness.HoldStopIteration, upstream("patient", "1h"))
	for i := range 20 {
		r := dial(t, e)
		r.head(chatPath, fmt.Sprint("patient", i), "X-Priority", "low", "Content-Length", fmt.Sprint(len(chatBody)))
		r.write(chatBody)
	}
	past := func() int {
		return metric(e, "spillway_passthrough_total", "upstream", "patient", "reason", "queue_full")
	}
	harness.Await(t, patience, "15 of 20 have gone past the queue", func() bool { return past() >= 15 })
	if n, waiting := past(), metric(e, "spillway_queue_depth", "upstream", "patient"); n != 15 || waiting > 17 {
		t.Errorf("%d are counted as having gone past the queue, and %d wait, want 15 and 17", n, waiting)
	}
}
