package llmsim

import (
	"encoding/base64"
	"math"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// The official client is the judge of the answers' form.

func newClient(t *testing.T, o Options) openai.Client {
	_, url := start(t, o)
	return openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("k"), option.WithMaxRetries(0))
}

func chatParams() openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{
		Model:    "m",
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hi")},
	}
}

func TestClientChat(t *testing.T) {
	c := newClient(t, Options{})
	res, err := c.Chat.Completions.New(t.Context(), chatParams(),
		option.WithHeader("x-sim-content", "hello big world"), option.WithHeader("x-sim-prompt-tokens", "11"),
		option.WithHeader("x-sim-cached-tokens", "8"), option.WithHeader("x-sim-gzip", "true"))
	if err != nil {
		t.Fatal(err)
	}
	u := res.Usage
	if res.Choices[0].Message.Content != "hello big world" || res.Choices[0].FinishReason != "stop" || res.Model != "m" ||
		u.PromptTokens != 11 || u.CompletionTokens != 3 || u.TotalTokens != 14 || u.PromptTokensDetails.CachedTokens != 8 {
		t.Errorf("answer %s", res.RawJSON())
	}
}

func TestClientChatStream(t *testing.T) {
	c := newClient(t, Options{})
	for _, headers := range [][2]string{{"x-sim-eol", "lf"}, {"x-sim-eol", "crlf"}, {"x-sim-chunk", "bytes:5"}, {"x-sim-comments", "1"}, {"x-sim-chunk", "whole"}} {
		for _, include := range []bool{false, true} {
			p := chatParams()
			if include {
				p.StreamOptions.IncludeUsage = openai.Bool(true)
			}
			st := c.Chat.Completions.NewStreaming(t.Context(), p, option.WithHeader(headers[0], headers[1]))
			acc := openai.ChatCompletionAccumulator{}
			chunks := 0
			for st.Next() {
				chunks++
				if !acc.AddChunk(st.Current()) {
					t.Error("chunk does not fit")
				}
			}
			if err := st.Err(); err != nil {
				t.Fatal(headers, err)
			}
			want, tokens := DefaultTokens, int64(0)
			if include {
				want, tokens = want+1, DefaultTokens
			}
			text := string(appendText(nil, nil, DefaultTokens))
			if chunks != want || acc.Usage.CompletionTokens != tokens || acc.Choices[0].Message.Content != text ||
				acc.Choices[0].FinishReason != "stop" || acc.Choices[0].Message.Role != "assistant" {
				t.Errorf("%v, usage %v: %d chunks, %+v", headers, include, chunks, acc.ChatCompletion)
			}
		}
	}
}

func TestClientStreamError(t *testing.T) {
	c := newClient(t, Options{})
	st := c.Chat.Completions.NewStreaming(t.Context(), chatParams(), option.WithHeader("x-sim-error-after", "2"))
	n := 0
	for st.Next() {
		n++
	}
	if st.Err() == nil || n != 2 {
		t.Errorf("%d chunks, error %v", n, st.Err())
	}
}

func TestClientAPIError(t *testing.T) {
	c := newClient(t, Options{})
	_, err := c.Chat.Completions.New(t.Context(), chatParams(), option.WithHeader("x-sim-status", "429"))
	apiErr, ok := err.(*openai.Error)
	if !ok || apiErr.StatusCode != 429 || apiErr.Code != "rate_limit_exceeded" || apiErr.Response.Header.Get("retry-after") != "1" {
		t.Errorf("error %v", err)
	}
}

func TestClientCompletions(t *testing.T) {
	c := newClient(t, Options{})
	p := openai.CompletionNewParams{
		Model: "m", MaxTokens: openai.Int(5), N: openai.Int(2),
		Prompt: openai.CompletionNewParamsPromptUnion{OfArrayOfTokenArrays: [][]int64{{1, 2, 3}, {4, 5}}},
	}
	res, err := c.Completions.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Choices) != 4 || res.Choices[3].FinishReason != "length" || res.Choices[3].Index != 3 ||
		res.Usage.PromptTokens != 5 || res.Usage.CompletionTokens != 20 {
		t.Errorf("answer %s", res.RawJSON())
	}
	p.Prompt, p.N = openai.CompletionNewParamsPromptUnion{OfString: openai.String("a")}, openai.Int(1)
	st := c.Completions.NewStreaming(t.Context(), p)
	text := ""
	for st.Next() {
		text += st.Current().Choices[0].Text
	}
	if st.Err() != nil || text != "water rises until it finds" {
		t.Errorf("text %q, error %v", text, st.Err())
	}
}

func TestClientEmbeddings(t *testing.T) {
	c := newClient(t, Options{EmbeddingDim: 64})
	for _, tc := range []struct {
		in           openai.EmbeddingNewParamsInputUnion
		items, spent int
	}{
		{openai.EmbeddingNewParamsInputUnion{OfString: openai.String("text")}, 1, 0},
		{openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "b", "c"}}, 3, 0},
		{openai.EmbeddingNewParamsInputUnion{OfArrayOfTokens: []int64{0, 10, 9}}, 1, 3},
		{openai.EmbeddingNewParamsInputUnion{OfArrayOfTokenArrays: [][]int64{{1, 2}, {3}}}, 2, 3},
	} {
		res, err := c.Embeddings.New(t.Context(), openai.EmbeddingNewParams{Model: "e", Input: tc.in})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Data) != tc.items || len(res.Data[0].Embedding) != 64 || res.Data[tc.items-1].Index != int64(tc.items-1) ||
			res.Usage.PromptTokens == 0 || (tc.spent > 0 && res.Usage.TotalTokens != int64(tc.spent)) {
			t.Errorf("answer %s", res.RawJSON())
		}
		norm := 0.0
		for _, v := range res.Data[0].Embedding {
			norm += v * v
		}
		if math.Abs(norm-1) > 1e-6 {
			t.Errorf("norm %g", norm)
		}
	}
	a := direct(New(Options{}), "/v1/embeddings", `{"input":"a","encoding_format":"base64","dimensions":2}`)
	contains(t, a.body, `"embedding":"`+base64.StdEncoding.EncodeToString([]byte{0xf3, 0x04, 0x35, 0x3f, 0xf3, 0x04, 0x35, 0x3f})+`"`)
}

func TestClientModels(t *testing.T) {
	c := newClient(t, Options{Models: []string{"x", "y"}})
	res, err := c.Models.List(t.Context())
	if err != nil || len(res.Data) != 2 || res.Data[1].ID != "y" || res.Data[1].OwnedBy != "llmsim" {
		t.Errorf("models %+v, error %v", res, err)
	}
}
