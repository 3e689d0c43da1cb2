package llmsim

import (
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// twoCalls are two calls of 1+5 and 1+1 tokens.
const (
	twoCalls  = `[{"name":"turn", "arguments":{"by": "a \"half\"é"}}, {"name":"level", "arguments":{}}]`
	turnInput = `{"by":"a \"half\"é"}`
	chatTools = `[{"type":"function","function":{"name":"turn"}},{"type":"function","function":{"name":"level"}}]`
	flatTools = `[{"type":"function","name":"turn"},{"type":"function","name":"level"}]`
	twoTokens = 8
)

func withTools(body, tools string) string {
	return strings.Replace(body, "{", `{"tools":`+tools+`,`, 1)
}

func TestToolCallsInAChat(t *testing.T) {
	c := newClient(t, Options{ToolCalls: twoCalls})
	p := chatParams()
	for _, name := range []string{"level", "turn"} {
		p.Tools = append(p.Tools, openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: name}))
	}
	res, err := c.Chat.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	check := func(res *openai.ChatCompletion) {
		t.Helper()
		m := res.Choices[0]
		if m.Message.Content != "" || m.FinishReason != "tool_calls" || res.Usage.CompletionTokens != twoTokens {
			t.Errorf("answer %+v", res)
		}
		calls := m.Message.ToolCalls
		if len(calls) != 2 || calls[0].Function.Name != "turn" || calls[0].Function.Arguments != turnInput ||
			calls[1].Function.Name != "level" || calls[1].Function.Arguments != "{}" || calls[0].ID == calls[1].ID {
			t.Errorf("calls %+v", calls)
		}
	}
	check(res)
	p.StreamOptions.IncludeUsage = openai.Bool(true)
	st := c.Chat.Completions.NewStreaming(t.Context(), p)
	acc, n := openai.ChatCompletionAccumulator{}, 0
	for ; st.Next(); n++ {
		if !acc.AddChunk(st.Current()) {
			t.Error("chunk does not fit")
		}
	}
	if st.Err() != nil || n != twoTokens+1 {
		t.Errorf("%d chunks, error %v", n, st.Err())
	}
	check(&acc.ChatCompletion)
	p.Tools = p.Tools[:1]
	if _, err := c.Chat.Completions.New(t.Context(), p, option.WithMaxRetries(0)); err == nil || !strings.Contains(err.Error(), "turn") {
		t.Errorf("a call of what was not offered: %v", err)
	}
}

func TestToolCallsAreCut(t *testing.T) {
	s := New(Options{})
	for limit, want := range map[string]string{
		"0": `"content":""`, "1": `"name":"turn","arguments":""}`, "3": `"arguments":"{\"by\":\"a"}`, "6": `"name":"turn"`,
	} {
		body := withTools(strings.Replace(chatJSON, "{", `{"max_tokens":`+limit+`,`, 1), chatTools)
		a := direct(s, chatPath, body, "tool-calls", twoCalls)
		contains(t, a.body, want, `"finish_reason":"length"`, `"completion_tokens":`+limit+`,`)
		excludes(t, a.body, "level")
	}
	a := direct(s, chatPath, chatJSON, "tool-calls", twoCalls, "tokens", "3")
	contains(t, a.body, "neither")
	if a.StatusCode != 400 {
		t.Errorf("status %d", a.StatusCode)
	}
}
