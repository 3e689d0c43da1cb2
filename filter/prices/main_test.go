package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/spillway-proxy/spillway/config"
)

// list is such as LiteLLM's, with one model of each kind.
const list = `{
  "sample_spec": {"input_cost_per_token": 0.1},
  "plain": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 2.5e-06, "cache_read_input_token_cost": 1.25e-06, "output_cost_per_token": 0.00001},
  "plain-2024": {"litellm_provider": "openai", "input_cost_per_token": 0.0000025, "cache_read_input_token_cost": 1.25e-6, "output_cost_per_token": 1e-05, "output_cost_per_token_batches": 5e-06},
  "long": {"input_cost_per_token": 3e-06, "cache_read_input_token_cost": 3e-07, "cache_creation_input_token_cost": 3.75e-06, "output_cost_per_token": 1.5e-05,
    "input_cost_per_token_above_200k_tokens": 6e-06, "output_cost_per_token_above_200k_tokens": 2.25e-05, "cache_creation_input_token_cost_above_1hr": 6e-06,
    "search_context_cost_per_query": {"search_context_size_low": 0.01}},
  "tiers": {"tiered_pricing": [{"input_cost_per_token": 5e-08, "output_cost_per_token": 4e-07, "range": [0, 256000.0]},
    {"input_cost_per_token": 2.5e-07, "output_cost_per_token": 2e-06, "range": [256000.0, 1000000.0]}]},
  "three-tiers": {"tiered_pricing": [{"input_cost_per_token": 1e-08}, {"input_cost_per_token": 2e-08}, {"input_cost_per_token": 3e-08}]},
  "two-bounds": {"input_cost_per_token": 1e-06, "input_cost_per_token_above_128k_tokens": 2e-06, "input_cost_per_token_above_200k_tokens": 3e-06},
  "audio": {"input_cost_per_token": 1e-06, "input_cost_per_audio_token": 4e-05, "output_cost_per_token": 2e-06, "output_cost_per_audio_token": 8e-05, "output_cost_per_reasoning_token": 3e-06},
  "hit": {"input_cost_per_token": 1e-06, "input_cost_per_token_cache_hit": 1e-07, "output_cost_per_token": 2e-06},
  "searcher": {"input_cost_per_token": 1e-06, "input_cost_per_request": 0.005, "output_cost_per_token": 1e-06},
  "free": {"input_cost_per_token": 0, "output_cost_per_token": 0.0, "input_cost_per_image": 0},
  "noisy": {"input_cost_per_token": 0.000015000020000000002, "output_cost_per_token": 1e-06},
  "painter": {"mode": "image_generation", "input_cost_per_token": 0, "output_cost_per_image": 0.04},
  "speaker": {"input_cost_per_second": 0.0001},
  "nothing": {"mode": "chat"},
  "bad": {"input_cost_per_token": -1e-6, "output_cost_per_token": "cheap"},
  "all-*": {"input_cost_per_token": 1e-06},
  "azure/deployed": {"litellm_provider": "azure", "input_cost_per_token": 1e-06, "output_cost_per_token": 4e-06},
  "azure/Plain": {"litellm_provider": "azure", "input_cost_per_token": 9e-06}
}`

// makes runs the program on a list.
func makes(t *testing.T, list string, args ...string) (status int, prices, said string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "list.json")
	if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	status = run(append(args, file), &stdout, &stderr)
	return status, stdout.String(), stderr.String()
}

func TestPricesOfAList(t *testing.T) {
	status, got, said := makes(t, list, "--trim", "azure/")
	const want = `prices: # 10 models, of LiteLLM's list of prices; dollars for a million tokens
  - {models: ["audio"], prompt: 1, audioPrompt: 40, completion: 2, reasoning: 3, audioCompletion: 80}
  - {models: ["Plain"], prompt: 9}
  - {models: ["deployed"], prompt: 1, completion: 4}
  - {models: ["free"], prompt: 0, completion: 0}
  - {models: ["hit"], prompt: 1, cached: 0.1, completion: 2}
  - {models: ["long"], prompt: 3, cached: 0.3, cacheWrite: 3.75, completion: 15, above: {promptTokens: 200000, prompt: 6, cached: 0.3, cacheWrite: 3.75, completion: 22.5}}
  - {models: ["noisy"], prompt: 15.00002, completion: 1}
  - {models: ["plain-2024"], prompt: 2.5, cached: 1.25, completion: 10}
  - {models: ["searcher"], prompt: 1, completion: 1, request: 0.005}
  - {models: ["tiers"], prompt: 0.05, completion: 0.4, above: {promptTokens: 256000, prompt: 0.25, completion: 2}}
`
	if got != want || status != allRight {
		t.Errorf("%d:\n%s", status, got)
	}
	const left = `10 models have prices.
LEFT OUT, billed by something else than tokens: pictures, which are billed each: painter
LEFT OUT, billed by something else than tokens: time, which is billed by the second: speaker
LEFT OUT: more than one bound of prompts' length: three-tiers, two-bounds
LEFT OUT: names that another entry has already: plain
LEFT OUT: names with * or ?, which would be globs: all-*
LEFT OUT: the list has no price: bad, nothing
not in prices: a cache that lives for an hour, to write to which costs more: long
not in prices: a price that is no number, or below 0: bad
not in prices: batches, which cost less: plain-2024
not in prices: searches, which cost something each: long
rounded to the billionth of a dollar for a million tokens: noisy
`
	if said != left {
		t.Errorf("it says:\n%s", said)
	}
	var document map[string]any
	if err := yaml.Unmarshal([]byte(got), &document); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Parse(text)
	if err != nil || len(cfg.Prices) != 10 {
		t.Errorf("%v: %d entries", err, len(cfg.Prices))
	}
}

func TestModelsAreChosen(t *testing.T) {
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"-m", "plain*"}, []string{`["plain", "plain-2024"]`}}, // which cost the same
		{[]string{"-m", "free", "-m", "HIT"}, []string{`["free"]`, `["hit"]`}},
		{[]string{"-p", "azure"}, []string{`["azure/Plain"]`, `["azure/deployed"]`}},
		{[]string{"-p", "azure", "-m", "*deployed"}, []string{`["azure/deployed"]`}},
	} {
		status, got, _ := makes(t, list, test.args...)
		if status != allRight || strings.Count(got, "- {") != len(test.want) {
			t.Errorf("%v: %d\n%s", test.args, status, got)
		}
		for _, want := range test.want {
			if !strings.Contains(got, want) {
				t.Errorf("%v lacks %s:\n%s", test.args, want, got)
			}
		}
	}
}

func TestWhatIsNoList(t *testing.T) {
	for name, test := range map[string]struct {
		list   string
		args   []string
		status int
		said   string
	}{
		"no JSON":       {`prices: []`, nil, cantTell, "is no list of prices"},
		"a list":        {`[]`, nil, cantTell, "is no list of prices"},
		"no such model": {list, []string{"-m", "none"}, isWrong, "0 models have prices."},
		"no such flag":  {list, []string{"--models-of", "none"}, cantTell, "unknown flag"},
	} {
		if status, got, said := makes(t, test.list, test.args...); status != test.status || got != "" || !strings.Contains(said, test.said) {
			t.Errorf("%s: %d, %s%s", name, status, got, said)
		}
	}
	var stdout, stderr bytes.Buffer
	if status := run([]string{"--version"}, &stdout, &stderr); status != allRight || stdout.String() != "dev\n" {
		t.Error(status, stdout.String())
	}
	if status := run([]string{"/does/not/exist"}, &stdout, &stderr); status != cantTell {
		t.Error(status)
	}
}
