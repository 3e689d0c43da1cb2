package config

import (
	"strings"
	"testing"
	"time"
)

func TestActionsAreOneThing(t *testing.T) {
	for text, want := range map[string]Action{
		`{"reset":true}`:                                   {Reset: true},
		`{"grant":5000,"for":"1h"}`:                        {Grant: 5000, For: time.Hour},
		`{"quantity":3000,"for":"24h"}`:                    {Quantity: 3000, For: 24 * time.Hour},
		`{"quantity":3000,"until":"2026-11-28T03:00:00Z"}`: {Quantity: 3000, Until: 1795834800 * int64(time.Second), until: "2026-11-28T03:00:00Z"},
	} {
		if got, err := ParseAction([]byte(text), nil); err != nil || got != want {
			t.Errorf("%s: %v %+v", text, err, got)
		}
	}
	for text, want := range map[string]string{
		`{}`: "exactly one of reset", `{"reset":false}`: "exactly one", `{"reset":true,"grant":1,"for":"1h"}`: "exactly one", `{"reset":true,"for":"1h"}`: "a reset has no time",
		`{"grant":5}`: "one of for and until", `{"grant":5,"for":"1h","until":"2026-11-28T03:00:00Z"}`: "one of for and until", `{"grant":-5,"for":"1h"}`: "grant: -5: want a whole number from 1",
		`{"grant":5,"until":"tomorrow"}`: "until: \"tomorrow\": wrong value; want a time such as", `{"grants":5}`: `did you mean "grant"`, ``: "want an object", `null`: "want an object", `[]`: "want an object", `{`: "invalid JSON",
	} {
		if _, err := ParseAction([]byte(text), Requests); err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), strings.Replace(want, "wrong value; ", "", 1)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestTimesAreReadAsTheLibraryDoes(t *testing.T) {
	for _, text := range []string{"2000-01-01T00:00:00Z", "2026-02-28T23:59:59+08:00", "2028-02-29T12:00:00.5-03:30", "2099-12-31T23:59:59z", "2024-03-01T00:00:00Z", "2025-12-01T00:00:00.123456789Z"} {
		want, err := time.Parse(time.RFC3339, strings.ToUpper(text))
		if got, ok := unixTime(text); err != nil || !ok || got != want.Unix()*int64(time.Second) {
			t.Errorf("%s: %d, want %d", text, got, want.UnixNano())
		}
	}
	for _, text := range []string{"", "2026", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01 00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00+8",
		"2026-01-01T00:00:00+ab:00", "1999-01-01T00:00:00Z", "2026-01-01T00:00:00Zx", "x026-01-01T00:00:00Z"} {
		if got, ok := unixTime(text); ok {
			t.Errorf("%s: %d", text, got)
		}
	}
}

func FuzzAction(f *testing.F) {
	f.Add([]byte(`{"quantity":3000,"until":"2026-11-28T03:00:00Z"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := ParseAction(data, Requests)
		if err == nil && a.Reset == (a.For > 0 || a.until != "") {
			t.Errorf("%+v", a)
		}
	})
}
