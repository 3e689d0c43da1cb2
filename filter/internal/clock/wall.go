package clock

import "time"

// Wall is the time of day, as a worker knows it: how far the wall clock was ahead of the monotonic one when both were read last. It is read once
// a second, so that a request costs no reading, and a step of the wall clock is in force a second or two later.
//
// A worker that is interrupted between the two clocks reads the wall clock as too far ahead, and never as too far behind. So of the last two readings the
// smaller counts: a step back holds at once, a step ahead with the second reading that has it.
type Wall struct {
	ahead, last int64 // nanoseconds
	known       bool
}

// Read takes a reading: the wall clock's time, in nanoseconds since 1970, at the moment now or a little later.
func (w *Wall) Read(now Moment, unix int64) {
	ahead := unix - int64(now)
	if !w.known {
		w.last = ahead
	}
	w.ahead, w.last, w.known = min(ahead, w.last), ahead, true
}

// Known says that there was a reading.
func (w *Wall) Known() bool { return w.known }

// Second is the time of day of a moment, in whole seconds since 1970, from 0 on.
func (w *Wall) Second(m Moment) int64 { return max(int64(m)+w.ahead, 0) / int64(time.Second) }

// Moment is when the wall clock comes to a second, should it not be set.
func (w *Wall) Moment(second int64) Moment { return Moment(second*int64(time.Second) - w.ahead) }

// AppendDateTime appends a second since 1970, none before it, as RFC 3339 writes it in UTC, but for the zone: 2026-11-28T07:30:00.
func AppendDateTime(b []byte, second int64) []byte {
	const day = 24 * 3600
	second = max(second, 0)
	year, month, date := Civil(second / day)
	b = append(appendTwo(appendTwo(b, year/100), year), '-')
	b = append(appendTwo(b, month), '-')
	b = append(appendTwo(b, date), 'T')
	b = append(appendTwo(b, second%day/3600), ':')
	b = append(appendTwo(b, second/60%60), ':')
	return appendTwo(b, second%60)
}

// appendTwo appends the last two digits of a number.
func appendTwo(b []byte, n int64) []byte { return append(b, '0'+byte(n/10%10), '0'+byte(n%10)) }

// Civil is the date of a day since 1970-01-01, none before it (Howard Hinnant: chrono-compatible low-level date algorithms, civil_from_days).
func Civil(days int64) (year, month, date int64) {
	days = max(days, 0) + epoch
	era := days / daysOfEra
	ofEra := days % daysOfEra
	yearOfEra := (ofEra - ofEra/1460 + ofEra/36524 - ofEra/146096) / 365
	ofYear := ofEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	shifted := (5*ofYear + 2) / 153 // March is 0
	date = ofYear - (153*shifted+2)/5 + 1
	month = shifted + 3
	if month > 12 {
		month -= 12
	}
	year = yearOfEra + era*400
	if month <= 2 {
		year++
	}
	return year, month, date
}

// Days is the day since 1970-01-01 on which a month begins, of a year from 1970 on; month 13 is the next year's first (ibid., days_from_civil).
func Days(year, month int64) int64 {
	if month > 12 {
		year, month = year+1, month-12
	}
	shifted := month - 3 // March is 0
	if shifted < 0 {
		year, shifted = year-1, shifted+12
	}
	ofEra := year % 400
	return year/400*daysOfEra + ofEra*365 + ofEra/4 - ofEra/100 + (153*shifted+2)/5 - epoch
}

const (
	epoch     = 719468 // the days from 0000-03-01 to 1970-01-01
	daysOfEra = 146097 // of 400 years
)
