package securitytest

import (
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// Browsers' preflights and monitors' probes pass, and nobody gets by the limits by looking like one.
func TestPreflightsAndProbesPassAndAreNoWayAround(t *testing.T) {
	t.Parallel()
	const limits = `"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":2,"window":"1h"}]`
	g := start(t, harness.Options{Concurrency: 2, Config: `{"identity":{"missing":"reject"},` + limits + `}`}, completes(76))
	preflight := []string{"origin: https://page.example", "access-control-request-method: POST", "access-control-request-headers: authorization"}
	all := func(t *testing.T, want string, n int, send func(i int) answer) {
		t.Helper()
		if got := statuses(n, send); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	t.Run("preflights have no identity, and no end", func(t *testing.T) {
		all(t, "200 200 200 200 200", 5, func(int) answer { return g.send(t, "OPTIONS", chatPath, "", preflight...) })
	})
	t.Run("an OPTIONS that is none needs one", func(t *testing.T) {
		all(t, "401", 1, func(int) answer { return g.send(t, "OPTIONS", chatPath, "") })
		all(t, "200 200 429", 3, func(int) answer { return g.send(t, "OPTIONS", chatPath, "", "x-user-id: options") })
	})
	t.Run("probes need no identity", func(t *testing.T) {
		all(t, "200", 1, func(int) answer { return g.send(t, "GET", "/health", "") })
		all(t, "200", 1, func(int) answer { return g.send(t, "HEAD", "/v1/models", "") })
	})
	for _, attack := range []struct {
		name, method, body string
		headers            []string
	}{
		{"a POST with a preflight's headers", "POST", hello, preflight},
		{"a preflight with a body", "OPTIONS", hello, preflight},
		{"a preflight that is to be a POST", "OPTIONS", "", append([]string{"x-http-method-override: POST"}, preflight...)},
		{"a preflight with a body that is to be a POST", "OPTIONS", hello, append([]string{"x-http-method: POST"}, preflight...)},
		{"a probe with a body", "GET", hello, nil},
	} {
		t.Run(attack.name, func(t *testing.T) {
			all(t, "401", 1, func(int) answer { return g.send(t, attack.method, chatPath, attack.body, attack.headers...) })
			headers := append([]string{"x-user-id: " + attack.name}, attack.headers...)
			all(t, "200 200 429", 3, func(int) answer { return g.send(t, attack.method, chatPath, attack.body, headers...) })
		})
	}
	t.Run("probes are asked for an identity where that is configured", func(t *testing.T) {
		g.configure(t, `{"identity":{"missing":"reject","probes":"reject"},`+limits+`}`)
		all(t, "401", 1, func(int) answer { return g.send(t, "GET", "/health", "") })
		all(t, "200 200 200", 3, func(int) answer { return g.send(t, "OPTIONS", chatPath, "", preflight...) })
	})
}
