package usage

import "github.com/spillway-proxy/spillway/filter/internal/jsonscan"

// OpenAI's images and audio: https://platform.openai.com/docs/api-reference/images and …/audio. Both report tokens in the
// words of Responses, in the document or in the last event of a stream: image_generation.completed, image_edit.completed,
// transcript.text.done, speech.audio.done. vLLM and OpenRouter report them in the words of chat completions instead, and
// vLLM streams its transcriptions as chunks of a chat.
//
// Uploads (images to edit, audio to transcribe) are multipart/form-data, of which nothing is read, the model included. A
// usage in seconds is no report, and beside sound that comes as bytes there is none.
var (
	images = openAIResponses{"openai.images", "images"}
	audio  = openAIResponses{"openai.audio", "audio"}
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

// mediaBytes is how many bytes of sound or pictures stand for one of text where tokens are estimated. A second of speech
// is about 10 tokens and 2 to 32 KB, a picture some hundred tokens and some hundred KB: about a token a KB, where text has
// four bytes to a token.
const mediaBytes = 256

// mediaText is how many bytes of text sound or a picture of that many bytes stands for.
func mediaText(size int) int64 { return (int64(size) + mediaBytes - 1) / mediaBytes }

// TextBytes is the size of a request's body in bytes of text, for an estimate of its prompt. A body for images or audio
// that was not read is taken for an upload.
func TextBytes(d Dialect, r Request, size int64) int64 {
	if (d == images || d == audio) && !r.Read {
		return (size + mediaBytes - 1) / mediaBytes
	}
	return size
}
