package main

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
)

func TestTheConfigurationsOfHalvesAreValid(t *testing.T) {
	t.Parallel()
	for _, arm := range halvesArms() {
		if _, err := config.Parse([]byte(arm.config())); err != nil {
			t.Errorf("%s: %v", arm.name, err)
		}
	}
}

func TestHalvesAreJudged(t *testing.T) {
	t.Parallel()
	r := &halvesRun{shots: []halvesShot{
		{due: halvesPart, status: 200}, {due: halvesPart, status: 200, late: true}, {due: halvesPart, status: 429}, {due: halvesPart}, {due: halvesSettle, status: 200},
	}}
	for i, slots := range []int{20, 20, 15, 11, 15, 11, 10, 9, 10, 12} {
		r.slots = append(r.slots, halvesCount{halvesPart + time.Duration(i)*halvesSample, slots})
	}
	for _, test := range []struct{ name, got, want string }{
		{"right after", r.rightAfter(halvesPart, 2*halvesPart, 10), "2.5"},
		{"never right", r.rightAfter(halvesPart, 2*halvesPart, 30), "never"},
		{"span", r.span(halvesPart+5*halvesSample, 2*halvesPart, 10), "9 to 12 (80 %)"},
		{"failures", r.failures(halvesPart, halvesPart+halvesBurst, false), "66.7"},
		{"failures else", r.failures(halvesPart, halvesPart+halvesBurst, true), "0.0"},
		{"answered", r.answered(halvesPart, halvesPart+time.Second), "1.0"},
	} {
		if test.got != test.want {
			t.Errorf("%s: %s, want %s", test.name, test.got, test.want)
		}
	}
}
