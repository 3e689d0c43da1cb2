package usage

import "testing"

// What is read of a request and its answer takes no memory, once some like it were read.
func TestReadingAllocatesNothing(t *testing.T) {
	for _, test := range []struct {
		dialect               *Dialect
		path, request, answer string
		event                 string // of a stream; the answer's report follows it
	}{
		{chat, "/v1/chat/completions",
			`{"model":"llama-3","max_tokens":100,"n":2,"stream":true,"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}]}`,
			`{"model":"Llama-3-8B","choices":[{"message":{"content":"hi\u0020you"},"finish_reason":"stop"}],"usage":{"prompt_tokens":26,"completion_tokens":76,"total_tokens":102}}`,
			`data: {"model":"Llama-3-8B","choices":[{"delta":{"role":"assistant","content":"hi"},"finish_reason":null}]}` + "\n\n"},
		{messages, "/v1/messages",
			`{"model":"claude","max_tokens":100,"stream":true,"tools":[{"type":"custom"}],"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}`,
			`{"type":"message","model":"claude-1","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":26,"output_tokens":76}}`,
			"event: content_block_delta\ndata:" + `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}` + "\r\n\r\n"},
		{responses, "/v1/responses",
			`{"model":"gpt","max_output_tokens":100,"stream":true,"tools":[{"type":"function"}],"input":[{"type":"message","content":[{"type":"input_text","text":"hi"}]}]}`,
			`{"object":"response","model":"gpt-1","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":26,"output_tokens":76,"total_tokens":102}}`,
			"event: response.output_text.delta\n" + `data: {"type":"response.output_text.delta","delta":"hi"}` + "\n\n"},
		{gemini, "/v1beta/models/gemini-pro:generateContent",
			`{"contents":[{"parts":[{"text":"hi"},{"inlineData":{"mimeType":"image/png","data":"AAAA"}}]}],"generationConfig":{"maxOutputTokens":100}}`,
			`{"modelVersion":"gemini-1","candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":26,"candidatesTokenCount":76,"totalTokenCount":102}}`,
			`data: {"modelVersion":"gemini-1","candidates":[{"content":{"parts":[{"text":"hi"}]}}]}` + "\n\n"},
	} {
		t.Run(test.dialect.Name, func(t *testing.T) {
			var request RequestReader
			var answer ResponseReader
			body, whole, event, last := []byte(test.request), []byte(test.answer), []byte(test.event), []byte("data: "+test.answer+"\n\n")
			read := func() {
				form := NewForm("identity", "application/json; charset=UTF-8")
				request.Reset(test.dialect, FromPath(test.dialect, test.path), form, 1<<20)
				request.Write(body[:40])
				if cut := request.Cut(); cut.Bytes != 40 {
					t.Fatalf("%+v", cut)
				}
				request.Write(body[40:])
				if asked := request.Close(); !asked.Read || asked.Model == "" || asked.OutputBound < 100 {
					t.Fatalf("%+v", asked)
				}
				answer.Reset(test.dialect, false)
				answer.Write(whole)
				answer.Close()
				if r := answer.Response(); r.Tokens.Prompt != 26 || r.Tokens.Completion != 76 || r.Model == "" {
					t.Fatalf("%+v", r)
				}
				answer.Reset(test.dialect, true)
				for range 10 { // the last of these are skipped
					answer.Write(event)
				}
				answer.Hide(last, false)
				answer.Hide(nil, true)
				if r := answer.Response(); r.Tokens.Prompt != 26 && test.dialect == chat || r.Outputs < 3 {
					t.Fatalf("%+v", r)
				}
			}
			read()
			if n := testing.AllocsPerRun(100, read); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// Names are kept as they were read, be the memory that they were read in used again.
func TestNames(t *testing.T) {
	var n names
	text := []byte("llama")
	first := n.of(text)
	copy(text, "qwen-")
	if second := n.of(text); first != "llama" || second != "qwen-" {
		t.Errorf("%q, %q", first, second)
	}
	if got := n.valid([]byte("a\xff")); got != "a\ufffd" {
		t.Errorf("%q", got)
	}
	for i := range byte(3 * len(n.kept)) {
		if got := n.of([]byte{'a' + i}); got != string(rune('a'+i)) || n.of(nil) != "" {
			t.Errorf("%d: %q", i, got)
		}
	}
	if n := testing.AllocsPerRun(10, func() { n.of([]byte{'a'}); n.of([]byte{'b'}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
