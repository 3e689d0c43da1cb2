package config

import (
	"testing"
	"time"
)

func windowed(members string) string {
	return `{"limits": [{"name": "a", "unit": "requests", "quantity": 4, ` + members + `}]}`
}

func TestWindowsOfLimits(t *testing.T) {
	for members, want := range map[string]Limit{
		`"window": "90s"`:                         {Window: 90 * time.Second, Refill: RefillContinuous},
		`"window": "90s", "refill": "continuous"`: {Window: 90 * time.Second, Refill: RefillContinuous},
		`"window": "90s", "refill": "window"`:     {Window: 90 * time.Second, Refill: RefillWindow},
		`"window": "hour"`:                        {Window: time.Hour, Calendar: CalendarHour, Refill: RefillWindow},
		`"window": "day", "refill": "window"`:     {Window: day, Calendar: CalendarDay, Refill: RefillWindow},
		`"window": "week", "timezone": "Z"`:       {Window: 7 * day, Calendar: CalendarWeek, Refill: RefillWindow},
		`"window": "month", "timezone": "+08:00"`: {Window: 30 * day, Calendar: CalendarMonth, Refill: RefillWindow, Zone: 8 * time.Hour},
		`"window": "day", "timezone": "-03:30"`:   {Window: day, Calendar: CalendarDay, Refill: RefillWindow, Zone: -210 * time.Minute},
		`"window": "day", "burst": 4`:             {Window: day, Calendar: CalendarDay, Refill: RefillWindow},
	} {
		got := mustParse(t, windowed(members)).Limits[0]
		if got.Window != want.Window || got.Calendar != want.Calendar || got.Refill != want.Refill || got.Zone != want.Zone || got.Burst != 4 {
			t.Errorf("%s: %+v", members, got)
		}
	}
	checkErrors(t, []errorCase{
		{windowed(`"window": "year"`), []string{`limits[0].window: "year": want hour, day, week or month, or a duration such as`}},
		{windowed(`"window": "day", "refill": "continuous"`), []string{`limits[0].refill: continuous: the calendar's windows begin and end`}},
		{windowed(`"window": "24h", "timezone": "+08:00"`), []string{`limits[0].timezone: "+08:00": a duration has no time zone`}},
		{windowed(`"window": "1500ms", "refill": "window"`), []string{`limits[0].window: "1.5s": want whole seconds`}},
		{windowed(`"window": "day", "burst": 9`), []string{`limits[0].burst: 9: all of the quantity comes back at once`}},
		{windowed(`"window": "day", "timezone": "Europe/Berlin"`), []string{`limits[0].timezone: "Europe/Berlin": want "" or a distance from UTC`}},
		{windowed(`"window": "day", "timezone": "+8"`), []string{`limits[0].timezone: "+8": want "" or a distance from UTC`}},
		{windowed(`"window": "day", "timezone": "+23:00"`), []string{`limits[0].timezone: "+23:00": want "" or a distance from UTC`}},
		{windowed(`"window": "1h", "scope": "fleet", "refill": "continuous"`), []string{`limits[0].refill: continuous: a limit of the fleet comes back when`}},
		{windowed(`"window": "hour", "scope": "fleet", "timezone": "+08:00"`), []string{`limits[0].timezone: "+08:00": the fleet's service counts in UTC`}},
		{windowed(`"window": "week", "scope": "fleet"`), []string{`limits[0].window: "168h": the fleet's service has no such window`}},
		{inflight(`, "quantity": 4, "refill": "window"`), []string{`limits[0].refill: "window": a place is free when`}},
	})
}

// What is overridden is read as the file is: a window can become another one.
func TestAWindowIsOverridden(t *testing.T) {
	c, err := ParseWith([]byte(windowed(`"window": "1h"`)), []byte(`{"limits": {"a": {"window": "month", "timezone": "+01:00"}}}`))
	if err != nil || c.Limits[0].Calendar != CalendarMonth || c.Limits[0].Zone != time.Hour {
		t.Errorf("%+v, %v", c.Limits, err)
	}
}
