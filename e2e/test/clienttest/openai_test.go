package clienttest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

// openAIFlow asks in one way with OpenAI's Go client.
type openAIFlow func(context.Context, openai.Client, ...option.RequestOption) (seen, error)

var openAIFlows = map[string]openAIFlow{
	"chat":                              chat(nil),
	"chat stream":                       chatStream(nil, openai.ChatCompletionStreamOptionsParam{}),
	"chat stream, include_usage":        chatStream(nil, includeUsage(true)),
	"chat stream, include_usage false":  chatStream(nil, includeUsage(false)),
	"chat tools":                        chat(tools),
	"chat tools stream":                 chatStream(tools, openai.ChatCompletionStreamOptionsParam{}),
	"chat tools stream, include_usage":  chatStream(tools, includeUsage(true)),
	"completions stream":                completionStream(openai.ChatCompletionStreamOptionsParam{}),
	"completions stream, include_usage": completionStream(includeUsage(true)),
	"responses":                         respond,
	"responses stream":                  respondStream(nil),
	"responses tools stream":            respondStream(tools),
	"embedding":                         embed(openai.EmbeddingNewParamsInputUnion{OfString: openai.String("hi")}),
	"embeddings of a batch":             embed(openai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "b", "c"}}),
}

func askOpenAI(t *testing.T, url string, jobs []job) []outcome {
	t.Helper()
	client := openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("k"), option.WithMaxRetries(0))
	return each(t, jobs, func(ctx context.Context, j job) (seen, error) {
		run := openAIFlows[j.Flow]
		if run == nil {
			return seen{}, errors.New("nothing here runs this flow")
		}
		var options []option.RequestOption
		for name, value := range j.Headers {
			options = append(options, option.WithHeader(name, value))
		}
		return run(ctx, client, options...)
	})
}

func includeUsage(include bool) openai.ChatCompletionStreamOptionsParam {
	return openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(include)}
}

func chatParams(tools []string) openai.ChatCompletionNewParams {
	p := openai.ChatCompletionNewParams{Model: model, Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hi")}}
	for _, name := range tools {
		p.Tools = append(p.Tools, openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: name}))
	}
	return p
}

func chat(tools []string) openAIFlow {
	return func(ctx context.Context, c openai.Client, options ...option.RequestOption) (seen, error) {
		answer, err := c.Chat.Completions.New(ctx, chatParams(tools), options...)
		if err != nil {
			return seen{}, err
		}
		return seenChat(answer)
	}
}

// seenChat is what a whole answer has, be it put together from chunks.
func seenChat(answer *openai.ChatCompletion) (seen, error) {
	if len(answer.Choices) != 1 {
		return seen{}, fmt.Errorf("%d choices", len(answer.Choices))
	}
	choice := answer.Choices[0]
	s := seen{Model: answer.Model, Content: choice.Message.Content, Finish: choice.FinishReason}
	for _, call := range choice.Message.ToolCalls {
		s.Calls = append(s.Calls, toolCall{call.Function.Name, call.Function.Arguments})
	}
	s.count(answer.Usage, answer.JSON.Usage.Valid())
	return s, nil
}

// count takes a usage, where there is one.
func (s *seen) count(u openai.CompletionUsage, there bool) {
	if !there {
		return
	}
	s.Reports++
	s.Prompt, s.Completion, s.Total = u.PromptTokens, u.CompletionTokens, u.TotalTokens
	s.Cached = u.PromptTokensDetails.CachedTokens
}

func chatStream(tools []string, asked openai.ChatCompletionStreamOptionsParam) openAIFlow {
	return func(ctx context.Context, c openai.Client, options ...option.RequestOption) (seen, error) {
		p := chatParams(tools)
		p.StreamOptions = asked
		stream := c.Chat.Completions.NewStreaming(ctx, p, options...)
		var (
			s   seen
			all openai.ChatCompletionAccumulator
		)
		for stream.Next() {
			chunk := stream.Current()
			if !all.AddChunk(chunk) {
				return s, fmt.Errorf("a chunk does not fit: %s", chunk.RawJSON())
			}
			s.chunk(len(chunk.Choices))
			s.count(chunk.Usage, chunk.JSON.Usage.Valid())
		}
		if err := stream.Err(); err != nil {
			return s, err
		}
		whole, err := seenChat(&all.ChatCompletion)
		s.Model, s.Content, s.Finish, s.Calls = whole.Model, whole.Content, whole.Finish, whole.Calls
		return s, err
	}
}

// chunk counts a chunk with so many choices.
func (s *seen) chunk(choices int) {
	s.Chunks++
	if choices == 0 {
		s.Empty++
	}
}

func completionStream(asked openai.ChatCompletionStreamOptionsParam) openAIFlow {
	return func(ctx context.Context, c openai.Client, options ...option.RequestOption) (s seen, err error) {
		stream := c.Completions.NewStreaming(ctx, openai.CompletionNewParams{
			Model: model, Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String("hi")}, StreamOptions: asked,
		}, options...)
		for stream.Next() {
			chunk := stream.Current()
			s.Model = chunk.Model
			s.chunk(len(chunk.Choices))
			s.count(chunk.Usage, chunk.JSON.Usage.Valid())
			for _, choice := range chunk.Choices {
				s.Content += choice.Text
				s.Finish = string(choice.FinishReason)
			}
		}
		return s, stream.Err()
	}
}

func responseParams(tools []string) responses.ResponseNewParams {
	p := responses.ResponseNewParams{Model: model, Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")}}
	for _, name := range tools {
		p.Tools = append(p.Tools, responses.ToolParamOfFunction(name, map[string]any{"type": "object"}, false))
	}
	return p
}

func respond(ctx context.Context, c openai.Client, options ...option.RequestOption) (seen, error) {
	answer, err := c.Responses.New(ctx, responseParams(nil), options...)
	if err != nil {
		return seen{}, err
	}
	return seenResponse(answer), nil
}

func seenResponse(answer *responses.Response) seen {
	s := seen{Model: answer.Model, Content: answer.OutputText(), Finish: string(answer.Status)}
	for _, item := range answer.Output {
		if call, ok := item.AsAny().(responses.ResponseFunctionToolCall); ok {
			s.Calls = append(s.Calls, toolCall{call.Name, call.Arguments})
		}
	}
	if u := answer.Usage; answer.JSON.Usage.Valid() {
		s.Reports, s.Cached = 1, u.InputTokensDetails.CachedTokens
		s.Prompt, s.Completion, s.Total = u.InputTokens, u.OutputTokens, u.TotalTokens
	}
	return s
}

// respondStream compares what came in deltas with the whole that came at the end.
func respondStream(tools []string) openAIFlow {
	return func(ctx context.Context, c openai.Client, options ...option.RequestOption) (s seen, err error) {
		stream := c.Responses.NewStreaming(ctx, responseParams(tools), options...)
		text, arguments, events := "", "", 0
		for ; stream.Next(); events++ {
			switch event := stream.Current().AsAny().(type) {
			case responses.ResponseTextDeltaEvent:
				text += event.Delta
			case responses.ResponseFunctionCallArgumentsDeltaEvent:
				arguments += event.Delta
			case responses.ResponseCompletedEvent:
				s = seenResponse(&event.Response)
			}
		}
		for _, call := range s.Calls {
			if len(arguments) < len(call.Arguments) || arguments[:len(call.Arguments)] != call.Arguments {
				return s, fmt.Errorf("the deltas have the arguments %q, the whole has %q", arguments, call.Arguments)
			}
			arguments = arguments[len(call.Arguments):]
		}
		if text != s.Content || arguments != "" {
			return s, fmt.Errorf("the deltas have %q and %q, the whole has %q", text, arguments, s.Content)
		}
		s.Chunks = events
		return s, stream.Err()
	}
}

func embed(input openai.EmbeddingNewParamsInputUnion) openAIFlow {
	return func(ctx context.Context, c openai.Client, options ...option.RequestOption) (seen, error) {
		answer, err := c.Embeddings.New(ctx, openai.EmbeddingNewParams{Model: model, Input: input}, options...)
		if err != nil {
			return seen{}, err
		}
		s := seen{Model: answer.Model}
		for _, e := range answer.Data {
			if len(e.Embedding) != dimensions {
				return s, fmt.Errorf("a vector of %d numbers", len(e.Embedding))
			}
			s.Vectors = append(s.Vectors, fmt.Sprintf("%.5f", e.Embedding[0]))
		}
		if u := answer.Usage; answer.JSON.Usage.Valid() {
			s.Reports, s.Prompt, s.Total = 1, u.PromptTokens, u.TotalTokens
		}
		return s, nil
	}
}
