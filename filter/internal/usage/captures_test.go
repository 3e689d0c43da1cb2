package usage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// The recorded exchanges lie beside the checkout, or where the variable says. A checkout by itself has a sample of them;
// where the tests decide about a change, all are wanted.
const (
	capturesFile     = "../../../../shared/captures/shared.jsonl"
	capturesSample   = "testdata/captures-sample.jsonl"
	capturesVariable = "SPILLWAY_CAPTURES"
)

// capture is one recorded exchange, and what a careful reader found in it.
type capture struct {
	ID           string `json:"id"`
	Dialect      string `json:"dialect"`
	Path         string `json:"path"`
	Status       int    `json:"status"`
	Stream       bool   `json:"stream"`
	RequestBody  string `json:"request_body"`
	ResponseBody string `json:"response_body"`
	Expect       struct {
		RequestModel    *string `json:"request_model"`
		ResponseModel   *string `json:"response_model"`
		Stream          bool    `json:"stream"`
		MaxTokens       *int64  `json:"max_tokens"`
		InputTokens     *int64  `json:"input_tokens"`
		OutputTokens    *int64  `json:"output_tokens"`
		TotalTokens     *int64  `json:"total_tokens"`
		CachedTokens    *int64  `json:"cached_input_tokens"`
		ReasoningTokens *int64  `json:"reasoning_tokens"`
		UsageReported   bool    `json:"usage_reported"`
	} `json:"expect"`
	// Alternative is another defensible answer: a message_delta that restates the input. It is cumulative, so we take it.
	Alternative struct {
		InputTokens  *int64 `json:"input_tokens"`
		CachedTokens *int64 `json:"cached_input_tokens"`
	} `json:"expect_alt"`
}

// meant are the recorded counts with the meaning that they have here: the prompt includes what was cached, the completion
// includes reasoning. The recording has them as the provider said them.
func (c *capture) meant() Tokens {
	e := &c.Expect
	t := Tokens{expected(e.InputTokens), expected(e.OutputTokens), expected(e.TotalTokens), expected(e.CachedTokens), expected(e.ReasoningTokens)}
	switch c.Dialect {
	case "openai.embeddings":
		if e.UsageReported && t.Completion == Absent {
			t.Completion = 0
		}
	case "anthropic.messages":
		if c.Alternative.InputTokens != nil {
			t.Prompt = *c.Alternative.InputTokens
		}
		if c.Alternative.CachedTokens != nil {
			t.Cached = *c.Alternative.CachedTokens
		}
		if t.Prompt != Absent {
			t.Prompt += max(t.Cached, 0) + c.last("cache_creation_input_tokens")
		}
	case "gemini":
		if t.Prompt != Absent {
			t.Prompt += c.last("toolUsePromptTokenCount")
		}
		if t.Reasoning != Absent {
			t.Completion = max(t.Completion, 0) + t.Reasoning
		}
	}
	return t
}

// last is the last count of that name in the response, which the recording has no expectation of; 0 if there is none.
func (c *capture) last(name string) int64 {
	all := regexp.MustCompile(`"`+name+`":\s*(\d+)`).FindAllStringSubmatch(c.ResponseBody, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(all[len(all)-1][1], 10, 64)
	return n
}

func loadCaptures(t *testing.T) []capture {
	t.Helper()
	name := os.Getenv(capturesVariable)
	if name == "" {
		name = filepath.FromSlash(capturesFile)
		if _, err := os.Stat(name); err != nil && os.Getenv("CI") == "" {
			t.Logf("only a sample of the recorded exchanges is here; %s names the file of all", capturesVariable)
			name = filepath.FromSlash(capturesSample)
		}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("the recorded exchanges are missing: put shared/ beside the checkout, or name the file in %s: %v", capturesVariable, err)
	}
	var all []capture
	for line := range bytes.Lines(data) {
		var c capture
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("%s, line %d: %v", name, len(all)+1, err)
		}
		all = append(all, c)
	}
	return all
}

// field is one thing to find in an exchange.
type field struct {
	name      string
	got, want any
}

// expected is a count as a report would give it. Without outputs, none of them is reported as no tokens.
func expected(n *int64) int64 {
	if n == nil {
		return Absent
	}
	return *n
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// bound is what the request's bound has to be: the recorded one is for one choice.
func (c *capture) bound() int64 {
	var body struct {
		N int64 `json:"n"`
	}
	if json.Unmarshal([]byte(c.RequestBody), &body) != nil || c.Expect.MaxTokens == nil {
		return 0
	}
	return *c.Expect.MaxTokens * max(body.N, 1)
}

// compare reads an exchange and sets what was found beside what was expected.
func (c *capture) compare(dialect Dialect, lengths []int) []field {
	request := readRequestAt(c.Path, dialect, []byte(c.RequestBody), lengths)
	if c.Expect.RequestModel == nil && request.Model == FromPath(dialect, c.Path).Model {
		request.Model = "" // only the path has it: Azure's deployment, Vertex AI's model
	}
	response := readResponse(dialect, c.Stream, []byte(c.ResponseBody), lengths)
	e := &c.Expect
	want := c.meant()
	return []field{
		{"request model", request.Model, text(e.RequestModel)},
		{"stream", request.Stream, e.Stream},
		{"bound", request.OutputBound, c.bound()},
		{"response model", response.Model, text(e.ResponseModel)},
		{"reported", response.Reported, e.UsageReported},
		{"prompt", response.Tokens.Prompt, want.Prompt},
		{"completion", response.Tokens.Completion, want.Completion},
		{"total", response.Tokens.Total, want.Total},
		{"cached", response.Tokens.Cached, want.Cached},
		{"reasoning", response.Tokens.Reasoning, want.Reasoning},
	}
}

// TestRecordedExchanges reads what real servers and clients said to each other.
func TestRecordedExchanges(t *testing.T) {
	operations := NewOperations(nil)
	type tally struct{ exchanges, found, expected int }
	tallies := map[string]*tally{}
	for _, c := range loadCaptures(t) {
		dialect := byName(c.Dialect)
		if dialect == nil || c.Status != 200 {
			continue
		}
		if tallies[c.Dialect] == nil {
			tallies[c.Dialect] = &tally{}
		}
		sum := tallies[c.Dialect]
		sum.exchanges++
		if got, _ := operations.Find(c.Path); got != dialect {
			t.Errorf("%s: path %s is taken for %v", c.ID, c.Path, got)
		}
		for how, lengths := range cuts {
			for _, f := range c.compare(dialect, lengths) {
				sum.expected++
				if f.got == f.want {
					sum.found++
				} else {
					t.Errorf("%s %s: %s is %v, want %v", c.ID, how, f.name, f.got, f.want)
				}
			}
		}
	}
	var table strings.Builder
	for _, d := range dialects {
		sum := tallies[d.Name()]
		if sum == nil {
			t.Errorf("no exchange in %s was recorded", d.Name())
			continue
		}
		fmt.Fprintf(&table, "\n%-20s %4d exchanges, %6d of %6d values, whole and in pieces", d.Name(), sum.exchanges, sum.found, sum.expected)
	}
	t.Log(table.String())
}
