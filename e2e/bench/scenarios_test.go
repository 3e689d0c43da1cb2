package main

import (
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
)

func TestTheScenariosConfigurationsAreValid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{overloadConfig, overloadAuto, strings.ReplaceAll(retreatConfig, "%q", `"enforce"`)} {
		if _, err := config.Parse([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEachPriorityHasItsShare(t *testing.T) {
	t.Parallel()
	counts := map[string]int{}
	for n := range 100 {
		counts[pick(n)]++
	}
	for _, p := range priorities {
		if counts[p.name] != p.share {
			t.Errorf("%s has %d of a hundred, want %d", p.name, counts[p.name], p.share)
		}
	}
}

// The provider is asked sixty times a minute for ten minutes, and is short in the middle six.
func TestTheProviderAllowsWhatItShould(t *testing.T) {
	t.Parallel()
	began := time.Unix(1, 0)
	p := &provider{began: began, filled: began, balance: allowedRate, short: [2]time.Duration{2 * minute, 8 * minute}}
	for i := range 600 {
		p.take(began.Add(time.Duration(i) * minute / 60))
	}
	y := p.judge(2 * minute)
	if y.settled != 60 || y.after != 60 || len(y.rate) != 10 {
		t.Errorf("the rates are %v, %v and %v, want 60", y.settled, y.after, y.rate)
	}
	if y.share < 0.45 || y.share > 0.5 || y.limited[1] != 0 || y.limited[5] != 0.5 || y.limited[9] != 0 {
		t.Errorf("the shares of 429 are %v, in all %v; want half in the middle", y.limited, y.share)
	}
}
