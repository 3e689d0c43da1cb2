package securitytest

import (
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// left are streams of fifty pieces whose clients leave, as soon as they have them.
func left() (all []*play) {
	const pieces = 50
	add := func(name, path, request, first, piece string) {
		p := &play{name: name, path: path, request: request, contentType: "text/event-stream", hangs: true, source: "counted"}
		p.pieces = append(p.pieces, first)
		for range pieces {
			p.pieces = append(p.pieces, piece)
		}
		all = append(all, p)
	}
	role := chunk(`{"model":"llama","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`)
	for name, delta := range map[string]string{
		"text":            `{"content":"hi"}`,
		"parts":           `{"content":[{"type":"text","text":"hi"}]}`,
		"thinking-parts":  `{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}`,
		"function-call":   `{"function_call":{"arguments":"{}"}}`,
		"custom-tool":     `{"tool_calls":[{"index":0,"custom":{"input":"x"}}]}`,
		"transcript":      `{"audio":{"transcript":"hi"}}`,
		"sound":           `{"audio":{"data":"QUJDREVG"}}`,
		"pictures":        `{"images":[{"image_url":{"url":"data:image/png;base64,QUJD"}}]}`,
		"unknown":         `{"hologram":"hi"}`,
		"unknown-object":  `{"hologram":{"frames":[1,2]}}`,
		"unknown-in-role": `{"role":"assistant","hologram":"hi"}`,
	} {
		add(name, chatPath, asks, role, chunk(`{"model":"llama","choices":[{"index":0,"delta":`+delta+`,"finish_reason":null}]}`))
	}
	add("message", chatPath, asks, "", chunk(`{"model":"llama","choices":[{"index":0,"message":{"content":"hi"}}]}`))
	add("another-shape", chatPath, asks, "", chunk(`{"token":{"text":"hi"}}`))
	add("no-json", chatPath, asks, "", "data: some words of an answer\n\n")
	anthropic := `{"model":"claude","stream":true,"max_tokens":2000,"messages":[]}`
	began := chunk(`{"type":"message_start","message":{"model":"claude","usage":{"input_tokens":9,"output_tokens":1}}}`)
	add("anthropic-unknown", "/v1/messages", anthropic, began, chunk(`{"type":"content_block_delta","index":0,"delta":{"type":"new_delta","new":"hi"}}`))
	add("anthropic-compaction", "/v1/messages", anthropic, began, chunk(`{"type":"content_block_delta","index":0,"delta":{"type":"compaction_delta","content":"hi"}}`))
	responses := `{"model":"llama","stream":true,"input":"hello"}`
	add("responses-unknown", "/v1/responses", responses, chunk(`{"type":"response.created","response":{"model":"llama"}}`),
		chunk(`{"type":"response.hologram.delta","delta":{"frame":1}}`))
	google := `{"contents":[{"parts":[{"text":"hello"}]}]}`
	stream := "/v1beta/models/gemini:streamGenerateContent?alt=sse"
	add("gemini-unknown", stream, google, "", chunk(`{"candidates":[{"content":{"parts":[{"hologram":"hi"}]}}],"usageMetadata":{"promptTokenCount":9}}`))
	add("gemini-call", stream, google, "", chunk(`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}}]}}]}`))
	add("gemini-picture", stream, google, "", chunk(`{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"QUJD"}}]}}]}`))
	add("lines", chatPath, asks, "", `{"choices":[{"delta":{"content":"hi"}}]}`+"\n")
	for _, p := range all[:3] {
		typed := *p
		typed.name, typed.contentType = p.name+"-as-json", "application/json"
		all = append(all, &typed)
	}
	return all
}

// signsOfLife bring no output: what only opens a stream, or keeps it alive. At its end is what is awaited before the client leaves.
func signsOfLife() *play {
	alive := strings.Repeat(": wait\n\nevent: ping\ndata: {}\n\n"+chunk(`{"type":"ping"}`), 50)
	role := chunk(`{"model":"llama","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}`)
	last := chunk(`{"model":"llama","choices":[{"index":0,"delta":{"content":"hi"}}]}`)
	return &play{name: "alive", path: chatPath, request: asks, contentType: "text/event-stream", pieces: []string{alive, role, last}, hangs: true,
		completion: "1", source: "counted"}
}

// Whoever leaves a stream is charged for what has passed of it, in whatever form: to hang up is no way around a limit.
func TestAStreamThatIsLeftIsChargedWhateverItsForm(t *testing.T) {
	t.Parallel()
	plays := player{}
	for _, p := range left() {
		plays[p.name] = p
	}
	alive := signsOfLife()
	plays[alive.name] = alive
	g := start(t, harness.Options{Config: unlimited}, plays)
	g.play(t, alive)
	alive.check(t, g.record(t, alive.name))
	delete(plays, alive.name)
	for _, p := range plays {
		g.play(t, p)
		r := g.record(t, p.name)
		p.check(t, r)
		got, err := strconv.Atoi(r.Text("completion_tokens"))
		if least := len(p.pieces) - 2; err != nil || got < least || got > 2*least {
			t.Errorf("%s: %q tokens for %d pieces: %v", p.name, r.Text("completion_tokens"), len(p.pieces), r)
		}
	}
}
