package usage

import "github.com/spillway-proxy/spillway/filter/internal/jsonscan"

// OpenAI's chat completions, completions and embeddings, and the servers compatible with them:
// https://platform.openai.com/docs/api-reference. The three differ in their names and in where output stands.
type openAI struct {
	name, operation string
}

var (
	chat        = openAI{"openai.chat", "chat"}
	completions = openAI{"openai.completions", "completions"}
	embeddings  = openAI{"openai.embeddings", "embeddings"}
)

func (o openAI) Name() string      { return o.name }
func (o openAI) Operation() string { return o.operation }
func (openAI) Provider() string    { return "openai" }
func (o openAI) Outputs() bool     { return o != embeddings }

const maxModel = 256 // bytes of a model's name that are kept

const (
	oaModel = iota + 1
	oaStream
	oaMaxTokens
	oaMaxCompletionTokens
	oaChoices
)

var openAIRequest = jsonscan.Compile(
	jsonscan.Path{ID: oaModel, Path: "model", Keep: maxModel},
	jsonscan.Path{ID: oaStream, Path: "stream"},
	jsonscan.Path{ID: oaMaxTokens, Path: "max_tokens"},
	jsonscan.Path{ID: oaMaxCompletionTokens, Path: "max_completion_tokens"},
	jsonscan.Path{ID: oaChoices, Path: "n"},
)

func (openAI) requestPaths() *jsonscan.Node { return openAIRequest }

func (openAI) request(r *draft, v value) {
	switch v.id {
	case oaModel:
		r.Model = string(v.text)
	case oaStream:
		r.Stream = v.kind == jsonscan.True
	case oaMaxTokens:
		r.bounds[0] = v.count()
	case oaMaxCompletionTokens:
		r.bounds[1] = v.count()
	case oaChoices:
		r.choices = v.count()
	}
}

const (
	oaUsage = iota + 1
	oaPrompt
	oaCompletion
	oaTotal
	oaCached
	oaReasoning
	oaResponseModel
	oaOutput
)

var openAIResponse = jsonscan.Compile(
	jsonscan.Path{ID: oaResponseModel, Path: "model", Keep: maxModel},
	jsonscan.Path{ID: oaUsage, Path: "usage"},
	jsonscan.Path{ID: oaPrompt, Path: "usage.prompt_tokens"},
	jsonscan.Path{ID: oaCompletion, Path: "usage.completion_tokens"},
	jsonscan.Path{ID: oaTotal, Path: "usage.total_tokens"},
	jsonscan.Path{ID: oaCached, Path: "usage.prompt_tokens_details.cached_tokens"},
	jsonscan.Path{ID: oaReasoning, Path: "usage.completion_tokens_details.reasoning_tokens"},
	jsonscan.Path{ID: oaOutput, Path: "choices.*.text"},
	jsonscan.Path{ID: oaOutput, Path: "choices.*.delta.content"},
	jsonscan.Path{ID: oaOutput, Path: "choices.*.delta.reasoning_content"},
	jsonscan.Path{ID: oaOutput, Path: "choices.*.delta.reasoning"},
	jsonscan.Path{ID: oaOutput, Path: "choices.*.delta.refusal"},
	jsonscan.Path{ID: oaOutput, Path: "choices.*.delta.tool_calls.*.function.arguments"},
)

func (openAI) responsePaths() *jsonscan.Node { return openAIResponse }

func (o openAI) response(d *document, v value) {
	switch v.id {
	case oaResponseModel:
		d.model = string(v.text)
	case oaUsage: // an object begins, or null: either way an earlier one of the same document is forgotten
		d.tokens = none
		d.reported = v.kind == jsonscan.Object
		if !o.Outputs() {
			d.tokens.Completion = 0
		}
	case oaPrompt:
		d.tokens.Prompt = v.count()
	case oaCompletion:
		d.tokens.Completion = v.count()
	case oaTotal:
		d.tokens.Total = v.count()
	case oaCached:
		d.tokens.Cached = v.count()
	case oaReasoning:
		d.tokens.Reasoning = v.count()
	case oaOutput:
		if v.size > 0 {
			d.outputs++
		}
	}
}
