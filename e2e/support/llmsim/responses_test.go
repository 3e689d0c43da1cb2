package llmsim

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	api "github.com/openai/openai-go/v3/responses"
)

const (
	responsesPath   = "/v1/responses"
	responsesStream = `{"model":"m","input":"hi","stream":true}`
)

func TestClientResponses(t *testing.T) {
	c := newClient(t, Options{Content: "hello big world", PromptTokens: 11, CachedTokens: 8, ReasoningTokens: 2})
	p := api.ResponseNewParams{Model: "m", Input: api.ResponseNewParamsInputUnion{OfString: openai.String("hi")}}
	check := func(res *api.Response) {
		t.Helper()
		u := res.Usage
		if res.OutputText() != "hello big world" || res.Status != "completed" || res.Model != "m" ||
			u.InputTokens != 11 || u.OutputTokens != 5 || u.TotalTokens != 16 ||
			u.InputTokensDetails.CachedTokens != 8 || u.OutputTokensDetails.ReasoningTokens != 2 {
			t.Errorf("answer %s", res.RawJSON())
		}
	}
	res, err := c.Responses.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	check(res)
	st := c.Responses.NewStreaming(t.Context(), p, option.WithHeader("x-sim-chunk", "bytes:7"))
	var last api.ResponseStreamEventUnion
	text := ""
	for n := int64(0); st.Next(); n++ {
		last = st.Current()
		if last.SequenceNumber != n {
			t.Errorf("event %d: %s", n, last.RawJSON())
		}
		text += last.AsResponseOutputTextDelta().Delta
	}
	if st.Err() != nil || text != "hello big world" || last.Type != "response.completed" {
		t.Fatalf("text %q, last %s, error %v", text, last.RawJSON(), st.Err())
	}
	check(&last.Response)
}

// names are the types of a stream's events, which stand twice.
func names(t *testing.T, stream string) string {
	t.Helper()
	var list []string
	for event := range strings.SplitSeq(strings.TrimSuffix(stream, "\n\n"), "\n\n") {
		name, data, _ := strings.Cut(strings.TrimPrefix(event, "event: "), "\ndata: ")
		var object struct{ Type string }
		if err := json.Unmarshal([]byte(data), &object); err != nil || object.Type != name {
			t.Errorf("event %s: %v", event, err)
		}
		list = append(list, strings.TrimPrefix(name, "response."))
	}
	return strings.Join(list, " ")
}

func TestResponsesStream(t *testing.T) {
	s := New(Options{})
	const item = "output_item.added content_part.added %output_text.done content_part.done output_item.done "
	for _, tc := range []struct {
		body, want string
		headers    []string
	}{
		{responsesStream, "created in_progress " + strings.Replace(item, "%", "output_text.delta output_text.delta ", 1) + "completed", []string{"tokens", "2"}},
		{responsesStream, "created in_progress " + strings.Replace(item, "%", "", 1) + "completed", []string{"tokens", "0"}},
		{strings.Replace(responsesStream, "{", `{"max_output_tokens":1,`, 1),
			"created in_progress " + strings.Replace(item, "%", "output_text.delta ", 1) + "incomplete", nil},
		{responsesStream, "created in_progress output_item.added content_part.added output_text.delta failed", []string{"error-after", "1"}},
		{withTools(responsesStream, flatTools), "created in_progress output_item.added " +
			strings.Repeat("function_call_arguments.delta ", 5) + "function_call_arguments.done output_item.done " +
			"output_item.added function_call_arguments.delta function_call_arguments.done output_item.done completed",
			[]string{"tool-calls", twoCalls}},
	} {
		if got := names(t, direct(s, responsesPath, tc.body, tc.headers...).body); got != tc.want {
			t.Errorf("%s %v:\n got %s\nwant %s", tc.body, tc.headers, got, tc.want)
		}
	}
	a := direct(s, responsesPath, withTools(responsesStream, flatTools), "tool-calls", twoCalls)
	contains(t, a.body, `"type":"function_call","status":"completed"`, `"arguments":`+strconv.Quote(turnInput), `"output_tokens":8`)
	if st := s.Stats(); st.Tokens != 2+0+1+1+8+8 || st.Errors != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestResponsesUsage(t *testing.T) {
	s := New(Options{})
	for mode, want := range map[string]string{"auto": `"usage":{"input_tokens"`, "null": `"usage":null`} {
		for _, body := range []string{responsesStream, `{"input":"hi"}`} {
			contains(t, direct(s, responsesPath, body, "usage", mode).body, want)
		}
	}
	excludes(t, direct(s, responsesPath, responsesStream, "usage", "never").body, "usage")
}
