package usage

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

// Paths of clouds: the model stands in them.
const (
	azurePath  = "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"
	claudePath = "/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-3-7-sonnet@20250219:streamRawPredict"
	geminiPath = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
)

func TestRequestsInTheOtherDialects(t *testing.T) {
	const read = true
	tests := []struct {
		name    string
		dialect *Dialect
		path    string
		body    string
		want    Request
	}{
		{"Anthropic's body", messages, "/v1/messages?beta=true", `{"model":"claude","max_tokens":1024,"stream":true,"messages":[{"role":"user","content":[{"type":"text","text":"\"model\":\"no\""}]}]}`,
			Request{Read: read, Model: "claude", Stream: true, OutputBound: 1024}},
		{"Anthropic has one choice", messages, "/v1/messages", `{"max_tokens":10,"n":5}`, Request{Read: read, OutputBound: 10}},
		{"Anthropic behind Vertex AI", messages, claudePath, `{"anthropic_version":"vertex-2023-10-16","max_tokens":5,"stream":true}`,
			Request{Read: read, Model: "claude-3-7-sonnet@20250219", Stream: true, OutputBound: 5}},
		{"Vertex AI's verb says that it streams", messages, claudePath, `{}`, Request{Read: read, Model: "claude-3-7-sonnet@20250219", Stream: true}},
		{"rawPredict does not stream", messages, strings.Replace(claudePath, "streamRaw", "raw", 1), `{}`, Request{Read: read, Model: "claude-3-7-sonnet@20250219"}},
		{"Responses' body", responses, "/v1/responses", `{"model":"gpt-5","input":[{"role":"user","content":"hi","model":"no"}],"max_output_tokens":300,"stream":true}`,
			Request{Read: read, Model: "gpt-5", Stream: true, OutputBound: 300}},
		{"Responses know one bound", responses, "/v1/responses", `{"max_tokens":7,"max_completion_tokens":8,"n":2}`, Request{Read: read}},
		{"a null bound is none", responses, "/v1/responses", `{"max_output_tokens":null,"stream":null}`, Request{Read: read}},
		{"Gemini streams by its path", gemini, geminiPath, `{"contents":[],"generationConfig":{"maxOutputTokens":64}}`,
			Request{Read: read, Model: "gemini-2.5-flash", Stream: true, OutputBound: 64}},
		{"Gemini without alt=sse streams, too", gemini, "/v1beta/models/g:streamGenerateContent", `{}`, Request{Read: read, Model: "g", Stream: true}},
		{"Gemini that does not stream", gemini, "/v1beta/models/g:generateContent", `{}`, Request{Read: read, Model: "g"}},
		{"Gemini at Vertex AI", gemini, "/v1/projects/p/locations/l/publishers/google/models/g-2:generateContent?x=/models/no:streamGenerateContent",
			`{"generation_config":{"max_output_tokens":9}}`, Request{Read: read, Model: "g-2", OutputBound: 9}},
		{"each candidate may use Gemini's bound", gemini, "/models/g:generateContent", `{"generationConfig":{"candidateCount":3,"maxOutputTokens":10}}`,
			Request{Read: read, Model: "g", OutputBound: 30}},
		{"a model or a stream in Gemini's body says nothing", gemini, "/models/g:generateContent", `{"model":"no","stream":true,"max_tokens":5}`,
			Request{Read: read, Model: "g"}},
		{"Azure's deployment", chat, azurePath, `{"stream":true,"max_tokens":5}`, Request{Read: read, Model: "gpt-4o", Stream: true, OutputBound: 5}},
		{"a body that names a model", chat, azurePath, `{"model":"other"}`, Request{Read: read, Model: "other"}},
		{"a deployment in the query is none", chat, "/v1/chat/completions?a=/deployments/free/x", `{}`, Request{Read: read}},
		{"a long deployment is cut", chat, "/deployments/" + strings.Repeat("m", 300) + "/chat/completions", `{}`, Request{Read: read, Model: strings.Repeat("m", 256)}},
		{"a long model in Google's path is cut", gemini, "/models/" + strings.Repeat("m", 300) + ":generateContent", `{}`, Request{Read: read, Model: strings.Repeat("m", 256)}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.want.Bytes = int64(len(test.body))
			test.want.Route = FromPath(test.dialect, test.path).Model
			for how, lengths := range cuts {
				if got := basics(readRequestAt(test.path, test.dialect, []byte(test.body), lengths)); got != test.want {
					t.Errorf("%s: got %+v, want %+v", how, got, test.want)
				}
			}
		})
	}
}

// What the path says is known without the body, and of a body that is cut off or broken.
func TestWhatThePathSaysNeedsNoBody(t *testing.T) {
	for _, test := range []struct {
		name    string
		dialect *Dialect
		path    string
		want    Request
	}{
		{"Azure", chat, azurePath, Request{Model: "gpt-4o"}},
		{"Azure, whose deployment has no name", chat, "/deployments//chat/completions", Request{}},
		{"Azure's embeddings", embeddings, "/openai/deployments/ada/embeddings", Request{Model: "ada"}},
		{"OpenAI", chat, "/v1/chat/completions", Request{}},
		{"Responses", responses, "/v1/responses", Request{}},
		{"Anthropic", messages, "/v1/messages", Request{}},
		{"Anthropic with colons elsewhere", messages, "/a:b/v1/messages?c:d", Request{}},
		{"Claude at Vertex AI", messages, claudePath, Request{Model: "claude-3-7-sonnet@20250219", Stream: true}},
		{"Gemini", gemini, geminiPath, Request{Model: "gemini-2.5-flash", Stream: true}},
		{"Gemini, configured at a path without a verb", gemini, "/ask", Request{}},
		{"nothing", gemini, "", Request{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.want.Route = test.want.Model // nothing else names it here
			if got := basics(FromPath(test.dialect, test.path)); got != test.want {
				t.Errorf("from the path: got %+v, want %+v", got, test.want)
			}
			const body = `{"model":"no","stream":false,"max_tokens":5,"max_output_tokens":5`
			test.want.Bytes = int64(len(body))
			var r RequestReader
			r.Reset(test.dialect, FromPath(test.dialect, test.path), Form{}, 1<<20)
			r.Write([]byte(body))
			if test.want.Model == "" && test.dialect != gemini { // what was found is used
				test.want.Model = "no"
			}
			if test.dialect != gemini && test.dialect != responses { // whose bound is at the very end, and may go on
				test.want.OutputBound = 5
			}
			if got := basics(r.Cut()); got != test.want {
				t.Errorf("cut: got %+v, want %+v", got, test.want)
			}
			if got := basics(r.Close()); got != test.want {
				t.Errorf("broken: got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestTheOtherDialectsHaveTheirPaths(t *testing.T) {
	o := NewOperations(nil)
	const vertex = "/v1/projects/p/locations/l/publishers/"
	for _, test := range []struct {
		name, path string
		dialect    *Dialect
		operation  string
	}{
		{"Responses", "/v1/responses", responses, "responses"},
		{"Responses at Azure", "/openai/v1/responses?api-version=preview", responses, "responses"},
		{"one response", "/v1/responses/resp_1", nil, "other"},
		{"a response's input tokens", "/v1/responses/input_tokens", nil, "other"},
		{"Anthropic's Messages", "/v1/messages?beta=true", messages, "messages"},
		{"Messages below a prefix", "/anthropic/v1/messages", messages, "messages"},
		{"a thread's messages", "/v1/threads/x/messages", nil, "other"},
		{"Anthropic's count_tokens", "/v1/messages/count_tokens?beta=true", nil, "other"},
		{"Anthropic's batches", "/v1/messages/batches", nil, "other"},
		{"Claude at Vertex AI", vertex + "anthropic/models/claude@1:rawPredict", messages, "messages"},
		{"Claude's streams at Vertex AI", claudePath, messages, "messages"},
		{"count_tokens at Vertex AI", vertex + "anthropic/models/count-tokens:rawPredict", nil, "other"},
		{"another publisher at Vertex AI", vertex + "mistralai/models/mistral:rawPredict", nil, "other"},
		{"another publisher's streams at Vertex AI", vertex + "mistralai/models/mistral:streamRawPredict", nil, "other"},
		{"a publisher in the query", vertex + "mistralai/models/m:rawPredict?x=/publishers/anthropic/", nil, "other"},
		{"an endpoint's predict", vertex + "google/models/imagen:predict", nil, "other"},
		{"Gemini", "/v1beta/models/g:generateContent", gemini, "generate_content"},
		{"Gemini's streams", geminiPath, gemini, "generate_content"},
		{"Gemini at Vertex AI", vertex + "google/models/g:streamGenerateContent", gemini, "generate_content"},
		{"Gemini's tuned models", "/v1beta/tunedModels/t:generateContent", gemini, "generate_content"},
		{"Gemini's countTokens", "/v1beta/models/g:countTokens", nil, "other"},
		{"Gemini's embeddings", "/v1beta/models/g:embedContent", nil, "other"},
		{"Gemini's embeddings in batches", "/v1beta/models/g:batchEmbedContents", nil, "other"},
		{"Gemini's batches", "/v1beta/models/g:batchGenerateContent", nil, "other"},
		{"a verb in the query", "/v1/x?y=:generateContent", nil, "other"},
		{"one of Gemini's models", "/v1beta/models/gemini-2.5-flash", nil, "models"},
		{"a model whose name has colons", "/v1/models/ft:gpt-4o-mini:org::id", nil, "models"},
		{"Azure's chat", azurePath, chat, "chat"},
		{"Azure's embeddings", "/openai/deployments/ada/embeddings?api-version=1", embeddings, "embeddings"},
		{"Gemini behind OpenAI's API", "/v1beta/openai/chat/completions", chat, "chat"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dialect, operation := o.Find(test.path)
			if dialect != test.dialect || operation != test.operation {
				t.Errorf("%s: got %v, %s", test.path, dialect, operation)
			}
		})
	}
}

func TestTheOtherDialectsNameThemselves(t *testing.T) {
	for _, test := range []struct {
		dialect                   *Dialect
		name, operation, provider string
		cumulative, tokenPerPiece bool
	}{
		{chat, "openai.chat", "chat", "openai", false, true},
		{responses, "openai.responses", "responses", "openai", false, true},
		{messages, "anthropic.messages", "messages", "anthropic", true, false},
		{gemini, "gemini", "generate_content", "gcp.gemini", true, false},
	} {
		d := test.dialect
		if d.Name != test.name || d.Operation != test.operation || d.Provider != test.provider || !d.Outputs ||
			d.Cumulative != test.cumulative || d.TokenPerPiece != test.tokenPerPiece || byName(test.name) != d {
			t.Errorf("%s: %s, %s, %v, %v, %v", d.Name, d.Operation, d.Provider, d.Outputs, d.Cumulative, d.TokenPerPiece)
		}
	}
}

// A configured path is taken as it is configured, without the conditions of the built-in ones.
func TestAConfiguredPathNeedsNothingBeforeIt(t *testing.T) {
	o := NewOperations([]config.Operation{{Path: "/claude:rawPredict", Dialect: "anthropic.messages"}})
	if dialect, operation := o.Find("/my/claude:rawPredict"); dialect != messages || operation != "messages" {
		t.Errorf("got %v, %s", dialect, operation)
	}
}
