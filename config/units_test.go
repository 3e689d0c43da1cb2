package config

import (
	"strings"
	"testing"
)

// Whoever deals with a limit relies on its unit's row, and a client on its reason.
func TestUnitsAreComplete(t *testing.T) {
	names := map[string]bool{}
	for _, u := range Units {
		if u.Name == "" || u.Noun == "" || !strings.HasSuffix(u.Reason, "_exceeded") || names[u.Name] {
			t.Errorf("%+v lacks something, or is there twice", u)
		}
		names[u.Name] = true
		if u.Tokens() != (u.Charged == WhenEnded) {
			t.Errorf("%s: tokens are known when a request has ended, and no sooner", u.Name)
		}
		window := `, "window": "1s"`
		if u.Charged == Never {
			window = ""
		}
		if c, err := Parse([]byte(`{"limits": [{"name": "a", "unit": "` + u.Name + `", "quantity": 1` + window + `}], "prices": [{"prompt": 1}]}`)); err != nil || c.Limits[0].Unit != u {
			t.Errorf("%s: %v", u.Name, err)
		}
	}
}

func inflight(members string) string {
	return `{"limits": [{"name": "a", "unit": "inflight"` + members + `}]}`
}

// What makes no sense with requests under way is refused, with what would be right.
func TestLimitsOfRequestsUnderWay(t *testing.T) {
	c := mustParse(t, inflight(`, "per": ["user"], "quantity": 4, "mode": "shadow", "match": {"models": ["m"]}`))
	wantEqual(t, c.Limits, []Limit{{
		Name: "a", Per: []string{"user"}, Match: Match{Models: []string{"m"}}, Unit: Inflight, Quantity: 4, Burst: 4, Admission: Lenient, Mode: Shadow, Scope: ScopeProxy,
	}})
	checkErrors(t, []errorCase{
		{inflight(`, "quantity": 4, "window": "1h"`), []string{
			`limits[0].window: "1h": what is under way is counted at each moment, not over a time; leave window out, or choose another unit`}},
		{inflight(`, "quantity": 4, "burst": 9`), []string{`limits[0].burst: 9: quantity is all that can be under way at once; leave burst out`}},
		{inflight(`, "quantity": 4, "admission": "strict"`), []string{
			`limits[0].admission: "strict": each request under way is one, so there is nothing to estimate; leave admission out`}},
		{inflight(`, "quantity": 4, "refund": ["5xx"]`), []string{
			`limits[0].refund: a list: a request's place is free when it has ended, whatever came of it; leave refund out`}},
		{inflight(`, "quantity": 4, "refund": []`), []string{`limits[0].refund: a list: a request's place`}},
		{inflight(`, "quantity": 0, "window": null`), []string{`limits[0].quantity: 0: want a whole number from 1`, `limits[0].window: null: what is under way`}},
		{inflight(``), []string{`limits[0].quantity: missing; want a whole number from 1`}},
		{`{"limits": [{"name": "a", "unit": "requests", "quantity": 4}]}`, []string{`limits[0].window: missing; want hour, day, week or month, or a duration such as`}},
	})
}

// What weighs requests of which there is no limit is a mistake, and so is a weight without units.
func TestWeightsWantALimit(t *testing.T) {
	for _, c := range []struct{ upstream, want string }{
		{`"concurrency":{"weights":[{"units":2}]}`, "upstreams[0].concurrency.weights"},
		{`"budget":{"tokens":5,"weights":[{"units":2}]}`, "upstreams[0].budget.weights"},
		{`"concurrency":{"max":4,"weights":[{"models":["a"]}]}`, "upstreams[0].concurrency.weights[0].units"},
		{`"concurrency":{"max":4,"weights":[{"units":0}]}`, "upstreams[0].concurrency.weights[0].units"},
	} {
		_, err := Parse([]byte(`{"upstreams":[{"name":"x",` + c.upstream + `}]}`))
		if problems := Problems(err); len(problems) != 1 || problems[0].Path != c.want {
			t.Errorf("%s: %v, want a problem of %s", c.upstream, err, c.want)
		}
	}
	if _, err := Parse([]byte(`{"upstreams":[{"name":"x","concurrency":{"max":"auto","weights":[{"units":2}]},"budget":{"requests":9,"weights":[{"units":900}]}}]}`)); err != nil {
		t.Error(err)
	}
}
