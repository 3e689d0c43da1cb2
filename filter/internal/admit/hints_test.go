package admit

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
)

// retry-after is heeded at a 429: at a 503 it tells of an outage, which is the breaker's business, and of no limit. What is left of a limit is
// heeded wherever it is told.
func TestWhatUpstreamsSayOfTheirLimits(t *testing.T) {
	t.Parallel()
	var picker ident.Picker
	hints := newHints(&picker)
	for _, test := range []struct {
		name    string
		status  int
		headers [][2]string
		want    dispatch.Answer
	}{
		{"nothing", 200, nil, dispatch.Answer{Requests: -1, Tokens: -1}},
		{"retry-after", 429, [][2]string{{"retry-after", "20"}}, dispatch.Answer{Closed: 20 * time.Second, Requests: -1, Tokens: -1}},
		{"retry-after-ms", 429, [][2]string{{"retry-after-ms", "1500"}}, dispatch.Answer{Closed: 1500 * time.Millisecond, Requests: -1, Tokens: -1}},
		{"a date", 429, [][2]string{{"retry-after", "Fri, 31 Dec 1999 23:59:59 GMT"}}, dispatch.Answer{Requests: -1, Tokens: -1}},
		{"a negative one", 429, [][2]string{{"retry-after", "-5"}}, dispatch.Answer{Requests: -1, Tokens: -1}},
		{"at a 503", 503, [][2]string{{"retry-after", "20"}, {"retry-after-ms", "20000"}}, dispatch.Answer{Requests: -1, Tokens: -1}},
		{"at a 529", 529, [][2]string{{"retry-after", "20"}}, dispatch.Answer{Requests: -1, Tokens: -1}},
		{"at a 200", 200, [][2]string{{"retry-after", "20"}}, dispatch.Answer{Requests: -1, Tokens: -1}},
		{"none left", 200, [][2]string{{"x-ratelimit-remaining-requests", "0"}, {"x-ratelimit-reset-requests", "6m0s"}},
			dispatch.Answer{Closed: 360 * time.Second, Requests: 0, Tokens: -1}},
		{"some left", 200, [][2]string{{"x-ratelimit-remaining-requests", "3"}, {"x-ratelimit-reset-requests", "6m0s"}},
			dispatch.Answer{Requests: 3, Tokens: -1}},
		{"no tokens left", 503, [][2]string{{"x-ratelimit-remaining-tokens", "0"}, {"x-ratelimit-reset-tokens", "30"}},
			dispatch.Answer{Closed: 30 * time.Second, Requests: -1, Tokens: 0}},
		{"Anthropic's", 200, [][2]string{{"anthropic-ratelimit-requests-remaining", "4"}, {"anthropic-ratelimit-tokens-remaining", "500"}},
			dispatch.Answer{Requests: 4, Tokens: 500}},
		{"nonsense", 200, [][2]string{{"x-ratelimit-remaining-requests", "1e3"}, {"x-ratelimit-remaining-tokens", "99999999999999999999"}},
			dispatch.Answer{Requests: -1, Tokens: -1}},
	} {
		var headers ident.Headers
		picker.Pick(test.headers, &headers)
		if got := hints.read(&headers, test.status); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

// What another filter tells of limits, in whichever answer, and what never came, is no word of the upstream's.
func TestHintsAreTheUpstreamsOwn(t *testing.T) {
	t.Parallel()
	nothingLeft := [][2]string{{"x-ratelimit-remaining-requests", "0"}, {"x-ratelimit-reset-requests", "60s"}, {"retry-after", "60"}}
	for name, test := range map[string]struct {
		answer func(x *exchange)
		waits  bool
	}{
		"the upstream's":         {func(x *exchange) { x.status("200", "text/plain", true, nothingLeft...) }, true},
		"another filter's error": {func(x *exchange) { x.host.comes(origin.Elsewhere); x.status("429", "text/plain", true, nothingLeft...) }, false},
		"another filter's word":  {func(x *exchange) { x.host.comes(origin.Elsewhere); x.status("403", "text/plain", true, nothingLeft...) }, false},
		"no answer":              {func(*exchange) {}, false},
	} {
		h := timed(t, "stopIteration", `"budget":{"requests":100,"window":"60s"}`)
		x := h.ask("ann")
		test.answer(x)
		x.done()
		if again := h.ask("ann"); again.Waiting() != test.waits {
			t.Errorf("%s: the next one waits: %v", name, again.Waiting())
		}
	}
}

// Whatever an upstream says of its limits, it is a number of requests or tokens, or nothing, and a time that is not below 0.
func FuzzHints(f *testing.F) {
	f.Add("30", "1500", "0", "6m0s", "0", "1s", 429)
	f.Add("Fri, 31 Dec 1999 23:59:59 GMT", "-1", "9223372036854775808", "2562047h47m16.854775807s", "1e9", "1000000000", 200)
	f.Fuzz(func(t *testing.T, after, afterMs, requests, resetRequests, tokens, resetTokens string, status int) {
		var p ident.Picker
		x := newHints(&p)
		var h ident.Headers
		p.Pick([][2]string{{"retry-after", after}, {"retry-after-ms", afterMs}, {"x-ratelimit-remaining-requests", requests},
			{"x-ratelimit-reset-requests", resetRequests}, {"x-ratelimit-remaining-tokens", tokens}, {"x-ratelimit-reset-tokens", resetTokens}}, &h)
		a := x.read(&h, status)
		if a.Closed < 0 || a.Requests < -1 || a.Tokens < -1 || a.Requests > 1e9 || a.Tokens > 1e9 {
			t.Fatalf("%+v", a)
		}
		if a.Closed > 0 && status != 429 && a.Requests != 0 && a.Tokens != 0 {
			t.Fatalf("it is closed, and nothing says so: %+v", a)
		}
		if d := bound(after); d < 0 || d > time.Hour {
			t.Fatalf("%q is a bound of %v", after, d)
		}
	})
}
