package usage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestWhatEventsHaveInCommonIsReadOnce(t *testing.T) {
	const head = `{"id":"chatcmpl-8f14e45fceea167a5a36dedd4bea2543","model":"llama-3","choices":[{"index":0,"delta":{`
	var r ResponseReader
	r.Reset(chat, true)
	write := func(rest string) { r.Write([]byte("data: " + head + rest + "\n\n")) }
	write(`"role":"assistant","content":""},"finish_reason":null}]}`)
	write(`"content":"Hi, "},"finish_reason":null}]}`)
	write(`"content":"Hi, you"},"finish_reason":null}]}`)
	if got, want := string(r.familiar.text), head+`"content":`; got != want {
		t.Fatalf("known is %q, want %q", got, want)
	}
	if got := r.recognize([]byte(head + `"content":"x"`)); string(got) != `"x"` {
		t.Errorf("there is %q left to read", got)
	}
}

// What is known of how events begin changes nothing of what is read of them, whatever comes: a reader that gets them byte by byte knows nothing.
func TestWhatIsKnownOfEventsChangesNothing(t *testing.T) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, seed))
	templates := map[*Dialect][]string{
		chat: {
			`{"id":"chatcmpl-8f14e45fceea167a","model":"%s","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}],"usage":null}`,
			`{"id":"chatcmpl-8f14e45fceea167a","model":"%s","choices":[{"index":0,"delta":{"role":"assistant","content":"%s"}}]}`,
			`{"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8},"model":"%s","choices":[],"more":"%s"}`,
			`{"id":"chatcmpl-8f14e45fceea167a","model":"%s","choices":[{"index":0,"delta":{"reasoning":"%s"}}],"usage":{"prompt_tokens":1,"completion_tokens":3}}`,
		},
		messages: {
			`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s%s"}}`,
			`{"type":"message_delta","delta":{"stop_reason":"%s%s"},"usage":{"input_tokens":5,"output_tokens":15}}`,
			`{"type":"message_start","message":{"model":"%s%s","usage":{"input_tokens":5,"output_tokens":1}}}`,
		},
		responses: {`{"type":"response.output_text.delta","item_id":"msg_67bc48","delta":"%s%s"}`},
		gemini:    {`{"modelVersion":"%s","candidates":[{"content":{"parts":[{"text":"%s"}]}}],"usageMetadata":{"promptTokenCount":2,"candidatesTokenCount":9}}`},
	}
	texts := []string{"a", "Hello, ", "Hello, {you: [", `\"\u00e9`, "", strings.Repeat("long ", 100)}
	known := 0
	for dialect, list := range templates {
		var whole ResponseReader // all streams', as a worker's are read in memory that is used again
		for range 300 {
			var single ResponseReader
			whole.Reset(dialect, true)
			single.Reset(dialect, true)
			for range 12 {
				data := fmt.Appendf(nil, list[random.IntN(min(len(list), 1+random.IntN(4)))], texts[random.IntN(2)], texts[random.IntN(len(texts))])
				if random.IntN(8) == 0 { // an event that is damaged, or cut off
					data[random.IntN(len(data))] = `{}[]":,\x0`[random.IntN(10)]
				}
				event := bytes.Join([][]byte{[]byte("data: "), data, []byte("\n\n")}, nil)
				if whole.familiar.looks >= firstLooks && whole.familiar.begins(data) {
					known++
				}
				whole.Write(event)
				pieces(event, cuts["by bytes"], single.Write)
				if got, want := whole.Response(), single.Response(); got != want {
					t.Fatalf("%s: after %q: %+v, want %+v", dialect.Name, event, got, want)
				}
			}
			whole.Close()
			single.Close()
			if got, want := whole.Response(), single.Response(); got != want {
				t.Fatalf("%s: %+v, want %+v", dialect.Name, got, want)
			}
		}
	}
	if known < 1000 {
		t.Errorf("of %d events only it was known how they begin: nothing was tried", known)
	}
}

// An upstream that begins each event otherwise has no more of it than some copies.
func TestWhatIsLookedAtInVainIsBounded(t *testing.T) {
	var r ResponseReader
	r.Reset(chat, true)
	for i := range 1000 {
		r.Write([]byte("data: [" + strings.Repeat("[", 100+i) + strings.Repeat("1,", 500) + "\n\n"))
		r.Write(fmt.Appendf(nil, "data: {%q:0,%s\"x\":%d}\n\n", fmt.Sprint(i), strings.Repeat(`"error":{"code":"x"},`, 1000), i))
	}
	if f := &r.familiar; f.looks > mostLooks || cap(f.text)+cap(f.last)+cap(f.kept) > 8*mostFamiliar || cap(f.told) > mostFamiliar {
		t.Errorf("%d looks, memory for %d, %d and %d bytes, %d values", f.looks, cap(f.text), cap(f.last), cap(f.kept), cap(f.told))
	}
}
