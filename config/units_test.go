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
		if c, err := Parse([]byte(`{"limits": [{"name": "a", "unit": "` + u.Name + `", "quantity": 1, "window": "1s"}]}`)); err != nil || c.Limits[0].Unit != u {
			t.Errorf("%s: %v", u.Name, err)
		}
	}
}
