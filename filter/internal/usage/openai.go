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
func (openAI) Cumulative() bool    { return false }
func (openAI) TokenPerPiece() bool { return true }

// fromPath knows Azure's paths, …/deployments/<deployment>/chat/completions, where a body may leave the model out.
func (openAI) fromPath(path string, r *Request) {
	r.Route = deployment(path)
	r.Model = r.Route
}

const maxModel = 256 // bytes of a model's name that are kept

const (
	oaModel = iota + 1
	oaStream
	oaMaxTokens
	oaMaxCompletionTokens
	oaChoices
	oaStreamOptions
	oaIncludeUsage
)

var openAIRequest = jsonscan.Compile(
	jsonscan.Path{ID: oaModel, Path: "model", Keep: maxModel},
	jsonscan.Path{ID: oaStream, Path: "stream"},
	jsonscan.Path{ID: oaMaxTokens, Path: "max_tokens"},
	jsonscan.Path{ID: oaMaxCompletionTokens, Path: "max_completion_tokens"},
	jsonscan.Path{ID: oaChoices, Path: "n"},
	jsonscan.Path{ID: oaStreamOptions, Path: "stream_options"},
	jsonscan.Path{ID: oaIncludeUsage, Path: "stream_options.include_usage"},
)

func (openAI) requestPaths() *jsonscan.Node { return openAIRequest }

func (o openAI) request(r *draft, v value) {
	switch v.id {
	case oaModel:
		r.Model = string(v.text)
	case oaStream:
		r.Stream = v.kind == jsonscan.True
	case oaMaxTokens:
		r.bounds[0] = v.count()
	case oaMaxCompletionTokens:
		if o == chat { // it binds nobody elsewhere
			r.bounds[1] = v.count()
		}
	case oaChoices:
		r.choices = v.count()
	case oaStreamOptions:
		r.options = streamOptions{options: place{v.kind, v.at, true}}
	case oaIncludeUsage:
		r.options.include = place{v.kind, v.at, true}
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
	oaVendorUsage
	oaVendorCached
	oaVendorReasoning
	oaError
	oaErrorCode
	oaFinish
	oaChoice
)

// What servers compatible with OpenAI's put elsewhere is read where the standard place has nothing: Groq's x_groq.usage,
// DeepSeek's prompt_cache_hit_tokens, and the counts that others leave directly in usage.
var openAIResponse = jsonscan.Compile(
	jsonscan.Path{ID: oaResponseModel, Path: "model", Keep: maxModel},
	jsonscan.Path{ID: oaUsage, Path: "usage"},
	jsonscan.Path{ID: oaPrompt, Path: "usage.prompt_tokens"},
	jsonscan.Path{ID: oaCompletion, Path: "usage.completion_tokens"},
	jsonscan.Path{ID: oaTotal, Path: "usage.total_tokens"},
	jsonscan.Path{ID: oaCached, Path: "usage.prompt_tokens_details.cached_tokens"},
	jsonscan.Path{ID: oaReasoning, Path: "usage.completion_tokens_details.reasoning_tokens"},
	jsonscan.Path{ID: oaVendorCached, Path: "usage.prompt_cache_hit_tokens"},
	jsonscan.Path{ID: oaVendorCached, Path: "usage.cached_tokens"},
	jsonscan.Path{ID: oaVendorCached, Path: "usage.num_cached_tokens"},
	jsonscan.Path{ID: oaVendorReasoning, Path: "usage.reasoning_tokens"},
	jsonscan.Path{ID: oaVendorUsage, Path: "x_groq.usage"},
	jsonscan.Path{ID: oaPrompt, Path: "x_groq.usage.prompt_tokens"},
	jsonscan.Path{ID: oaCompletion, Path: "x_groq.usage.completion_tokens"},
	jsonscan.Path{ID: oaTotal, Path: "x_groq.usage.total_tokens"},
	jsonscan.Path{ID: oaCached, Path: "x_groq.usage.prompt_tokens_details.cached_tokens"},
	jsonscan.Path{ID: oaReasoning, Path: "x_groq.usage.completion_tokens_details.reasoning_tokens"},
	jsonscan.Path{ID: oaError, Path: "error"},
	jsonscan.Path{ID: oaErrorCode, Path: "error.code", Keep: maxErrorCode},
	jsonscan.Path{ID: oaErrorCode, Path: "error.type", Keep: maxErrorCode},
	jsonscan.Path{ID: oaChoice, Path: "choices.*"},
	jsonscan.Path{ID: oaFinish, Path: "choices.*.finish_reason", Keep: maxErrorCode},
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
		d.named(v.text)
	case oaUsage:
		o.begin(d, standardPlace)
	case oaVendorUsage:
		o.begin(d, vendorPlace)
	case oaOutput:
		d.output(v)
	case oaError:
		if v.kind != jsonscan.Null {
			d.fail(http500)
		}
	case oaErrorCode:
		d.failed(v)
	case oaFinish:
		if string(v.text) == "abort" { // vLLM, when it is stopped
			d.fail(http503)
		}
	case oaChoice:
		d.choice = true
	default:
		d.reports[d.place].count(v.id, v.count())
	}
}

// begin starts a report, be it null: an earlier one in the same place of the same document is forgotten.
func (o openAI) begin(d *document, place int) {
	d.place = place
	d.reports[place] = report{Tokens: none}
	if !o.Outputs() {
		d.reports[place].Completion = 0
	}
}

// count takes a count that is there. One of prompt, completion and total makes it a report.
func (r *report) count(id int, n int64) {
	if n == Absent {
		return
	}
	switch id {
	case oaPrompt:
		r.Prompt, r.there = n, true
	case oaCompletion:
		r.Completion, r.there = n, true
	case oaTotal:
		r.Total, r.there = n, true
	case oaCached:
		r.Cached = n
	case oaReasoning:
		r.Reasoning = n
	case oaVendorCached:
		if r.Cached == Absent {
			r.Cached = n
		}
	case oaVendorReasoning:
		if r.Reasoning == Absent {
			r.Reasoning = n
		}
	}
}
