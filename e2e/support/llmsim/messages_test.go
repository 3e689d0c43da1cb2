package llmsim

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

const (
	messagesPath   = "/v1/messages"
	messagesStream = `{"model":"m","max_tokens":9,"messages":[],"stream":true}`
)

func TestClientMessages(t *testing.T) {
	_, url := start(t, Options{PromptTokens: 11, CachedTokens: 8})
	c := anthropic.NewClient(option.WithBaseURL(url), option.WithAPIKey("k"), option.WithMaxRetries(0))
	p := anthropic.MessageNewParams{
		Model: "m", MaxTokens: 9, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hi"))},
	}
	for _, name := range []string{"turn", "level"} {
		p.Tools = append(p.Tools, anthropic.ToolUnionParamOfTool(anthropic.ToolInputSchemaParam{}, name))
	}
	for _, tc := range []struct {
		header, value, stop, content string
		tokens                       int64
	}{
		{"x-sim-content", "hello big world", "end_turn", "hello big world", 3},
		{"x-sim-tokens", "10", "max_tokens", "water rises until it finds the spillway and then", 9},
		{"x-sim-tool-calls", twoCalls, "tool_use", "turn " + turnInput + "level {}", twoTokens},
	} {
		check := func(m *anthropic.Message) {
			t.Helper()
			text := ""
			for _, block := range m.Content {
				switch block := block.AsAny().(type) {
				case anthropic.TextBlock:
					text += block.Text
				case anthropic.ToolUseBlock:
					text += block.Name + " " + string(block.Input)
				}
			}
			u := m.Usage
			if text != tc.content || string(m.StopReason) != tc.stop || m.Model != "m" ||
				u.InputTokens != 3 || u.CacheReadInputTokens != 8 || u.OutputTokens != tc.tokens {
				t.Errorf("%s: answer %s", tc.header, m.RawJSON())
			}
		}
		m, err := c.Messages.New(t.Context(), p, option.WithHeader(tc.header, tc.value))
		if err != nil {
			t.Fatal(err)
		}
		check(m)
		st := c.Messages.NewStreaming(t.Context(), p, option.WithHeader(tc.header, tc.value), option.WithHeader("x-sim-eol", "crlf"))
		var acc anthropic.Message
		for st.Next() {
			if err := acc.Accumulate(st.Current()); err != nil {
				t.Error(err)
			}
		}
		if st.Err() != nil {
			t.Fatal(st.Err())
		}
		check(&acc)
	}
}

func TestMessagesStream(t *testing.T) {
	s := New(Options{})
	for _, tc := range []struct {
		want    string
		headers []string
	}{
		{"message_start ping content_block_start content_block_delta content_block_delta content_block_stop message_delta message_stop",
			[]string{"tokens", "2", "reasoning-tokens", "0"}},
		{"message_start ping content_block_start content_block_delta content_block_stop message_delta message_stop",
			[]string{"tokens", "2", "reasoning-tokens", "1"}},
		{"message_start ping message_delta message_stop", []string{"tokens", "0"}},
		{"message_start ping content_block_start content_block_delta error", []string{"error-after", "1"}},
	} {
		a := direct(s, messagesPath, messagesStream, tc.headers...)
		if got := names(t, a.body); got != tc.want {
			t.Errorf("%v:\n got %s\nwant %s", tc.headers, got, tc.want)
		}
	}
	excludes(t, direct(s, messagesPath, messagesStream, "usage", "never").body, "usage")
	// What was cut is no JSON, and stays out of the answer.
	a := direct(s, messagesPath, withTools(`{"max_tokens":3,"messages":[]}`, flatTools), "tool-calls", twoCalls)
	contains(t, a.body, `"input":{}}]`, `"stop_reason":"max_tokens"`)
}

func TestMessagesErrors(t *testing.T) {
	s := New(Options{})
	for status, want := range map[string]string{
		"401": "authentication_error", "422": "invalid_request_error", "429": "rate_limit_error", "500": "api_error", "529": "overloaded_error",
	} {
		a := direct(s, messagesPath, messagesStream, "status", status)
		if !json.Valid([]byte(a.body)) || !strings.HasPrefix(a.body, `{"type":"error","error":{"type":"`+want) {
			t.Errorf("%s: %s", status, a.body)
		}
	}
}
