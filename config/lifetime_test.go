package config

import (
	"testing"
	"time"
)

func TestLifetimes(t *testing.T) {
	limit := func(more string) string {
		return `{"limits":[{"name":"s","quantity":3,` + more + `}]}`
	}
	for more, idle := range map[string]time.Duration{
		`"unit":"requests","lifetime":true`:                      24 * time.Hour,
		`"unit":"totalTokens","lifetime":true,"idle":"30m"`:      30 * time.Minute,
		`"unit":"requests","lifetime":false,"window":"1h"`:       0,
		`"unit":"requests","window":"1h"`:                        0,
		`"unit":"cost","lifetime":true,"admission":"strict"`:     24 * time.Hour,
		`"unit":"requests","lifetime":true,"refund":["5xx",4e2]`: 24 * time.Hour,
		`"unit":"inflight"`:                                      0,
	} {
		c, err := Parse([]byte(limit(more)))
		if err != nil {
			t.Errorf("%s: %v", more, err)
			continue
		}
		if l := c.Limits[0]; l.Idle != idle || l.Lifetime != (idle > 0) || l.Burst != 3 {
			t.Errorf("%s: %+v", more, l)
		}
		if again, err := Parse(c.JSON()); err != nil || again.Limits[0].Idle != idle {
			t.Errorf("%s: what is shown of it reads as %+v, %v", more, again.Limits, err)
		}
	}
	checkErrors(t, []errorCase{
		{limit(`"unit":"requests","lifetime":true,"window":"1h"`), []string{`limits[0].window: "1h": nothing of a lifetime comes back; leave window out, or lifetime`}},
		{limit(`"unit":"requests","lifetime":true,"burst":2`), []string{`limits[0].burst: 2: all of a lifetime's quantity can be used at once; leave burst out`}},
		{limit(`"unit":"inflight","lifetime":true`), []string{`limits[0].lifetime: true: a place is free when its request has ended; leave lifetime out`}},
		{limit(`"unit":"inflight","idle":"1h"`), []string{`limits[0].idle: "1h": a place is free`}},
		{limit(`"unit":"requests","window":"1h","idle":"1h"`), []string{`limits[0].idle: "1h": says when a lifetime is forgotten; leave idle out, or want lifetime: true`}},
		{limit(`"unit":"requests","lifetime":true,"idle":"1s"`), []string{`limits[0].idle: "1s": want a duration`}},
		{limit(`"unit":"requests","lifetime":true,"scope":"fleet"`), []string{`limits[0].scope: fleet: a lifetime is counted by each proxy; leave scope out, or lifetime`}},
		{limit(`"unit":"requests","lifetime":false`), []string{`limits[0].window: missing`}},
		{limit(`"unit":"requests"`), []string{`limits[0].window: missing`}},
	})
}
