package usage

import (
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// Anthropic's Messages: https://docs.anthropic.com/en/api/messages, at Anthropic or behind Vertex AI's rawPredict.
//
// Its input_tokens leave cached ones out, so the prompt is the sum of what was read, written to the cache, and read from
// it. In a stream the counts are spread over message_start and the message_deltas, where they are cumulative: each count
// replaces the one before.
var messages = &Dialect{
	Name: "anthropic.messages", Operation: "messages", Provider: "anthropic", Errors: &anthropicErrors, routes: messagesRoutes, fromPath: fromVertex,
	Outputs: true, Cumulative: true,
	requestPaths: anthropicRequest, request: readAnthropicRequest,
	responsePaths: anthropicResponse, response: readAnthropicResponse, silent: silentInAnthropic,
	end: func(d *document) { d.iterations.sumUp(&d.reports[standardPlace], d.parts) },
}

// anthropicErrors is the format of https://docs.anthropic.com/en/api/errors.
var anthropicErrors = reply.Format{
	Body:      `{"type":"error","error":{"type":$word$,"message":$message$}}`,
	Anthropic: true,
	Words: []reply.Word{
		{Status: 400, Text: "invalid_request_error"}, {Status: 401, Text: "authentication_error"}, {Status: 404, Text: "not_found_error"},
		{Status: 408, Text: "timeout_error"}, {Status: 413, Text: "request_too_large"}, {Status: 429, Text: "rate_limit_error"}, {Status: 504, Text: "timeout_error"},
		{Status: 503, Text: "overloaded_error"}, {Status: 529, Text: "overloaded_error"}, {Text: "api_error"},
	},
}

// claude stands in Vertex AI's paths of Anthropic's models. Other publishers have APIs of their own there.
const claude = "/publishers/anthropic/"

var messagesRoutes = []route{
	{suffix: "/v1/messages"},
	{suffix: "/count-tokens:rawPredict", unread: true}, // Vertex AI's count_tokens
	{suffix: ":rawPredict", within: claude},
	{suffix: ":streamRawPredict", within: claude},
	{suffix: ":rawPredict", unread: true},
	{suffix: ":streamRawPredict", unread: true},
}

const (
	anModel = iota + 1
	anStream
	anMaxTokens
	anThinkingBudget
	anSource
	anSourceKind
	anSourceData
	anMedia
	anElsewhere
	anTool
	anFallback
)

// Contents stand in messages, and again in the results of tools.
var anthropicRequest = jsonscan.Compile(append(append([]jsonscan.Path{
	{ID: anModel, Path: "model", Keep: maxModel},
	{ID: anStream, Path: "stream"},
	{ID: anMaxTokens, Path: "max_tokens", Keep: maxBound},
	{ID: anThinkingBudget, Path: "thinking.budget_tokens", Keep: maxBound}, // interleaved, it may be more than max_tokens
	{ID: anElsewhere, Path: "container"},
	{ID: anElsewhere, Path: "mcp_servers.*"},
	{ID: anTool, Path: "tools.*.type", Keep: maxToolType},
}, fallbackPaths(anFallback)...), append(anthropicContents("messages.*.content.*."), anthropicContents("messages.*.content.*.content.*.")...)...)...)

func anthropicContents(prefix string) []jsonscan.Path {
	return []jsonscan.Path{
		{ID: anSource, Path: prefix + "source"},
		{ID: anSourceKind, Path: prefix + "source.type", Keep: maxMediaType},
		{ID: anSourceKind, Path: prefix + "source.media_type", Keep: maxMediaType},
		{ID: anSourceData, Path: prefix + "source.data"},
		{ID: anElsewhere, Path: prefix + "source.url"},
		{ID: anElsewhere, Path: prefix + "source.file_id"},
		{ID: anMedia, Path: prefix + "signature"}, // of thinking
		{ID: anMedia, Path: prefix + "data"},      // of thinking that is redacted
		{ID: anMedia, Path: prefix + "encrypted_content"},
	}
}

func readAnthropicRequest(r *draft, v value) {
	switch v.id {
	case anModel:
		r.name(v)
	case anStream:
		r.streams(v, v.kind == jsonscan.True)
	case anMaxTokens:
		r.bound(v)
	case anThinkingBudget:
		r.raise(v)
	case anSource:
		r.blob = blob{}
	case anSourceKind:
		r.describe(v)
	case anSourceData:
		r.inline(v)
	case anMedia:
		r.media(v)
	case anElsewhere:
		r.elsewhere(v)
	case anFallback:
		r.fallback(v)
	case anTool: // what Anthropic's own tools find, and their descriptions, are not in the body
		if !v.is("custom") {
			r.elsewhere(v)
		}
	}
}

const (
	anInput = iota + 1
	anCacheWrite
	anCacheRead
	anOutput
	anFinalOutput
	anThinking
	anIterationInput
	anIterationCacheWrite
	anIterationCacheRead
	anIterationOutput
	anResponseModel
	anText
	anNothing
	anErrorType
	anType
	anIterations
	anIteration
	anIterationType
)

// The message stands by itself in a document, and inside message_start in a stream.
var anthropicResponse = jsonscan.Compile(keepCounts(anInput, anIterationOutput, append(append(
	anthropicPaths("", anFinalOutput), anthropicPaths("message.", anOutput)...),
	jsonscan.Path{ID: anText, Path: "delta.text"},
	jsonscan.Path{ID: anText, Path: "delta.thinking"},
	jsonscan.Path{ID: anText, Path: "delta.partial_json"},
	jsonscan.Path{ID: anText, Path: "delta.content"}, // of a compaction
	jsonscan.Path{ID: anNothing, Path: "delta.signature"},
	jsonscan.Path{ID: anNothing, Path: "delta.citation"},
	jsonscan.Path{ID: anErrorType, Path: "error.type", Keep: maxErrorCode},
	jsonscan.Path{ID: anType, Path: "type", Keep: len("content_block_delta") + 1},
))...)

// anthropicPaths are those of the message, which stands below a prefix.
func anthropicPaths(prefix string, output int) []jsonscan.Path {
	return []jsonscan.Path{
		{ID: anResponseModel, Path: prefix + "model", Keep: maxModel},
		{ID: anInput, Path: prefix + "usage.input_tokens"},
		{ID: anCacheWrite, Path: prefix + "usage.cache_creation_input_tokens"},
		{ID: anCacheRead, Path: prefix + "usage.cache_read_input_tokens"},
		{ID: output, Path: prefix + "usage.output_tokens"},
		{ID: anThinking, Path: prefix + "usage.output_tokens_details.thinking_tokens"},
		{ID: anIterations, Path: prefix + "usage.iterations"},
		{ID: anIteration, Path: prefix + "usage.iterations.*"},
		{ID: anIterationType, Path: prefix + "usage.iterations.*.type", Keep: maxErrorCode},
		{ID: anIterationInput, Path: prefix + "usage.iterations.*.input_tokens"},
		{ID: anIterationCacheWrite, Path: prefix + "usage.iterations.*.cache_creation_input_tokens"},
		{ID: anIterationCacheRead, Path: prefix + "usage.iterations.*.cache_read_input_tokens"},
		{ID: anIterationOutput, Path: prefix + "usage.iterations.*.output_tokens"},
	}
}

func readAnthropicResponse(d *document, v value) {
	r := &d.reports[standardPlace]
	switch v.id {
	case anResponseModel:
		d.named(v.text)
	case anText:
		d.said(v)
	case anNothing:
		d.bare = true
	case anErrorType:
		d.failed(v)
	case anType:
		d.bare = d.bare || silentEvent(inplace.String(v.text))
	case anInput, anCacheWrite, anCacheRead:
		if n := d.count(v); n != Absent {
			d.parts[v.id-anInput] = n
			r.Prompt, r.there = sum(d.parts[:]...), true
			switch v.id {
			case anCacheRead:
				r.Cached = n
			case anCacheWrite:
				r.CacheWrite = n
			}
		}
	case anOutput, anFinalOutput: // message_start's is not final, a message_delta's is
		if n := d.count(v); n != Absent {
			r.Completion, r.there = n, true
			d.final = d.final || v.id == anFinalOutput
		}
	case anThinking:
		r.Reasoning = d.count(v)
	case anIterations:
		d.iterations = iterations{}
	case anIteration:
		d.iterations.next()
	case anIterationType:
		d.iterations.kind(v.text)
	default:
		d.iterations.open[v.id-anIterationInput] = d.count(v)
	}
}

// silentEvent says that an event brings no output.
func silentEvent(kind string) bool {
	switch kind {
	case "message_start", "message_delta", "message_stop", "ping", "error", "content_block_start", "content_block_stop":
		return true
	}
	return false
}

func silentInAnthropic(d *document) bool { return d.bare }

// iterations are the samplings that an answer took, where Anthropic lists them:
// https://platform.claude.com/docs/en/build-with-claude/compaction. The report has the sum of those of type message alone; a
// compaction of what was said before, which the same model does, comes on top. Where another model took over
// (fallback_message), the report has the sum, and an advisor_message is of another model, which has its own price.
type iterations struct {
	open                [4]int64 // counts of the one being read
	counts              bool     // and they are to be added
	total               [4]int64
	compacted, fellBack bool
}

func (i *iterations) kind(text []byte) {
	kind := inplace.String(text)
	i.counts = kind == "message" || kind == "compaction"
	i.compacted = i.compacted || kind == "compaction"
	i.fellBack = i.fellBack || kind == "fallback_message"
}

// next ends the one being read.
func (i *iterations) next() {
	for use := range i.open {
		if i.counts {
			i.total[use] = sum(i.total[use], i.open[use])
		}
	}
	i.open, i.counts = [4]int64{}, false
}

// sumUp makes the report that of all. What it says itself, in parts of the prompt, may be later than the list, which a stream can have begun
// with.
func (i *iterations) sumUp(r *report, parts [3]int64) {
	if i.next(); !i.compacted || i.fellBack {
		return
	}
	t := i.total
	for use, said := range [...]int64{parts[0], parts[1], parts[2], r.Completion} {
		t[use] = max(t[use], said)
	}
	r.Prompt, r.CacheWrite, r.Cached, r.Completion, r.there = sum(t[0], t[1], t[2]), t[1], t[2], t[3], true
}
