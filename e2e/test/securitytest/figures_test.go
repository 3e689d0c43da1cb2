package securitytest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// play is an answer that a server gives word by word, and what has to be on record of it.
type play struct {
	name        string
	path        string
	request     string
	contentType string
	pieces      []string // of the body, sent one after the other
	hangs       bool     // it does not go on before its client has left

	prompt, completion, total, source string
	cacheWrite, audio                 string
}

// playCase is the header that names the play; the access log has it.
const playCase = "traceparent"

// player gives the plays by their names.
type player map[string]*play

func (p player) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	one := p[r.Header.Get(playCase)]
	if one == nil {
		http.NotFound(w, r)
		return
	}
	w.Header()["Content-Type"] = nil // else Go looks at the bytes
	if one.contentType != "" {
		w.Header().Set("content-type", one.contentType)
	}
	for _, piece := range one.pieces {
		_, _ = io.WriteString(w, piece)
		_ = http.NewResponseController(w).Flush()
	}
	if one.hangs {
		<-r.Context().Done()
	}
}

// play sends a play's request, and reads its answer: to its end, or, of one that hangs, as far as it goes.
func (g *gateway) play(t *testing.T, p *play) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.URL+p.path, strings.NewReader(p.request))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("content-type", "application/json")
	request.Header.Set("x-user-id", p.name)
	request.Header.Set(playCase, p.name)
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableCompression: true, DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %s", p.name, response.StatusCode, response.Header.Get("x-spillway-reason"))
	}
	whole := strings.Join(p.pieces, "")
	if p.hangs {
		_, err = io.CopyN(io.Discard, response.Body, int64(len(whole)))
	} else {
		var got []byte
		if got, err = io.ReadAll(response.Body); err == nil && string(got) != whole {
			err = fmt.Errorf("got %q, want %q", got, whole)
		}
	}
	if err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
}

// record waits for what the access log says of a play.
func (g *gateway) record(t *testing.T, name string) (found harness.Record) {
	t.Helper()
	harness.Await(t, patience, "the record of "+name, func() bool {
		for _, r := range g.AccessLog(1) {
			if r.Text(playCase) == name {
				found = r
			}
		}
		return found != nil
	})
	return found
}

func (p *play) check(t *testing.T, r harness.Record) {
	t.Helper()
	for key, want := range map[string]string{
		"prompt_tokens": p.prompt, "completion_tokens": p.completion, "total_tokens": p.total, "usage_source": p.source,
		"cache_write_tokens": p.cacheWrite, "audio_tokens": p.audio,
	} {
		if got := r.Text(key); want != "" && got != want {
			t.Errorf("%s: %s is %q, want %q", p.name, key, got, want)
		}
	}
}

const unlimited = `{"limits":[{"name":"tokens","per":["user"],"unit":"totalTokens","quantity":1000000000,"window":"1h"}]}`

// asks is a chat's request for a stream that asks for its usage by itself, so that nothing is added or taken out.
const asks = `{"model":"llama","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hello"}]}`

func chunk(document string) string { return "data: " + document + "\n\n" }

// figures are reports of real providers, in the forms that they come in.
func figures() (all []*play) {
	const done = "data: [DONE]\n\n"
	text := chunk(`{"model":"llama","choices":[{"index":0,"delta":{"content":"hi"}}]}`)
	add := func(name, path, request, contentType string, want [3]string, pieces ...string) {
		all = append(all, &play{name: name, path: path, request: request, contentType: contentType, pieces: pieces,
			prompt: want[0], completion: want[1], total: want[2], source: "reported"})
	}
	xai := `{"prompt_tokens":12,"completion_tokens":2,"total_tokens":334,"completion_tokens_details":{"reasoning_tokens":320}}`
	mistral := `{"prompt_tokens":11,"completion_tokens":15,"total_tokens":401,"prompt_tokens_details":{"audio_tokens":375}}`
	google := `{"prompt_tokens":7,"completion_tokens":12,"total_tokens":402}`
	for name, report := range map[string]struct {
		usage string
		want  [3]string
	}{
		"xai": {xai, [3]string{"12", "322", "334"}}, "mistral": {mistral, [3]string{"386", "15", "401"}}, "google": {google, [3]string{"7", "395", "402"}},
		"total-alone": {`{"total_tokens":10}`, [3]string{"", "", "10"}}, "texts": {`{"prompt_tokens":"12","completion_tokens":"2"}`, [3]string{"12", "2", "14"}},
	} {
		document := `{"model":"llama","choices":[{"message":{"content":"hi"}}],"usage":` + report.usage + `}`
		add(name, chatPath, hello, "application/json", report.want, document)
		add(name+"-streams", chatPath, asks, "text/event-stream", report.want, text, chunk(`{"choices":[],"usage":`+report.usage+`}`), done)
		add(name+"-groq", chatPath, asks, "text/event-stream", report.want, text, chunk(`{"choices":[],"x_groq":{"usage":`+report.usage+`}}`))
		add(name+"-moonshot", chatPath, asks, "text/event-stream", report.want, text, chunk(`{"choices":[{"delta":{},"finish_reason":"stop","usage":`+report.usage+`}]}`))
	}
	iterations := `{"input_tokens":23000,"output_tokens":1000,"iterations":[{"type":"compaction","input_tokens":180000,"output_tokens":3500},` +
		`{"type":"advisor_message","input_tokens":9,"output_tokens":9},{"type":"message","input_tokens":23000,"output_tokens":1000}]}`
	compacted := [3]string{"203000", "4500", "207500"}
	anthropic := `{"model":"claude","max_tokens":2000,"messages":[]}`
	add("compaction", "/v1/messages", anthropic, "application/json", compacted, `{"type":"message","model":"claude","usage":`+iterations+`}`)
	add("compaction-streams", "/v1/messages", anthropic, "text/event-stream", compacted,
		chunk(`{"type":"message_start","message":{"model":"claude","usage":{"input_tokens":23000,"output_tokens":1}}}`),
		chunk(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":`+iterations+`}`))
	add("parts", "/v1/chat/completions", hello, "application/json", [3]string{"20", "10", "30"}, `{"usage":{"prompt_tokens":20,"completion_tokens":10,`+
		`"prompt_tokens_details":{"cache_write_tokens":4,"audio_tokens":2},"completion_tokens_details":{"audio_tokens":3}}}`)
	all[len(all)-1].cacheWrite, all[len(all)-1].audio = "4", "5"
	// The content type is wrong, or there is none.
	plain := [3]string{"24", "76", "100"}
	last := `{"model":"llama","choices":[],"usage":{"prompt_tokens":24,"completion_tokens":76,"total_tokens":100}}`
	for i, contentType := range []string{"application/json", "text/plain; charset=utf-8", ""} {
		add(fmt.Sprint("events-", i), chatPath, asks, contentType, plain, text, text, chunk(last), done)
		add(fmt.Sprint("events-not-asked-for-", i), chatPath, hello, contentType, plain, text, text, chunk(last), done)
		add(fmt.Sprint("events-behind-blanks-", i), chatPath, asks, contentType, plain, "\ufeff\n\n", ": wait\n\n", text, chunk(last), done)
	}
	add("document-for-events", chatPath, asks, "text/event-stream", plain, last)
	add("lines", chatPath, asks, "application/x-ndjson", plain, `{"choices":[{"delta":{"content":"hi"}}]}`+"\n", last+"\n")
	return all
}

// Every way that a server has of reporting is understood.
func TestReportsAreReadForWhatTheyMean(t *testing.T) {
	t.Parallel()
	plays := player{}
	for _, p := range figures() {
		plays[p.name] = p
	}
	g := start(t, harness.Options{Config: unlimited}, plays)
	for _, p := range plays {
		g.play(t, p)
		r := g.record(t, p.name)
		p.check(t, r)
		if p.prompt == "" && len(r.Text("prompt_tokens")) > 2 {
			t.Errorf("%s: %s tokens of a prompt, of %s in all", p.name, r.Text("prompt_tokens"), p.total)
		}
	}
}

// Where a limit of the output is used up, an embedding passes, which has none.
func TestAnEmbeddingNeedsNoOutput(t *testing.T) {
	t.Parallel()
	g := start(t, harness.Options{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("content-type", "application/json")
		_, _ = io.WriteString(w, `{"model":"llama","usage":{"prompt_tokens":5,"completion_tokens":`+r.Header.Get("x-output")+`,"total_tokens":5}}`)
	}))
	ask := func(path, output string) answer {
		return g.send(t, "POST", path, `{"model":"llama","max_tokens":1000,"input":"hello","messages":[]}`, "x-user-id: ann", "x-output: "+output)
	}
	for _, limits := range []string{
		`{"unit":"completionTokens","admission":"lenient"`, `{"unit":"completionTokens","admission":"strict"`, `{"unit":"cost"`,
	} {
		name := fmt.Sprintf("t%d", time.Now().UnixNano())
		g.configure(t, `{"usage":{"cost":[{"models":["llama"],"prompt":0,"cached":0,"completion":4,"reasoning":4}]},
			"limits":[`+limits+`,"name":"`+name+`","per":["user"],"quantity":5000,"window":"1h"}]}`)
		if a := ask(chatPath, "6000"); a.status != 200 {
			t.Fatalf("%s: the first chat: %d %s", limits, a.status, a.reason())
		}
		if a := ask(chatPath, "1"); a.status != 429 {
			t.Errorf("%s: the second chat: %d", limits, a.status)
		}
		for range 3 {
			if a := ask("/v1/embeddings", "0"); a.status != 200 {
				t.Errorf("%s: an embedding: %d %s", limits, a.status, a.reason())
			}
		}
		if a := ask("/v1/images/generations", "1"); a.status != 429 {
			t.Errorf("%s: an image: %d", limits, a.status)
		}
	}
}
