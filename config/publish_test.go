package config

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config/filterstate"
)

func TestWhatIsPublishedIsAPresetOrAList(t *testing.T) {
	for text, want := range map[string]filterstate.Set{
		`{}`:                     filterstate.All,
		`{"publish": "all"}`:     filterstate.All,
		`{"publish": "tokens"}`:  filterstate.Tokens,
		`{"publish": "minimal"}`: filterstate.Minimal,
		`{"publish": []}`:        0,
		`{"publish": ["gen_ai.completion.tokens", "spillway.limit"]}`: filterstate.Set(0).With(filterstate.CompletionTokens).With(filterstate.Limit),
	} {
		if got := mustParse(t, text).Publish; got != want {
			t.Errorf("%s: got %b, want %b", text, got, want)
		}
	}
}

func TestWhatCannotBePublished(t *testing.T) {
	const either = `want all, tokens, minimal or a list of values, such as [gen_ai.completion.tokens]`
	all := "; want " + strings.Join(filterstate.Names()[:filterstate.Count-1], ", ") + " or gen_ai.itl.ms"
	checkErrors(t, []errorCase{
		{`{"publish": "everything"}`, []string{`publish: "everything": ` + either}},
		{`{"publish": "gen_ai.completion.tokens"}`, []string{`publish: "gen_ai.completion.tokens": ` + either}},
		{`{"publish": null}`, []string{`publish: null: ` + either}},
		{`{"publish": {"all": true}}`, []string{`publish: an object: ` + either}},
		{`{"publish": ["gen_ai.completion.token", "wasm.spillway.reason", "tokens", 7, "spillway.limit", "spillway.limit"]}`, []string{
			`publish[0]: "gen_ai.completion.token": unknown (did you mean "gen_ai.completion.tokens"?)` + all,
			`publish[1]: "wasm.spillway.reason": unknown (did you mean "spillway.reason"?)` + all,
			`publish[2]: "tokens": unknown` + all,
			`publish[3]: 7: want spillway.decision, `,
			`publish[5]: "spillway.limit": given twice; want each entry once`,
		}},
		{`{"rateLimitHeaders": "some"}`, []string{`rateLimitHeaders: "some": want all, refusals or off`}},
		{`{"rateLimitStyle": "IETF"}`, []string{`rateLimitStyle: "IETF": `}},
	})
	if got := mustParse(t, `{"rateLimitHeaders": false}`).RateLimitHeaders; got != RateLimitsOff { // YAML's off
		t.Errorf("got %q", got)
	}
}
