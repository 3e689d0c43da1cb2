package reply

import (
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// Dollars have their cents, and are rounded up, to the millionth: nobody is told that he has used less than his limit, or may ask for more.
func TestDollarsAreWrittenWithCents(t *testing.T) {
	l := &config.Limit{Unit: config.USD}
	for n, want := range map[int64]string{0: "$0.00", 1: "$0.000001", 10_000_000: "$0.01", 500 * config.Dollar: "$500.00", 12_345_678_901: "$12.345679", 100_000_000: "$0.10",
		250_500_000: "$0.2505", 1e18: "$1000000000.00", -5: "$0.00"} {
		if got := string(appendUnits([]byte("x"), l, n)); got != "x"+want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestRefusalsOfDollars(t *testing.T) {
	month := &config.Limit{Name: "team", Unit: config.USD, Quantity: 500 * config.Dollar, Burst: 500 * config.Dollar, Window: 720 * time.Hour, Calendar: config.CalendarMonth}
	for _, test := range []struct {
		reason string
		wait   time.Duration
		status int
		want   string
	}{
		{config.USD.Reason, 48 * time.Hour, 429, "Rate limit reached for gpt-5 on spend per month: limit $500.00, used $500.25, requested $0.0251. Please try again in 48h0m0s. (limit team)"},
		{gate.TooLarge, gate.Never, 429, "Request too large for gpt-5 on spend per month: limit $500.00, requested $0.0251. Ask for at most $500.00; waiting will not help. (limit team)"},
		{gate.Spent, gate.Never, 429, "This session is over: the limit team of $500.00 spend in all does not come back, used $500.25, requested $0.0251. Trying again will not help."},
		{gate.Unpriced, gate.Never, 400, "What a request costs is not known, since its model has no price here, and the limit team is one of dollars. Whoever runs the gateway names the model under prices."},
	} {
		v := gate.Because(gate.Rejected, gate.Limits, test.reason)
		v.Limit, v.Measured, v.Requested, v.Wait = month, 500.25, 25_100_000, test.wait
		var r Reply
		r.Refuse(&v, &About{Format: OpenAI, Model: "gpt-5"}, &config.StatusCode{Limits: 429})
		if r.Status != test.status || !strings.Contains(string(r.Body), `"message":"`+test.want+`"`) {
			t.Errorf("%s: %d %s", test.reason, r.Status, r.Body)
		}
		if r.get("x-ratelimit-limit-tokens") != "" {
			t.Errorf("%v", r.Headers)
		}
	}
}
