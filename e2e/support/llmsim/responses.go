package llmsim

import (
	"net/http"
	"strconv"
)

// respond answers a request of the Responses API in one JSON object.
func (c *call) respond(g *generation) error {
	b := append(c.buf.out[:0], '{')
	b = c.appendResponse(b, g, g.responseStatus())
	c.buf.out = append(b, '}')
	return c.body(http.StatusOK, c.buf.out)
}

func (g *generation) responseStatus() string {
	if g.cut {
		return "incomplete"
	}
	return "completed"
}

// appendResponse appends the members of a response. One that has not ended has
// neither output nor usage.
func (c *call) appendResponse(b []byte, g *generation, status string) []byte {
	ended := status == "completed" || status == "incomplete"
	b = append(b, `"id":"`...)
	b = append(b, g.id...)
	b = append(b, `","object":"response","created_at":`...)
	b = strconv.AppendInt(b, g.created, 10)
	b = append(b, `,"status":"`+status+`","background":false,"incomplete_details":`...)
	if status == "incomplete" {
		b = append(b, `{"reason":"max_output_tokens"}`...)
	} else {
		b = append(b, "null"...)
	}
	b = append(b, `,"instructions":null,"max_output_tokens":`...)
	if limit := c.req.MaxOutputTokens; limit != nil {
		b = strconv.AppendInt(b, int64(*limit), 10)
	} else {
		b = append(b, "null"...)
	}
	b = appendJSONString(append(b, `,"model":`...), c.req.Model)
	b = append(b, `,"output":[`...)
	if ended {
		b = c.appendOutput(b, g)
	}
	b = append(b, `],"parallel_tool_calls":true,"previous_response_id":null,"service_tier":"default","store":true,`+
		`"temperature":1.0,"text":{"format":{"type":"text"}},"tool_choice":"auto","tools":[],"top_p":1.0,`+
		`"truncation":"disabled","user":null,"metadata":{}`...)
	if status != "failed" { // which brings its own
		b = append(b, `,"error":null`...)
	}
	switch {
	case ended && c.script.usage != UsageNever && c.script.usage != UsageNull:
		return g.usage(g.tokens).appendResponse(append(b, `,"usage":`...))
	case c.script.usage != UsageNever:
		return append(b, `,"usage":null`...)
	}
	return b
}

func (u usage) appendResponse(b []byte) []byte {
	b = appendInt(b, `{"input_tokens":`, u.prompt)
	b = appendInt(b, `,"input_tokens_details":{"cached_tokens":`, u.cached)
	b = appendInt(b, `},"output_tokens":`, u.completion)
	b = appendInt(b, `,"output_tokens_details":{"reasoning_tokens":`, u.reasoning)
	b = appendInt(b, `},"total_tokens":`, u.prompt+u.completion)
	return append(b, '}')
}

// appendOutput appends the items of the output: a message, or the calls.
func (c *call) appendOutput(b []byte, g *generation) []byte {
	for k := range g.parts() {
		if k > 0 {
			b = append(b, ',')
		}
		b = c.appendItem(b, g, k, true)
	}
	return b
}

// parts is how many parts an answer has: a text, or its calls.
func (g *generation) parts() int { return max(1, len(g.calls)) }

// appendItem appends an item of the output, with all its content or as it begins.
func (c *call) appendItem(b []byte, g *generation, k int, whole bool) []byte {
	status := "in_progress"
	if whole {
		status = g.responseStatus()
	}
	if len(g.calls) == 0 {
		b = g.appendPartID(append(b, `{"id":`...), "msg_", k)
		b = append(b, `,"type":"message","status":"`+status+`","role":"assistant","content":[`...)
		if whole {
			b = c.appendTextPart(b, g, true)
		}
		return append(b, `]}`...)
	}
	b = g.appendPartID(append(b, `{"id":`...), "fc_", k)
	b = append(b, `,"type":"function_call","status":"`+status+`","call_id":`...)
	b = g.appendPartID(b, "call_", k)
	b = append(b, `,"name":"`+g.calls[k].name+`","arguments":"`...)
	if whole {
		b = append(b, g.calls[k].arguments()...)
	}
	return append(b, `"}`...)
}

// appendTextPart appends the part of a message that has the text.
func (c *call) appendTextPart(b []byte, g *generation, whole bool) []byte {
	b = append(b, `{"type":"output_text","annotations":[],"logprobs":[],"text":"`...)
	if whole {
		b = appendText(b, c.script.words, g.tokens-g.reasoning)
	}
	return append(b, `"}`...)
}

// responseEvents is the form of a response's stream. Reasoning shows in the usage
// alone, and there is no data: [DONE].
type responseEvents struct {
	*stream
	sequence int
	open     int // the item that is being sent, or -1
}

func newResponseEvents(t *stream) *responseEvents { return &responseEvents{stream: t, open: -1} }

// event begins an event, up to its first own member.
func (t *responseEvents) event(name string) []byte {
	b := append(t.named(name), `{"type":"`+name...)
	b = appendInt(b, `","sequence_number":`, t.sequence)
	t.sequence++
	return append(b, ',')
}

// sendEvent ends and sends the event that b has.
func (t *responseEvents) sendEvent(b []byte, last bool) error {
	t.buf = append(b, '}')
	return t.send(last)
}

// sendState sends an event that carries the response.
func (t *responseEvents) sendState(name, status string) error {
	b := append(t.event(name), `"response":{`...)
	b = t.c.appendResponse(b, t.g, status)
	return t.sendEvent(append(b, '}'), status != "in_progress")
}

func (t *responseEvents) start() error {
	if err := t.sendState("response.created", "in_progress"); err != nil {
		return err
	}
	return t.sendState("response.in_progress", "in_progress")
}

func (t *responseEvents) token(i int) error {
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
func (t *responseEvents) visible(i int) error {
	k, piece := 0, i
	if len(t.g.calls) > 0 {
		k, piece = t.g.callAt(i)
	}
	if err := t.turnTo(k); err != nil || piece < 0 {
		return err // a call's name comes with its item
	}
	if len(t.g.calls) > 0 {
		b := t.ofItem("response.function_call_arguments.delta", k)
		return t.sendEvent(append(b, `,"delta":"`+t.g.calls[k].pieces[piece]+`"`...), false)
	}
	b := append(t.ofItem("response.output_text.delta", k), `,"content_index":0,"logprobs":[],"delta":"`...)
	return t.sendEvent(append(appendToken(b, t.c.script.words, i), '"'), false)
}

// ofItem begins an event about a part of an item.
func (t *responseEvents) ofItem(name string, k int) []byte {
	prefix := "msg_"
	if len(t.g.calls) > 0 {
		prefix = "fc_"
	}
	b := t.g.appendPartID(append(t.event(name), `"item_id":`...), prefix, k)
	return appendInt(b, `,"output_index":`, k)
}

// turnTo closes the open item and opens another, unless that is the open one; -1
// opens none.
func (t *responseEvents) turnTo(k int) error {
	if t.open == k {
		return nil
	}
	if t.open >= 0 {
		if err := t.close(t.open); err != nil {
			return err
		}
	}
	if t.open = k; k < 0 {
		return nil
	}
	if err := t.sendItem("response.output_item.added", k, false); err != nil || len(t.g.calls) > 0 {
		return err
	}
	return t.sendPart("response.content_part.added", k, false)
}

func (t *responseEvents) sendItem(name string, k int, whole bool) error {
	b := append(appendInt(t.event(name), `"output_index":`, k), `,"item":`...)
	return t.sendEvent(t.c.appendItem(b, t.g, k, whole), false)
}

func (t *responseEvents) sendPart(name string, k int, whole bool) error {
	b := append(t.ofItem(name, k), `,"content_index":0,"part":`...)
	return t.sendEvent(t.c.appendTextPart(b, t.g, whole), false)
}

// close sends an item's content again as a whole, as the API does.
func (t *responseEvents) close(k int) error {
	if len(t.g.calls) > 0 {
		b := t.ofItem("response.function_call_arguments.done", k)
		b = append(b, `,"name":"`+t.g.calls[k].name+`","arguments":"`+t.g.calls[k].arguments()+`"`...)
		if err := t.sendEvent(b, false); err != nil {
			return err
		}
	} else {
		b := append(t.ofItem("response.output_text.done", k), `,"content_index":0,"logprobs":[],"text":"`...)
		b = append(appendText(b, t.c.script.words, t.g.tokens-t.g.reasoning), '"')
		if err := t.sendEvent(b, false); err != nil {
			return err
		}
		if err := t.sendPart("response.content_part.done", k, true); err != nil {
			return err
		}
	}
	return t.sendItem("response.output_item.done", k, true)
}

func (t *responseEvents) finish() error {
	if t.open < 0 { // no token opened one
		if err := t.turnTo(0); err != nil {
			return err
		}
	}
	if err := t.turnTo(-1); err != nil {
		return err
	}
	status := t.g.responseStatus()
	return t.sendState("response."+status, status)
}

// fail leaves the open item as it is.
func (t *responseEvents) fail(e *apiError) error {
	b := append(t.event("response.failed"), `"response":{`...)
	b = append(t.c.appendResponse(b, t.g, "failed"), `,"error":{"code":"server_error","message":`...)
	b = appendJSONString(b, e.message)
	return t.sendEvent(append(b, `}}`...), true)
}
