package usage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The recorded exchanges lie beside the checkout; the variable names another place.
const (
	capturesFile     = "../../../../shared/captures/shared.jsonl"
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
}

func loadCaptures(t *testing.T) []capture {
	t.Helper()
	name := os.Getenv(capturesVariable)
	if name == "" {
		name = filepath.FromSlash(capturesFile)
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
	request := readRequest(dialect, []byte(c.RequestBody), lengths)
	response := readResponse(dialect, c.Stream, []byte(c.ResponseBody), lengths)
	e := &c.Expect
	completion := expected(e.OutputTokens)
	if !dialect.Outputs() && e.UsageReported && completion == Absent {
		completion = 0
	}
	return []field{
		{"request model", request.Model, text(e.RequestModel)},
		{"stream", request.Stream, e.Stream},
		{"bound", request.OutputBound, c.bound()},
		{"response model", response.Model, text(e.ResponseModel)},
		{"reported", response.Reported, e.UsageReported},
		{"prompt", response.Tokens.Prompt, expected(e.InputTokens)},
		{"completion", response.Tokens.Completion, completion},
		{"total", response.Tokens.Total, expected(e.TotalTokens)},
		{"cached", response.Tokens.Cached, expected(e.CachedTokens)},
		{"reasoning", response.Tokens.Reasoning, expected(e.ReasoningTokens)},
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
