package envoytest

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// ofEnvoy are the access log's own fields, and headers; the others are from the filter state.
var ofEnvoy = []string{"time", "method", "path", "status", "status_details", "response_flags", "duration_ms", "bytes_received", "bytes_sent", "upstream",
	"request_id", "traceparent", "user", "tenant"}

// published are the fields of a record that are from the filter state.
func published(r harness.Record) string {
	return strings.Join(slices.DeleteFunc(slices.Sorted(maps.Keys(r)), func(field string) bool { return slices.Contains(ofEnvoy, field) }), " ")
}

// publish checks that the access log has of a stream that passes and of a request that is refused what is published, and nothing else; and that
// headers tell of limits where they are to.
func publish(t *testing.T, g *gateway) {
	const (
		counts = "cached_tokens completion_tokens prompt_tokens reasoning_tokens "
		many   = "cached_tokens completion_tokens decision itl_ms operation priority prompt_tokens provider reasoning_tokens request_model response_model" +
			" total_tokens ttft_ms usage_source"
		why = "decision gate limit measured operation priority reason request_model retry_ms retryable subject threshold"
	)
	for _, c := range []struct {
		name, publish, headers string
		passed, refused        string // what is published
		told                   [2]bool
	}{
		{"all", `"all"`, "all", many, why, [2]bool{true, true}},
		{"tokens", `"tokens"`, "refusals", counts + "request_model response_model total_tokens", "request_model", [2]bool{false, true}},
		{"minimal", `"minimal"`, "off", "completion_tokens decision", "decision gate reason", [2]bool{}},
		{"list", `["gen_ai.usage.source","spillway.limit"]`, "off", "usage_source", "limit", [2]bool{}},
		{"none", `[]`, "all", "", "", [2]bool{true, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			reconfigure(t, g, `{"publish":`+c.publish+`,"rateLimitHeaders":"`+c.headers+`","limits":[`+
				`{"name":"published","per":["user"],"unit":"completionTokens","quantity":10,"window":"1h"}]}`)
			who := "reader-" + c.name
			passed := g.post(t, chatPath, streamBody, scripted(who, "x-sim-itl", "2ms", "x-sim-ttft", "5ms", "traceparent", who+"-passed"))
			wantStatus(t, passed, http.StatusOK)
			g.logged(t, who+"-passed") // it has been charged
			refused := g.post(t, chatPath, streamBody, scripted(who, "traceparent", who+"-refused"))
			wantStatus(t, refused, http.StatusTooManyRequests)
			if got := published(g.logged(t, who+"-passed")); got != c.passed {
				t.Errorf("of one that passed: %s\nwant: %s", got, c.passed)
			}
			if got := published(g.logged(t, who+"-refused")); got != c.refused {
				t.Errorf("of one that was refused: %s\nwant: %s", got, c.refused)
			}
			for i, a := range []answer{passed, refused} {
				if told := a.header.Get("x-ratelimit-limit-tokens") != ""; told != c.told[i] {
					t.Errorf("answer %d: its headers tell of the limit: %t", i, told)
				}
			}
			if refused.header.Get("retry-after") == "" {
				t.Error("a refusal doesn't say when to come back")
			}
		})
	}
}
