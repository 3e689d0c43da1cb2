package llmsim

import "net/http"

// message answers a request of Anthropic's Messages API in one JSON object.
func (c *call) message(g *generation) error {
	b := c.appendMessage(c.buf.out[:0], g)
	b = append(b, `,"content":[`...)
	for k := range g.parts() {
		if k > 0 {
			b = append(b, ',')
		}
		b = c.appendBlock(b, g, k, true)
	}
	b = g.appendStop(append(b, `],`...))
	c.buf.out = append(c.appendMessageUsage(b, g.usage(g.tokens)), '}')
	return c.body(http.StatusOK, c.buf.out)
}

// appendMessage begins a message, up to its content.
func (c *call) appendMessage(b []byte, g *generation) []byte {
	b = append(b, `{"id":"`...)
	b = append(b, g.id...)
	return appendJSONString(append(b, `","type":"message","role":"assistant","model":`...), c.req.Model)
}

// appendStop appends why the answer ends.
func (g *generation) appendStop(b []byte) []byte {
	reason := "end_turn"
	switch {
	case g.cut:
		reason = "max_tokens"
	case len(g.calls) > 0:
		reason = "tool_use"
	}
	return append(b, `"stop_reason":"`+reason+`","stop_sequence":null`...)
}

// appendMessageUsage appends the usage as the script asks. Unlike OpenAI's prompt
// tokens, the input tokens leave the cached ones out.
func (c *call) appendMessageUsage(b []byte, u usage) []byte {
	switch c.script.usage {
	case UsageNever:
		return b
	case UsageNull:
		return append(b, `,"usage":null`...)
	}
	b = appendInt(b, `,"usage":{"input_tokens":`, u.prompt-u.cached)
	b = appendInt(b, `,"cache_creation_input_tokens":0,"cache_read_input_tokens":`, u.cached)
	return append(appendInt(b, `,"output_tokens":`, u.completion), '}')
}

// appendBlock appends a block of the content, whole or as it begins.
func (c *call) appendBlock(b []byte, g *generation, k int, whole bool) []byte {
	if len(g.calls) == 0 {
		b = append(b, `{"type":"text","text":"`...)
		if whole {
			b = appendText(b, c.script.words, g.tokens-g.reasoning)
		}
		return append(b, `"}`...)
	}
	b = g.appendPartID(append(b, `{"type":"tool_use","id":`...), "toolu_", k)
	b = append(b, `,"name":"`+g.calls[k].name+`","input":`...)
	if whole && !g.cut {
		return append(append(b, g.calls[k].input...), '}')
	}
	return append(b, `{}}`...) // what was cut is no JSON
}

// messageEvents is the form of a message's stream. Reasoning shows in the usage
// alone, and there is no data: [DONE].
type messageEvents struct {
	*stream
	opened int // blocks so far; the last one is open
}

// event begins an event, up to its first own member.
func (t *messageEvents) event(name string) []byte {
	return append(t.named(name), `{"type":"`+name+`"`...)
}

// sendEvent ends and sends the event that b has.
func (t *messageEvents) sendEvent(b []byte, last bool) error {
	t.buf = append(b, '}')
	return t.send(last)
}

func (t *messageEvents) start() error {
	b := append(t.event("message_start"), `,"message":`...)
	b = append(t.c.appendMessage(b, t.g), `,"content":[],"stop_reason":null,"stop_sequence":null`...)
	u := t.g.usage(0)
	u.completion = 1 // the API's own counts begin with some of the answer
	b = append(t.c.appendMessageUsage(b, u), '}')
	if err := t.sendEvent(b, false); err != nil {
		return err
	}
	return t.sendEvent(t.event("ping"), false)
}

func (t *messageEvents) token(i int) error {
	i -= t.g.reasoning
	if i >= 0 {
		if err := t.visible(i); err != nil {
			return err
		}
	}
	t.counted()
	return nil
}

// visible sends a token that is not reasoning.
func (t *messageEvents) visible(i int) error {
	k, piece := 0, i
	if len(t.g.calls) > 0 {
		k, piece = t.g.callAt(i)
	}
	if err := t.turnTo(k); err != nil || piece < 0 {
		return err // a call's name comes with its block
	}
	b := appendInt(t.event("content_block_delta"), `,"index":`, k)
	if len(t.g.calls) > 0 {
		b = append(b, `,"delta":{"type":"input_json_delta","partial_json":"`+t.g.calls[k].pieces[piece]...)
	} else {
		b = appendToken(append(b, `,"delta":{"type":"text_delta","text":"`...), t.c.script.words, i)
	}
	return t.sendEvent(append(b, `"}`...), false)
}

// turnTo closes the block before and opens one, unless it is open already.
func (t *messageEvents) turnTo(k int) error {
	if k < t.opened {
		return nil
	}
	if err := t.close(); err != nil {
		return err
	}
	t.opened++
	b := append(appendInt(t.event("content_block_start"), `,"index":`, k), `,"content_block":`...)
	return t.sendEvent(t.c.appendBlock(b, t.g, k, false), false)
}

func (t *messageEvents) close() error {
	if t.opened == 0 {
		return nil
	}
	return t.sendEvent(appendInt(t.event("content_block_stop"), `,"index":`, t.opened-1), false)
}

func (t *messageEvents) finish() error {
	if err := t.close(); err != nil {
		return err
	}
	b := t.g.appendStop(append(t.event("message_delta"), `,"delta":{`...))
	b = t.c.appendMessageUsage(append(b, '}'), t.g.usage(t.g.tokens))
	if err := t.sendEvent(b, false); err != nil {
		return err
	}
	return t.sendEvent(t.event("message_stop"), true)
}

func (t *messageEvents) fail(e *apiError) error {
	b := append(t.event("error"), `,"error":`...)
	return t.sendEvent(e.appendAnthropicError(b), true)
}

// anthropicTypes are the types that Anthropic gives with a status.
var anthropicTypes = map[int]string{
	http.StatusBadRequest:            "invalid_request_error",
	http.StatusUnauthorized:          "authentication_error",
	http.StatusForbidden:             "permission_error",
	http.StatusNotFound:              "not_found_error",
	http.StatusRequestEntityTooLarge: "request_too_large",
	http.StatusTooManyRequests:       "rate_limit_error",
	529:                              "overloaded_error",
}

// appendAnthropic appends an error answer in Anthropic's form.
func (e *apiError) appendAnthropic(b []byte) []byte {
	b = e.appendAnthropicError(append(b, `{"type":"error","error":`...))
	return append(b, `,"request_id":null}`...)
}

func (e *apiError) appendAnthropicError(b []byte) []byte {
	kind, ok := anthropicTypes[e.status]
	if !ok {
		kind = "invalid_request_error"
		if e.status >= 500 {
			kind = "api_error"
		}
	}
	b = appendJSONString(append(b, `{"type":"`+kind+`","message":`...), e.message)
	return append(b, '}')
}
