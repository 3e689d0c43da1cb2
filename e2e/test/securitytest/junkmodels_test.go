package securitytest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// knowing answers for models that begin with "real" or "named", unless x-make is 500, and fails for all others as their names say.
func knowing() http.Handler {
	well := completes(5)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		known := strings.Contains(string(body), `"model":"real`) || strings.Contains(string(body), `"model":"named`)
		if known && r.Header.Get("x-make") == "" {
			well.ServeHTTP(w, r)
			return
		}
		w.Header().Set("content-type", "application/json")
		status := 404
		if known || strings.Contains(string(body), `"model":"junk5`) {
			status = 500
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":{"message":"The model does not exist.","type":"invalid_request_error","code":"model_not_found"}}`)
	})
}

func (g *gateway) of(t *testing.T, model string, headers ...string) answer {
	t.Helper()
	return g.send(t, "POST", chatPath, `{"model":"`+model+`","messages":[]}`, headers...)
}

// A client that makes up names of models takes no metric label, and no gate, from those that there are.
func TestMadeUpModelsHarmNoOther(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			t.Parallel()
			g := start(t, harness.Options{Concurrency: workers}, knowing())
			t.Run("labels", func(t *testing.T) { keepLabels(t, g) })
			t.Run("gates", func(t *testing.T) { keepGates(t, g) })
		})
	}
}

func keepLabels(t *testing.T, g *gateway) {
	g.configure(t, `{"models":{"labels":["*"]},"upstreams":[{"name":"a","models":["named-b"]},{"name":"b","models":["*"]}],
		"limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":100000,"window":"1h","match":{"models":["named-c"]}}]}`)
	for i := range 150 {
		g.of(t, fmt.Sprint("junk", 4+i%2, "-", i))
		g.of(t, fmt.Sprint("junk4;gate=forged", i))
	}
	requests := func(model string) float64 { return g.Sum("spillway_requests_total", "model", model) }
	for _, model := range []string{"named-b", "named-c", "real-1", "real-2"} {
		for range 4 * 2 { // each worker learns by itself
			if a := g.of(t, model); a.status != 200 {
				t.Fatalf("%s got %d %q", model, a.status, a.reason())
			}
		}
		harness.Await(t, patience, model+" is counted under its name", func() bool { return requests(model) == 8 })
		harness.Await(t, patience, model+" has 40 tokens under its name", func() bool {
			return g.Sum("spillway_tokens_total", "model", model, "type", "output") == 8*5
		})
	}
	if got := requests("other"); got != 300 {
		t.Errorf("%v made-up models are counted as other, want 300", got)
	}
	if strings.Contains(g.Prometheus(), "junk") {
		t.Error("a made-up name is a label")
	}
}

func keepGates(t *testing.T, g *gateway) {
	g.configure(t, fresh("known", `"models":["*"],"breaker":{"mode":"enforce","minRequests":3,"window":"10m","openFor":"10m"}`))
	const known = "real-known"
	if a := g.of(t, known); a.status != 200 {
		t.Fatalf("got %d", a.status)
	}
	for i := range 140 { // more than there are places
		for range 2 {
			g.of(t, fmt.Sprint("junk5-", i))
		}
	}
	for i := range 8 {
		g.of(t, fmt.Sprint("junk5-late-", i%2), "x-user-id: mallory")
	}
	for i := range 4 {
		if a := g.of(t, fmt.Sprint("real-new-", i)); a.status != 200 {
			t.Errorf("after failures of made-up models a good one got %d %q", a.status, a.reason())
		}
	}
	// A model that fails is still refused, one that was known and one that came later.
	for _, model := range []string{known, "real-new-0"} {
		harness.Await(t, patience, model+" is refused", func() bool { return g.of(t, model, "x-make: 500").reason() == "breaker/open" })
	}
	if a := g.of(t, "real-new-1"); a.status != 200 {
		t.Errorf("another one got %d %q", a.status, a.reason())
	}
}
