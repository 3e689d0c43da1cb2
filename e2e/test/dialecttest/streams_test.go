package dialecttest

import (
	"fmt"
	"net/http"
	"strings"
)

// parts is how many pieces of output a told stream has.
const parts = 100

// part is a piece of output. Tokens of several lengths come one to five to a piece, as servers send them.
type part struct {
	text   string
	tokens int
}

func story() []part {
	words := []string{"so ", "river ", "water ", "spills ", "a ", "over ", "gates "}
	told := make([]part, parts)
	for i, n := 0, 0; i < parts; i++ {
		told[i].tokens = 1 + i*3%5
		for range told[i].tokens {
			told[i].text += words[n%len(words)]
			n++
		}
	}
	return told
}

const eventStream = "text/event-stream"

// shape is how a dialect puts a stream of output into bytes.
type shape struct {
	name, path, request string
	contentType         string
	source              string // of the usage of a stream that a client has left
	open                string
	piece               func(text string, soFar int) string
	end                 func(total int) string
}

// model is the shape's own, so that nothing is learned from another one.
func (s *shape) model() string { return strings.ReplaceAll(s.name, " ", "-") }

// url is the path with the model in it, where it belongs there.
func (s *shape) url() string { return strings.ReplaceAll(s.path, "MODEL", s.model()) }

func (s *shape) body() string { return strings.ReplaceAll(s.request, "MODEL", s.model()) }

// render tells the story: what is sent until its half, then the rest; and how many tokens half and all of it has.
func (s *shape) render() (first, rest []string, half, total int) {
	fill := func(event string) string { return strings.ReplaceAll(event, "MODEL", s.model()) }
	first = append(first, fill(s.open))
	for i, p := range story() {
		total += p.tokens
		event := fill(s.piece(p.text, total))
		if i < parts/2 {
			first, half = append(first, event), total
		} else {
			rest = append(rest, event)
		}
	}
	return first, append(rest, fill(s.end(total))), half, total
}

func event(name, format string, values ...any) string {
	return "event: " + name + "\n" + data(`{"type":"`+name+`",`+format+`}`, values...)
}

func data(format string, values ...any) string {
	return "data: " + fmt.Sprintf(format, values...) + "\n\n"
}

const chatChunk = `{"id":"c","object":"chat.completion.chunk","created":1,"model":"MODEL","choices":[`

func chatEnd(total int) string {
	return data(chatChunk+`{"index":0,"delta":{},"finish_reason":"stop"}]}`) +
		data(chatChunk+`],"usage":{"prompt_tokens":11,"completion_tokens":%d,"total_tokens":%d}}`, total, total+11) + "data: [DONE]\n\n"
}

// chatShape puts the text into a chat's delta.
func chatShape(name, delta string) shape {
	return shape{
		name: name, path: chatPath, contentType: eventStream, source: "counted",
		request: `{"model":"MODEL","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"tell"}]}`,
		open:    data(chatChunk + `{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`),
		piece: func(text string, _ int) string {
			return data(chatChunk+`{"index":0,"delta":`+delta+`,"finish_reason":null}]}`, text)
		},
		end: chatEnd,
	}
}

// runningChat reports in every chunk, as vLLM does when asked for continuous_usage_stats.
func runningChat() shape {
	s := chatShape("chat that reports as it goes", "")
	s.source = "reported"
	s.piece = func(text string, soFar int) string {
		return data(chatChunk+`{"index":0,"delta":{"content":%q},"finish_reason":null}],"usage":{"prompt_tokens":11,"completion_tokens":%d,"total_tokens":%d}}`,
			text, soFar, soFar+11)
	}
	return s
}

func completionsShape() shape {
	const chunk = `{"id":"c","object":"text_completion","created":1,"model":"MODEL","choices":[`
	s := chatShape("completion", "")
	s.path, s.request = "/v1/completions", `{"model":"MODEL","stream":true,"stream_options":{"include_usage":true},"prompt":"tell"}`
	s.open = ": hello\n\n"
	s.piece = func(text string, _ int) string {
		return data(chunk+`{"index":0,"text":%q,"logprobs":null,"finish_reason":null}]}`, text)
	}
	return s
}

func responsesShape() shape {
	return shape{
		name: "response", path: "/v1/responses", request: `{"model":"MODEL","stream":true,"input":"tell"}`, contentType: eventStream, source: "counted",
		open: event("response.created", `"sequence_number":0,"response":{"id":"r","object":"response","model":"MODEL","status":"in_progress","usage":null}`),
		piece: func(text string, soFar int) string {
			return event("response.output_text.delta", `"sequence_number":%d,"item_id":"o","output_index":0,"content_index":0,"delta":%q`, soFar, text)
		},
		end: func(total int) string {
			return event("response.output_text.done", `"item_id":"o","text":"the whole again"`) +
				event("response.completed", `"response":{"id":"r","object":"response","model":"MODEL","status":"completed","usage":{"input_tokens":11,`+
					`"input_tokens_details":{"cached_tokens":0},"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":0},"total_tokens":%d}}`, total, total+11)
		},
	}
}

// messagesShape puts the text into a delta of Anthropic's.
func messagesShape(name, path, block, delta string) shape {
	return shape{
		name: name, path: path, contentType: eventStream, source: "counted",
		request: `{"model":"MODEL","stream":true,"max_tokens":1000,"messages":[{"role":"user","content":"tell"}]}`,
		open: event("message_start", `"message":{"id":"m","type":"message","role":"assistant","model":"MODEL","content":[],`+
			`"usage":{"input_tokens":11,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":2}}`) +
			event("content_block_start", `"index":0,"content_block":`+block) + event("ping", `"index":0`),
		piece: func(text string, _ int) string {
			return event("content_block_delta", `"index":0,"delta":`+delta, text)
		},
		end: func(total int) string {
			return event("content_block_stop", `"index":0`) +
				event("message_delta", `"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":%d}`, total) + event("message_stop", `"index":0`)
		},
	}
}

const (
	geminiText  = `{"candidates":[{"content":{"role":"model","parts":[{"text":%q}]},"index":0}],"modelVersion":"MODEL"`
	geminiUsage = `,"usageMetadata":{"promptTokenCount":11,"candidatesTokenCount":%d,"totalTokenCount":%d}}`
	geminiEnd   = `{"candidates":[{"content":{"role":"model","parts":[{"text":""}]},"finishReason":"STOP","index":0}],"modelVersion":"MODEL"`
	geminiBody  = `{"contents":[{"role":"user","parts":[{"text":"tell"}]}]}`
)

func geminiShape() shape {
	return shape{
		name: "gemini", path: "/v1beta/models/MODEL:streamGenerateContent?alt=sse", request: geminiBody, contentType: eventStream, source: "counted",
		piece: func(text string, _ int) string { return data(geminiText+"}", text) },
		end:   func(total int) string { return data(geminiEnd+geminiUsage, total, total+11) },
	}
}

// runningGemini reports in every chunk, as Google does. Only the last report is believed.
func runningGemini() shape {
	s := geminiShape()
	s.name = "gemini that reports as it goes"
	s.piece = func(text string, soFar int) string { return data(geminiText+geminiUsage, text, soFar, soFar+11) }
	return s
}

// geminiArray is a stream in one document that grows.
func geminiArray() shape {
	return shape{
		name: "gemini array", path: "/v1beta/models/MODEL:streamGenerateContent", request: geminiBody,
		contentType: "application/json; charset=UTF-8", source: "counted",
		open:  "[{\"candidates\":[],\"modelVersion\":\"MODEL\"}",
		piece: func(text string, _ int) string { return fmt.Sprintf("\n,\r\n"+geminiText+"}", text) },
		end:   func(total int) string { return fmt.Sprintf(",\n"+geminiEnd+geminiUsage+"\n]\n", total, total+11) },
	}
}

// ollamaShape is a stream of Ollama's, a document a line.
func ollamaShape(name, path, contentType, request, output string) shape {
	return shape{
		name: name, path: path, contentType: contentType, source: "counted", request: `{"model":"MODEL",` + request + `}`,
		piece: func(text string, _ int) string {
			return fmt.Sprintf(`{"model":"MODEL","created_at":"2025-08-20T13:48:02.294374Z",`+output+`,"done":false}`+"\n", text)
		},
		end: func(total int) string {
			return fmt.Sprintf(`{"model":"MODEL","created_at":"2025-08-20T13:48:02.294374Z",`+output+`,"done":true,"done_reason":"stop",`+
				`"total_duration":142639084,"prompt_eval_count":11,"eval_count":%d}`+"\n", "", total)
		},
	}
}

func shapes() []shape {
	return []shape{
		chatShape("chat", `{"content":%q}`),
		chatShape("chat that reasons", `{"reasoning_content":%q}`),
		chatShape("chat that calls a tool", `{"tool_calls":[{"index":0,"function":{"arguments":%q}}]}`),
		runningChat(),
		completionsShape(),
		responsesShape(),
		messagesShape("message", "/v1/messages", `{"type":"text","text":""}`, `{"type":"text_delta","text":%q}`),
		messagesShape("message that thinks", "/v1/messages", `{"type":"thinking","thinking":""}`, `{"type":"thinking_delta","thinking":%q}`),
		messagesShape("message that calls a tool", "/v1/messages", `{"type":"tool_use","id":"t","name":"n","input":{}}`,
			`{"type":"input_json_delta","partial_json":%q}`),
		messagesShape("message at Vertex AI", "/v1/projects/p/locations/l/publishers/anthropic/models/MODEL:streamRawPredict",
			`{"type":"text","text":""}`, `{"type":"text_delta","text":%q}`),
		geminiShape(), runningGemini(), geminiArray(),
		ollamaShape("ollama", "/api/chat", "application/x-ndjson", `"messages":[{"role":"user","content":"tell"}]`, `"message":{"role":"assistant","content":%q}`),
		ollamaShape("ollama that thinks", "/api/chat", "application/x-ndjson", `"messages":[{"role":"user","content":"tell"}],"stream":true`,
			`"message":{"role":"assistant","content":"","thinking":%q}`),
		ollamaShape("ollama of another type", "/api/generate", "text/plain", `"prompt":"tell"`, `"response":%q`),
	}
}

// teller tells the story in the shape that a request names, by its place in the list.
type teller map[string]*shape

func (s teller) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	told := s[r.Header.Get(idHeader)]
	if told == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", told.contentType)
	first, rest, _, _ := told.render()
	control := http.NewResponseController(w)
	for _, event := range first {
		_, _ = w.Write([]byte(event))
		_ = control.Flush()
	}
	if r.Header.Get(formHeader) == half {
		<-r.Context().Done() // until the client has left
		return
	}
	for _, event := range rest {
		_, _ = w.Write([]byte(event))
		_ = control.Flush()
	}
}
