package dialecttest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/internal/captures"
)

// vllmCaptures are a real vLLM's answers as they came over the wire, and the requests for most of them.
const vllmCaptures = "vllm-lab/captures" // in shared/

// vllmConfig gives a token back in half an hour: during a test nothing.
const vllmConfig = `{"limits": [
	{"name": "outputs", "per": ["user"], "unit": "completionTokens", "quantity": 20000, "window": "8760h",
		"match": {"headers": {"x-limit": "completionTokens"}}},
	{"name": "totals", "per": ["user"], "unit": "totalTokens", "quantity": 20000, "window": "8760h",
		"match": {"headers": {"x-limit": "totalTokens"}}}
]}`

// What asks for an answer whose request was not kept.
const (
	madeUnary  = `{"model":"tiny","messages":[{"role":"user","content":"hello"}]}`
	madeStream = `{"model":"tiny","stream":true,"messages":[{"role":"user","content":"hello"}]}`
	chatPath   = "/v1/chat/completions"
)

func TestWhatVLLMAnsweredPassesUnchangedAndIsRead(t *testing.T) {
	t.Parallel()
	exchanges := loadVLLM(t)
	if len(exchanges) == 0 {
		return // loadVLLM has said why
	}
	upstream := replayer{probe.id: &probe}
	for _, x := range exchanges {
		upstream[x.id] = x
	}
	e := start(t, vllmConfig, upstream)
	t.Run("each answer", func(t *testing.T) { replayVLLM(t, e, exchanges) })
	t.Run("a failure before any output is refunded", func(t *testing.T) { refundVLLM(t, e, exchanges) })
}

// loadVLLM reads all answers there are. It logs which of them are asked for by a request that was made up.
func loadVLLM(t *testing.T) (exchanges []*exchange) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(captures.Shared(t), filepath.FromSlash(vllmCaptures), "*.raw"))
	if err != nil {
		t.Fatal(err)
	}
	if len(names) == 0 {
		if os.Getenv("CI") != "" {
			t.Fatalf("vLLM's answers are missing: put shared/ beside the checkout")
		}
		t.Logf("nothing is replayed: %s is not here", vllmCaptures)
	}
	for _, name := range names {
		exchanges = append(exchanges, readVLLM(t, name))
	}
	return exchanges
}

// readVLLM reads an answer, and its request from the file beside it.
func readVLLM(t *testing.T, name string) *exchange {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), nil)
	if err != nil {
		t.Fatalf("%s is not an HTTP response: %v", name, err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("%s: %v", name, err)
	}
	x := &exchange{
		id: filepath.Base(name), status: response.StatusCode, contentType: response.Header.Get("Content-Type"),
		responseBody: string(body), broken: err != nil,
	}
	readVLLMRequest(t, x, strings.TrimSuffix(name, ".response.raw")+".request.txt")
	return x
}

func readVLLMRequest(t *testing.T, x *exchange, name string) {
	t.Helper()
	raw, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		x.makeRequest()
		t.Logf("%s: no request was kept, it is asked for by %s %s %s", x.id, x.method, x.path, x.requestBody)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatalf("%s is not an HTTP request: %v", name, err)
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	x.method, x.path = request.Method, request.URL.RequestURI()
	x.requestType, x.requestBody = request.Header.Get("Content-Type"), string(body)
}

// makeRequest gives an answer a request that fits it. Only chats and scrapes of metrics were kept without one.
func (x *exchange) makeRequest() {
	switch {
	case strings.HasPrefix(x.contentType, "text/plain"):
		x.method, x.path = http.MethodGet, "/metrics"
		return
	case x.streams():
		x.requestBody = madeStream
	default:
		x.requestBody = madeUnary
	}
	x.method, x.path, x.requestType = http.MethodPost, chatPath, "application/json"
}

func (x *exchange) streams() bool { return strings.HasPrefix(x.contentType, "text/event-stream") }

func replayVLLM(t *testing.T, e *harness.Envoy, exchanges []*exchange) {
	results := &tally{exchanges: len(exchanges)}
	for _, x := range exchanges {
		for _, form := range []string{whole, pieces} {
			trace := x.traceparent(form)
			check := func(what string, got, want any) { results.check(t, trace, what, got, want) }
			if err := x.replay(t.Context(), e.Client, e.URL, form, "vllm", check); err != nil {
				results.check(t, trace, "error", err, nil)
			}
		}
	}
	records := recordsByTrace(t, e, 2*len(exchanges))
	for _, x := range exchanges {
		for _, form := range []string{whole, pieces} {
			for key, want := range x.wanted() {
				results.check(t, x.traceparent(form), key, records[x.traceparent(form)].Text(key), want)
			}
		}
	}
	t.Logf("%d answers of vLLM, %d of %d values, whole and in pieces", results.exchanges, results.found, results.expected)
}

// wanted is what the access log has to say of one of vLLM's answers.
func (x *exchange) wanted() map[string]string {
	want := map[string]string{"status": strconv.Itoa(x.status), "decision": "ALLOWED"}
	counts := x.reported()
	switch {
	case counts != nil:
		want["usage_source"], want["response_model"] = "reported", "tiny"
		for key, n := range counts {
			want[key] = strconv.FormatInt(n, 10)
		}
	case x.method == http.MethodGet:
		want["usage_source"] = "" // no dialect
	case x.failed():
		want["usage_source"], want["completion_tokens"] = "", "" // refunded
	case x.status >= 400:
		want["usage_source"], want["completion_tokens"] = "counted", "0"
	default:
		want["usage_source"], want["response_model"] = "counted", "tiny"
	}
	return want
}

// failed says that the server failed before any output.
func (x *exchange) failed() bool {
	return x.status >= 500 || x.streams() && strings.HasPrefix(x.responseBody, `data: {"error"`)
}

// reported are the last counts of each kind in the answer, found without the filter's own readers; nil if there are none.
func (x *exchange) reported() map[string]int64 {
	names := map[string]string{
		"prompt_tokens": "prompt_tokens", "completion_tokens": "completion_tokens", "total_tokens": "total_tokens",
		"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens",
	}
	counts := map[string]int64{}
	for _, document := range x.documents() {
		for _, holder := range []any{document, document["response"], document["message"]} {
			object, _ := holder.(map[string]any)
			use, _ := object["usage"].(map[string]any)
			for name, key := range names {
				if n, ok := use[name].(float64); ok {
					counts[key] = int64(n)
				}
			}
		}
	}
	if len(counts) == 0 {
		return nil
	}
	return counts
}

// documents are the JSON objects of an answer: itself, or its events.
func (x *exchange) documents() (objects []map[string]any) {
	texts := []string{x.responseBody}
	if x.streams() {
		texts = strings.Split(x.responseBody, "\n")
	}
	for _, text := range texts {
		var object map[string]any
		if json.Unmarshal([]byte(strings.TrimPrefix(text, "data: ")), &object) == nil && object != nil {
			objects = append(objects, object)
		}
	}
	return objects
}

// probe is an answered request that costs the same each time, so that what it leaves tells what passed between.
var probe = exchange{
	id: "probe", method: http.MethodPost, path: "/v1/embeddings", requestType: "application/json",
	requestBody: `{"model":"probe","input":"hello"}`, status: 200, contentType: "application/json",
	responseBody: `{"object":"list","model":"probe","data":[],"usage":{"prompt_tokens":7,"total_tokens":7}}`,
}

func refundVLLM(t *testing.T, e *harness.Envoy, exchanges []*exchange) {
	failures := 0
	for _, x := range exchanges {
		good := x.id == "chat_stream_usage.response.raw" // shows that what is used would be seen
		if !x.failed() && !good {
			continue
		}
		failures++
		for _, unit := range []string{"completionTokens", "totalTokens"} {
			t.Run(fmt.Sprint(x.id, " of ", unit), func(t *testing.T) {
				charged, want := chargeOf(t, e, x, unit), 0
				if good {
					want = int(x.reported()[map[string]string{
						"completionTokens": "completion_tokens", "totalTokens": "total_tokens",
					}[unit]])
				}
				if charged != want {
					t.Errorf("%d tokens were charged, want %d", charged, want)
				}
			})
		}
	}
	if !slices.ContainsFunc(exchanges, func(x *exchange) bool { return x.failed() && x.status == 200 }) || failures < 2 {
		t.Error("no stream that failed before its output was recorded")
	}
}

// chargeOf is what a user was charged for an exchange. The first probe teaches what a probe costs.
func chargeOf(t *testing.T, e *harness.Envoy, x *exchange, unit string) int {
	t.Helper()
	client := oneConnection(t)
	left := func(x *exchange) int {
		request, err := x.request(t.Context(), e.URL, whole, "refund")
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("x-limit", unit)
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(response.Header.Get("x-ratelimit-remaining-tokens"))
		return n
	}
	left(&probe)
	before, again := left(&probe), left(&probe)
	if before == 0 || again == 0 {
		t.Fatal("a probe does not tell what is left")
	}
	left(x)
	return again - left(&probe) - (before - again)
}
