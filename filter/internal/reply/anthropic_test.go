package reply

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// Each unit has Anthropic's own names where there are such, and times are rounded up to a second.
func TestLimitsInAnthropicsWords(t *testing.T) {
	const second = 1795851045 // 2026-11-28T07:30:45Z
	how := Told{Style: config.RateLimitsDialect, Anthropic: true, Second: second}
	for _, test := range []struct {
		unit *config.Unit
		what string
	}{
		{config.Requests, "requests"}, {config.PromptTokens, "input-tokens"}, {config.CompletionTokens, "output-tokens"}, {config.TotalTokens, "tokens"},
		{config.Cost, "tokens"},
	} {
		h := gate.Headroom{Limit: limitOf(test.unit), Remaining: 12, Reset: 14*time.Second + time.Millisecond}
		got, _ := AppendHeadroom(nil, nil, &how, &gate.Headroom{}, &h)
		want := strings.ReplaceAll("[[anthropic-ratelimit-*-limit 300] [anthropic-ratelimit-*-remaining 12] [anthropic-ratelimit-*-reset 2026-11-28T07:31:00Z]]", "*", test.what)
		if fmt.Sprint(got) != want {
			t.Errorf("%s: got %v\nwant %s", test.unit.Name, got, want)
		}
	}
	requests, tokens := gate.Headroom{Limit: limitOf(config.Requests), Remaining: 5}, gate.Headroom{Limit: limitOf(config.TotalTokens), Remaining: 6}
	if got, _ := AppendHeadroom(nil, nil, &how, &requests, &tokens); len(got) != 6 {
		t.Errorf("of two limits %v", got)
	}
	other := Told{Style: config.RateLimitsDialect}
	if got, _ := AppendHeadroom(nil, nil, &other, &requests, &tokens); len(got) != 6 || got[0][0] != "x-ratelimit-limit-requests" {
		t.Errorf("another API's: %v", got)
	}
	var headers [][2]string
	var values []byte
	if n := testing.AllocsPerRun(100, func() {
		headers, values = AppendHeadroom(headers[:0], values[:0], &how, &requests, &tokens)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
