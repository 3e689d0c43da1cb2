package fleettest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// A request that waits for a lease is held, and goes on whole, however Envoy is set up to hold requests, and also where it isn't.
func TestARequestWaitsForALeaseHoweverItIsHeld(t *testing.T) {
	harness.AwaitDay(t)
	f := &leased{fleet: &fleet{shared: startShared(t), door: &door{}, sim: llmsim.New(llmsim.Options{Models: []string{"mock"}, Tokens: answer, RecordHeaders: []string{"*"}})}}
	server := httptest.NewServer(f.sim)
	t.Cleanup(server.Close)
	for _, hold := range []harness.Hold{harness.HoldNone, harness.HoldBufferFilter} {
		t.Run(string(hold), func(t *testing.T) {
			t.Parallel()
			config := func(unit string) string {
				text := leaseLimit("h-"+string(hold)+unit, 3*answer, "refuse")
				return strings.Replace(strings.Replace(text, "completionTokens", unit, 1), `"requestHold":"stopIteration",`, "", 1)
			}
			e := harness.Start(t, harness.Options{
				Config: config("requests"), Hold: hold, Upstream: server.URL, Concurrency: 2, Clusters: []any{cluster("ratelimit", "http://"+local(f.httpPort))},
			})
			for _, unit := range []string{"requests", "completionTokens"} {
				if err := e.Reconfigure(config(unit)); err != nil {
					t.Fatal(err)
				}
				for i := range 3 {
					request, err := ask{user: fmt.Sprint(hold, unit), stream: i == 1}.request(t.Context(), e.URL)
					if err != nil {
						t.Fatal(err)
					}
					response, err := e.Client.Do(request)
					if err != nil {
						t.Fatal(err)
					}
					_ = response.Body.Close()
					if response.StatusCode != http.StatusOK {
						t.Errorf("%s, request %d: %d", unit, i, response.StatusCode)
					}
				}
			}
		})
	}
}
