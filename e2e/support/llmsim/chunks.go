package llmsim

// chunks is the form of a chat or text completion's stream.
type chunks struct {
	*stream
	// head is what all chunks begin with.
	head []byte

	finalUsage, everyUsage, nullUsage bool
}

func newChunks(t *stream) *chunks {
	c := t.c
	k := &chunks{stream: t}
	k.head = c.appendHead(append([]byte(nil), "data: "...), t.g, `"chat.completion.chunk"`)
	asked := c.req.StreamOptions
	mode := c.script.usage
	k.finalUsage = mode == UsageAlways || (mode != UsageNever && asked.IncludeUsage)
	k.everyUsage = mode == UsageEvery ||
		(mode == UsageAuto && asked.IncludeUsage && asked.ContinuousUsageStats)
	k.nullUsage = mode == UsageNull || (mode == UsageAuto && asked.IncludeUsage)
	return k
}

func (t *chunks) start() error { return nil }

func (t *chunks) token(i int) error {
	for choice := range t.g.choices {
		if err := t.choiceToken(i, choice); err != nil {
			return err
		}
	}
	return nil
}

// choiceToken sends one token of one choice. The last one carries the finish reason,
// as vLLM's does, so that a stream has as many chunks as tokens.
func (t *chunks) choiceToken(i, choice int) error {
	final := i == t.g.tokens-1
	b := t.appendDelta(t.open(), i, choice)
	if final {
		b = append(b, t.g.finish...)
	} else {
		b = append(b, "null"...)
	}
	t.buf = t.appendChunkEnd(append(b, '}'), i+1)
	last := final && choice == t.g.choices-1 && t.c.script.noDone && !t.finalUsage
	if err := t.send(last); err != nil {
		return err
	}
	t.counted()
	return nil
}

// appendDelta appends a choice up to its finish reason; a token beyond the last is
// an empty delta.
func (t *chunks) appendDelta(b []byte, i, choice int) []byte {
	g := t.g
	b = appendInt(append(b, t.head...), `{"index":`, choice)
	if g.endpoint == completions {
		b = append(b, `,"text":"`...)
		if i < g.tokens {
			b = appendToken(b, t.c.script.words, i)
		}
		return append(b, `","logprobs":null,"finish_reason":`...)
	}
	b = append(b, `,"delta":{`...)
	if i == 0 {
		b = append(b, `"role":"assistant",`...)
	}
	b = t.appendChatToken(b, i)
	return append(b, `},"logprobs":null,"finish_reason":`...)
}

// appendChatToken appends the members of a delta that carry its token.
func (t *chunks) appendChatToken(b []byte, i int) []byte {
	g := t.g
	switch {
	case i >= g.tokens:
		return append(b, `"content":""`...)
	case i < g.reasoning:
		b = append(b, `"reasoning_content":"`...)
		return append(appendToken(b, nil, i), '"')
	case len(g.calls) > 0:
		if i == 0 {
			b = append(b, `"content":null,`...)
		}
		return g.appendChatCallToken(b, i-g.reasoning)
	}
	b = append(b, `"content":"`...)
	return append(appendToken(b, t.c.script.words, i-g.reasoning), '"')
}

// appendChunkEnd closes the choices and the chunk.
func (t *chunks) appendChunkEnd(b []byte, tokens int) []byte {
	b = append(b, ']')
	switch {
	case t.everyUsage:
		b = t.g.usage(tokens).append(append(b, `,"usage":`...))
	case t.nullUsage:
		b = append(b, `,"usage":null`...)
	}
	return append(b, '}')
}

// finish sends what follows the last token.
func (t *chunks) finish() error {
	if t.g.tokens == 0 {
		// No token carried the finish reason.
		for choice := range t.g.choices {
			b := append(t.appendDelta(t.open(), 0, choice), t.g.finish...)
			t.buf = t.appendChunkEnd(append(b, '}'), 0)
			if err := t.send(choice == t.g.choices-1 && t.c.script.noDone && !t.finalUsage); err != nil {
				return err
			}
		}
	}
	if !t.finalUsage {
		return t.end("")
	}
	b := append(t.open(), t.head...)
	b = append(b, `],"usage":`...)
	t.buf = append(t.g.usage(t.g.tokens).append(b), '}')
	if err := t.send(t.c.script.noDone); err != nil {
		return err
	}
	return t.end("")
}

// end sends a final event, if any, and the end mark.
func (t *chunks) end(event string) error {
	if event != "" {
		t.buf = append(t.open(), event...)
		if err := t.send(t.c.script.noDone); err != nil {
			return err
		}
	}
	if t.c.script.noDone {
		return nil
	}
	t.buf = append(t.open(), "data: [DONE]"...)
	return t.send(true)
}

// fail sends the error where a chunk would be.
func (t *chunks) fail(e *apiError) error {
	return t.end(`data: {"error":{"message":"` + e.message +
		`","type":"server_error","param":null,"code":500}}`)
}
