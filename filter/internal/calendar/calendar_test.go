package calendar

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
)

// of gives the windows of a limit's keys.
func of(t interface{ Fatal(...any) }, keys string) Windows {
	c, err := config.Parse([]byte(`{"limits":[{"name":"a","unit":"requests","quantity":1,` + keys + `}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return New(&c.Limits[0])
}

// begins is when a window of the calendar begins, and when the next one does, by package time.
var begins = map[string]func(time.Time) (begin, end time.Time){
	"hour": func(t time.Time) (time.Time, time.Time) {
		b := time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), 0, 0, 0, t.Location())
		return b, b.Add(time.Hour)
	},
	"day": func(t time.Time) (time.Time, time.Time) {
		b := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, t.Location())
		return b, b.AddDate(0, 0, 1)
	},
	"week": func(t time.Time) (time.Time, time.Time) {
		b := time.Date(t.Year(), t.Month(), t.Day()-(int(t.Weekday())+6)%7, 0, 0, 0, 0, t.Location())
		return b, b.AddDate(0, 0, 7)
	},
	"month": func(t time.Time) (time.Time, time.Time) {
		b := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, t.Location())
		return b, b.AddDate(0, 1, 0)
	},
}

func check(t interface {
	Helper()
	Fatalf(string, ...any)
}, name string, w Windows, at time.Time) {
	t.Helper()
	begin, end := w.At(at.Unix())
	from, to := begins[name](at)
	if begin != max(from.Unix(), 0) || end != to.Unix() {
		t.Fatalf("the %s of %s is from %s to %s, want from %s to %s", name, at, time.Unix(begin, 0).UTC(), time.Unix(end, 0).UTC(), from.UTC(), to.UTC())
	}
}

// The calendar is that of package time, from 1970 to 2106, in every zone.
func TestWindowsAreTheCalendars(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"hour", "day", "week", "month"}).Draw(t, "window")
		minutes := rapid.IntRange(-12*60, 14*60).Draw(t, "zone")
		zone := time.FixedZone("", minutes*60)
		second := rapid.Int64Range(14*3600, 1<<32).Draw(t, "second")
		sign, distance := "+", minutes
		if minutes < 0 {
			sign, distance = "-", -minutes
		}
		w := of(t, `"window":"`+name+`","timezone":"`+sign+time.Unix(int64(distance*60), 0).UTC().Format("15:04")+`"`)
		check(t, name, w, time.Unix(second, 0).In(zone))
	})
}

// Boundaries, leap days, a leap century, and the beginning of time, to the second.
func TestWindowsAtTheirBoundaries(t *testing.T) {
	for name := range begins {
		w := of(t, `"window":"`+name+`"`)
		for _, day := range []string{"1970-01-01", "1970-02-01", "2000-02-29", "2000-03-01", "2023-02-28", "2023-03-01", "2024-02-29", "2024-03-01", "2024-12-30",
			"2025-01-01", "2026-11-30", "2026-12-01", "2100-03-01"} {
			at, err := time.Parse(time.DateOnly, day)
			if err != nil {
				t.Fatal(err)
			}
			for second := range 3 {
				if moment := at.Add(time.Duration(second-1) * time.Second); moment.Unix() >= 0 {
					check(t, name, w, moment)
				}
			}
		}
	}
}

func TestDurationsAreAlignedToTheEpoch(t *testing.T) {
	for _, test := range []struct {
		window             string
		second, begin, end int64
	}{
		{"2s", 0, 0, 2}, {"2s", 1, 0, 2}, {"2s", 2, 2, 4}, {"1h", 3601, 3600, 7200}, {"90m", 5400, 5400, 10800}, {"168h", 0, 0, 604800},
	} {
		w := of(t, `"refill":"window","window":"`+test.window+`"`)
		if begin, end := w.At(test.second); begin != test.begin || end != test.end {
			t.Errorf("%s at %d: from %d to %d", test.window, test.second, begin, end)
		}
	}
	if w := of(t, `"window":"1h"`); w.Any() {
		t.Error("what flows in has windows")
	}
}
