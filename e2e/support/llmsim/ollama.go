package llmsim

import (
	"encoding/json"
	"net/http"
)

// Ollama's own API: a chat or a prompt streams unless the request says otherwise, as a JSON document a line.

var linesType = []string{"application/x-ndjson"}

// ollama says that the operation is one of Ollama's.
func (e endpoint) ollama() bool { return e == ollamaChat || e == ollamaGenerate }

// readOllama reads what a request has elsewhere than in OpenAI's API. A bound below 1 is none.
func (q *request) readOllama(body []byte) {
	var own struct {
		Stream  *bool `json:"stream"`
		Options struct {
			NumPredict int `json:"num_predict"`
		} `json:"options"`
	}
	_ = json.Unmarshal(body, &own) // what is wrong has been found before
	q.Stream = own.Stream == nil || *own.Stream
	if n := own.Options.NumPredict; n > 0 {
		q.MaxTokens = &n
	}
}

// lines is the form of a stream.
type lines struct{ *stream }

func (t *lines) start() error { return nil }

// token sends a line for each token: a thought, a word, or the call of a tool, which comes whole behind its last token.
func (t *lines) token(i int) error {
	b := t.c.appendLine(t.buf[:0], t.g)
	switch i -= t.g.reasoning; {
	case i < 0:
		b = append(appendToken(t.c.appendPiece(b, "thinking"), nil, i+t.g.reasoning), '"')
	case len(t.g.calls) > 0:
		k, piece := t.g.callAt(i)
		if piece != len(t.g.calls[k].pieces)-1 {
			t.counted()
			return nil
		}
		b = append(t.c.appendPiece(b, ""), '"')
		b = appendOllamaCalls(b, t.g.calls[k:k+1])
	default:
		b = append(appendToken(t.c.appendPiece(b, ""), t.c.script.words, i), '"')
	}
	t.buf = append(t.c.endPiece(b), ",\"done\":false}\n"...)
	if err := t.out.write(t.buf); err != nil {
		return err
	}
	t.counted()
	return nil
}

func (t *lines) finish() error {
	b := append(t.c.appendPiece(t.c.appendLine(t.buf[:0], t.g), ""), '"')
	t.buf = append(t.c.appendDone(t.c.endPiece(b), t.g), '\n')
	return t.out.write(t.buf)
}

func (t *lines) fail(e *apiError) error {
	t.buf = append(e.appendOllama(t.buf[:0]), '\n')
	return t.out.write(t.buf)
}

// answerOllama answers in one document.
func (c *call) answerOllama(g *generation) error {
	b := c.appendPiece(c.appendLine(c.buf.out[:0], g), "")
	if len(g.calls) == 0 {
		b = appendText(b, c.script.words, g.tokens-g.reasoning)
	}
	b = append(b, '"')
	if g.reasoning > 0 {
		b = append(appendText(append(b, `,"thinking":"`...), nil, g.reasoning), '"')
	}
	if len(g.calls) > 0 {
		b = appendOllamaCalls(b, g.calls)
	}
	c.buf.out = c.appendDone(c.endPiece(b), g)
	return c.body(http.StatusOK, c.buf.out)
}

// appendLine begins a document.
func (c *call) appendLine(b []byte, g *generation) []byte {
	b = appendJSONString(append(b, `{"model":`...), c.req.Model)
	b = append(b, `,"created_at":"2026-01-01T00:00:00Z"`...)
	if g.endpoint == ollamaChat {
		return append(b, `,"message":{"role":"assistant"`...)
	}
	return b
}

// appendPiece begins the text of an output, or another member of it beside an empty text.
func (c *call) appendPiece(b []byte, beside string) []byte {
	name := "content"
	if c.endpoint == ollamaGenerate {
		name = "response"
	}
	b = append(b, `,"`+name+`":"`...)
	if beside != "" {
		b = append(b, `","`+beside+`":"`...)
	}
	return b
}

// endPiece ends the message, where there is one.
func (c *call) endPiece(b []byte) []byte {
	if c.endpoint == ollamaChat {
		b = append(b, '}')
	}
	return b
}

// appendOllamaCalls appends calls of tools, whose arguments are objects.
func appendOllamaCalls(b []byte, calls []toolCall) []byte {
	for k, call := range calls {
		start := ","
		if k == 0 {
			start = `,"tool_calls":[`
		}
		b = append(b, start+`{"function":{"name":"`+call.name+`","arguments":`+call.input+`}}`...)
	}
	return append(b, ']')
}

// appendDone ends the last document, with counts as the script asks. One of zero is left out.
func (c *call) appendDone(b []byte, g *generation) []byte {
	reason := "stop"
	if g.cut {
		reason = "length"
	}
	b = append(b, `,"done":true,"done_reason":"`+reason+`"`...)
	if c.endpoint == ollamaGenerate {
		b = append(b, `,"context":[1,2,3]`...)
	}
	if c.script.usage != UsageNever {
		b = append(b, `,"total_duration":1`...)
		if g.prompt > 0 {
			b = appendInt(b, `,"prompt_eval_count":`, g.prompt)
		}
		if g.tokens > 0 {
			b = appendInt(b, `,"eval_count":`, g.tokens)
		}
	}
	return append(b, '}')
}

// appendOllama appends an error answer in Ollama's form.
func (e *apiError) appendOllama(b []byte) []byte {
	return append(appendJSONString(append(b, `{"error":`...), e.message), '}')
}
