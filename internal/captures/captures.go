// Package captures has recorded exchanges with real LLM APIs, for tests: what was sent, what came back, and what a careful
// reader finds in it.
package captures

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// The recordings lie beside the checkout, or where the variable says. A checkout by itself has a sample of them; where
// the tests decide about a change, all are wanted.
const (
	all      = "captures/shared.jsonl" // in shared/
	variable = "SPILLWAY_CAPTURES"
)

//go:embed sample.jsonl
var sample []byte

// Capture is one exchange.
type Capture struct {
	ID              string            `json:"id"`
	Provider        string            `json:"provider"`
	Dialect         string            `json:"dialect"`
	Method          string            `json:"method"`
	Path            string            `json:"path"`
	Status          int               `json:"status"`
	Stream          bool              `json:"stream"` // the response is server-sent events
	RequestHeaders  map[string]string `json:"request_headers"`
	ResponseHeaders map[string]string `json:"response_headers"`
	RequestBody     string            `json:"request_body"`
	ResponseBody    string            `json:"response_body"`
	Expect          *Expectation      `json:"expect"` // nil for the dialect "other"

	// Alternative is another defensible answer: a message_delta that restates the input. It is cumulative, so Meant takes it.
	Alternative struct {
		InputTokens  *int64 `json:"input_tokens"`
		CachedTokens *int64 `json:"cached_input_tokens"`
	} `json:"expect_alt"`
}

// Expectation is what an exchange says, in its provider's own terms; nil is not said.
type Expectation struct {
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
}

// Absent stands for a count that was not reported.
const Absent = -1

// Tokens are counts with the meaning that they have here: the prompt includes what was cached, the completion includes
// reasoning. Each may be Absent.
type Tokens struct{ Prompt, Completion, Total, Cached, Reasoning int64 }

// Load gives the exchanges. It fails the test when there are none.
func Load(t testing.TB) (loaded []*Capture) {
	t.Helper()
	data := read(t)
	for line := range bytes.Lines(data) {
		c := &Capture{}
		if err := json.Unmarshal(line, c); err != nil {
			t.Fatalf("recorded exchanges, line %d: %v", len(loaded)+1, err)
		}
		if c.speaksOllama() {
			if err := c.expectOllama(); err != nil {
				t.Fatalf("%s: %v", c.ID, err)
			}
		}
		loaded = append(loaded, c)
	}
	return loaded
}

// read is the text of the recordings: all of them, or else the sample.
func read(t testing.TB) []byte {
	t.Helper()
	name := os.Getenv(variable)
	if name == "" {
		name = filepath.Join(Shared(t), filepath.FromSlash(all))
		if _, err := os.Stat(name); err != nil && os.Getenv("CI") == "" {
			t.Logf("only a sample of the recorded exchanges is here; %s names the file of all", variable)
			return sample
		}
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatalf("the recorded exchanges are missing: put shared/ beside the checkout, or name the file in %s: %v", variable, err)
	}
	return data
}

// Shared is the folder shared/ beside the checkout, or beside one of the folders that it is in; "" if there is none.
func Shared(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		shared := filepath.Join(dir, "shared")
		if _, err := os.Stat(shared); err == nil {
			return shared
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
		dir = filepath.Dir(dir)
	}
}

// Meant gives the expected counts. The recording has them as the provider said them; some providers leave a part out of the
// prompt or the completion that their total has: the audio of the prompt, else the reasoning.
func (c *Capture) Meant() Tokens {
	e := c.Expect
	t := Tokens{count(e.InputTokens), count(e.OutputTokens), count(e.TotalTokens), count(e.CachedTokens), count(e.ReasoningTokens)}
	if gap := t.Total - t.Prompt - t.Completion; gap > 0 && t.Prompt != Absent && t.Completion != Absent && c.Dialect != "gemini" {
		if gap == c.last("audio_tokens") {
			t.Prompt += gap
		} else {
			t.Completion += gap
		}
	}
	switch c.Dialect {
	case "openai.embeddings":
		if e.UsageReported {
			t.Completion = max(t.Completion, 0)
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
func (c *Capture) last(name string) int64 {
	all := regexp.MustCompile(`"`+name+`":\s*(\d+)`).FindAllStringSubmatch(c.ResponseBody, -1)
	if len(all) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(all[len(all)-1][1], 10, 64)
	return n
}

func count(n *int64) int64 {
	if n == nil {
		return Absent
	}
	return *n
}

// Text is a text that may not have been said.
func Text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
