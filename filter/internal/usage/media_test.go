package usage

import (
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

const (
	imageCounts  = `{"total_tokens":4222,"input_tokens":62,"output_tokens":4160,"input_tokens_details":{"text_tokens":50,"image_tokens":12}}`
	speechCounts = `{"input_tokens":15,"output_tokens":100,"total_tokens":115}`
	textCounts   = `{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}`

	firstSight = `{"type":"image_generation.partial_image","b64_json":"aGVsbG8=","partial_image_index":0}`
	heard      = `{"type":"transcript.text.delta","delta":"Hello"}`
	spoken     = `{"type":"speech.audio.delta","audio":"aGVsbG8="}`
	vllmHeard  = `{"object":"transcription.chunk","model":"whisper","choices":[{"delta":{"content":"Hello"},"finish_reason":null}]}`

	upload = "--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-image-1\r\n--x\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n\x89PNG\r\n\x1a\n\r\n--x--\r\n"
)

func TestRequestsOfMedia(t *testing.T) {
	const read = true
	for _, test := range []struct {
		name    string
		dialect *Dialect
		path    string
		body    string
		want    Request
	}{
		{"an image", images, "/v1/images/generations", `{"model":"gpt-image-1","prompt":"a cat","n":2,"size":"1024x1024"}`, Request{Read: read, Model: "gpt-image-1"}},
		{"an image in a stream", images, "/v1/images/generations", `{"stream":true,"partial_images":2,"model":"gpt-image-1"}`,
			Request{Read: read, Model: "gpt-image-1", Stream: true}},
		{"bounds of other APIs are none", images, "/v1/images/generations", `{"max_tokens":5,"max_output_tokens":6}`, Request{Read: read}},
		{"Azure's image", images, "/openai/deployments/pictures/images/generations?api-version=1", `{"prompt":"a cat"}`,
			Request{Read: read, Model: "pictures", Route: "pictures"}},
		{"an upload", images, "/v1/images/edits", upload, Request{}},
		{"an upload to Azure", audio, "/openai/deployments/ear/audio/transcriptions", upload, Request{Model: "ear", Route: "ear"}},
		{"speech", audio, "/v1/audio/speech", `{"model":"gpt-4o-mini-tts","input":"Hello","voice":"alloy"}`, Request{Read: read, Model: "gpt-4o-mini-tts"}},
		{"speech in events", audio, "/v1/audio/speech", `{"stream_format":"sse","model":"gpt-4o-mini-tts"}`,
			Request{Read: read, Model: "gpt-4o-mini-tts", Stream: true}},
		{"speech in bytes", audio, "/v1/audio/speech", `{"stream_format":"audio"}`, Request{Read: read}},
		{"speech in a format of a longer name", audio, "/v1/audio/speech", `{"stream_format":"sse2"}`, Request{Read: read}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Bytes = int64(len(test.body))
			for how, lengths := range cuts {
				if got := basics(readRequestAt(test.path, test.dialect, []byte(test.body), lengths)); got != test.want {
					t.Errorf("%s: got %+v, want %+v", how, got, test.want)
				}
			}
		})
	}
}

func TestAnUploadWithoutItsBoundaryIsGivenUpAtItsStart(t *testing.T) {
	var r RequestReader
	r.Reset(audio, Request{}, Form{}, 1<<20)
	if !r.Wanting() {
		t.Error("nothing is wanted of a body that has not come")
	}
	r.Write([]byte(upload[:4]))
	if r.Wanting() {
		t.Error("more of an upload is wanted")
	}
	r.Reset(audio, Request{}, Form{}, 1<<20)
	r.Write([]byte(`{"model":`))
	if !r.Wanting() {
		t.Error("the rest of a document is not wanted")
	}
}

func TestResponsesOfMedia(t *testing.T) {
	const reported = true
	checkResponses(t, false, []responseTest{
		{"images", images, `{"created":1,"data":[{"b64_json":"aGVsbG8="},{"b64_json":"aGVsbG8="}],"usage":` + imageCounts + `}`,
			Response{Tokens: tokens(62, 4160, 4222), Reported: reported}},
		{"images from a cache", images, `{"usage":{"input_tokens":62,"input_tokens_details":{"cached_tokens":40},"output_tokens":9}}`,
			Response{Tokens: allTokens(62, 9, Absent, 40, Absent), Reported: reported}},
		{"images of models that don't count tokens", images, `{"created":1,"data":[{"url":"https://x"}]}`, Response{}},
		{"OpenRouter's images", images, `{"model":"m","usage":{"completion_tokens":4175,"cost":0.04,"prompt_tokens":0,"total_tokens":4175}}`,
			Response{Model: "m", Tokens: tokens(0, 4175, 4175), Reported: reported}},
		{"an error", images, `{"error":{"code":"rate_limit_exceeded","message":"x"}}`, Response{Failure: 429}},
		{"a transcription", audio, `{"text":"Hello","usage":` + textCounts + `}`, Response{Tokens: tokens(14, 45, 59), Reported: reported}},
		{"a transcription counted in seconds", audio, `{"text":"Hello","usage":{"type":"duration","seconds":9}}`, Response{}},
		{"a transcription without usage", audio, `{"task":"transcribe","duration":9.1,"text":"Hello","segments":[{"tokens":[1,2]}]}`, Response{}},
		{"a transcription as text", audio, "Hello\n", Response{}},
		{"sound", audio, "ID3\x04\x00\x00\x00\x00\x00\x23TSSE\xff\xfb\x90\x00", Response{}},
	})
}

func TestStreamsOfMedia(t *testing.T) {
	const reported = true
	checkResponses(t, true, []responseTest{
		{"an image", images, anthropicStream(firstSight, firstSight, `{"type":"image_generation.completed","b64_json":"aGVsbG8=","usage":`+imageCounts+`}`),
			Response{Tokens: tokens(62, 4160, 4222), Reported: reported, Outputs: 3}},
		{"an edited image", images, anthropicStream(`{"type":"image_edit.completed","b64_json":"aGVsbG8=","usage":` + imageCounts + `}`),
			Response{Tokens: tokens(62, 4160, 4222), Reported: reported, Outputs: 1}},
		{"an image that is left", images, anthropicStream(firstSight), Response{Outputs: 1}},
		{"an image that fails", images, anthropicStream(firstSight, `{"type":"error","error":{"type":"x","code":"image_generation_failed"}}`),
			Response{Outputs: 1, Failure: 500}},
		{"an image that is refused", images, anthropicStream(`{"type":"error","error":{"code":"rate_limit_exceeded"}}`), Response{Failure: 429}},
		{"a transcription", audio, anthropicStream(heard, heard, `{"type":"transcript.text.done","text":"HelloHello","usage":`+textCounts+`}`),
			Response{Tokens: tokens(14, 45, 59), Reported: reported, Outputs: 2}},
		{"a transcription without usage", audio, anthropicStream(heard, `{"type":"transcript.text.done","text":"Hello"}`), Response{Outputs: 1}},
		{"vLLM's transcription", audio, data(vllmHeard, `{"choices":[],"usage":{"prompt_tokens":14,"completion_tokens":45,"total_tokens":59}}`) + doneEvent,
			Response{Model: "whisper", Tokens: tokens(14, 45, 59), Reported: reported, Outputs: 1}},
		{"speech", audio, anthropicStream(spoken, spoken, `{"type":"speech.audio.done","usage":`+speechCounts+`}`),
			Response{Tokens: tokens(15, 100, 115), Reported: reported, Outputs: 2}},
	})
}

func TestMediaIsMeasured(t *testing.T) {
	for name, test := range map[string]struct {
		document string
		want     int64
	}{
		"a first sight":    {firstSight, 1},
		"sound":            {spoken, 1},
		"text":             {heard, 5},
		"vLLM's text":      {vllmHeard, 5},
		"text as a whole":  {`{"type":"transcript.text.done","text":"Hello"}`, 0},
		"a part by itself": {`{"type":"transcript.text.segment","text":"Hello","id":"seg_1"}`, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for how, lengths := range cuts {
				if got := readResponse(audio, true, []byte(data(test.document)), lengths).Text; got != test.want {
					t.Errorf("%s: got %d, want %d", how, got, test.want)
				}
			}
		})
	}
}

func TestMediaHasItsPaths(t *testing.T) {
	o := NewOperations([]config.Operation{{Path: "/paint", Dialect: "openai.images"}, {Path: "/listen", Dialect: "openai.audio"}})
	for _, test := range []struct {
		path      string
		dialect   *Dialect
		operation string
	}{
		{"/v1/images/generations", images, "images"},
		{"/openai/deployments/gpt-image-1/images/edits?api-version=1", images, "images"},
		{"/v1/images/variations", images, "images"},
		{"/v1/audio/transcriptions", audio, "audio"},
		{"/v1/audio/translations", audio, "audio"},
		{"/v1/audio/speech", audio, "audio"},
		{"/v1/audio/voices", nil, "other"},
		{"/paint", images, "images"},
		{"/listen", audio, "audio"},
		{"/v2/rerank", nil, "other"}, // several vendors' own: operations can say whose
		{"/tokenize", nil, "other"},
		{"/v1/moderations", nil, "other"},
	} {
		if dialect, operation := o.Find(test.path); dialect != test.dialect || operation != test.operation {
			t.Errorf("%s: got %v, %s", test.path, dialect, operation)
		}
	}
}

func TestMediaNamesItself(t *testing.T) {
	for _, test := range []struct {
		dialect         *Dialect
		name, operation string
	}{{images, "openai.images", "images"}, {audio, "openai.audio", "audio"}} {
		d := test.dialect
		if d.Name != test.name || d.Operation != test.operation || d.Provider != "openai" || !d.Outputs || d.Cumulative || byName(test.name) != d || d.AsksForUsage {
			t.Errorf("%s: %s, %s, %v, %v", d.Name, d.Operation, d.Provider, d.Outputs, d.Cumulative)
		}
	}
}

// An operation for /rerank or /score can have the dialect of embeddings: https://docs.vllm.ai/en/latest/models/pooling_models.html.
func TestWhatRanksCanBeReadAsEmbeddings(t *testing.T) {
	const reported = true
	checkResponses(t, false, []responseTest{
		{"vLLM's scores", embeddings, `{"object":"list","model":"m","data":[{"score":0.5}],"usage":{"prompt_tokens":9,"total_tokens":9,"completion_tokens":0}}`,
			Response{Model: "m", Tokens: tokens(9, 0, 9), Reported: reported}},
		{"a rerank's total alone", embeddings, `{"model":"m","usage":{"total_tokens":9},"results":[]}`,
			Response{Model: "m", Tokens: tokens(Absent, 0, 9), Reported: reported}},
		{"Cohere's units are no tokens", embeddings, `{"results":[],"meta":{"billed_units":{"search_units":1}}}`, Response{}},
	})
}

func TestUploadsWeighLessThanText(t *testing.T) {
	read := Request{Read: true}
	for _, test := range []struct {
		name    string
		dialect *Dialect
		request Request
		size    int64
		want    int64
	}{
		{"text", audio, read, 1 << 20, 1 << 20},
		{"an upload", audio, Request{}, 1 << 20, 1 << 12},
		{"an upload of pictures", images, Request{}, 1 << 20, 1 << 12},
		{"a small upload", images, Request{}, 1, 1},
		{"nothing", images, Request{}, 0, 0},
		{"a chat that was not read", chat, Request{}, 1 << 20, 1 << 20},
	} {
		if got := TextBytes(test.dialect, test.request, test.size); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
}
