package admintest

import (
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// inForce is how long what an operator changes may take until every worker goes by it.
const inForce = 2 * time.Second

// keepBusy has two programs do nothing, as fast as they can, until the test ends.
func keepBusy(t *testing.T) {
	t.Helper()
	for range 2 {
		busy := exec.Command("sh", "-c", "ulimit -t 60; while :; do :; done") // one process, so that nothing of it outlives the test
		if err := busy.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = busy.Process.Kill()
			_ = busy.Wait()
		})
	}
}

// An override, a grant or a drain is in force in every worker within two seconds, also where the machine has other work: see everywhere. Who asks is told
// when all have it.
func TestInForceOnABusyMachine(t *testing.T) {
	t.Parallel()
	g := steer(t, 4)
	for range 2 {
		g.chat(t, "ann")
	}
	g.everywhere(t, "ann", http.StatusTooManyRequests)
	stop := g.load(t)
	keepBusy(t)
	worst := time.Duration(0)
	for i := range 4 {
		status, answer := g.admin(t, http.MethodPatch, "/overrides", fmt.Sprintf(`{"statusCode":{"limits":%d}}`, 430+i))
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		worst = max(worst, g.everywhere(t, "ann", 430+i))
	}
	harness.Await(t, harness.Patience, "it is told that all have it", func() bool {
		_, answer := g.admin(t, http.MethodGet, "/config?overrides", "")
		return strings.Contains(answer, `"workers":[{"revision":4,"workers":4}]`)
	})
	n := stop()
	if status, answer := g.admin(t, http.MethodPost, "/limits/few/subjects/bob", `{"quantity":1000000,"for":"1h"}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	worst = max(worst, g.everywhere(t, "bob", http.StatusOK))
	for _, step := range []struct {
		what string
		want int
	}{{"drain", http.StatusServiceUnavailable}, {"resume", http.StatusOK}} {
		if status, answer := g.admin(t, http.MethodPost, "/upstreams/llm/"+step.what, ""); status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		worst = max(worst, g.everywhere(t, "bob", step.want))
	}
	t.Logf("in force after %v at most; %d requests beside it", worst, n)
}
