package clock

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestTheTimeOfDay(t *testing.T) {
	var w Wall
	const now, unix = Moment(50 * time.Second), int64(1_700_000_000 * time.Second)
	if w.Known() {
		t.Error("it is known before it was read")
	}
	read := func(what string, ahead time.Duration, want int64) {
		t.Helper()
		w.Read(now, unix+int64(ahead))
		if got := w.Second(now); got != want || w.Moment(want) > now || w.Moment(want+1) <= now {
			t.Errorf("%s: it is %d, want %d", what, got, want)
		}
	}
	read("at first", 0, 1_700_000_000)
	read("the worker was interrupted", 2*time.Second, 1_700_000_000)
	read("it was not", 0, 1_700_000_000)
	read("the clock is set ahead", time.Hour, 1_700_000_000)
	read("and stays so", time.Hour, 1_700_003_600)
	read("it is set back", 0, 1_700_000_000)
	if w.Read(now, -int64(time.Hour)); w.Second(now) != 0 {
		t.Errorf("before 1970 it is %d", w.Second(now))
	}
}

// Days and dates are those of package time.
func TestDates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		day := rapid.Int64Range(0, 100_000).Draw(t, "day")
		at := time.Unix(day*24*3600, 0).UTC()
		year, month, date := Civil(day)
		if year != int64(at.Year()) || month != int64(at.Month()) || date != int64(at.Day()) {
			t.Fatalf("day %d is %d-%d-%d, want %s", day, year, month, date, at)
		}
		if got, want := Days(year, month+1), time.Date(at.Year(), at.Month()+1, 1, 0, 0, 0, 0, time.UTC).Unix()/(24*3600); got != want {
			t.Fatalf("the month after %s begins on day %d, want %d", at, got, want)
		}
	})
}

func TestADateTimeIsWrittenAsTheLibraryDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		second := rapid.Int64Range(0, 253402300799).Draw(t, "second") // up to the year 9999
		if got, want := string(AppendDateTime(nil, second)), time.Unix(second, 0).UTC().Format("2006-01-02T15:04:05"); got != want {
			t.Fatalf("%d: got %s, want %s", second, got, want)
		}
	})
	if got := string(AppendDateTime(nil, -1)); got != "1970-01-01T00:00:00" {
		t.Errorf("before 1970: %s", got)
	}
}
