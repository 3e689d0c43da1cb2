package clienttest

import (
	"context"
	"errors"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

// anthropicFlow asks in one way with Anthropic's Go client.
type anthropicFlow func(context.Context, anthropic.Client, ...option.RequestOption) (seen, error)

var anthropicFlows = map[string]anthropicFlow{
	"messages":              message(nil),
	"messages stream":       messageStream(nil),
	"messages tools":        message(tools),
	"messages tools stream": messageStream(tools),
}

func askAnthropic(t *testing.T, url string, jobs []job) []outcome {
	t.Helper()
	client := anthropic.NewClient(option.WithBaseURL(url), option.WithAPIKey("k"), option.WithMaxRetries(0))
	return each(t, jobs, func(ctx context.Context, j job) (seen, error) {
		run := anthropicFlows[j.Flow]
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

func messageParams(tools []string) anthropic.MessageNewParams {
	p := anthropic.MessageNewParams{
		Model: model, MaxTokens: 100,
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hi"))},
	}
	for _, name := range tools {
		p.Tools = append(p.Tools, anthropic.ToolUnionParamOfTool(anthropic.ToolInputSchemaParam{}, name))
	}
	return p
}

func message(tools []string) anthropicFlow {
	return func(ctx context.Context, c anthropic.Client, options ...option.RequestOption) (seen, error) {
		answer, err := c.Messages.New(ctx, messageParams(tools), options...)
		if err != nil {
			return seen{}, err
		}
		return seenMessage(answer), nil
	}
}

// seenMessage is what a whole message has, be it put together from events. Its input tokens leave the cached ones out.
func seenMessage(answer *anthropic.Message) seen {
	u := answer.Usage
	s := seen{
		Model: string(answer.Model), Finish: string(answer.StopReason), Reports: 1,
		Prompt: u.InputTokens + u.CacheReadInputTokens, Completion: u.OutputTokens, Cached: u.CacheReadInputTokens,
	}
	s.Total = s.Prompt + s.Completion
	for _, block := range answer.Content {
		switch block := block.AsAny().(type) {
		case anthropic.TextBlock:
			s.Content += block.Text
		case anthropic.ToolUseBlock:
			s.Calls = append(s.Calls, toolCall{block.Name, string(block.Input)})
		}
	}
	return s
}

func messageStream(tools []string) anthropicFlow {
	return func(ctx context.Context, c anthropic.Client, options ...option.RequestOption) (seen, error) {
		stream := c.Messages.NewStreaming(ctx, messageParams(tools), options...)
		var answer anthropic.Message
		events := 0
		for ; stream.Next(); events++ {
			if err := answer.Accumulate(stream.Current()); err != nil {
				return seen{}, err
			}
		}
		s := seenMessage(&answer)
		s.Chunks = events
		return s, stream.Err()
	}
}
