package usage

import (
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// Gemini's generateContent and streamGenerateContent, at Google AI or Vertex AI:
// https://ai.google.dev/api/generate-content. The model stands in the path. A stream is server-sent events with alt=sse,
// else one JSON array that grows. The last usageMetadata counts for the whole.
//
// Before the last event, usageMetadata may lack candidatesTokenCount, or stand still while text passes.
//
// Its candidatesTokenCount leaves thoughts out, and its promptTokenCount what tools put into the prompt: both are added.
var gemini = &Dialect{
	Name: "gemini", Operation: "generate_content", Provider: "gcp.gemini", Errors: &googleErrors, routes: geminiRoutes, fromPath: fromVertex,
	Outputs: true, Cumulative: true,
	requestPaths: geminiRequest, request: readGeminiRequest,
	responsePaths: geminiResponse, response: readGeminiResponse, silent: silentInGemini,
}

// googleErrors is the format of https://cloud.google.com/apis/design/errors.
var googleErrors = reply.Format{
	Body: `{"error":{"code":$status$,"message":$message$,"status":$word$}}`,
	Words: []reply.Word{
		{Status: 400, Text: "INVALID_ARGUMENT"}, {Status: 401, Text: "UNAUTHENTICATED"}, {Status: 404, Text: "NOT_FOUND"},
		{Status: 408, Text: "DEADLINE_EXCEEDED"}, {Status: 413, Text: "INVALID_ARGUMENT"}, {Status: 429, Text: "RESOURCE_EXHAUSTED"}, {Status: 504, Text: "DEADLINE_EXCEEDED"},
		{Status: 503, Text: "UNAVAILABLE"}, {Status: 529, Text: "UNAVAILABLE"}, {Text: "INTERNAL"},
	},
}

// Google's other verbs would pass for the models that they belong to.
var geminiRoutes = []route{
	{suffix: ":generateContent"},
	{suffix: ":streamGenerateContent"},
	{suffix: ":predict", unread: true},
	{suffix: ":countTokens", unread: true},
	{suffix: ":computeTokens", unread: true},
	{suffix: ":embedContent", unread: true},
	{suffix: ":batchEmbedContents", unread: true},
	{suffix: ":batchGenerateContent", unread: true},
}

const (
	geMaxOutputTokens = iota + 1
	geConfig
	geCandidateCount
	geThinkingBudget
	geBlob
	geBlobKind
	geBlobData
	geInline
	geElsewhere
)

// Protobuf's JSON takes a field's name in both spellings.
var geminiRequest = jsonscan.Compile(
	jsonscan.Path{ID: geConfig, Path: "generationConfig"},
	jsonscan.Path{ID: geConfig, Path: "generation_config"},
	jsonscan.Path{ID: geMaxOutputTokens, Path: "generationConfig.maxOutputTokens", Keep: maxBound},
	jsonscan.Path{ID: geMaxOutputTokens, Path: "generationConfig.max_output_tokens", Keep: maxBound},
	jsonscan.Path{ID: geCandidateCount, Path: "generationConfig.candidateCount", Keep: maxBound},
	jsonscan.Path{ID: geCandidateCount, Path: "generationConfig.candidate_count", Keep: maxBound},
	jsonscan.Path{ID: geThinkingBudget, Path: "generationConfig.thinkingConfig.thinkingBudget", Keep: maxBound},
	jsonscan.Path{ID: geMaxOutputTokens, Path: "generation_config.max_output_tokens", Keep: maxBound},
	jsonscan.Path{ID: geMaxOutputTokens, Path: "generation_config.maxOutputTokens", Keep: maxBound},
	jsonscan.Path{ID: geCandidateCount, Path: "generation_config.candidate_count", Keep: maxBound},
	jsonscan.Path{ID: geCandidateCount, Path: "generation_config.candidateCount", Keep: maxBound},
	jsonscan.Path{ID: geThinkingBudget, Path: "generation_config.thinking_config.thinking_budget", Keep: maxBound},
	jsonscan.Path{ID: geBlob, Path: "contents.*.parts.*.inlineData"},
	jsonscan.Path{ID: geBlobKind, Path: "contents.*.parts.*.inlineData.mimeType", Keep: maxMediaType},
	jsonscan.Path{ID: geBlobData, Path: "contents.*.parts.*.inlineData.data"},
	jsonscan.Path{ID: geBlob, Path: "contents.*.parts.*.inline_data"},
	jsonscan.Path{ID: geBlobKind, Path: "contents.*.parts.*.inline_data.mime_type", Keep: maxMediaType},
	jsonscan.Path{ID: geBlobData, Path: "contents.*.parts.*.inline_data.data"},
	jsonscan.Path{ID: geInline, Path: "contents.*.parts.*.thoughtSignature"},
	jsonscan.Path{ID: geElsewhere, Path: "contents.*.parts.*.fileData"},
	jsonscan.Path{ID: geElsewhere, Path: "contents.*.parts.*.file_data"},
	jsonscan.Path{ID: geElsewhere, Path: "cachedContent"},
	jsonscan.Path{ID: geElsewhere, Path: "cached_content"},
	jsonscan.Path{ID: geElsewhere, Path: "tools.*.googleSearch"},
	jsonscan.Path{ID: geElsewhere, Path: "tools.*.google_search"},
	jsonscan.Path{ID: geElsewhere, Path: "tools.*.urlContext"},
	jsonscan.Path{ID: geElsewhere, Path: "tools.*.url_context"},
	jsonscan.Path{ID: geElsewhere, Path: "tools.*.codeExecution"},
	jsonscan.Path{ID: geElsewhere, Path: "tools.*.code_execution"},
	jsonscan.Path{ID: geElsewhere, Path: "tools.*.fileSearch"},
	jsonscan.Path{ID: geElsewhere, Path: "tools.*.file_search"},
	jsonscan.Path{ID: geElsewhere, Path: "tools.*.retrieval"},
)

func readGeminiRequest(r *draft, v value) {
	switch v.id {
	case geMaxOutputTokens:
		r.bound(v)
	case geConfig:
		r.once(v)
	case geCandidateCount:
		r.choose(v)
	case geThinkingBudget:
		r.raise(v)
	case geBlob:
		r.blob = blob{}
	case geBlobKind:
		r.describe(v)
	case geBlobData:
		r.inline(v)
	case geInline:
		r.media(v)
	case geElsewhere:
		r.elsewhere(v)
	}
}

const (
	geUsage = iota + ownID
	geToolPrompt
	geCandidates
	geThoughts
	geResponseModel
	geText
	geCode
	geMedia
	geErrorCode
	geFinish
	gePart
	geCall
	geDetail
	geModality
	gePromptModality
	geOutputModality
)

var geminiResponse = jsonscan.Compile(append(geminiPaths(""), geminiPaths("*.")...)...)

// geminiPaths are those of a response, which stands below a prefix: "*." is a stream's array.
func geminiPaths(prefix string) []jsonscan.Path {
	usage, part := prefix+"usageMetadata.", prefix+"candidates.*.content.parts.*"
	return keepCounts(usePrompt, geThoughts, []jsonscan.Path{
		{ID: geResponseModel, Path: prefix + "modelVersion", Keep: maxModel},
		{ID: geUsage, Path: prefix + "usageMetadata"},
		{ID: usePrompt, Path: usage + "promptTokenCount"},
		{ID: geToolPrompt, Path: usage + "toolUsePromptTokenCount"},
		{ID: geCandidates, Path: usage + "candidatesTokenCount"},
		{ID: geThoughts, Path: usage + "thoughtsTokenCount"},
		{ID: useTotal, Path: usage + "totalTokenCount"},
		{ID: useCached, Path: usage + "cachedContentTokenCount"},
		{ID: geDetail, Path: usage + "promptTokensDetails.*"},
		{ID: geModality, Path: usage + "promptTokensDetails.*.modality", Keep: maxCount},
		{ID: gePromptModality, Path: usage + "promptTokensDetails.*.tokenCount", Keep: maxCount},
		{ID: geDetail, Path: usage + "candidatesTokensDetails.*"},
		{ID: geModality, Path: usage + "candidatesTokensDetails.*.modality", Keep: maxCount},
		{ID: geOutputModality, Path: usage + "candidatesTokensDetails.*.tokenCount", Keep: maxCount},
		{ID: gePart, Path: part},
		{ID: geText, Path: part + ".text"},
		{ID: geCall, Path: part + ".functionCall"},
		{ID: geCall, Path: part + ".executableCode"},
		{ID: geCode, Path: part + ".executableCode.code"},
		{ID: geCall, Path: part + ".inlineData"},
		{ID: geMedia, Path: part + ".inlineData.data"},
		{ID: geErrorCode, Path: prefix + "error.code"},
		{ID: geFinish, Path: prefix + "candidates.*.finishReason"},
		{ID: geFinish, Path: prefix + "promptFeedback.blockReason"}, // nothing follows a blocked prompt
	})
}

func readGeminiResponse(d *document, v value) {
	r := &d.reports[standardPlace]
	switch v.id {
	case geResponseModel:
		d.named(v.text)
	case geUsage:
		*r = noReport
	case geText:
		d.said(v)
	case geCall:
		d.outputs++
	case geCode:
		d.text += int64(v.size)
	case geMedia:
		d.text += mediaText(v.size)
	case gePart:
		d.choice = true
	case geFinish: // an enum, by name or by number
		d.final = d.final || v.kind == jsonscan.String || v.kind == jsonscan.Number && !v.is("0")
	case geErrorCode:
		d.failed(v)
	case usePrompt, geToolPrompt:
		if n := d.count(v); n != Absent {
			r.Prompt, r.there = sum(r.Prompt, n), true
		}
	case geCandidates, geThoughts:
		n := d.count(v)
		if n != Absent {
			r.Completion, r.there = sum(r.Completion, n), true
		}
		if v.id == geThoughts {
			r.Reasoning = n
		}
	case geDetail:
		d.modality = modality{}
	case geModality:
		d.modality.audio = v.is("AUDIO")
		d.modality.take(r)
	case gePromptModality, geOutputModality:
		d.modality.tokens, d.modality.output = d.count(v), v.id == geOutputModality
		d.modality.take(r)
	default:
		r.take(v.id, d.count(v))
	}
}

// silentInGemini knows the events without a part.
func silentInGemini(d *document) bool { return !d.choice || d.final }

// modality is an entry of a report's details, in which the tokens may come before their kind.
type modality struct {
	audio, output bool
	tokens        int64
}

// take adds an entry for audio that is complete.
func (m *modality) take(r *report) {
	if !m.audio || m.tokens <= 0 {
		return
	}
	to := &r.promptAudio
	if m.output {
		to = &r.outputAudio
	}
	*to = sum(*to, m.tokens)
	*m = modality{}
}
