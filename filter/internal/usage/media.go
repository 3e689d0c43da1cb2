package usage

import "github.com/spillway-proxy/spillway/filter/internal/jsonscan"

// OpenAI's images and audio: https://platform.openai.com/docs/api-reference/images and …/audio. Both report tokens in the
// words of Responses, in the document or in the last event of a stream: image_generation.completed, image_edit.completed,
// transcript.text.done, speech.audio.done. vLLM and OpenRouter report them in the words of chat completions instead, and
// vLLM streams its transcriptions as chunks of a chat.
//
// Uploads (images to edit, audio to transcribe) are multipart/form-data (multipart.go). A usage in seconds is no report, and
// beside sound that comes as bytes there is none.
var images = &Dialect{
	Name: "openai.images", Operation: "images", Provider: "openai", Errors: &openAIErrors, routes: imagesRoutes, fromPath: fromAzure,
	Outputs: true, TokenPerPiece: true, uploads: true,
	requestPaths: responsesRequest, request: readMediaRequest,
	responsePaths: mediaResponse, response: readResponsesResponse, silent: silentInResponses,
}

var audio = &Dialect{
	Name: "openai.audio", Operation: "audio", Provider: "openai", Errors: &openAIErrors, routes: audioRoutes, fromPath: fromAzure,
	Outputs: true, TokenPerPiece: true, uploads: true, anyForm: true,
	requestPaths: responsesRequest, request: readMediaRequest,
	responsePaths: mediaResponse, response: readResponsesResponse, silent: silentInResponses,
}

var (
	imagesRoutes = []route{{suffix: "/images/generations"}, {suffix: "/images/edits"}, {suffix: "/images/variations"}}
	audioRoutes  = []route{{suffix: "/audio/transcriptions"}, {suffix: "/audio/translations"}, {suffix: "/audio/speech"}}
)

var mediaResponse = jsonscan.Compile(keepCounts(usePrompt, useOutputAudio, append(responsesPaths(""),
	jsonscan.Path{ID: usePrompt, Path: "usage.prompt_tokens"},
	jsonscan.Path{ID: useCompletion, Path: "usage.completion_tokens"},
	jsonscan.Path{ID: reText, Path: "delta"},     // of a transcript
	jsonscan.Path{ID: reMedia, Path: "audio"},    // of a speech, in base64
	jsonscan.Path{ID: reMedia, Path: "b64_json"}, // an image, or a first sight of it
	jsonscan.Path{ID: reText, Path: "choices.*.delta.content"},
	jsonscan.Path{ID: reType, Path: "type", Keep: maxType},
))...)

// What media are taken for, where tokens are estimated.
const (
	// mediaBytes is how many bytes of sound or documents stand for one of text. A second of speech is about 10 tokens and 2 to
	// 32 KB: about a token a KB, where text has four bytes to a token.
	mediaBytes = 256
	// imageTokens is what a picture is taken for, whatever its size: providers scale it down to what is mostly 250 to 1,600
	// tokens.
	imageTokens = 1000
)

// mediaText is how many bytes of text sound or a document of that many bytes stands for.
func mediaText[N int | int64](size N) int64 { return (int64(size) + mediaBytes - 1) / mediaBytes }

// TextBytes is the size of a request's prompt in bytes of text, for an estimate of its tokens, beside TokensBesideText; size is
// that of the whole body as far as it is announced. What of the body was not read is taken for text; if it was cut inside of
// media, or its dialect has uploads, for media.
func TextBytes(d *Dialect, r Request, size int64) int64 {
	text, media := r.Prompt.Text, r.Prompt.Media
	if rest := size - r.Prompt.seen; rest > 0 && r.Prompt.open {
		media += rest
	} else if rest > 0 {
		text += rest
	}
	if d.uploads && !r.Read {
		text, media = 0, size
	}
	return text + mediaText(media)
}

// TokensBesideText is what the request's prompt has beside text: its pictures, for what they are taken, and what is given as tokens.
func TokensBesideText(r Request) int64 { return r.Prompt.Images*imageTokens + r.Prompt.Tokens }

// Teaches says that the request's tokens for its bytes of text are worth learning: its prompt is all there, and all text.
func (r Request) Teaches() bool {
	p := &r.Prompt
	return r.Read && !p.Elsewhere && p.Images == 0 && p.Media == 0 && p.Tokens == 0 && p.Text > 0
}
