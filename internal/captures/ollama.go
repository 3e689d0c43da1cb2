package captures

import (
	"bytes"
	"encoding/json"
	"strings"
)

// Ollama's own API is recorded as "other", without an expectation.
const ollama = "ollama"

// speaksOllama says that an exchange is one of Ollama's chats.
func (c *Capture) speaksOllama() bool {
	return c.Dialect == "other" && strings.HasSuffix(c.Path, "/api/chat")
}

// expectOllama finds what a careful reader finds: the last line, which is done, has the counts.
func (c *Capture) expectOllama() error {
	var request struct {
		Model   *string
		Stream  *bool
		Options struct {
			NumPredict *int64 `json:"num_predict"`
		}
	}
	if err := json.Unmarshal([]byte(c.RequestBody), &request); err != nil {
		return err
	}
	c.Dialect = ollama
	c.Expect = &Expectation{RequestModel: request.Model, Stream: request.Stream == nil || *request.Stream, MaxTokens: request.Options.NumPredict}
	for line := range bytes.Lines([]byte(c.ResponseBody)) {
		var response struct {
			Model  *string
			Prompt *int64 `json:"prompt_eval_count"`
			Output *int64 `json:"eval_count"`
			Done   bool
		}
		if err := json.Unmarshal(line, &response); err != nil {
			return err
		}
		c.Expect.ResponseModel, c.Expect.InputTokens, c.Expect.OutputTokens = response.Model, response.Prompt, response.Output
		c.Expect.UsageReported = response.Done
	}
	return nil
}
