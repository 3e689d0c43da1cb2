package usage

import (
	"slices"

	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// OpenAI's chat completions, completions and embeddings, and the servers compatible with them:
// https://platform.openai.com/docs/api-reference. The three differ in their names and in where output stands.
var chat = &Dialect{
	Name: "openai.chat", Operation: "chat", Provider: "openai", Errors: &openAIErrors, routes: chatRoutes, fromPath: fromAzure,
	Outputs: true, TokenPerPiece: true, AsksForUsage: true,
	requestPaths: openAIRequest, request: readChatRequest,
	responsePaths: openAIResponse, response: readOpenAIResponse, silent: silentInOpenAI,
}

var completions = &Dialect{
	Name: "openai.completions", Operation: "completions", Provider: "openai", Errors: &openAIErrors, routes: completionsRoutes, fromPath: fromAzure,
	Outputs: true, TokenPerPiece: true, AsksForUsage: true,
	requestPaths: openAIRequest, request: readOpenAIRequest,
	responsePaths: openAIResponse, response: readOpenAIResponse, silent: silentInOpenAI,
}

var embeddings = &Dialect{
	Name: "openai.embeddings", Operation: "embeddings", Provider: "openai", Errors: &openAIErrors, routes: embeddingsRoutes, fromPath: fromAzure,
	TokenPerPiece: true,
	requestPaths:  openAIRequest, request: readOpenAIRequest,
	responsePaths: openAIResponse, response: readOpenAIResponse, silent: silentInOpenAI,
}

// openAIErrors is the format of https://platform.openai.com/docs/guides/error-codes, in which all answer who have none of their own.
var openAIErrors = reply.Format{Body: `{"error":{"message":$message$,"type":$type$,"param":null,"code":$code$}}`}

var (
	chatRoutes = []route{
		{suffix: "/chat/completions"},
		{suffix: "/chat/completions/batch"}, // vLLM
		{suffix: "/invocations"},            // of SageMaker, where vLLM tells by the body that it is a chat or a completion
	}
	completionsRoutes = []route{{suffix: "/completions"}}
	embeddingsRoutes  = []route{{suffix: "/embeddings"}}
)

const (
	oaModel = iota + 1
	oaStream
	oaBound
	oaCompletionBound
	oaOtherBound
	oaFloor
	oaChoices
	oaPromptList
	oaPromptItem
	oaImage
	oaInline
	oaElsewhere
	oaStreamOptions
	oaIncludeUsage
	oaFallback
)

var openAIRequest = jsonscan.Compile(append(fallbackPaths(oaFallback),
	jsonscan.Path{ID: oaModel, Path: "model", Keep: maxModel},
	jsonscan.Path{ID: oaStream, Path: "stream"},
	jsonscan.Path{ID: oaBound, Path: "max_tokens", Keep: maxBound},
	jsonscan.Path{ID: oaCompletionBound, Path: "max_completion_tokens", Keep: maxBound},
	jsonscan.Path{ID: oaOtherBound, Path: "n_predict", Keep: maxBound}, // llama.cpp, which prefers it
	jsonscan.Path{ID: oaFloor, Path: "min_tokens", Keep: maxBound},
	jsonscan.Path{ID: oaChoices, Path: "n", Keep: maxBound},
	jsonscan.Path{ID: oaChoices, Path: "best_of", Keep: maxBound},
	jsonscan.Path{ID: oaPromptList, Path: "prompt"},
	jsonscan.Path{ID: oaPromptItem, Path: "prompt.*"},
	jsonscan.Path{ID: oaPromptList, Path: "prompt_embeds"}, // vLLM
	jsonscan.Path{ID: oaPromptItem, Path: "prompt_embeds.*"},
	jsonscan.Path{ID: oaPromptList, Path: "messages"},
	jsonscan.Path{ID: oaPromptItem, Path: "messages.*"}, // vLLM's batches: each a list of messages
	jsonscan.Path{ID: oaStreamOptions, Path: "stream_options"},
	jsonscan.Path{ID: oaIncludeUsage, Path: "stream_options.include_usage"},
	jsonscan.Path{ID: oaImage, Path: "messages.*.content.*.image_url", Keep: maxScheme},
	jsonscan.Path{ID: oaImage, Path: "messages.*.content.*.image_url.url", Keep: maxScheme},
	jsonscan.Path{ID: oaInline, Path: "messages.*.content.*.input_audio.data"},
	jsonscan.Path{ID: oaInline, Path: "messages.*.content.*.audio_url.url", Keep: maxScheme},
	jsonscan.Path{ID: oaInline, Path: "messages.*.content.*.video_url.url", Keep: maxScheme},
	jsonscan.Path{ID: oaInline, Path: "messages.*.content.*.file.file_data"},
	jsonscan.Path{ID: oaElsewhere, Path: "messages.*.content.*.file.file_id"},
	jsonscan.Path{ID: oaElsewhere, Path: "messages.*.audio.id"},
	jsonscan.Path{ID: oaElsewhere, Path: "web_search_options"},
	jsonscan.Path{ID: oaElsewhere, Path: "data_sources.*"}, // Azure
	jsonscan.Path{ID: oaElsewhere, Path: "plugins.*"},      // OpenRouter
)...)

// readChatRequest knows a bound that binds nobody elsewhere.
func readChatRequest(r *draft, v value) {
	if v.id == oaCompletionBound {
		r.bound(v)
		return
	}
	readOpenAIRequest(r, v)
}

func readOpenAIRequest(r *draft, v value) {
	switch v.id {
	case oaModel:
		r.name(v)
	case oaStream:
		r.streams(v, v.kind == jsonscan.True)
	case oaBound:
		r.bound(v)
	case oaOtherBound:
		r.maybeBound(v)
	case oaFloor:
		r.demand(v)
	case oaChoices:
		r.choose(v)
	case oaPromptList:
		r.elements = 0
	case oaPromptItem:
		r.prompt(v)
	case oaImage:
		r.image(v)
	case oaInline:
		r.media(v)
	case oaElsewhere:
		r.elsewhere(v)
	case oaFallback:
		r.fallback(v)
	case oaStreamOptions:
		if !v.folded {
			r.options = streamOptions{options: place{v.kind, v.at, true}}
		}
	case oaIncludeUsage:
		if !v.folded {
			r.options.include = place{v.kind, v.at, true}
		}
	}
}

const (
	oaUsage = iota + ownID
	oaVendorUsage
	oaChoiceUsage
	oaResponseModel
	oaOutput
	oaMedia
	oaWholeOutput
	oaWholeMedia
	oaDelta
	oaError
	oaErrorCode
	oaFinish
	oaList
	oaChoice
	oaRole
	oaType
)

// What servers compatible with OpenAI's put elsewhere is read where the standard place has nothing: Groq's x_groq.usage,
// Moonshot's choices.*.usage, DeepSeek's prompt_cache_hit_tokens, and the counts that others leave directly in usage.
var openAIResponse = jsonscan.Compile(keepCounts(usePrompt, useElseCacheWrite, slices.Concat(
	[]jsonscan.Path{
		{ID: oaResponseModel, Path: "model", Keep: maxModel},
		{ID: oaUsage, Path: "usage"},
	}, openAIUsage("usage."), []jsonscan.Path{
		{ID: useElseCached, Path: "usage.prompt_cache_hit_tokens"},
		{ID: useElseCached, Path: "usage.cached_tokens"},
		{ID: useElseCached, Path: "usage.num_cached_tokens"},
		{ID: useElseReasoning, Path: "usage.reasoning_tokens"},
		{ID: useElseCacheWrite, Path: "usage.cache_creation_input_tokens"},
		{ID: oaVendorUsage, Path: "x_groq.usage"},
	}, openAIUsage("x_groq.usage."), []jsonscan.Path{
		{ID: oaError, Path: "error"},
		{ID: oaErrorCode, Path: "error.code", Keep: maxErrorCode},
		{ID: oaErrorCode, Path: "error.type", Keep: maxErrorCode},
		{ID: oaType, Path: "type", Keep: len("ping") + 1},
		{ID: oaList, Path: "choices"},
		{ID: oaChoice, Path: "choices.*"},
		{ID: oaFinish, Path: "choices.*.finish_reason", Keep: maxErrorCode},
		{ID: oaOutput, Path: "choices.*.text"},
		{ID: oaDelta, Path: "choices.*.delta"},
		{ID: oaRole, Path: "choices.*.delta.role"},
	}, openAIOutput("choices.*.delta.", oaOutput, oaMedia), openAIOutput("choices.*.message.", oaWholeOutput, oaWholeMedia), []jsonscan.Path{
		{ID: oaChoiceUsage, Path: "choices.*.usage"},
	}, openAIUsage("choices.*.usage."),
))...)

// openAIUsage are the paths of a report that stands below a prefix.
func openAIUsage(prefix string) []jsonscan.Path {
	return []jsonscan.Path{
		{ID: usePrompt, Path: prefix + "prompt_tokens"},
		{ID: useCompletion, Path: prefix + "completion_tokens"},
		{ID: useTotal, Path: prefix + "total_tokens"},
		{ID: useCached, Path: prefix + "prompt_tokens_details.cached_tokens"},
		{ID: useReasoning, Path: prefix + "completion_tokens_details.reasoning_tokens"},
		{ID: useCacheWrite, Path: prefix + "prompt_tokens_details.cache_write_tokens"},
		{ID: usePromptAudio, Path: prefix + "prompt_tokens_details.audio_tokens"},
		{ID: useOutputAudio, Path: prefix + "completion_tokens_details.audio_tokens"},
	}
}

// openAIOutput are the paths of output in a choice. Some servers send a message where a delta belongs, or both, or the message
// as a whole at the end; and some send a list of parts for a text.
func openAIOutput(prefix string, output, media int) []jsonscan.Path {
	return []jsonscan.Path{
		{ID: output, Path: prefix + "content"},
		{ID: output, Path: prefix + "content.*.text"},
		{ID: output, Path: prefix + "content.*.thinking.*.text"},
		{ID: output, Path: prefix + "reasoning_content"},
		{ID: output, Path: prefix + "reasoning"},
		{ID: output, Path: prefix + "refusal"},
		{ID: output, Path: prefix + "tool_calls.*.function.arguments"},
		{ID: output, Path: prefix + "tool_calls.*.custom.input"},
		{ID: output, Path: prefix + "function_call.arguments"},
		{ID: output, Path: prefix + "audio.transcript"},
		{ID: media, Path: prefix + "audio.data"},
		{ID: media, Path: prefix + "images.*.image_url.url"},
	}
}

func readOpenAIResponse(d *document, v value) {
	switch v.id {
	case oaResponseModel:
		d.named(v.text)
	case oaUsage:
		d.begin(standardPlace)
	case oaVendorUsage:
		d.begin(vendorPlace)
	case oaChoiceUsage:
		d.begin(choicePlace)
	case oaOutput:
		d.said(v)
	case oaMedia:
		d.media(v)
	case oaWholeOutput:
		d.instead.take(v.size, int64(v.size))
	case oaWholeMedia:
		d.instead.take(v.size, mediaText(v.size))
	case oaDelta:
		d.delta = true
	case oaError:
		if v.kind != jsonscan.Null {
			d.fail(http500)
		}
	case oaErrorCode:
		d.failed(v)
	case oaFinish:
		d.bare = d.bare || v.size > 0
		if v.is("abort") { // vLLM, when it is stopped
			d.fail(http503)
		}
	case oaList:
		d.choices = true
	case oaChoice:
		d.choice = true
	case oaRole:
		d.role = true
	case oaType:
		d.bare = d.bare || v.is("ping")
	default:
		d.reports[d.place].take(v.id, d.count(v))
	}
}

// silentInOpenAI knows the first event, which only names the role, the last one, and those without a choice.
func silentInOpenAI(d *document) bool {
	return d.bare || d.role && !d.roled || !d.choice && (d.choices || d.counted)
}

// begin starts a report, be it null: an earlier one in the same place of the same document is forgotten.
func (d *document) begin(place int) { d.place, d.reports[place] = place, noReport }
