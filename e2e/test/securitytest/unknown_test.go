package securitytest

import (
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// A path without a dialect is no way around limits of tokens, where the configuration says so.
func TestAPathThatNobodyKnowsIsGovernedAsConfigured(t *testing.T) {
	g := start(t, harness.Options{}, completes(76))
	for _, hold := range everyHold {
		for unknown, want := range map[string]string{"pass": "200 200 200", "estimate": "200 200 429", "reject": "400 400 400"} {
			configure(t, g.Envoy, hold, `{"unknown":"`+unknown+`","operations":[{"path":"/named","dialect":"other"}],"limits":[
				{"name":"`+string(hold)+unknown+`","match":{"models":["dear"]},"unit":"totalTokens","quantity":300,"window":"8760h"}]}`)
			var last answer
			if got := statuses(3, func(int) answer { last = g.send(t, "POST", "/generate", `{"inputs":"hello"}`); return last }); got != want {
				t.Errorf("%s, %s: %s, want %s: %s", unknown, hold, got, want, last.body)
			}
			if unknown == "reject" && last.reason() != "operation/unknown" {
				t.Errorf("%s: %s", hold, last.reason())
			}
			for _, passing := range [][2]string{{"GET", "/generate"}, {"POST", "/named"}} {
				body := ""
				if passing[0] == "POST" {
					body = "{}"
				}
				if got := g.send(t, passing[0], passing[1], body); got.status != 200 {
					t.Errorf("%s, %s, %v: %d %s", unknown, hold, passing, got.status, got.body)
				}
			}
		}
	}
}
