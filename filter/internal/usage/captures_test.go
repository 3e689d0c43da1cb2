package usage

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/internal/captures"
)

// field is one thing to find in an exchange.
type field struct {
	name      string
	got, want any
}

// bound is what the request's bound has to be: the recorded one is for one choice of one prompt.
func boundOf(c *captures.Capture) int64 {
	var body struct {
		N      int64           `json:"n"`
		Prompt json.RawMessage `json:"prompt"`
	}
	if json.Unmarshal([]byte(c.RequestBody), &body) != nil || c.Expect.MaxTokens == nil {
		return 0
	}
	var prompts []string
	_ = json.Unmarshal(body.Prompt, &prompts)
	return *c.Expect.MaxTokens * max(body.N, 1) * max(int64(len(prompts)), 1)
}

// compare reads an exchange and sets what was found beside what was expected.
func compare(c *captures.Capture, dialect *Dialect, lengths []int) []field {
	request := readRequestAt(c.Path, dialect, []byte(c.RequestBody), lengths)
	if c.Expect.RequestModel == nil && request.Model == FromPath(dialect, c.Path).Model {
		request.Model = "" // only the path has it: Azure's deployment, Vertex AI's model
	}
	response := readResponse(dialect, c.Stream, []byte(c.ResponseBody), lengths)
	e := c.Expect
	want := c.Meant()
	return []field{
		{"request model", request.Model, captures.Text(e.RequestModel)},
		{"stream", request.Stream, e.Stream},
		{"bound", request.OutputBound, boundOf(c)},
		{"response model", response.Model, captures.Text(e.ResponseModel)},
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
	for _, c := range captures.Load(t) {
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
			for _, f := range compare(c, dialect, lengths) {
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
		sum := tallies[d.Name]
		if sum == nil && (d == images || d == audio || d == ollamaEmbeddings) {
			continue // what they say is taken from their documentation
		}
		if sum == nil {
			t.Errorf("no exchange in %s was recorded: want one in internal/captures/sample.jsonl", d.Name)
			continue
		}
		fmt.Fprintf(&table, "\n%-20s %4d exchanges, %6d of %6d values, whole and in pieces", d.Name, sum.exchanges, sum.found, sum.expected)
	}
	t.Log(table.String())
}
