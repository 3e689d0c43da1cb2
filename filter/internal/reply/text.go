package reply

import (
	"math"
	"strconv"
	"time"
)

// put appends texts. Copied into each of those who call it, it would take 27 KB of the module.
//
//go:noinline
func put(b []byte, texts ...string) []byte {
	for _, text := range texts {
		b = append(b, text...)
	}
	return b
}

// appendDuration writes a time as the providers' headers do: "20ms", "1s", "6m0s"; rounded up, to milliseconds below ten
// seconds and to seconds above.
func appendDuration(b []byte, d time.Duration) []byte {
	switch {
	case d > math.MaxInt64-time.Second:
		return append(b, d.String()...)
	case d < 10*time.Second:
		return appendMillis(b, ceil(d, time.Millisecond))
	}
	seconds := ceil(d, time.Second)
	hours, minutes := seconds/3600, seconds/60%60
	if hours > 0 {
		b = append(strconv.AppendInt(b, hours, 10), 'h')
	}
	if hours > 0 || minutes > 0 {
		b = append(strconv.AppendInt(b, minutes, 10), 'm')
	}
	return append(strconv.AppendInt(b, seconds%60, 10), 's')
}

// appendMillis writes so many milliseconds, of which there are no more than ten seconds.
func appendMillis(b []byte, n int64) []byte {
	if n > 0 && n < 1000 {
		return put(strconv.AppendInt(b, n, 10), "ms")
	}
	b = strconv.AppendInt(b, n/1000, 10)
	if n %= 1000; n > 0 {
		b = append(b, '.', '0'+byte(n/100))
		if n %= 100; n > 0 {
			b = append(b, '0'+byte(n/10))
		}
		if n %= 10; n > 0 {
			b = append(b, '0'+byte(n))
		}
	}
	return append(b, 's')
}

// appendWindow names a limit's window: "hour", or "90s".
func appendWindow(b []byte, d time.Duration) []byte {
	switch {
	case d == time.Second:
		return put(b, "second")
	case d == time.Minute:
		return put(b, "minute")
	case d == time.Hour:
		return put(b, "hour")
	case d == 24*time.Hour:
		return put(b, "day")
	case d%time.Second == 0:
		return appendDuration(b, d)
	}
	return put(b, d.String())
}

// maxShown bounds what is copied from a request into a message.
const maxShown = 128

func appendModel(b []byte, model string) []byte {
	switch {
	case model == "":
		return put(b, "any model")
	case len(model) > maxShown:
		return put(b, model[:maxShown], "…")
	default:
		return put(b, model)
	}
}

// ceil is how many units a time has, rounded up; 0 if it is below zero.
func ceil(d, unit time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64((d-1)/unit) + 1
}
