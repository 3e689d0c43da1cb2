package dialecttest

import (
	"bytes"
	"encoding/json"
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
	capturesFile     = "../../../shared/captures/shared.jsonl"
	capturesSample   = "../../filter/internal/usage/testdata/captures-sample.jsonl"
	capturesVariable = "SPILLWAY_CAPTURES"
)

// capture is one recorded exchange, and what a careful reader found in it.
type capture struct {
	ID              string            `json:"id"`
	Dialect         string            `json:"dialect"`
	Method          string            `json:"method"`
	Path            string            `json:"path"`
	Status          int               `json:"status"`
	Stream          bool              `json:"stream"`
	RequestHeaders  map[string]string `json:"request_headers"`
	ResponseHeaders map[string]string `json:"response_headers"`
	RequestBody     string            `json:"request_body"`
	ResponseBody    string            `json:"response_body"`
	Expect          *expectation      `json:"expect"`
	Alternative     struct {
		InputTokens  *int64 `json:"input_tokens"`
		CachedTokens *int64 `json:"cached_input_tokens"`
	} `json:"expect_alt"`
}

type expectation struct {
	RequestModel    *string `json:"request_model"`
	ResponseModel   *string `json:"response_model"`
	InputTokens     *int64  `json:"input_tokens"`
	OutputTokens    *int64  `json:"output_tokens"`
	TotalTokens     *int64  `json:"total_tokens"`
	CachedTokens    *int64  `json:"cached_input_tokens"`
	ReasoningTokens *int64  `json:"reasoning_tokens"`
	UsageReported   bool    `json:"usage_reported"`
}

func loadCaptures(t *testing.T) (all []*capture) {
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
	for line := range bytes.Lines(data) {
		c := &capture{}
		if err := json.Unmarshal(line, c); err != nil {
			t.Fatalf("%s, line %d: %v", name, len(all)+1, err)
		}
		all = append(all, c)
	}
	return all
}

// exchange is what to replay. Where a recorder dropped a stream's content-type, it is what every such server sends.
func (c *capture) exchange() *exchange {
	contentType := c.ResponseHeaders["content-type"]
	if contentType == "" && c.Stream {
		contentType = "text/event-stream"
	}
	return &exchange{
		id: c.ID, method: c.Method, path: c.Path, requestType: c.RequestHeaders["content-type"], requestBody: c.RequestBody,
		status: c.Status, contentType: contentType, responseBody: c.ResponseBody,
	}
}

// absent stands for a count that was not reported.
const absent = -1

type tokens struct{ prompt, completion, total, cached, reasoning int64 }

// meant are the recorded counts with the meaning that they have here: the prompt includes what was cached, the completion
// includes reasoning. The recording has them as the provider said them.
func (c *capture) meant() tokens {
	e := c.Expect
	t := tokens{value(e.InputTokens), value(e.OutputTokens), value(e.TotalTokens), value(e.CachedTokens), value(e.ReasoningTokens)}
	switch c.Dialect {
	case "openai.embeddings":
		t.completion = max(t.completion, 0)
	case "anthropic.messages":
		if c.Alternative.InputTokens != nil { // a message_delta that restates the input: it is cumulative, so we take it
			t.prompt = *c.Alternative.InputTokens
		}
		if c.Alternative.CachedTokens != nil {
			t.cached = *c.Alternative.CachedTokens
		}
		if t.prompt != absent {
			t.prompt += max(t.cached, 0) + c.last("cache_creation_input_tokens")
		}
	case "gemini":
		if t.prompt != absent {
			t.prompt += c.last("toolUsePromptTokenCount")
		}
		if t.reasoning != absent {
			t.completion = max(t.completion, 0) + t.reasoning
		}
	}
	return t.completed()
}

// completed fills in the one count that follows from the two others, as a record has it.
func (t tokens) completed() tokens {
	switch {
	case t.total == absent && t.prompt != absent && t.completion != absent:
		t.total = t.prompt + t.completion
	case t.completion == absent && t.prompt != absent && t.total != absent:
		t.completion = max(t.total-t.prompt, 0)
	case t.prompt == absent && t.completion != absent && t.total != absent:
		t.prompt = max(t.total-t.completion, 0)
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

func value(n *int64) int64 {
	if n == nil {
		return absent
	}
	return *n
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// requestModel is what the record has to name: a model that only the path has counts too.
func (c *capture) requestModel() string {
	if c.Expect.RequestModel != nil {
		return *c.Expect.RequestModel
	}
	path, _, _ := strings.Cut(c.Path, "?")
	if _, rest, found := strings.Cut(path, "/deployments/"); found && strings.HasPrefix(c.Dialect, "openai.") {
		name, _, _ := strings.Cut(rest, "/")
		return name
	}
	name, _, found := strings.Cut(path[strings.LastIndexByte(path, '/')+1:], ":")
	if !found || strings.HasPrefix(c.Dialect, "openai.") {
		return ""
	}
	return name
}

var operationOf = map[string]string{
	"openai.chat": "chat", "openai.completions": "completions", "openai.embeddings": "embeddings",
	"openai.responses": "responses", "anthropic.messages": "messages", "gemini": "generate_content",
}

// wanted is what the access log has to say of an exchange, by its keys. A usage_source that is not wanted must be another
// than reported: what was not reported is counted or estimated, and nothing says how much.
func (c *capture) wanted() map[string]string {
	if c.Expect == nil {
		return map[string]string{
			"decision": "ALLOWED", "request_model": "", "response_model": "", "usage_source": "", "prompt_tokens": "",
			"completion_tokens": "", "total_tokens": "", "cached_tokens": "", "reasoning_tokens": "",
		}
	}
	want := map[string]string{
		"decision": "ALLOWED", "operation": operationOf[c.Dialect],
		"request_model": c.requestModel(), "response_model": text(c.Expect.ResponseModel),
	}
	if !c.Expect.UsageReported {
		return want
	}
	t := c.meant()
	want["usage_source"] = "reported"
	want["cached_tokens"], want["reasoning_tokens"] = positive(t.cached), positive(t.reasoning)
	for key, n := range map[string]int64{"prompt_tokens": t.prompt, "completion_tokens": t.completion, "total_tokens": t.total} {
		if n != absent { // else it is estimated
			want[key] = strconv.FormatInt(n, 10)
		}
	}
	return want
}

// positive is a count as a record has it that leaves zeros out.
func positive(n int64) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
