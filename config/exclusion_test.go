package config

import (
	"testing"
	"time"
)

func parsed(text string) *jsonValue {
	v, _ := parseJSON(text)
	return v
}

// trip has keys that only some ways of travelling have.
type trip struct {
	by, seat string
	stay     time.Duration
}

func (t *trip) fields() []field {
	return []field{
		unless("by", []string{"foot", "bicycle"}, str("seat", &t.seat, "any", someText, "Seat."), "there are none; leave seat out"),
		enum("by", &t.by, "train", []string{"train", "foot", "bicycle"}, "Means."),
		unless("by", []string{"foot"}, required(duration("stay", &t.stay, 0, time.Second, time.Hour, "Stay.")), "walkers go on; leave stay out"),
	}
}

func TestKeysThatDoNotGoTogether(t *testing.T) {
	for text, want := range map[string]string{
		`{"stay": "1s"}`: "",
		`{"by": "train", "stay": "1s", "seat": "a"}`: "",
		`{"by": "train"}`:                             `trip.stay: missing; want a duration such as "300ms", "2s" or "1h", from 1s to 1h`,
		`{"by": "bicycle"}`:                           `trip.stay: missing; want a duration such as "300ms", "2s" or "1h", from 1s to 1h`,
		`{"by": "foot"}`:                              "",
		`{"by": "foot", "stay": "1s", "seat": "a"}`:   "trip.seat: \"a\": there are none; leave seat out\ntrip.stay: \"1s\": walkers go on; leave stay out",
		`{"by": "bicycle", "stay": "1s", "seat": 17}`: "trip.seat: 17: there are none; leave seat out",
		`{"by": 1, "seat": "a"}`:                      "trip.by: 1: want train, foot or bicycle\ntrip.stay: missing; want a duration such as \"300ms\", \"2s\" or \"1h\", from 1s to 1h",
	} {
		var r reader
		var to trip
		r.section("trip", &to, parsed(text))
		if got := r.all().Error(); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", text, got, want)
		}
		if to.seat == "" || want != "" && to.stay != 0 && to.by == "foot" {
			t.Errorf("%s: %+v", text, to)
		}
	}
}
