package admit

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// publishing leads requests through a filter that brings about every value there is, and gives the names of those that were set.
func publishing(t *testing.T, publish string) []string {
	t.Helper()
	h := newHost(t, `{"requestHold":"stopIteration","publish":`+publish+`,`+seedLimits+`,`+oneSlot+`}`, recordtest.NewMemory())
	first := h.sent(askedStream, sseType)
	waiting := h.ask("bob")
	expect(t, "bob waits", waiting.Waiting(), true)
	h.now += 100 * millisecond
	first.response(`data: {"choices":[{"delta":{"content":"a"}}]}`+"\n\n", false)
	h.now += 100 * millisecond
	first.response(`data: {"model":"m","choices":[{"delta":{"content":"b"}}],"usage":{"prompt_tokens":900,"completion_tokens":800,"prompt_tokens_details":`+
		`{"cached_tokens":3,"cache_write_tokens":4,"audio_tokens":2},"completion_tokens_details":{"reasoning_tokens":3}}}`+"\n\n", true)
	first.done()
	expect(t, "bob waits", waiting.Waiting(), false)
	expect(t, "the second of alice", h.ask("alice").Refused(), true)
	return slices.Sorted(maps.Keys(h.published))
}

func TestWhatIsPublishedIsSetAndNothingElse(t *testing.T) {
	all := slices.Sorted(slices.Values(filterstate.Names()))
	for publish, want := range map[string][]string{
		`"all"`: all,
		`"tokens"`: {"gen_ai.cached.tokens", "gen_ai.completion.tokens", "gen_ai.prompt.tokens", "gen_ai.reasoning.tokens", "gen_ai.request.model",
			"gen_ai.response.model", "gen_ai.total.tokens", "gen_ai.usage.audio.tokens", "gen_ai.usage.cache_write.tokens"},
		`"minimal"`: {"gen_ai.completion.tokens", "spillway.decision", "spillway.gate", "spillway.reason"},
		`[]`:        nil,
		`["` + strings.Join(filterstate.Names(), `","`) + `"]`: all,
	} {
		if got := publishing(t, publish); !slices.Equal(got, want) {
			t.Errorf("publish %s: got  %v\nwant %v", publish, got, want)
		}
	}
	for _, name := range all {
		if got := publishing(t, `["`+name+`"]`); !slices.Equal(got, []string{name}) {
			t.Errorf("publish [%s]: got %v", name, got)
		}
	}
}

// The style says which headers tell of limits, of answers and refusals alike.
func TestHeadersTellOfLimitsInTheStyleThatIsWanted(t *testing.T) {
	for style, want := range map[string][2]bool{"openai": {true, false}, "ietf": {false, true}, "both": {true, true}} {
		h := newHost(t, `{"requestHold":"stopIteration","rateLimitStyle":"`+style+`",`+seedLimits+`}`, recordtest.NewMemory())
		x := h.ask("alice")
		passed := x.status("200", "application/json", false)
		x.response(used(26, 400), true)
		x.done()
		refused := h.ask("alice").last.Reply
		if refused == nil {
			t.Fatal("the second passes")
		}
		for what, headers := range map[string][][2]string{"a success": passed.Headers, "a refusal": refused.Headers} {
			expect(t, style+", "+what+": OpenAI's", header(headers, "x-ratelimit-limit-tokens") != "", want[0])
			expect(t, style+", "+what+": RateLimit", header(headers, "ratelimit") != "", want[1])
			expect(t, style+", "+what+": RateLimit-Policy", header(headers, "ratelimit-policy") != "", want[1])
		}
	}
}

func TestHeadersTellOfLimitsWhereTheyAreWanted(t *testing.T) {
	for mode, want := range map[string][2]string{"all": {"300", "300"}, "refusals": {"", "300"}, "off": {"", ""}} {
		h := newHost(t, `{"requestHold":"stopIteration","rateLimitHeaders":"`+mode+`",`+seedLimits+`}`, recordtest.NewMemory())
		x := h.ask("alice")
		passed := x.status("200", "application/json", false)
		x.response(used(26, 400), true)
		x.done()
		expect(t, mode+": of a success", header(passed.Headers, "x-ratelimit-limit-tokens"), want[0])
		refused := h.ask("alice").last.Reply
		if refused == nil {
			t.Fatal("the second passes")
		}
		for _, name := range []string{"x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"} {
			expect(t, mode+": a refusal has "+name, header(refused.Headers, name) != "", want[1] != "")
		}
		if header(refused.Headers, "retry-after") == "" || header(refused.Headers, "x-spillway-reason") == "" {
			t.Errorf("%s: a refusal says no more than %v", mode, refused.Headers)
		}
	}
}
