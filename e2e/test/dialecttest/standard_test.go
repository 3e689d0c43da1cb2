package dialecttest

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// Clients that know the IETF's headers find them on answers and on refusals, of both limits in one, in the place of the server's own, and OpenAI's beside them with both.
func TestStandardHeadersReachTheClient(t *testing.T) {
	for style, beside := range map[string]string{"ietf": "", "both": "1"} {
		t.Run(style, func(t *testing.T) { standardHeaders(t, style, beside) })
	}
}

func standardHeaders(t *testing.T, style, beside string) {
	t.Parallel()
	config := `{"rateLimitStyle": "` + style + `", "limits": [
		{"name": "a-day", "per": ["user"], "unit": "requests", "quantity": 1, "window": "24h"},
		{"name": "all.tokens", "per": ["user"], "unit": "totalTokens", "quantity": 1000000, "window": "1h"}
	]}`
	upstream := &counter{requests: map[string]int{}}
	e := start(t, config, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("RateLimit", `"theirs";r=1;t=1`)
		upstream.ServeHTTP(w, r)
	}))
	chat := refusals[0]
	passed, _ := ask(t, e, chat, withBody)
	refused, _ := ask(t, e, chat, withBody)
	if passed.StatusCode != http.StatusOK || refused.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("got %d and %d, want 200 and 429", passed.StatusCode, refused.StatusCode)
	}
	for what, response := range map[string]*http.Response{"a success": passed, "a refusal": refused} {
		var left, reset int64
		for _, name := range []string{"RateLimit", "RateLimit-Policy"} {
			if n := len(response.Header.Values(name)); n != 1 {
				t.Errorf("%s has %d of %s, want 1", what, n, name)
			}
		}
		if _, err := fmt.Sscanf(response.Header.Get("RateLimit"), `"a-day";r=%d;t=%d`, &left, &reset); err != nil || left != 0 || reset < 86000 || reset > 86400 {
			t.Errorf("%s: %q, want none left of a day (%v)", what, response.Header.Get("RateLimit"), err)
		}
		if got := response.Header.Get("X-Ratelimit-Limit-Requests"); got != beside {
			t.Errorf("%s has x-ratelimit-limit-requests: %q, want %q", what, got, beside)
		}
	}
	if got, want := passed.Header.Get("RateLimit-Policy"), `"a-day";q=1;w=86400, "all.tokens";q=1000000;w=3600;qu="total tokens"`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := refused.Header.Get("RateLimit-Policy"), `"a-day";q=1;w=86400`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// By dialect a client of Anthropic's finds Anthropic's headers, and one of OpenAI's those of OpenAI's, of the same limits.
func TestHeadersOfTheDialectReachTheClient(t *testing.T) {
	t.Parallel()
	e := start(t, `{"rateLimitStyle": "dialect", "limits": [
		{"name": "a-day", "per": ["user"], "unit": "requests", "quantity": 100, "window": "24h"},
		{"name": "out", "per": ["user"], "unit": "completionTokens", "quantity": 1000000, "window": "1h"}
	]}`, &counter{requests: map[string]int{}})
	for _, r := range refusals {
		answer, _ := ask(t, e, r, withBody)
		anthropic := answer.Header.Get("Anthropic-Ratelimit-Requests-Remaining")
		if openAI := answer.Header.Get("X-Ratelimit-Remaining-Requests"); (anthropic != "") == (openAI != "") || (anthropic != "") != (r.operation == "messages") {
			t.Errorf("%s: Anthropic's %q, OpenAI's %q", r.path, anthropic, openAI)
		}
		if anthropic == "" {
			continue
		}
		reset, err := time.Parse(time.RFC3339, answer.Header.Get("Anthropic-Ratelimit-Requests-Reset"))
		if ahead := time.Until(reset); err != nil || ahead < 0 || ahead > 24*time.Hour+time.Minute {
			t.Errorf("%s: full at %v (%v)", r.path, reset, err)
		}
		if answer.Header.Get("Anthropic-Ratelimit-Output-Tokens-Limit") != "1000000" {
			t.Errorf("%s: %v", r.path, answer.Header)
		}
	}
}
