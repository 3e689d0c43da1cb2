package securitytest

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// hiding are ways to hide a model from the filter that a server sees all the same, or has a default for. In all of them it is, or may
// be, one of mock*.
var hiding = []struct {
	name, method, body string
	headers            []string
}{
	{"no body", "POST", "", nil},
	{"no body, by PUT", "PUT", "", nil},
	{"a body by PUT", "PUT", `{"model":"mock"}`, nil},
	{"no model", "POST", `{"messages":[]}`, nil},
	{"null", "POST", `{"model":null}`, nil},
	{"NaN", "POST", `{"x":NaN,"model":"mock","y":-Infinity}`, nil},
	{"white space", "POST", strings.Repeat(" \n", 100_000) + `{"model":"mock"}`, nil},
	{"a mark", "POST", "\ufeff" + `{"model":"mock"}`, nil},
	{"UTF-16", "POST", inUTF16(`{"model":"mock"}`), nil},
	{"an escaped name", "POST", `{"mod\u0065l":"mock"}`, nil},
	{"a name in another case", "POST", `{"MODEL":"mock"}`, nil},
	{"two models", "POST", `{"model":"free","model":"mock"}`, nil},
	{"two models, the other way round", "POST", `{"model":"mock","model":"free"}`, nil},
	{"a fallback, as OpenRouter has it", "POST", `{"model":"free","models":["mock"]}`, nil},
	{"a fallback, as LiteLLM and Anthropic have it", "POST", `{"fallbacks":[{"model":"mock"}],"model":"free"}`, nil},
	{"several at once, as LiteLLM has it", "POST", `{"model":"free,mock"}`, nil},
	{"something behind it", "POST", `{"model":"mock"} {"model":"free"}`, nil},
	{"capitals, which are no difference to Azure and Ollama", "POST", `{"model":"Mock"}`, nil},
	{"blanks around it", "POST", `{"model":" mock\n"}`, nil},
	{"Google's collection before it", "POST", `{"model":"models/mock"}`, nil},
	{"a comment", "POST", `{"model":"free",/**/"model":"mock"}`, nil},
	{"a large body", "POST", `{"model":"mock","image":"data:image/png;base64,` + strings.Repeat("A", 1200<<10) + `"}`, nil},
	{"a large body, the model last", "POST", `{"image":"data:image/png;base64,` + strings.Repeat("A", 1200<<10) + `","model":"mock"}`, nil},
	{"gzip", "POST", gzipped(`{"model":"mock"}`), []string{"content-encoding: gzip"}},
	{"gzip twice", "POST", gzipped(gzipped(`{"model":"mock"}`)), []string{"content-encoding: gzip, gzip"}},
	{"gzip that is none", "POST", `{"model":"mock"}`, []string{"content-encoding: gzip"}},
	{"what is not brotli", "POST", `{"model":"mock"}`, []string{"content-encoding: br"}},
	{"what may be zstd", "POST", "\x28\xb5\x2f\xfd\x00", []string{"content-encoding: zstd"}},
}

func inUTF16(text string) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = append(b, byte(unit), byte(unit>>8))
	}
	return string(b)
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

// worker is a server that takes its time, once a request is complete, and knows how many it had at once.
type worker struct {
	takes    time.Duration
	running  atomic.Int32
	most     atomic.Int32
	begun    atomic.Int32 // requests of which something of the body has come
	complete atomic.Int32
}

func (w *worker) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	if n, _ := r.Body.Read(make([]byte, 1)); n > 0 {
		w.begun.Add(1)
	}
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return // it was broken off
	}
	w.complete.Add(1)
	running := w.running.Add(1)
	defer w.running.Add(-1)
	for most := w.most.Load(); running > most && !w.most.CompareAndSwap(most, running); most = w.most.Load() {
	}
	time.Sleep(w.takes)
	completes(1).ServeHTTP(rw, r)
}

var everyHold = []harness.Hold{harness.HoldStopIteration, harness.HoldBufferFilter, harness.HoldNone}

// Whoever hides the model is held to the limits of every model.
func TestHidingTheModelPassesNoLimit(t *testing.T) {
	g := start(t, harness.Options{Concurrency: 2}, &worker{})
	for _, hold := range everyHold {
		configure(t, g.Envoy, hold, `{"limits":[
			{"name":"`+string(hold)+`","per":["user"],"match":{"models":["mock*"]},"unit":"requests","quantity":2,"window":"8760h"}]}`)
		for i, test := range hiding {
			got := statuses(3, func(int) answer {
				return g.send(t, test.method, chatPath, test.body, append([]string{fmt.Sprintf("x-user-id: u%d", i)}, test.headers...)...)
			})
			if got != "200 200 429" {
				t.Errorf("%s, %s: %s", test.name, hold, got)
			}
		}
		if got := statuses(3, func(int) answer { return g.send(t, "POST", chatPath, hello, "x-user-id: u") }); got != "200 200 200" {
			t.Errorf("another model, %s: %s", hold, got)
		}
	}
	unread := g.Stats("wasmcustom.spillway_uncharged_total;reason=model_unread")
	if len(unread) == 0 {
		t.Error("it isn't counted")
	}
	// For each reason once, in each worker, and each configuration.
	if lines := strings.Count(g.Logs(), "a request's model can't be told"); lines == 0 || lines > 6*2*len(everyHold) {
		t.Errorf("%d lines in the log", lines)
	}
}

// Six at once on one slot: what was possible without a model.
func TestHidingTheModelTakesNoSlot(t *testing.T) {
	server := &worker{takes: 30 * time.Millisecond}
	g := start(t, harness.Options{Concurrency: 2}, server)
	for _, hold := range everyHold {
		configure(t, g.Envoy, hold, `{"upstreams":[{"name":"mock","models":["mock*"],"concurrency":{"max":1}}]}`)
		for _, test := range hiding {
			server.most.Store(0)
			var wait sync.WaitGroup
			for range 6 {
				wait.Go(func() {
					if got := g.send(t, test.method, chatPath, test.body, test.headers...); got.status != 200 {
						t.Errorf("%s, %s: %d %s", test.name, hold, got.status, got.body)
					}
				})
			}
			wait.Wait()
			if most := server.most.Load(); most != 1 {
				t.Errorf("%s, %s: %d ran at once on one slot", test.name, hold, most)
			}
		}
	}
}

// A second name behind the part that is read: the server must not get the whole of it.
func TestASecondModelBehindALargeBodyIsRefused(t *testing.T) {
	server := &worker{}
	g := start(t, harness.Options{Concurrency: 2}, server)
	filler := `"image":"` + strings.Repeat("A", 3<<20) + `"`
	for _, hold := range []harness.Hold{harness.HoldStopIteration, harness.HoldNone} {
		configure(t, g.Envoy, hold, `{"limits":[{"name":"m","match":{"models":["mock*"]},"unit":"requests","quantity":1,"window":"8760h"}],
			"upstreams":[{"name":"free","models":["free"],"concurrency":{"max":1},"queue":{"max":0}}]}`)
		for name, end := range map[string]string{
			"another": `,"model":"mock"}`, "another case": `,"Model":"mock"}`, "null": `,"model":null}`, "no JSON": `,/**/"model":"mock"}`,
		} {
			complete := server.complete.Load()
			got := g.sendSlowly(t, server, `{"model":"free",`+filler, end)
			if got.status != 400 || got.reason() != "model/changed" {
				t.Errorf("%s, %s: %d %s %s", name, hold, got.status, got.reason(), got.body)
			}
			if server.complete.Load() != complete {
				t.Errorf("%s, %s: the server got all of it", name, hold)
			}
		}
		if got := g.sendSlowly(t, server, `{"model":"free",`+filler, `,"n":1}`); got.status != 200 {
			t.Errorf("an honest one, %s: %d %s", hold, got.status, got.body)
		}
	}
}

// A body that is announced to be larger than what Envoy can hold is not held for what it won't tell.
func TestALargeBodyIsNotHeldBeyondWhatEnvoyCanHold(t *testing.T) {
	g := start(t, harness.Options{Concurrency: 2}, &worker{})
	for _, hold := range []harness.Hold{harness.HoldStopIteration, harness.HoldNone} {
		configure(t, g.Envoy, hold, `{"limits":[{"name":"m","match":{"models":["mock*"]},"unit":"requests","quantity":1,"window":"8760h"}],
			"upstreams":[{"name":"free","models":["free"],"concurrency":{"max":1},"queue":{"max":0}}]}`)
		err := g.ReplaceListeners(func(listeners []map[string]any) {
			for _, listener := range listeners {
				listener["per_connection_buffer_limit_bytes"] = 40_000
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		body := `{"model":"free","image":"` + strings.Repeat("A", 3<<20) + `"}`
		if got := g.send(t, "POST", chatPath, body); got.status != 200 {
			t.Errorf("%s: %d %s", hold, got.status, got.body)
		}
	}
}

// sendSlowly sends a body's end when the server has got something of its beginning.
func (g *gateway) sendSlowly(t *testing.T, server *worker, begin, end string) answer {
	t.Helper()
	begun := server.begun.Load()
	reader, writer := io.Pipe()
	go func() {
		_, _ = io.WriteString(writer, begin)
		deadline := time.Now().Add(patience)
		for server.begun.Load() == begun && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		_, _ = io.WriteString(writer, end)
		_ = writer.Close()
	}()
	request, err := http.NewRequest("POST", g.URL+chatPath, reader)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = int64(len(begin) + len(end))
	response, err := g.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(body)}
}

func TestARequestWithoutAModelIsRejectedWhereThatIsWanted(t *testing.T) {
	server := &worker{}
	g := start(t, harness.Options{Concurrency: 2}, server)
	reasons := map[string]string{
		"no body": "no_body", "no model": "missing", "null": "missing", "a name in another case": "ambiguous", "two models": "ambiguous",
		"a fallback, as OpenRouter has it": "ambiguous", "a fallback, as LiteLLM and Anthropic have it": "ambiguous",
		"several at once, as LiteLLM has it": "ambiguous",
		"a comment":                          "malformed", "what is not brotli": "encoded", "what may be zstd": "encoded",
	}
	for _, hold := range []harness.Hold{harness.HoldStopIteration, harness.HoldBufferFilter} {
		configure(t, g.Envoy, hold, `{"models":{"unread":"reject"}}`)
		for _, test := range hiding {
			want := 200
			if reasons[test.name] != "" {
				want = 400
			}
			if test.name == "a large body, the model last" || // it depends on how much of it comes at once
				test.name == "no body, by PUT" || test.name == "gzip that is none" || test.name == "two models, the other way round" {
				continue
			}
			got := g.send(t, test.method, chatPath, test.body, test.headers...)
			if got.status != want || want == 400 && got.reason() != "model/"+reasons[test.name] {
				t.Errorf("%s, %s: %d %s %s", test.name, hold, got.status, got.reason(), got.body)
			}
		}
	}
	configure(t, g.Envoy, harness.HoldStopIteration, `{"models":{"unread":"mock"},"limits":[
		{"name":"named","match":{"models":["mock"]},"unit":"requests","quantity":1,"window":"8760h"},
		{"name":"others","match":{"models":["other"]},"unit":"requests","quantity":1,"window":"8760h"}]}`)
	got := statuses(2, func(int) answer { return g.send(t, "POST", chatPath, `{}`) })
	if got != "200 429" {
		t.Errorf("taken for another: %s", got)
	}
	if got := g.send(t, "POST", chatPath, `{"model":"other"}`); got.status != 200 {
		t.Errorf("what it isn't taken for: %d", got.status)
	}
}
