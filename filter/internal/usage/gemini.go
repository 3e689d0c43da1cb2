package usage

import "github.com/spillway-proxy/spillway/filter/internal/jsonscan"

// Gemini's generateContent and streamGenerateContent, at Google AI or Vertex AI:
// https://ai.google.dev/api/generate-content. The model stands in the path. A stream is server-sent events with alt=sse,
// else one JSON array that grows. The last usageMetadata counts for the whole.
//
// Before the last event, usageMetadata may lack candidatesTokenCount, or stand still while text passes.
//
// Its candidatesTokenCount leaves thoughts out, and its promptTokenCount what tools put into the prompt: both are added.
type geminiContent struct{}

var gemini = geminiContent{}

func (geminiContent) Name() string        { return "gemini" }
func (geminiContent) Operation() string   { return "generate_content" }
func (geminiContent) Provider() string    { return "gcp.gemini" }
func (geminiContent) Outputs() bool       { return true }
func (geminiContent) Cumulative() bool    { return true }
func (geminiContent) TokenPerPiece() bool { return false }

func (geminiContent) fromPath(path string, r *Request) {
	model, verb := modelAndVerb(path)
	r.Model, r.Route, r.Stream = model, model, verb == "streamGenerateContent"
}

const (
	geMaxOutputTokens = iota + 1
	geCandidateCount
)

var geminiRequest = jsonscan.Compile(
	jsonscan.Path{ID: geMaxOutputTokens, Path: "generationConfig.maxOutputTokens"},
	jsonscan.Path{ID: geCandidateCount, Path: "generationConfig.candidateCount"},
	jsonscan.Path{ID: geMaxOutputTokens, Path: "generation_config.max_output_tokens"}, // protobuf's JSON takes both
	jsonscan.Path{ID: geCandidateCount, Path: "generation_config.candidate_count"},
)

func (geminiContent) requestPaths() *jsonscan.Node { return geminiRequest }

func (geminiContent) request(r *draft, v value) {
	switch v.id {
	case geMaxOutputTokens:
		r.bounds[0] = v.count()
	case geCandidateCount:
		r.choices = v.count()
	}
}

const (
	geUsage = iota + 1
	gePrompt
	geToolPrompt
	geCandidates
	geThoughts
	geTotal
	geCached
	geResponseModel
	geText
	geErrorCode
	geFinish
	gePart
)

var geminiResponse = jsonscan.Compile(append(geminiPaths(""), geminiPaths("*.")...)...)

// geminiPaths are those of a response, which stands below a prefix: "*." is a stream's array.
func geminiPaths(prefix string) []jsonscan.Path {
	return []jsonscan.Path{
		{ID: geResponseModel, Path: prefix + "modelVersion", Keep: maxModel},
		{ID: geUsage, Path: prefix + "usageMetadata"},
		{ID: gePrompt, Path: prefix + "usageMetadata.promptTokenCount"},
		{ID: geToolPrompt, Path: prefix + "usageMetadata.toolUsePromptTokenCount"},
		{ID: geCandidates, Path: prefix + "usageMetadata.candidatesTokenCount"},
		{ID: geThoughts, Path: prefix + "usageMetadata.thoughtsTokenCount"},
		{ID: geTotal, Path: prefix + "usageMetadata.totalTokenCount"},
		{ID: geCached, Path: prefix + "usageMetadata.cachedContentTokenCount"},
		{ID: geText, Path: prefix + "candidates.*.content.parts.*.text"},
		{ID: geErrorCode, Path: prefix + "error.code"},
		{ID: geFinish, Path: prefix + "candidates.*.finishReason"},
		{ID: geFinish, Path: prefix + "promptFeedback.blockReason"}, // nothing follows a blocked prompt
		{ID: gePart, Path: prefix + "candidates.*.content.parts.*.functionCall"},
		{ID: gePart, Path: prefix + "candidates.*.content.parts.*.executableCode"},
		{ID: gePart, Path: prefix + "candidates.*.content.parts.*.inlineData"},
	}
}

func (geminiContent) responsePaths() *jsonscan.Node { return geminiResponse }

func (geminiContent) response(d *document, v value) {
	r := &d.reports[standardPlace]
	n := v.count()
	switch v.id {
	case geResponseModel:
		d.named(v.text)
	case geUsage:
		*r = report{Tokens: none}
	case geText:
		d.output(v)
	case gePart:
		d.outputs++
	case geFinish:
		d.final = d.final || v.kind == jsonscan.String || n > 0 // an enum, by name or by number
	case geErrorCode:
		d.failed(v)
	case gePrompt, geToolPrompt:
		if n != Absent {
			r.Prompt, r.there = sum(r.Prompt, n), true
		}
	case geCandidates, geThoughts:
		if n != Absent {
			r.Completion, r.there = sum(r.Completion, n), true
		}
		if v.id == geThoughts {
			r.Reasoning = n
		}
	case geTotal:
		r.Total, r.there = n, r.there || n != Absent
	case geCached:
		r.Cached = n
	}
}
