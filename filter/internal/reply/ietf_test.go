package reply

import (
	"fmt"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// Two limits stand in one list, which a client reads as a structured field: what has no window isn't told there, times are rounded up, and no
// number is larger than such a field can have.
func TestRateLimitOfTheIETF(t *testing.T) {
	limit := func(name string, unit *config.Unit, quantity, burst int64, window time.Duration) *config.Limit {
		return &config.Limit{Name: name, Unit: unit, Quantity: quantity, Burst: burst, Window: window}
	}
	minute := limit("free-tier.v2", config.Requests, 60, 100, time.Minute)
	for _, test := range []struct {
		name             string
		requests, tokens gate.Headroom
		left, policy     string
	}{
		{"requests", gate.Headroom{Limit: minute, Remaining: 99, Reset: time.Millisecond}, gate.Headroom{}, `"free-tier.v2";r=99;t=1`, `"free-tier.v2";q=60;w=60`},
		{
			"both", gate.Headroom{Limit: minute}, gate.Headroom{Limit: limit("day", config.TotalTokens, 1000, 1000, 24*time.Hour), Remaining: 7, Reset: time.Hour},
			`"free-tier.v2";r=0;t=0, "day";r=7;t=3600`, `"free-tier.v2";q=60;w=60, "day";q=1000;w=86400;qu="total tokens"`,
		},
		{
			"the largest", gate.Headroom{}, gate.Headroom{Limit: limit("c", config.Cost, math.MaxInt64, math.MaxInt64, 1500*time.Millisecond), Remaining: math.MaxInt64, Reset: -1},
			`"c";r=999999999999999;t=0`, `"c";q=999999999999999;w=2;qu="cost units"`,
		},
		{"one without a window beside", gate.Headroom{Limit: limit("a", config.Inflight, 4, 4, 0), Remaining: 1}, gate.Headroom{}, "", ""},
	} {
		got, _ := AppendHeadroom(nil, nil, &Told{Style: config.RateLimitsIETF}, &test.requests, &test.tokens)
		want := "[[ratelimit " + test.left + "] [ratelimit-policy " + test.policy + "]]"
		if test.left == "" {
			want = "[]"
		}
		if fmt.Sprint(got) != want {
			t.Errorf("%s: got %v\nwant %s", test.name, got, want)
		}
	}
	item := regexp.MustCompile(`^"[ -!#-\[\]-~]+"$`) // a string of a structured field that has nothing to escape
	for _, unit := range config.Units {
		if !item.MatchString(`"` + unit.Noun + `"`) {
			t.Errorf("%s would have to be escaped", unit.Noun)
		}
	}
	if _, err := config.Parse([]byte(`{"limits":[{"name":"a\"b\\","unit":"requests","quantity":1,"window":"1s"}]}`)); err == nil || !strings.Contains(err.Error(), "name") {
		t.Errorf("a name that would have to be escaped: %v", err)
	}
}

// A refusal says the same in these words, and takes no more memory than the other.
func TestARefusalTellsInWordsOfTheIETF(t *testing.T) {
	denial := denied(config.TotalTokens, 301, 9, 48*second, false)
	r := refuse(OpenAI, 429, About{Model: "m", Told: Told{Style: config.RateLimitsIETF}}, denial)
	if got := text(r); !strings.Contains(got, "\nratelimit: \"u\";r=0;t=3612\nratelimit-policy: \"u\";q=300;w=3600;qu=\"total tokens\"\n") || strings.Contains(got, "x-ratelimit") {
		t.Errorf("got\n%s", got)
	}
	requests, tokens := gate.Headroom{Limit: limitOf(config.Requests), Remaining: 5}, gate.Headroom{Limit: limitOf(config.TotalTokens), Remaining: 6}
	var headers [][2]string
	var values []byte
	if n := testing.AllocsPerRun(100, func() {
		headers, values = AppendHeadroom(headers[:0], values[:0], &Told{Style: config.RateLimitsBoth}, &requests, &tokens)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	about := About{Format: OpenAI, Model: "m", Told: Told{Style: config.RateLimitsBoth}}
	if n := testing.AllocsPerRun(100, func() { r.Refuse(&denial, &about, &config.StatusCode{Limits: 429}) }); n != 0 {
		t.Errorf("%v allocations of a refusal", n)
	}
}
