package usage

import (
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

func TestDialectsAreDescribed(t *testing.T) {
	described := map[string]Description{}
	for _, d := range Describe() {
		described[d.Name] = d
	}
	if len(described) != len(dialects) {
		t.Errorf("%d of %d dialects are described", len(described), len(dialects))
	}
	for name, d := range described {
		if d.Provider == "" || len(d.Operations) == 0 || len(d.Paths) == 0 || len(d.Reports) < 2 {
			t.Errorf("%s lacks something: %+v", name, d)
		}
	}
	for _, test := range []struct {
		what      string
		got, want []string
	}{
		{"a chat's bounds", described["openai.chat"].Bounds, []string{"max_tokens", "max_completion_tokens", "n_predict"}},
		{"a completion's bounds", described["openai.completions"].Bounds, []string{"max_tokens", "n_predict"}},
		{"an embedding's bounds", described["openai.embeddings"].Bounds, nil},
		{"an image's bounds", described["openai.images"].Bounds, nil},
		{"Gemini's bounds", described["gemini"].Bounds, []string{
			"generationConfig.maxOutputTokens", "generationConfig.max_output_tokens",
			"generation_config.max_output_tokens", "generation_config.maxOutputTokens",
		}},
		{"Anthropic's paths", described["anthropic.messages"].Paths,
			[]string{"…/v1/messages", "…/publishers/anthropic/…:rawPredict", "…/publishers/anthropic/…:streamRawPredict"}},
		{"a chat's reports", described["openai.chat"].Reports, []string{
			"usage.prompt_tokens", "usage.completion_tokens", "usage.total_tokens",
			"x_groq.usage.prompt_tokens", "x_groq.usage.completion_tokens", "x_groq.usage.total_tokens",
			"choices.*.usage.prompt_tokens", "choices.*.usage.completion_tokens", "choices.*.usage.total_tokens",
		}},
	} {
		if !slices.Equal(test.got, test.want) {
			t.Errorf("%s: got %q, want %q", test.what, test.got, test.want)
		}
	}
}

// A limit can match every operation, and a path be given every dialect.
func TestTheConfigurationKnowsAllNames(t *testing.T) {
	var names []string
	for _, d := range Describe() {
		for _, name := range d.Operations {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		if _, err := config.Parse([]byte(`{"operations":[{"path":"/a","dialect":"` + d.Name + `"}]}`)); err != nil {
			t.Error(err)
		}
	}
	limit := `{"limits":[{"name":"a","unit":"requests","quantity":1,"window":"1s","match":{"operations":["` + strings.Join(names, `","`) + `"]}}]}`
	if _, err := config.Parse([]byte(limit)); err != nil {
		t.Error(err)
	}
	for _, name := range config.Dialects {
		if byName(name) == nil && name != "other" {
			t.Errorf("config.Dialects has %s, which nothing reads", name)
		}
	}
}
