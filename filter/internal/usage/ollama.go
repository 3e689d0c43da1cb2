package usage

import (
	"github.com/spillway-proxy/spillway/filter/internal/jsonscan"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// Ollama's own API, beside OpenAI's, which it has under /v1: https://github.com/ollama/ollama/blob/main/docs/api.md. A request streams
// unless it says otherwise, as a document a line; only the last one, which is done, has counts. Embeddings come as one.
//
// A count of zero is left out. So is, by older servers, that of a prompt which they had in their cache.
var (
	ollama = &Dialect{
		Name: "ollama", Operation: "chat", Provider: "ollama", Errors: &ollamaErrors, routes: ollamaRoutes,
		Outputs: true, TokenPerPiece: true,
		fromPath:     func(string) Request { return Request{Stream: true} },
		requestPaths: ollamaRequest, request: readOllamaRequest,
		responsePaths: ollamaResponse, response: readOllamaResponse, end: endOllama, silent: silentInOllama,
	}
	ollamaEmbeddings = &Dialect{
		Name: "ollama.embeddings", Operation: "embeddings", Provider: "ollama", Errors: &ollamaErrors, routes: ollamaEmbeddingsRoutes,
		requestPaths: ollamaRequest, request: readOllamaEmbeddingsRequest,
		responsePaths: ollamaResponse, response: readOllamaResponse, end: endOllama, silent: silentInOllama,
	}
)

// The older /api/embeddings reports nothing, and is left to OpenAI's, as which other products have that path.
var (
	ollamaRoutes           = []route{{suffix: "/api/chat"}, {suffix: "/api/generate", operation: "completions"}}
	ollamaEmbeddingsRoutes = []route{{suffix: "/api/embed"}}
)

var ollamaErrors = reply.Format{Body: `{"error":$message$}`}

const (
	olModel = iota + 1
	olStream
	olOptions
	olBound
	olImage
	olToken
	olFallback
)

// Prompts, systems, templates, tools and the schema of an output are text, as is all else.
var ollamaRequest = jsonscan.Compile(append(fallbackPaths(olFallback),
	jsonscan.Path{ID: olModel, Path: "model", Keep: maxModel},
	jsonscan.Path{ID: olStream, Path: "stream"},
	jsonscan.Path{ID: olOptions, Path: "options"},
	jsonscan.Path{ID: olBound, Path: "options.num_predict", Keep: maxBound}, // negative: none
	jsonscan.Path{ID: olImage, Path: "messages.*.images.*"},                 // in base64
	jsonscan.Path{ID: olImage, Path: "images.*"},
	jsonscan.Path{ID: olToken, Path: "context.*"}, // of what was said before
)...)

func readOllamaRequest(r *draft, v value) {
	switch v.id {
	case olModel:
		r.name(v)
	case olStream:
		r.streams(v, v.kind != jsonscan.False)
	case olOptions: // servers may join several, or take one of them
		r.once(v)
	case olBound:
		r.bound(v)
	case olImage:
		if v.kind == jsonscan.String {
			r.blob = blob{picture: true}
			r.inline(v)
		}
	case olToken:
		r.token(v)
	case olFallback:
		r.fallback(v)
	}
}

// readOllamaEmbeddingsRequest knows that nothing streams.
func readOllamaEmbeddingsRequest(r *draft, v value) {
	if v.id != olStream {
		readOllamaRequest(r, v)
	}
}

const (
	olResponseModel = iota + ownID
	olText
	olMedia
	olCall
	olDone
	olReason
	olError
)

var ollamaResponse = jsonscan.Compile(keepCounts(usePrompt, useCompletion, []jsonscan.Path{
	{ID: olResponseModel, Path: "model", Keep: maxModel},
	{ID: olText, Path: "message.content"},
	{ID: olText, Path: "message.thinking"},
	{ID: olCall, Path: "message.tool_calls.*"},
	{ID: olText, Path: "response"},
	{ID: olText, Path: "thinking"},
	{ID: olCall, Path: "tool_calls.*"},
	{ID: olMedia, Path: "image"},
	{ID: olDone, Path: "done"},
	{ID: olReason, Path: "done_reason", Keep: len("unload") + 1},
	{ID: usePrompt, Path: "prompt_eval_count"},
	{ID: useCompletion, Path: "eval_count"},
	{ID: olError, Path: "error"},
})...)

func readOllamaResponse(d *document, v value) {
	r := &d.reports[standardPlace]
	switch v.id {
	case olResponseModel:
		d.named(v.text)
	case olText:
		d.said(v)
	case olMedia:
		d.media(v)
	case olCall:
		d.outputs++
		d.calls = true
	case olDone:
		d.final, d.begun = v.kind == jsonscan.True, v.kind == jsonscan.False
	case olReason:
		d.bare = d.bare || v.is("load") || v.is("unload")
	case olError:
		if v.size > 0 || v.kind == jsonscan.Object {
			d.fail(http500)
		}
	default:
		r.take(v.id, d.count(v))
	}
}

// endOllama fills in the zeros that a document which is done leaves out: no output, where none has passed; and no prompt, where a
// model was only loaded.
func endOllama(d *document) {
	r := &d.reports[standardPlace]
	if !d.final || d.failure != 0 || d.outputs+d.before > 0 {
		return
	}
	r.take(useCompletion, max(r.Completion, 0))
	if d.bare {
		r.take(usePrompt, max(r.Prompt, 0))
	}
}

func silentInOllama(d *document) bool { return d.final || d.bare }
