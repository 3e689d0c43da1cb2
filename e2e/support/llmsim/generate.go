package llmsim

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strconv"
	"time"
)

// Header values that never change are shared between the answers.
var (
	jsonType   = []string{"application/json"}
	streamType = []string{"text/event-stream; charset=utf-8"}
	gzipCoding = []string{"gzip"}
)

// generation is one answer of generated text, or of calls of tools.
type generation struct {
	endpoint  endpoint
	id        []byte
	created   int64
	choices   int
	tokens    int // of each choice
	reasoning int // of those
	prompt    int
	cached    int
	finish    string
	cut       bool       // the request allows no more tokens
	calls     []toolCall // in place of a text
}

// generate answers a request for generated text.
func (c *call) generate(e endpoint) error {
	g := generation{endpoint: e, choices: 1, created: c.began.Unix(), finish: `"stop"`}
	spelled := 0
	if e == completions {
		var ok bool
		if g.choices, spelled, ok = countInputs(c.req.Prompt); !ok || g.choices > maxInputs {
			return c.fail(badRequest("prompt", "prompt must be a text, texts, tokens, or token arrays"))
		}
	}
	if c.req.N != nil && (e == chat || e == completions) {
		g.choices *= *c.req.N
	}
	if fail := c.missingTool(); fail != nil {
		return c.fail(fail)
	}
	g.tokens = c.script.tokens
	if calls := c.script.calls; calls != nil {
		g.tokens, g.finish = c.script.reasoningTokens+countCalls(calls), `"tool_calls"`
	}
	if limit, given := c.req.maxTokens(e); given && limit < g.tokens {
		g.tokens, g.finish, g.cut = limit, `"length"`, true
	}
	if g.tokens*g.choices > maxGenerated {
		return c.fail(badRequest("n", "the answer would be too long"))
	}
	g.reasoning = min(c.script.reasoningTokens, g.tokens)
	g.calls = cutCalls(c.script.calls, g.tokens-g.reasoning)
	g.prompt = c.promptTokens(spelled)
	g.cached = min(c.script.cachedTokens, g.prompt)
	g.id = c.s.appendID(nil, e)
	c.prompt = g.prompt
	if c.req.Stream {
		return c.stream(&g)
	}
	return c.complete(&g)
}

var idPrefixes = map[endpoint]string{chat: "chatcmpl-", completions: "cmpl-", responses: "resp-", messages: "msg-"}

// appendID makes an id of the usual form: a prefix and 32 hexadecimal digits.
func (s *Server) appendID(b []byte, e endpoint) []byte {
	b = append(b, idPrefixes[e]...)
	b = append(b, s.idHead...)
	// The high bit keeps the width at 16 digits.
	n := strconv.AppendUint(make([]byte, 0, 16), 1<<60|s.answers.Add(1), 16)
	return append(b, n...)
}

// usage is the accounting once each choice has so many tokens.
func (g *generation) usage(tokens int) usage {
	return usage{
		prompt: g.prompt, cached: g.cached,
		completion: tokens * g.choices, reasoning: min(g.reasoning, tokens) * g.choices,
	}
}

// itl is the inter-token latency under the present load.
func (c *call) itl() time.Duration {
	if c.s.opts.Slowdown == 0 {
		return c.script.itl
	}
	others := float64(c.s.slots.running.Load() - 1)
	return time.Duration(float64(c.script.itl) * (1 + c.s.opts.Slowdown*max(0, others)))
}

// latency waits for as long as a JSON answer of so many tokens takes.
func (c *call) latency(tokens int) error {
	if c.s.opts.Slowdown == 0 {
		return c.pace.wait(c.script.ttft + time.Duration(tokens)*c.script.itl)
	}
	if err := c.pace.wait(c.script.ttft); err != nil {
		return err
	}
	for range tokens {
		if err := c.pace.wait(c.itl()); err != nil {
			return err
		}
	}
	return nil
}

// compute is the part of a JSON answer that holds a slot: the latency of tokens,
// and what the script lets go wrong on the way.
func (c *call) compute(tokens int) (*apiError, error) {
	if err := c.acquire(); err != nil {
		return nil, err
	}
	defer c.s.slots.release()
	if err := c.pace.hang(c.script.hang); err != nil {
		return nil, err
	}
	abort, fail := c.script.abortAfter, c.script.errorAfter
	switch {
	case abort != unset && (fail == unset || abort <= fail):
		if err := c.latency(min(tokens, abort)); err != nil {
			return nil, err
		}
		return nil, errAborted
	case fail != unset:
		return simulatedFailure(fail), c.latency(min(tokens, fail))
	}
	return nil, c.latency(tokens)
}

func simulatedFailure(after int) *apiError {
	return &apiError{
		status:  http.StatusInternalServerError,
		message: "simulated failure after " + strconv.Itoa(after) + " tokens",
	}
}

// complete answers in one JSON object.
func (c *call) complete(g *generation) error {
	fail, err := c.compute(g.tokens)
	if err != nil {
		return err
	}
	if fail != nil {
		return c.fail(fail)
	}
	answer := c.completion
	switch g.endpoint {
	case responses:
		answer = c.respond
	case messages:
		answer = c.message
	case ollamaChat, ollamaGenerate:
		answer = c.answerOllama
	}
	if err := answer(g); err != nil {
		return err
	}
	c.sent(g.tokens * g.choices)
	return nil
}

// completion answers a chat or text completion in one JSON object.
func (c *call) completion(g *generation) error {
	b := c.appendHead(c.buf.out[:0], g, `"chat.completion"`)
	for i := range g.choices {
		if i > 0 {
			b = append(b, ',')
		}
		b = c.appendChoice(b, g, i)
	}
	b = append(b, ']')
	b = c.appendUsageField(b, g.usage(g.tokens))
	if g.endpoint == chat {
		b = append(b, `,"service_tier":"default","system_fingerprint":null`...)
	}
	c.buf.out = append(b, '}')
	return c.body(http.StatusOK, c.buf.out)
}

// appendHead begins an answer or a chunk, up to its choices.
func (c *call) appendHead(b []byte, g *generation, chatObject string) []byte {
	object := chatObject
	if g.endpoint == completions {
		object = `"text_completion"`
	}
	b = append(b, `{"id":"`...)
	b = append(b, g.id...)
	b = append(b, `","object":`...)
	b = append(b, object...)
	b = append(b, `,"created":`...)
	b = strconv.AppendInt(b, g.created, 10)
	b = append(b, `,"model":`...)
	b = appendJSONString(b, c.req.Model)
	return append(b, `,"choices":[`...)
}

// appendChoice appends one choice of a JSON answer.
func (c *call) appendChoice(b []byte, g *generation, i int) []byte {
	b = appendInt(b, `{"index":`, i)
	if g.endpoint == completions {
		b = append(b, `,"text":"`...)
		b = appendText(b, c.script.words, g.tokens)
		b = append(b, `","logprobs":null,"finish_reason":`...)
		b = append(b, g.finish...)
		return append(b, '}')
	}
	b = append(b, `,"message":{"role":"assistant","content":`...)
	if len(g.calls) > 0 {
		b = append(b, "null"...)
	} else {
		b = append(appendText(append(b, '"'), c.script.words, g.tokens-g.reasoning), '"')
	}
	b = append(b, `,"refusal":null`...)
	if len(g.calls) > 0 {
		b = g.appendChatCalls(b)
	}
	if g.reasoning > 0 {
		b = append(b, `,"reasoning_content":"`...)
		b = appendText(b, nil, g.reasoning)
		b = append(b, '"')
	}
	b = append(b, `},"logprobs":null,"finish_reason":`...)
	b = append(b, g.finish...)
	return append(b, '}')
}

// appendUsageField appends the usage of a JSON answer as the script asks.
func (c *call) appendUsageField(b []byte, u usage) []byte {
	switch c.script.usage {
	case UsageNever:
		return b
	case UsageNull:
		return append(b, `,"usage":null`...)
	}
	b = append(b, `,"usage":`...)
	return u.append(b)
}

// body sends a JSON answer.
func (c *call) body(status int, p []byte) error {
	h := c.w.Header()
	h["Content-Type"] = jsonType
	if c.script.gzip {
		h["Content-Encoding"] = gzipCoding
		p = compress(p)
	}
	h["Content-Length"] = []string{strconv.Itoa(len(p))}
	c.status = status
	c.w.WriteHeader(status)
	size := c.script.chunk.bytes
	if size == 0 {
		_, err := c.w.Write(p)
		return err
	}
	out := sink{w: c.w, ctl: http.NewResponseController(c.w), chunk: c.script.chunk}
	if err := out.write(p); err != nil {
		return err
	}
	return out.finish()
}

// compress returns p in gzip's format.
func compress(p []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(p) // a bytes.Buffer takes everything
	_ = z.Close()
	return out.Bytes()
}
