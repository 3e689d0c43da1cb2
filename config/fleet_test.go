package config

import "testing"

func fleetLimit(members string) string {
	return `{"limits": [{"name": "a", "scope": "fleet"` + members + `}]}`
}

// A limit of the fleet has what the fleet's service knows.
func TestLimitsOfAFleet(t *testing.T) {
	for window, want := range map[string]string{"1m": "MINUTE", "60m": "HOUR", "24h": "DAY", "720h": "MONTH"} {
		c := mustParse(t, fleetLimit(`, "unit": "totalTokens", "quantity": 4294967295, "window": "`+window+`"`))
		if got := c.Limits[0].FleetUnit(); got != want || !c.Fleets() {
			t.Errorf("%s: %q", window, got)
		}
	}
	if c := mustParse(t, `{"limits": [{"name": "a", "unit": "requests", "quantity": 1, "window": "1h"}]}`); c.Fleets() {
		t.Error("a proxy's own limit is the fleet's")
	}
	checkErrors(t, []errorCase{
		{fleetLimit(`, "unit": "requests", "quantity": 1, "window": "2h"`), []string{`limits[0].window: "2h": the fleet's service has no such window; want 1m, 1h, 24h or 720h`}},
		{fleetLimit(`, "unit": "requests", "quantity": 4294967296, "window": "1h"`), []string{`limits[0].quantity: 4294967296: more than the fleet's service counts; want at most 4294967295`}},
		{fleetLimit(`, "unit": "requests", "quantity": 4, "burst": 5, "window": "1h"`), []string{`limits[0].burst: 5: a limit of the fleet comes back when a window begins; leave burst out`}},
		{fleetLimit(`, "unit": "inflight", "quantity": 4`), []string{`limits[0].scope: fleet: what is under way is counted by each proxy; leave scope out, or choose another unit`}},
		{`{"fleet": {"domain": "a\"b"}}`, []string{`fleet.domain: `}},
	})
}
