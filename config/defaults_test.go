package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestTheDefaultsThatSecurityRestsOn: docs/security.md says of each what it means, so it must be so, and a change of one must be
// said there.
func TestTheDefaultsThatSecurityRestsOn(t *testing.T) {
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse([]byte(`{"limits":[{"name":"l","unit":"requests","quantity":1,"window":"1h"}],"upstreams":[{"name":"u"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	empty, err := Parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	l, u := c.Limits[0], c.Upstreams[0]
	for row, is := range map[string]string{
		"`limits: []`, `upstreams: []`":                fmt.Sprintf("`limits: %v`, `upstreams: %v`", empty.Limits, empty.Upstreams),
		"`requestHold: none`":                          fmt.Sprintf("`requestHold: %s`", c.RequestHold),
		"`identity.missing: anonymous`":                fmt.Sprintf("`identity.missing: %s`", c.Identity.Missing),
		"`identity.probes: pass`":                      fmt.Sprintf("`identity.probes: %s`", c.Identity.Probes),
		"`models.unread: match`":                       fmt.Sprintf("`models.unread: %s`", c.Models.Unread),
		"`unknown: pass`":                              fmt.Sprintf("`unknown: %s`", c.Unknown),
		"`usage.maxRequestBytes: 1048576`":             fmt.Sprintf("`usage.maxRequestBytes: %d`", c.Usage.MaxRequestBytes),
		"`admission: lenient`":                         fmt.Sprintf("`admission: %s`", l.Admission),
		"`queue.whenFull: reject`":                     fmt.Sprintf("`queue.whenFull: %s`", u.Queue.WhenFull),
		"`usage.ensureStreamUsage: true`":              fmt.Sprintf("`usage.ensureStreamUsage: %t`", c.Usage.EnsureStreamUsage),
		"`pressure.onStale: ignore`":                   fmt.Sprintf("`pressure.onStale: %s`", u.Pressure.OnStale),
		"every gate's `mode` but the retreat's: `off`": fmt.Sprintf("every gate's `mode` but the retreat's: `%s`", onlyMode(t, u.Latency.Mode, u.Throttle.Mode, u.Breaker.Mode, u.Pressure.Mode)),
		"no `priority.trust`":                          fmt.Sprintf("%s `priority.trust`", map[bool]string{true: "no", false: "a"}[c.Priority.Trust == nil]),
		"no `refund`":                                  fmt.Sprintf("%s `refund`", map[bool]string{true: "no", false: "a"}[len(l.Refund) == 0]),
	} {
		if row != is {
			t.Errorf("the default is %s, and the page says %s", is, row)
		}
		if !strings.Contains(string(page), "| "+row+" |") {
			t.Errorf("docs/security.md doesn't say what %s means", row)
		}
	}
	if u.Retreat.Mode != Enforce {
		t.Errorf("the retreat's mode is %s", u.Retreat.Mode)
	}
}

// onlyMode is the mode that all have.
func onlyMode(t *testing.T, modes ...Mode) Mode {
	for _, mode := range modes {
		if mode != modes[0] {
			t.Errorf("modes %v", modes)
		}
	}
	return modes[0]
}
