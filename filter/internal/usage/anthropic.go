package usage

import "github.com/spillway-proxy/spillway/filter/internal/jsonscan"

// Anthropic's Messages: https://docs.anthropic.com/en/api/messages, at Anthropic or behind Vertex AI's rawPredict.
//
// Its input_tokens leave cached ones out, so the prompt is the sum of what was read, written to the cache, and read from
// it. In a stream the counts are spread over message_start and the message_deltas, where they are cumulative: each count
// replaces the one before.
type anthropic struct{}

var messages = anthropic{}

func (anthropic) Name() string        { return "anthropic.messages" }
func (anthropic) Operation() string   { return "messages" }
func (anthropic) Provider() string    { return "anthropic" }
func (anthropic) Outputs() bool       { return true }
func (anthropic) Cumulative() bool    { return true }
func (anthropic) TokenPerPiece() bool { return false }

// fromPath knows Vertex AI's paths: …/models/<model>:streamRawPredict.
func (anthropic) fromPath(path string, r *Request) {
	model, verb := modelAndVerb(path)
	r.Model, r.Route, r.Stream = model, model, verb == "streamRawPredict"
}

const (
	anModel = iota + 1
	anStream
	anMaxTokens
)

var anthropicRequest = jsonscan.Compile(
	jsonscan.Path{ID: anModel, Path: "model", Keep: maxModel},
	jsonscan.Path{ID: anStream, Path: "stream"},
	jsonscan.Path{ID: anMaxTokens, Path: "max_tokens"},
)

func (anthropic) requestPaths() *jsonscan.Node { return anthropicRequest }

func (anthropic) request(r *draft, v value) {
	switch v.id {
	case anModel:
		r.Model = string(v.text)
	case anStream:
		r.Stream = v.kind == jsonscan.True
	case anMaxTokens:
		r.bounds[0] = v.count()
	}
}

const (
	anInput = iota + 1
	anCacheWrite
	anCacheRead
	anOutput
	anFinalOutput
	anThinking
	anResponseModel
	anText
	anErrorType
)

// The message stands by itself in a document, and inside message_start in a stream.
var anthropicResponse = jsonscan.Compile(
	jsonscan.Path{ID: anResponseModel, Path: "model", Keep: maxModel},
	jsonscan.Path{ID: anInput, Path: "usage.input_tokens"},
	jsonscan.Path{ID: anCacheWrite, Path: "usage.cache_creation_input_tokens"},
	jsonscan.Path{ID: anCacheRead, Path: "usage.cache_read_input_tokens"},
	jsonscan.Path{ID: anFinalOutput, Path: "usage.output_tokens"},
	jsonscan.Path{ID: anThinking, Path: "usage.output_tokens_details.thinking_tokens"},
	jsonscan.Path{ID: anResponseModel, Path: "message.model", Keep: maxModel},
	jsonscan.Path{ID: anInput, Path: "message.usage.input_tokens"},
	jsonscan.Path{ID: anCacheWrite, Path: "message.usage.cache_creation_input_tokens"},
	jsonscan.Path{ID: anCacheRead, Path: "message.usage.cache_read_input_tokens"},
	jsonscan.Path{ID: anOutput, Path: "message.usage.output_tokens"},
	jsonscan.Path{ID: anText, Path: "delta.text"},
	jsonscan.Path{ID: anText, Path: "delta.thinking"},
	jsonscan.Path{ID: anText, Path: "delta.partial_json"},
	jsonscan.Path{ID: anErrorType, Path: "error.type", Keep: maxErrorCode},
)

func (anthropic) responsePaths() *jsonscan.Node { return anthropicResponse }

func (anthropic) response(d *document, v value) {
	r := &d.reports[standardPlace]
	n := v.count()
	switch v.id {
	case anResponseModel:
		d.named(v.text)
	case anText:
		d.output(v)
	case anErrorType:
		d.failed(v)
	case anInput, anCacheWrite, anCacheRead:
		if n == Absent {
			return
		}
		d.parts[v.id-anInput] = n
		r.Prompt, r.there = sum(d.parts[0], d.parts[1], d.parts[2]), true
		if v.id == anCacheRead {
			r.Cached = n
		}
	case anOutput, anFinalOutput: // message_start's is not final, a message_delta's is
		if n != Absent {
			r.Completion, r.there = n, true
			d.final = d.final || v.id == anFinalOutput
		}
	case anThinking:
		r.Reasoning = n
	}
}
