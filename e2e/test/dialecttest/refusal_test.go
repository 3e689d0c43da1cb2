package dialecttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// oneRequest refuses a second request: at its headers, unless the limit of tokens applies too, for which a body is read.
const oneRequest = `{"limits": [
	{"name": "requests", "per": ["user"], "unit": "requests", "quantity": 1, "window": "1h"},
	{"name": "tokens", "per": ["user"], "unit": "totalTokens", "quantity": 1000000000, "window": "1h",
		"match": {"headers": {"x-decide": "with its body"}}}
]}`

// The moments at which a request can be refused.
const (
	atHeaders = "at its headers"
	withBody  = "with its body"
)

// Answers that the official clients can read.
var answers = map[string]string{
	"/chat/completions": `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop",
		"message":{"role":"assistant","content":"yes"}}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`,
	"/responses": `{"id":"r","object":"response","created_at":1,"model":"m","status":"completed","output":[{"id":"o","type":"message",
		"role":"assistant","status":"completed","content":[{"type":"output_text","text":"yes","annotations":[]}]}],
		"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}`,
	"/messages": `{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"yes"}],
		"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`,
	"": `{}`,
}

// counter answers all requests well, and counts them by their user.
type counter struct {
	mu       sync.Mutex
	requests map[string]int
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	c.mu.Lock()
	c.requests[r.Header.Get("x-user-id")]++
	c.mu.Unlock()
	body := answers[""]
	for suffix, answer := range answers {
		if suffix != "" && strings.HasSuffix(r.URL.Path, suffix) {
			body = answer
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, body)
}

func (c *counter) of(user string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests[user]
}

func TestARefusalSpeaksTheDialectOfItsRequest(t *testing.T) {
	t.Parallel()
	upstream := &counter{requests: map[string]int{}}
	e := start(t, oneRequest, upstream)
	for _, test := range refusals {
		for _, moment := range []string{atHeaders, withBody} {
			t.Run(test.name+" "+moment, func(t *testing.T) {
				refuse(t, e, test, moment)
				if n := upstream.of(test.user(moment)); n != 1 {
					t.Errorf("the server received %d requests, want 1", n)
				}
			})
		}
	}
	for name, ask := range officialClients(e.URL) {
		t.Run(name, func(t *testing.T) { refuseClient(t, name, ask, upstream) })
	}
}

// refusal is a request of which the second is refused.
type refusal struct {
	name, path, body, operation string
	want                        map[string]string // the error's values by their paths
}

// user is who sends the request: one each time, because each has one request.
func (r refusal) user(moment string) string { return r.name + " " + moment }

// What an error says in the dialects.
var (
	openAIError    = map[string]string{"error.type": "requests", "error.code": "rate_limit_exceeded", "error.param": "<nil>"}
	anthropicError = map[string]string{"type": "error", "error.type": "rate_limit_error"}
	geminiError    = map[string]string{"error.code": "429", "error.status": "RESOURCE_EXHAUSTED"}
	ollamaError    = map[string]string{"error.code": "<nil>"} // a text alone
)

const (
	messagesBody = `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`
	contentsBody = `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`
	vertexPath   = "/v1/projects/p/locations/l/publishers/"
)

var refusals = []refusal{
	{"a chat", chatPath, `{"model":"m","messages":[]}`, "chat", openAIError},
	{"a streamed chat", chatPath, `{"model":"m","messages":[],"stream":true}`, "chat", openAIError},
	{"a chat at Azure", "/openai/deployments/m/chat/completions?api-version=2024-10-21", `{"messages":[]}`, "chat", openAIError},
	{"a completion", "/v1/completions", `{"model":"m","prompt":"hi"}`, "completions", openAIError},
	{"an embedding", "/v1/embeddings", `{"model":"m","input":"hi"}`, "embeddings", openAIError},
	{"a response", "/v1/responses", `{"model":"m","input":"hi"}`, "responses", openAIError},
	{"a message", "/v1/messages", messagesBody, "messages", anthropicError},
	{"a message at Vertex AI", vertexPath + "anthropic/models/m:rawPredict", messagesBody, "messages", anthropicError},
	{"generated content", "/v1beta/models/m:generateContent", contentsBody, "generate_content", geminiError},
	{"streamed content", "/v1beta/models/m:streamGenerateContent?alt=sse", contentsBody, "generate_content", geminiError},
	{"an Ollama chat", "/api/chat", `{"model":"m","messages":[]}`, "chat", ollamaError},
	{"an Ollama prompt", "/api/generate", `{"model":"m","prompt":"hi","stream":false}`, "completions", ollamaError},
	{"an Ollama embedding", "/api/embed", `{"model":"m","input":"hi"}`, "embeddings", ollamaError},
	{"content at Vertex AI", vertexPath + "google/models/m:generateContent", contentsBody, "generate_content", geminiError},
}

func refuse(t *testing.T, e *harness.Envoy, test refusal, moment string) {
	if response, body := ask(t, e, test, moment); response.StatusCode != http.StatusOK {
		t.Fatalf("the first request got %d %s, want 200", response.StatusCode, body)
	}
	response, body := ask(t, e, test, moment)
	if response.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("the second request got %d %s, want 429", response.StatusCode, body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "X-Spillway-Reason": "limits/requests_exceeded",
		"X-Ratelimit-Limit-Requests": "1", "X-Ratelimit-Remaining-Requests": "0",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("the header %s is %q, want %q", name, got, want)
		}
	}
	wantWait(t, response)
	wantError(t, test, moment, body)
	wantRefused(t, e, test, moment)
}

// wantWait says that waiting an hour helps, less the time that has passed since the first request.
func wantWait(t *testing.T, response *http.Response) {
	t.Helper()
	header := response.Header.Get("Retry-After")
	if n, err := strconv.Atoi(header); err != nil || n > 3600 || n < 3600-int(patience.Seconds()) {
		t.Errorf("retry-after is %q, want about 3600", header)
	}
}

// wantError looks at a refusal's body. The model is known where the body was read.
func wantError(t *testing.T, test refusal, moment string, body []byte) {
	t.Helper()
	var document map[string]any
	if err := json.Unmarshal(body, &document); err != nil {
		t.Fatalf("the body is not JSON: %v: %s", err, body)
	}
	for path, want := range test.want {
		if got := at(document, path); got != want {
			t.Errorf("%s is %q, want %q, in %s", path, got, want, body)
		}
	}
	message, begin := at(document, "error.message"), "Rate limit reached for "
	if text, alone := document["error"].(string); alone {
		message = text
	}
	if moment == withBody {
		begin += "m on "
	}
	if !strings.HasPrefix(message, begin) || !strings.Contains(message, " on requests per hour: limit 1, used 1, requested 1") {
		t.Errorf("the message is %q, want it to begin with %q", message, begin)
	}
}

// wantRefused looks for the second request in the access log.
func wantRefused(t *testing.T, e *harness.Envoy, test refusal, moment string) {
	t.Helper()
	record := logged(t, e, test.user(moment), 2)
	for key, want := range map[string]string{
		"status": "429", "decision": "REJECTED", "gate": "limits", "reason": "requests_exceeded", "limit": "requests",
		"operation": test.operation, "usage_source": "",
	} {
		wantText(t, record, key, want)
	}
	if moment == withBody {
		wantText(t, record, "request_model", "m")
	}
}

// logged waits for the nth record of a traceparent.
func logged(t *testing.T, e *harness.Envoy, trace string, n int) (record harness.Record) {
	t.Helper()
	harness.Await(t, patience, fmt.Sprintf("the access log has %q %d times", trace, n), func() bool {
		found := 0
		for _, r := range e.AccessLog(0) {
			if r.Text("traceparent") == trace {
				found, record = found+1, r
			}
		}
		return found >= n
	})
	return record
}

func ask(t *testing.T, e *harness.Envoy, test refusal, moment string) (*http.Response, []byte) {
	t.Helper()
	return post(t, e, test.path, test.body, map[string]string{"x-user-id": test.user(moment), "traceparent": test.user(moment), "x-decide": moment})
}

// post sends a JSON body with more headers, and reads the whole answer.
func post(t *testing.T, e *harness.Envoy, path, text string, headers map[string]string) (*http.Response, []byte) {
	t.Helper()
	return send(t, e, path, strings.NewReader(text), int64(len(text)), headers)
}

// send sends a body of that many bytes.
func send(t *testing.T, e *harness.Envoy, path string, text io.Reader, size int64, headers map[string]string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+path, text)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = size
	request.Header.Set("Content-Type", "application/json")
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := e.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, body
}

// at is the text of a value in a document, by its path.
func at(document map[string]any, path string) string {
	var value any = document
	for name := range strings.SplitSeq(path, ".") {
		object, _ := value.(map[string]any)
		value = object[name]
	}
	return fmt.Sprint(value)
}

// clientCall asks with an official client, as a user of that name.
type clientCall func(t *testing.T, user string) error

func officialClients(url string) map[string]clientCall {
	openAI := openai.NewClient(option.WithBaseURL(url+"/v1"), option.WithAPIKey("k"), option.WithMaxRetries(0))
	claude := anthropic.NewClient(anthropicoption.WithBaseURL(url), anthropicoption.WithAPIKey("k"), anthropicoption.WithMaxRetries(0))
	chat := openai.ChatCompletionNewParams{Model: "m", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("hi")}}
	response := responses.ResponseNewParams{Model: "m", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("hi")}}
	message := anthropic.MessageNewParams{
		Model: "m", MaxTokens: 9, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hi"))},
	}
	return map[string]clientCall{
		"OpenAI's client knows the refusal of a chat": func(t *testing.T, user string) error {
			_, err := openAI.Chat.Completions.New(t.Context(), chat, option.WithHeader("x-user-id", user))
			return err
		},
		"OpenAI's client knows the refusal of a streamed chat": func(t *testing.T, user string) error {
			return openAI.Chat.Completions.NewStreaming(t.Context(), chat, option.WithHeader("x-user-id", user)).Err()
		},
		"OpenAI's client knows the refusal of a response": func(t *testing.T, user string) error {
			_, err := openAI.Responses.New(t.Context(), response, option.WithHeader("x-user-id", user))
			return err
		},
		"Anthropic's client knows the refusal of a message": func(t *testing.T, user string) error {
			_, err := claude.Messages.New(t.Context(), message, anthropicoption.WithHeader("x-user-id", user))
			return err
		},
		"Anthropic's client knows the refusal of a streamed message": func(t *testing.T, user string) error {
			return claude.Messages.NewStreaming(t.Context(), message, anthropicoption.WithHeader("x-user-id", user)).Err()
		},
	}
}

func refuseClient(t *testing.T, user string, ask clientCall, upstream *counter) {
	if err := ask(t, user); err != nil {
		t.Fatalf("the first request: %v", err)
	}
	err := ask(t, user)
	var openAIs *openai.Error
	var anthropics *anthropic.Error
	switch {
	case errors.As(err, &openAIs):
		if openAIs.StatusCode != 429 || openAIs.Code != "rate_limit_exceeded" || openAIs.Type != "requests" ||
			!strings.HasPrefix(openAIs.Message, "Rate limit reached") {
			t.Errorf("the client's error is %v", err)
		}
		wantWait(t, openAIs.Response)
	case errors.As(err, &anthropics):
		if anthropics.StatusCode != 429 || !strings.Contains(anthropics.RawJSON(), `"type":"rate_limit_error"`) {
			t.Errorf("the client's error is %v", err)
		}
		wantWait(t, anthropics.Response)
	default:
		t.Errorf("the client's error is %T %v, want one of its own", err, err)
	}
	if n := upstream.of(user); n != 1 {
		t.Errorf("the server received %d requests, want 1", n)
	}
}
