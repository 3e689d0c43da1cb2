package usage

import (
	"strings"

	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
)

// OpenAI's Responses: https://platform.openai.com/docs/api-reference/responses. In a stream the response as a whole comes
// inside the events that change its state, with its usage in the last of them.
//
// Images and audio speak alike (media.go); the three differ in their names and in where output and bounds stand.
var responses = &Dialect{
	Name: "openai.responses", Operation: "responses", Provider: "openai", Errors: &openAIErrors, routes: responsesRoutes, fromPath: fromAzure,
	Outputs: true, TokenPerPiece: true,
	requestPaths: responsesRequest, request: readResponsesRequest,
	responsePaths: responsesResponse, response: readResponsesResponse, silent: silentInResponses,
}

var responsesRoutes = []route{{suffix: "/responses"}, {suffix: "/responses/compact"}}

const (
	reModel = iota + 1
	reStream
	reMaxOutputTokens
	reStreamFormat
	reImage
	reInline
	reElsewhere
	reTool
	reItem
	reFallback
)

var responsesRequest = jsonscan.Compile(append(fallbackPaths(reFallback),
	jsonscan.Path{ID: reModel, Path: "model", Keep: maxModel},
	jsonscan.Path{ID: reStream, Path: "stream"},
	jsonscan.Path{ID: reMaxOutputTokens, Path: "max_output_tokens", Keep: maxBound},
	jsonscan.Path{ID: reStreamFormat, Path: "stream_format", Keep: len("sse") + 1}, // speech has it for stream
	jsonscan.Path{ID: reElsewhere, Path: "previous_response_id"},
	jsonscan.Path{ID: reElsewhere, Path: "conversation"},
	jsonscan.Path{ID: reElsewhere, Path: "prompt.id"},
	jsonscan.Path{ID: reTool, Path: "tools.*.type", Keep: maxToolType},
	jsonscan.Path{ID: reItem, Path: "input.*.type", Keep: len("item_reference") + 1},
	jsonscan.Path{ID: reImage, Path: "input.*.content.*.image_url", Keep: maxScheme},
	jsonscan.Path{ID: reImage, Path: "input.*.output.*.image_url", Keep: maxScheme},
	jsonscan.Path{ID: reImage, Path: "input.*.output.image_url", Keep: maxScheme}, // of a computer
	jsonscan.Path{ID: reElsewhere, Path: "input.*.content.*.file_id"},
	jsonscan.Path{ID: reElsewhere, Path: "input.*.content.*.file_url"},
	jsonscan.Path{ID: reElsewhere, Path: "input.*.output.*.file_id"},
	jsonscan.Path{ID: reElsewhere, Path: "input.*.output.*.file_url"},
	jsonscan.Path{ID: reElsewhere, Path: "input.*.output.file_id"},
	jsonscan.Path{ID: reInline, Path: "input.*.content.*.file_data"},
	jsonscan.Path{ID: reInline, Path: "input.*.output.*.file_data"},
	jsonscan.Path{ID: reInline, Path: "input.*.content.*.input_audio.data"},
	jsonscan.Path{ID: reInline, Path: "input.*.encrypted_content"},
	jsonscan.Path{ID: reImage, Path: "image", Keep: maxScheme}, // of images and their edits
	jsonscan.Path{ID: reImage, Path: "image.*", Keep: maxScheme},
	jsonscan.Path{ID: reImage, Path: "images.*.image_url", Keep: maxScheme},
	jsonscan.Path{ID: reElsewhere, Path: "images.*.file_id"},
)...)

// readResponsesRequest knows a bound that binds nobody elsewhere.
func readResponsesRequest(r *draft, v value) {
	if v.id == reMaxOutputTokens {
		r.bound(v)
		return
	}
	readMediaRequest(r, v)
}

func readMediaRequest(r *draft, v value) {
	switch v.id {
	case reModel:
		r.name(v)
	case reStream:
		r.streams(v, v.kind == jsonscan.True)
	case reStreamFormat:
		r.streams(v, v.is("sse"))
	case reImage:
		r.image(v)
	case reInline:
		r.media(v)
	case reElsewhere:
		r.elsewhere(v)
	case reTool: // what a server's own tools find is not in the body
		if !v.is("function") && !v.is("custom") {
			r.elsewhere(v)
		}
	case reFallback:
		r.fallback(v)
	case reItem:
		if v.is("item_reference") {
			r.elsewhere(v)
		}
	}
}

const (
	reUsage = iota + ownID
	reResponseModel
	reText
	reMedia
	reErrorCode
	reType
)

const maxType = 64 // bytes of an event's type that are read

var responsesResponse = jsonscan.Compile(keepCounts(usePrompt, useOutputAudio, append(append(
	responsesPaths(""), responsesPaths("response.")...),
	jsonscan.Path{ID: reText, Path: "delta"}, // text, reasoning, arguments and audio alike
	jsonscan.Path{ID: reMedia, Path: "partial_image_b64"},
	jsonscan.Path{ID: reErrorCode, Path: "code", Keep: maxErrorCode},
	jsonscan.Path{ID: reType, Path: "type", Keep: maxType},
))...)

// responsesPaths are those of the response, which stands below a prefix.
func responsesPaths(prefix string) []jsonscan.Path {
	return []jsonscan.Path{
		{ID: reResponseModel, Path: prefix + "model", Keep: maxModel},
		{ID: reUsage, Path: prefix + "usage"},
		{ID: usePrompt, Path: prefix + "usage.input_tokens"},
		{ID: useCompletion, Path: prefix + "usage.output_tokens"},
		{ID: useTotal, Path: prefix + "usage.total_tokens"},
		{ID: useCached, Path: prefix + "usage.input_tokens_details.cached_tokens"},
		{ID: useCacheWrite, Path: prefix + "usage.input_tokens_details.cache_write_tokens"},
		{ID: usePromptAudio, Path: prefix + "usage.input_tokens_details.audio_tokens"},
		{ID: usePromptAudio, Path: prefix + "usage.input_token_details.audio_tokens"}, // a transcription's
		{ID: useReasoning, Path: prefix + "usage.output_tokens_details.reasoning_tokens"},
		{ID: useOutputAudio, Path: prefix + "usage.output_tokens_details.audio_tokens"},
		{ID: reErrorCode, Path: prefix + "error.code", Keep: maxErrorCode},
	}
}

func readResponsesResponse(d *document, v value) {
	r := &d.reports[standardPlace]
	switch v.id {
	case reResponseModel: // the last one stands: the first may be what was asked for
		if len(v.text) > 0 {
			d.model = d.names.of(v.text)
		}
	case reUsage:
		*r = noReport
	case reText:
		d.said(v)
	case reMedia:
		d.media(v)
	case reErrorCode:
		d.failed(v)
	case reType:
		d.kind(v.text)
	default:
		r.take(v.id, d.count(v))
	}
}

// kind takes an event's type. An error need not have a code.
func (d *document) kind(text []byte) {
	switch kind := inplace.String(text); {
	case kind == "error" || kind == "response.failed":
		d.fail(http500)
	case kind == "ping" || kind == "keepalive":
		d.bare = true
	case strings.Contains(kind, ".") && !strings.HasSuffix(kind, "delta") && !strings.Contains(kind, "partial"):
		d.bare = true // it tells of a state
	}
}

func silentInResponses(d *document) bool { return d.bare || d.counted }
