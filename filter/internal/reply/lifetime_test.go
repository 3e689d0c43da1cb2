package reply

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// A session that is over is told so: no time to come back, and a code that clients don't retry.
func TestASessionThatIsOver(t *testing.T) {
	v := gate.Because(gate.Rejected, gate.Limits, gate.Spent)
	v.Limit = &config.Limit{Name: "steps", Unit: config.Requests, Quantity: 3, Burst: 3, Lifetime: true, Idle: 1}
	v.Measured, v.Threshold, v.Requested, v.Wait = 3, 3, 1, gate.Never
	r := refuse(OpenAI, 429, About{Model: "m"}, v)
	r.Finish(second)
	got := text(r)
	want := `{"error":{"message":"This session is over: the limit steps of 3 requests in all does not come back, used 3, requested 1. Trying again will not help.",` +
		`"type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`
	if !strings.HasSuffix(got, want) || !strings.HasPrefix(got, "429\n") {
		t.Errorf("%s\nwant %s", got, want)
	}
	for _, line := range []string{"x-spillway-reason: limits/lifetime_spent", "x-should-retry: false"} {
		if !strings.Contains(got, line) {
			t.Errorf("%s\nlacks %s", got, line)
		}
	}
	if strings.Contains(got, "retry-after") || strings.Contains(got, "x-ratelimit") {
		t.Errorf("a promise: %s", got)
	}
}
