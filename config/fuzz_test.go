package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("examples/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		json, err := yaml.YAMLToJSON(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(json)
	}
	for _, text := range []string{"", "null", `{"mode": false}`, `{"admin": {"token": "12345678"}}`, `{"a\u0000": [[[1e5]]]}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse(data)
		var errs fieldErrors
		if errors.As(err, &errs) && len(errs) > 0 && err.Error() != "" {
			return
		}
		if err != nil {
			t.Fatalf("%v is no Errors", err)
		}
		for _, broken := range brokenInvariants(c) {
			t.Error(broken)
		}
	})
}

// brokenInvariants lists what readers rely on and c does not keep.
func brokenInvariants(c Config) (broken []string) {
	check := func(ok bool, what string) {
		if !ok {
			broken = append(broken, what)
		}
	}
	check(c.Namespace != "" && c.Identity.Missing != "", "a name is empty")
	check(MatchAny(c.Usage.Cost[len(c.Usage.Cost)-1].Models, "any") || len(c.Usage.Cost) > 1, "a model has no price")
	check(c.PressureSource.StaleAfter > c.PressureSource.Interval, "pressure is always stale")
	names := map[string]bool{}
	for _, l := range c.Limits {
		check(l.Name != "" && !names[l.Name], "a limit's name is empty or used twice")
		names[l.Name] = true
		check(l.Quantity >= 1 && l.Quantity <= maxUnits && l.Burst >= 1 && l.Burst <= maxUnits, "a limit's size is out of range")
		check(l.Unit != nil && (l.Window >= 1e9 && l.Window <= longest || (l.Unit.Charged == Never || l.Lifetime) && l.Window == 0), "a limit's window is out of range")
		check(l.Lifetime == (l.Idle > 0) && (!l.Lifetime || l.Unit.Charged != Never && l.Burst == l.Quantity), "a lifetime isn't one")
		check(l.Admission != "" && l.Mode != "", "a limit is incomplete")
	}
	for _, r := range c.Priority.Rules {
		check((r.Set == nil) != (r.Max == nil), "a priority rule has not exactly one of set and max")
	}
	names = map[string]bool{}
	for _, u := range c.Upstreams {
		check(u.Name != "" && !names[u.Name], "an upstream's name is empty or used twice")
		names[u.Name] = true
		check(len(u.Models) > 0 && len(u.Queue.MaxWait) == 4 && len(u.Pressure.Ceilings) == 4, "an upstream is incomplete")
		check(u.Retreat.RecoverThreshold < u.Retreat.Threshold && u.Retreat.MinRequests >= 1, "a retreat can't recover")
		most := u.Concurrency.Max
		if u.Concurrency.Auto() {
			most = u.Concurrency.Limit
			check(u.Concurrency.Min >= 1 && u.Concurrency.Min <= most, "no number of slots fits")
		}
		check(most == 0 || u.Concurrency.ReservedHigh+u.Concurrency.ReservedUrgent < most, "no slot is left")
		check(u.Breaker.Fallback.Status == 0 || len(u.Breaker.Fallback.RouteHeader) == 0, "a fallback is two")
	}
	return broken
}
