package reply

import (
	"math"
	"testing"
	"time"
)

// Who would retry by himself is told when not to: clients that would sleep for hours, and proxies always.
func TestWhoRetriesByHimselfIsToldNotTo(t *testing.T) {
	for _, test := range []struct {
		status  int
		wait    time.Duration
		longest time.Duration
		client  string // x-should-retry
		proxy   string // x-envoy-ratelimited
	}{
		{429, 59 * second, 60 * second, "", "true"},
		{429, 60 * second, 60 * second, "", "true"},
		{429, 60*second + 1, 60 * second, "false", "true"},
		{503, 4 * 3600 * second, 60 * second, "false", "true"},
		{529, 4 * 3600 * second, 5 * 3600 * second, "", "true"},
		{429, math.MaxInt64, 60 * second, "false", "true"},
		{429, 0, 60 * second, "", "true"},
		{400, math.MaxInt64, 60 * second, "false", "true"},
		{401, 0, 60 * second, "", "true"},
		{200, 4 * 3600 * second, 60 * second, "false", ""},
	} {
		r := New(OpenAI, refusal{Status: test.status, Reason: "a/b", Wait: test.wait})
		r.Finish(test.longest)
		got := map[string][]string{}
		for _, h := range r.Headers {
			got[h[0]] = append(got[h[0]], h[1])
		}
		is := func(name, want string) {
			if want == "" && got[name] != nil || want != "" && (len(got[name]) != 1 || got[name][0] != want) {
				t.Errorf("%d after %d of %d: %s is %q, want %q", test.status, test.wait, test.longest, name, got[name], want)
			}
		}
		is("x-should-retry", test.client)
		is("x-envoy-ratelimited", test.proxy)
		if test.wait > 0 && test.wait != math.MaxInt64 && got["retry-after"] == nil {
			t.Errorf("%d: it doesn't say when", test.wait)
		}
	}
}
