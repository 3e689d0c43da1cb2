// Package calendar cuts time into the windows of limits that get their quantity back all at once: hours, days, weeks and months of a calendar, in a time
// zone that is a fixed distance from UTC, or pieces of one length, counted from 1970 on.
//
// It is arithmetic on seconds of the wall clock, since 1970, and knows none: package clock has the time of day, package bucket what a window
// is for. There are no leap seconds in such a count, as there are none in Unix time. A zone has no daylight saving time: a day has 24 hours, always.
// Weeks begin on Monday (ISO 8601).
package calendar

import (
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// Windows are those of a limit. The zero value has none.
type Windows struct {
	months bool
	length int64 // of those that are no months, in seconds; 0: there are none
	begins int64 // the second at which one of them begins
	zone   int64 // seconds that the zone is ahead of UTC
}

const (
	hour = 3600
	day  = 24 * hour
	week = 7 * day

	monday = 4 * day // 1970-01-05
)

// New gives the windows of a limit.
func New(l *config.Limit) Windows {
	if l.Refill != config.RefillWindow || l.Scope == config.ScopeFleet { // the fleet's windows are its service's
		return Windows{}
	}
	w := Windows{zone: int64(l.Zone / time.Second)}
	switch l.Calendar {
	case config.CalendarHour:
		w.length = hour
	case config.CalendarDay:
		w.length = day
	case config.CalendarWeek:
		w.length, w.begins = week, monday
	case config.CalendarMonth:
		w.months = true
	default:
		w.length = int64(l.Window / time.Second)
	}
	return w
}

// Any says that there are windows.
func (w *Windows) Any() bool { return w.months || w.length > 0 }

// At gives the window that a second from 1970 on lies in: its first second, and the first one after it. What begins before 1970 begins
// with it.
func (w *Windows) At(second int64) (begin, end int64) {
	local := second + w.zone
	if w.months {
		year, month, _ := clock.Civil(max(local, 0) / day)
		begin, end = clock.Days(year, month)*day, clock.Days(year, month+1)*day
	} else {
		since := local - w.begins
		whole := since / w.length
		if since%w.length < 0 {
			whole--
		}
		begin = w.begins + whole*w.length
		end = begin + w.length
	}
	return max(begin-w.zone, 0), end - w.zone
}
