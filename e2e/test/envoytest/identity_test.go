package envoytest

import (
	"net/http"
	"strings"
	"testing"
)

func identify(t *testing.T, g *gateway) {
	reconfigure(t, g, seedQuota)
	t.Run("a user that is named twice is refused", func(t *testing.T) {
		a := g.chat(t, user("one", "x-user-id", "two", "x-sim-id", "twice"))
		wantStatus(t, a, http.StatusBadRequest)
		wantHeaders(t, a, map[string]string{"x-spillway-reason": "identity/repeated_header", "content-type": "application/json"})
		if !strings.Contains(string(a.body), "The header x-user-id was sent more than once") {
			t.Errorf("the error body doesn't say what to do: %s", a.body)
		}
	})
	t.Run("users that are not named share one quota by default", func(t *testing.T) {
		if got := statuses(5, func() answer { return g.chat(t, nil) }); got != "200 200 200 200 429" {
			t.Errorf("got %s, want 200 200 200 200 429", got)
		}
	})
	t.Run("the priority header stays here by default", func(t *testing.T) {
		wantStatus(t, g.chat(t, user("quiet", "x-priority", "high")), http.StatusOK)
		if value, there := g.received("quiet")[0].Headers["x-priority"]; there {
			t.Errorf("the server received x-priority: %s", value)
		}
	})

	reconfigure(t, g, `{"identity": {"missing": "reject"}, "priority": {"forward": true}, "limits": [`+seedLimit+`]}`)
	t.Run("the priority header is forwarded where that is configured", func(t *testing.T) {
		wantStatus(t, g.chat(t, user("loud", "x-priority", "high")), http.StatusOK)
		if value := g.received("loud")[0].Headers["x-priority"]; value != "high" {
			t.Errorf("the server received x-priority %q, want high", value)
		}
	})
	t.Run("a user that is not named is refused where that is configured", func(t *testing.T) {
		before := g.sim.Stats().Received
		a := g.chat(t, nil)
		wantStatus(t, a, http.StatusUnauthorized)
		wantHeaders(t, a, map[string]string{"x-spillway-reason": "identity/missing"})
		if !strings.Contains(string(a.body), `"code":"missing_identity"`) {
			t.Errorf("the error body is %s", a.body)
		}
		if g.sim.Stats().Received != before {
			t.Error("the server saw the request")
		}
	})
}
