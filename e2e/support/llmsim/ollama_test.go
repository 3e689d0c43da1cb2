package llmsim

import (
	"encoding/json"
	"strings"
	"testing"
)

const (
	ollamaChatPath   = "/api/chat"
	ollamaPromptPath = "/api/generate"
	ollamaMessages   = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
)

// ollamaLine is what a test reads of a line.
type ollamaLine struct {
	Model, Response, Thinking, Error string
	Message                          struct {
		Content, Thinking string
		ToolCalls         []struct {
			Function struct {
				Name      string
				Arguments map[string]any
			}
		} `json:"tool_calls"`
	}
	Done   bool
	Reason string `json:"done_reason"`
	Prompt int    `json:"prompt_eval_count"`
	Output int    `json:"eval_count"`
}

func ollamaLines(t *testing.T, body string) (all []ollamaLine) {
	t.Helper()
	for text := range strings.Lines(body) {
		var line ollamaLine
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		all = append(all, line)
	}
	return all
}

func TestOllamaStreamsUnlessToldOtherwise(t *testing.T) {
	s := New(Options{PromptTokens: 11, CachedTokens: 8})
	for path, body := range map[string]string{ollamaChatPath: ollamaMessages, ollamaPromptPath: `{"model":"m","prompt":"hi"}`} {
		a := direct(s, path, body, "tokens", "5", "reasoning-tokens", "2")
		if got := a.Header.Get("Content-Type"); got != "application/x-ndjson" {
			t.Errorf("%s: %s", path, got)
		}
		lines := ollamaLines(t, a.body)
		var words, thoughts string
		for _, line := range lines {
			words += line.Response + line.Message.Content
			thoughts += line.Thinking + line.Message.Thinking
		}
		if last := lines[len(lines)-1]; len(lines) != 6 || words != "water rises until" || thoughts != "water rises" ||
			!last.Done || last.Reason != "stop" || last.Prompt != 11 || last.Output != 5 || lines[4].Done {
			t.Errorf("%s: %s", path, a.body)
		}
		a = direct(s, path, strings.Replace(body, "{", `{"stream":false,"options":{"num_predict":3},`, 1), "tokens", "5", "reasoning-tokens", "1")
		lines = ollamaLines(t, a.body)
		if line := lines[0]; len(lines) != 1 || line.Response+line.Message.Content != "water rises" || line.Thinking+line.Message.Thinking != "water" ||
			line.Reason != "length" || line.Output != 3 || a.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %s", path, a.body)
		}
	}
}

func TestOllamaCallsTools(t *testing.T) {
	s := New(Options{})
	for _, stream := range []string{"true", "false"} {
		body := withTools(`{"stream":`+stream+`,"messages":[]}`, flatTools)
		var calls []string
		for _, line := range ollamaLines(t, direct(s, ollamaChatPath, body, "tool-calls", twoCalls).body) {
			for _, call := range line.Message.ToolCalls {
				calls = append(calls, call.Function.Name)
			}
		}
		if strings.Join(calls, " ") != "turn level" {
			t.Errorf("stream %s: %v", stream, calls)
		}
	}
}

func TestOllamasErrors(t *testing.T) {
	s := New(Options{})
	a := direct(s, ollamaChatPath, ollamaMessages, "status", "503")
	if lines := ollamaLines(t, a.body); a.StatusCode != 503 || lines[0].Error == "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	lines := ollamaLines(t, direct(s, ollamaChatPath, ollamaMessages, "error-after", "2").body)
	if len(lines) != 3 || lines[2].Error == "" {
		t.Errorf("%+v", lines)
	}
	for path, body := range map[string]string{ollamaChatPath: `{}`, ollamaPromptPath: `{}`} {
		if a := direct(s, path, body); a.StatusCode != 400 || ollamaLines(t, a.body)[0].Error == "" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
}

func TestOllamaMayLeaveItsCountsOut(t *testing.T) {
	s := New(Options{})
	excludes(t, direct(s, ollamaChatPath, ollamaMessages, "usage", "never").body, "eval_count")
	excludes(t, direct(s, ollamaChatPath, ollamaMessages, "tokens", "0").body, `"eval_count"`)
}
