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
				wantAlike(t, fmt.Sprintf("%s: after %q", dialect.Name, event), &whole, &single)
			}
			whole.Close()
			single.Close()
			wantAlike(t, dialect.Name, &whole, &single)
		}
	}
	if known < 1000 {
		t.Errorf("of %d events only it was known how they begin: nothing was tried", known)
	}
}

// wantAlike wants two readers to have read the same.
func wantAlike(t *testing.T, of string, reader, other *ResponseReader) {
	t.Helper()
	if got, want := reader.Response(), other.Response(); got != want {
		t.Fatalf("%s: %+v, want %+v", of, got, want)
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

// An event that is like those before it but for its text is counted without being read; all others are read as ever.
func TestWhatDiffersInItsTextAloneIsSkipped(t *testing.T) {
	const head = `{"id":"chatcmpl-8f14e45fceea167a5a36dedd4bea2543","model":"llama-3","choices":[{"index":0,"delta":{`
	var r ResponseReader
	r.Reset(chat, true)
	write := func(rest string) { r.Write([]byte("data: " + head + rest + "\n\n")) }
	write(`"role":"assistant","content":""},"finish_reason":null}]}`)
	for range 4 {
		write(`"content":"Hi"},"finish_reason":null}]}`)
	}
	one := []byte("data: " + head + `"content":"Hello, you"},"finish_reason":null}]}` + "\n\n")
	if rest := r.skip(append(one, one...)); len(rest) > 0 || r.Outputs() != 6 || r.Response().Text != 4*2+2*10 {
		t.Errorf("%q is left to read, %+v", rest, r.Response())
	}
	for name, event := range map[string]string{
		"an escape":        head + `"content":"a\n"},"finish_reason":null}]}`,
		"no text":          head + `"content":""},"finish_reason":null}]}`,
		"another end":      head + `"content":"a"},"finish_reason":"stop"}]}`,
		"another text":     head + `"reasoning":"a"},"finish_reason":null}]}`,
		"more behind":      head + `"content":"a","refusal":"b"},"finish_reason":null}]}`,
		"no string at all": head + `"content":1},"finish_reason":null}]}`,
	} {
		if rest := r.skip([]byte("data: " + event + "\n\n")); len(rest) != len(event)+8 {
			t.Errorf("%s: %q is left to read", name, rest)
		}
	}
	if r.Write(one[:20]); len(r.skip(one)) != len(one) {
		t.Error("an event is taken for one inside of another")
	}
	r.Write(one[20:])
	if len(r.skip(one)) != 0 {
		t.Error("after one in two pieces nothing is known")
	}
	write(`"role":"tool","content":"a"},"finish_reason":null}]}`)
	if len(r.skip(one)) != len(one) {
		t.Error("what is known is taken to hold after an event that has changed what others mean")
	}
}

// An output that stands elsewhere than behind the known beginning, and happens to be as long as what stands there, isn't taken for that.
func TestAnotherValueIsNotTakenForTheText(t *testing.T) {
	var known, single ResponseReader
	known.Reset(chat, true)
	single.Reset(chat, true)
	for i := range 20 {
		id := "abcd"[:2+i%3]
		event := []byte(`data: {"object":"chat.completion.chunk","model":"llama-3","id":"` + id + `","choices":[{"index":0,"delta":{"content":"abcd"}}]}` + "\n\n")
		known.Write(event)
		pieces(event, cuts["by bytes"], single.Write)
		if known.Response() != single.Response() {
			t.Fatalf("after %d: %+v, want %+v", i, known.Response(), single.Response())
		}
	}
}

// Streams whose events differ in their texts alone are read as they are byte by byte, whatever comes between, in whichever pieces, and with
// the usage hidden as well.
func TestSkippingChangesNothing(t *testing.T) {
	const seed = 11
	random := rand.New(rand.NewPCG(seed, seed))
	templates := map[*Dialect][]string{
		chat: {
			`data: {"id":"chatcmpl-8f14e45fceea167a","model":"llama","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}],"usage":null}` + "\n\n",
			`data: {"id":"chatcmpl-8f14e45fceea167a","model":"llama","choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null}],"usage":null}` + "\r\n\r\n",
			`data: {"id":"chatcmpl-8f14e45fceea167a","model":"llama","choices":[{"index":0,"delta":{"role":"%s","content":"a"}}]}` + "\n\n",
			`data: {"id":"chatcmpl-8f14e45fceea167a","model":"%s","choices":[{"index":0,"message":{"content":"a"}}]}` + "\n\n",
			`data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8},"model":"%s"}` + "\n\n",
			": %s\n\n", "data: {\"error\":{\"code\":\"%s\"}}\n\n", "data: {\"choices\":[{\"delta\":\ndata: {\"content\":\"%s\"}}]}\n\n",
		},
		messages: {
			"event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}` + "\n\n",
			"event: message_delta\n" + `data: {"type":"message_delta","delta":{"stop_reason":"%s"},"usage":{"input_tokens":5,"output_tokens":15}}` + "\n\n",
			"event: ping\n" + `data: {"type": "ping","x":"%s"}` + "\n\n",
			`data: {"type":"content_block_delta","delta":{"text":"%s"},"usage":{"iterations":[{"type":"compaction"}]}}` + "\n\n",
		},
		responses: {
			`data: {"type":"response.output_text.delta","item_id":"msg_67bc48","delta":"%s"}` + "\n\n",
			`data: {"type":"response.created","response":{"model":"%s"}}` + "\n\n",
		},
	}
	texts := []string{"a", "Hello, ", " {you: [", `\"\u00e9`, "", strings.Repeat("long ", 100), "a"}
	skipped := 0
	for dialect, list := range templates {
		var whole, hiding ResponseReader
		for range 400 {
			var single ResponseReader
			whole.Reset(dialect, true)
			hiding.Reset(dialect, true)
			single.Reset(dialect, true)
			for range 20 {
				kind, text := 0, texts[random.IntN(2)]
				if random.IntN(3) == 0 {
					kind, text = random.IntN(len(list)), texts[random.IntN(len(texts))]
				}
				event := fmt.Appendf(nil, list[kind], text)
				if random.IntN(16) == 0 { // an event that is damaged, or cut off
					event[random.IntN(len(event))] = "{}[]\":,\\x0\n\r"[random.IntN(12)]
				}
				if len(whole.skip(event[:0])) == 0 && len(whole.familiar.tail) > 0 && bytes.HasPrefix(event, whole.familiar.head) {
					skipped++
				}
				cut := len(event)
				if random.IntN(8) == 0 {
					cut = random.IntN(len(event))
				}
				whole.Write(event[:cut])
				whole.Write(event[cut:])
				hiding.Hide(event[:cut], false)
				hiding.Hide(event[cut:], false)
				pieces(event, cuts["by bytes"], single.Write)
				wantAlike(t, fmt.Sprintf("%s: after %q", dialect.Name, event), &whole, &single)
				wantAlike(t, fmt.Sprintf("%s: after %q, hiding", dialect.Name, event), &hiding, &single)
			}
			whole.Close()
			single.Close()
			wantAlike(t, dialect.Name, &whole, &single)
		}
	}
	if skipped < 1000 {
		t.Errorf("%d events only could be skipped: nothing was tried", skipped)
	}
}

// What looks like an event's data isn't taken for it, wherever it stands: neither in a comment or another field behind the data, nor in a text.
// Nor is what counts by another measure than text, sound, though a byte of it is as much as a byte of text.
func TestALookalikeIsNotTakenForTheData(t *testing.T) {
	const like = `{"choices":[{"delta":{"content":"%s"}}]}`
	for name, event := range map[string]string{
		"a comment behind it": "data: " + strings.Replace(like, "%s", "ab", 1) + "\n: data: " + like + "\n\n",
		"an id behind it":     "data: " + strings.Replace(like, "%s", "ab", 1) + "\nid: data: " + like + "\n\n",
		"a name behind it":    "data: " + strings.Replace(like, "%s", "ab", 1) + "\nevent: data: " + like + "\n\n",
		"a comment before it": ": data: " + strings.Replace(like, "%s", "ab", 1) + "\ndata: " + like + "\n\n",
		"more than one line":  "data: " + strings.Replace(like, "%s", "ab", 1) + "\ndata: " + like + "\n\n",
		"a text":              `data: {"choices":[{"delta":{"content":"ab","data":"data: {\\"content\\":\\"%s\\"}"}}]}` + "\n\n",
		"sound":               `data: {"choices":[{"delta":{"audio":{"data":"%s"}}}]}` + "\n\n",
		"sound and text":      `data: {"choices":[{"delta":{"content":"","audio":{"data":"%s"}}}]}` + "\n\n",
	} {
		var whole, single ResponseReader
		whole.Reset(chat, true)
		single.Reset(chat, true)
		for i := range 40 {
			text := "ab"
			if name[0] == 's' {
				text = "a"
			}
			if i > 10 {
				text = strings.Repeat("a", i)
			}
			one := []byte(strings.Replace(event, "%s", text, 1))
			whole.Write(one)
			pieces(one, cuts["by bytes"], single.Write)
			if whole.Response() != single.Response() {
				t.Errorf("%s: after %d: %+v, want %+v", name, i, whole.Response(), single.Response())
				break
			}
		}
	}
}
