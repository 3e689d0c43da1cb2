package llmsim

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
)

// Bounds of what a request may ask.
const (
	maxChoices   = 128
	maxInputs    = 2048
	maxDim       = 16_384
	maxGenerated = 4 * maxCount
)

// endpoint is one of the API's operations.
type endpoint int

const (
	chat endpoint = iota + 1
	completions
	embeddings
	responses
	messages
	ollamaChat
	ollamaGenerate
	models
)

// findEndpoint takes the place of a mux, which costs more on every request.
func findEndpoint(method, path string) (endpoint, *apiError) {
	var e endpoint
	want := http.MethodPost
	switch path {
	case "/v1/chat/completions":
		e = chat
	case "/v1/completions":
		e = completions
	case "/v1/embeddings":
		e = embeddings
	case "/v1/responses":
		e = responses
	case "/v1/messages":
		e = messages
	case "/api/chat":
		e = ollamaChat
	case "/api/generate":
		e = ollamaGenerate
	case "/v1/models":
		e, want = models, http.MethodGet
	default:
		return 0, &apiError{status: http.StatusNotFound, message: "unknown path " + path}
	}
	if method != want {
		return 0, &apiError{status: http.StatusMethodNotAllowed, message: "method " + method + " is not allowed for " + path}
	}
	return e, nil
}

// request is what the simulator reads of a request's body.
type request struct {
	Model         string `json:"model"`
	Stream        bool   `json:"stream"`
	StreamOptions struct {
		IncludeUsage         bool `json:"include_usage"`
		ContinuousUsageStats bool `json:"continuous_usage_stats"`
	} `json:"stream_options"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	MaxOutputTokens     *int            `json:"max_output_tokens"`
	N                   *int            `json:"n"`
	Tools               []tool          `json:"tools"`
	Messages            present         `json:"messages"`
	Prompt              json.RawMessage `json:"prompt"`
	Input               json.RawMessage `json:"input"`
	EncodingFormat      string          `json:"encoding_format"`
	Dimensions          *int            `json:"dimensions"`
}

// tool is a tool that the answer may call.
type tool struct {
	Name     string `json:"name"`
	Function struct {
		Name string `json:"name"`
	} `json:"function"`
}

// present notes that a field is there without keeping a copy of it.
type present bool

// UnmarshalJSON implements json.Unmarshaler.
func (p *present) UnmarshalJSON(b []byte) error {
	*p = present(string(b) != "null")
	return nil
}

// readBody reads the body to its end. The part beyond MaxBody is counted and
// dropped.
func (c *call) readBody() (int64, error) {
	in := &c.buf.in
	in.Reset()
	limit := int64(c.s.opts.MaxBody)
	if n := c.r.ContentLength; n > 0 && n <= maxPooled {
		in.Grow(int(n) + bytes.MinRead)
	}
	n, err := in.ReadFrom(io.LimitReader(c.r.Body, limit+1))
	if err == nil && n > limit {
		var rest int64
		rest, err = io.Copy(io.Discard, c.r.Body)
		n += rest
	}
	if c.rec != nil {
		kept := string(in.Bytes()[:min(in.Len(), c.s.opts.RecordBody)])
		c.s.hist.update(c.rec, func(r *Request) { r.BodyBytes, r.Body = n, kept })
		c.s.changes.notify()
	}
	if err != nil {
		return n, errBodyAborted
	}
	return n, nil
}

// serve reads the whole request and then answers it.
func (c *call) serve() error {
	n, err := c.readBody()
	if err != nil {
		return err
	}
	e, fail := findEndpoint(c.r.Method, c.r.URL.Path)
	c.endpoint = e
	if n > int64(c.s.opts.MaxBody) {
		return c.fail(&apiError{status: http.StatusRequestEntityTooLarge, message: "the request body is too large"})
	}
	if fail != nil {
		return c.fail(fail)
	}
	if err := c.script.override(c.r.Header); err != nil {
		return c.fail(badRequest("", err.Error()))
	}
	if e != models {
		fail = c.parse(e)
		if over := c.rateLimited(); over != nil {
			return c.fail(over)
		}
	}
	if c.script.status != 0 {
		return c.scriptedError()
	}
	if fail != nil {
		return c.fail(fail)
	}
	switch e {
	case models:
		return c.body(http.StatusOK, c.s.models)
	case embeddings:
		return c.embed()
	default:
		return c.generate(e)
	}
}

// parse reads the body's JSON and checks what every endpoint requires.
func (c *call) parse(e endpoint) *apiError {
	q := &c.req
	if err := json.Unmarshal(c.buf.in.Bytes(), q); err != nil {
		return badRequest("", "could not parse the JSON body of the request: "+err.Error())
	}
	if e.ollama() {
		q.readOllama(c.buf.in.Bytes())
	}
	if q.Model == "" {
		q.Model = c.s.opts.Models[0]
	}
	c.s.hist.update(c.rec, func(r *Request) { r.Model, r.Stream = q.Model, q.Stream })
	switch {
	case (e == chat || e == messages || e == ollamaChat) && !bool(q.Messages):
		return badRequest("messages", "missing required parameter: 'messages'")
	case (e == completions || e == ollamaGenerate) && q.Prompt == nil:
		return badRequest("prompt", "missing required parameter: 'prompt'")
	case (e == embeddings || e == responses) && q.Input == nil:
		return badRequest("input", "missing required parameter: 'input'")
	case e == messages && q.MaxTokens == nil:
		return badRequest("max_tokens", "max_tokens: field required")
	}
	for _, f := range []struct {
		name      string
		value     *int
		low, high int
	}{
		{"max_tokens", q.MaxTokens, 0, 1 << 31},
		{"max_completion_tokens", q.MaxCompletionTokens, 0, 1 << 31},
		{"max_output_tokens", q.MaxOutputTokens, 0, 1 << 31},
		{"n", q.N, 1, maxChoices},
		{"dimensions", q.Dimensions, 1, maxDim},
	} {
		if f.value != nil && (*f.value < f.low || *f.value > f.high) {
			return badRequest(f.name, f.name+" must be from "+strconv.Itoa(f.low)+" to "+strconv.Itoa(f.high))
		}
	}
	return nil
}

// maxTokens is the limit of completion tokens that the request gives.
func (q *request) maxTokens(e endpoint) (limit int, given bool) {
	switch {
	case e == responses:
		if q.MaxOutputTokens == nil {
			return 0, false
		}
		return *q.MaxOutputTokens, true
	case e == messages: // which requires it
		return *q.MaxTokens, true
	case q.MaxCompletionTokens != nil:
		return *q.MaxCompletionTokens, true
	case q.MaxTokens != nil:
		return *q.MaxTokens, true
	}
	return 0, false
}

// countInputs reads a prompt or an embedding input: a text, texts, the tokens of one
// text or those of several. It returns how many texts there are, and how many
// tokens where they are given as such.
func countInputs(raw json.RawMessage) (items, tokens int, ok bool) {
	if len(raw) == 0 {
		return 0, 0, false
	}
	if raw[0] == '"' {
		return 1, 0, true
	}
	var elems []json.RawMessage
	if json.Unmarshal(raw, &elems) != nil || len(elems) == 0 {
		return 0, 0, false
	}
	for _, e := range elems {
		switch first := e[0]; {
		case first != elems[0][0] && !(isDigit(first) && isDigit(elems[0][0])):
			return 0, 0, false
		case first == '"':
			items++
		case first == '[':
			var ids []int
			if json.Unmarshal(e, &ids) != nil || len(ids) == 0 {
				return 0, 0, false
			}
			items++
			tokens += len(ids)
		case isDigit(first):
			items = 1
			tokens++
		default:
			return 0, 0, false
		}
	}
	return items, tokens, true
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// promptTokens is what usage reports: the script's number, the tokens that the
// request spells out, or an estimate.
func (c *call) promptTokens(spelled int) int {
	switch {
	case c.script.promptTokens != unset:
		return c.script.promptTokens
	case spelled > 0:
		return spelled
	}
	return max(1, c.buf.in.Len()/4)
}
