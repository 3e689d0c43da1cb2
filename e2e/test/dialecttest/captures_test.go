package dialecttest

import (
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/internal/captures"
)

// capture is one recorded exchange.
type capture struct{ *captures.Capture }

// exchange is what to replay. Where a recorder dropped a stream's content-type, it is what every such server sends.
func (c capture) exchange() *exchange {
	contentType := c.ResponseHeaders["content-type"]
	if contentType == "" && c.Stream {
		contentType = "text/event-stream"
	}
	return &exchange{
		id: c.ID, method: c.Method, path: c.Path, requestType: c.RequestHeaders["content-type"], requestBody: c.RequestBody,
		status: c.Status, contentType: contentType, responseBody: c.ResponseBody,
	}
}

type tokens captures.Tokens

// completed fills in the one count that follows from the two others, as a record has it.
func (t tokens) completed() tokens {
	switch {
	case t.Total == captures.Absent && t.Prompt != captures.Absent && t.Completion != captures.Absent:
		t.Total = t.Prompt + t.Completion
	case t.Completion == captures.Absent && t.Prompt != captures.Absent && t.Total != captures.Absent:
		t.Completion = max(t.Total-t.Prompt, 0)
	case t.Prompt == captures.Absent && t.Completion != captures.Absent && t.Total != captures.Absent:
		t.Prompt = max(t.Total-t.Completion, 0)
	}
	return t
}

// requestModel is what the record has to name: a model that only the path has counts too.
func (c capture) requestModel() string {
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
	"openai.responses": "responses", "anthropic.messages": "messages", "gemini": "generate_content", "ollama": "chat",
}

// wanted is what the access log has to say of an exchange, by its keys. A usage_source that is not wanted must be another
// than reported: what was not reported is counted or estimated, and nothing says how much.
func (c capture) wanted() map[string]string {
	if c.Expect == nil {
		return map[string]string{
			"decision": "ALLOWED", "request_model": "", "response_model": "", "usage_source": "", "prompt_tokens": "",
			"completion_tokens": "", "total_tokens": "", "cached_tokens": "", "reasoning_tokens": "",
		}
	}
	want := map[string]string{
		"decision": "ALLOWED", "operation": operationOf[c.Dialect],
		"request_model": c.requestModel(), "response_model": captures.Text(c.Expect.ResponseModel),
	}
	if !c.Expect.UsageReported {
		return want
	}
	t := tokens(c.Meant()).completed()
	want["usage_source"] = "reported"
	want["cached_tokens"], want["reasoning_tokens"] = positive(t.Cached), positive(t.Reasoning)
	for key, n := range map[string]int64{"prompt_tokens": t.Prompt, "completion_tokens": t.Completion, "total_tokens": t.Total} {
		if n != captures.Absent { // else it is estimated
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
