// Package clienttest runs the official clients through a real Envoy with the filter: they must see what the server said,
// and the filter must have read it.
package clienttest

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// patience bounds everything that a test waits for.
const patience = harness.Patience

const model = "llama-3"

// A limit of tokens makes the filter hold a request until its body is read. Requests without the header have no limit. So
// long a window gives next to nothing back while a test runs.
const (
	config = `{"limits": [{"name": "tokens", "per": ["user"], "unit": "completionTokens", "quantity": 100000, "window": "8760h",
		"match": {"headers": {"x-limit": "tokens"}}}]}`
	quantity  = 100000
	givenBack = 20 // more than the window gives back within the time that a test has
)

// variants are the ways in which each flow runs: with a limit and without, and with answers in different forms. A server
// that compresses must not keep the filter from reading, and all of these clients offer it to.
var variants = map[string]map[string]string{
	"event by event":          {},
	"in one piece":            {"x-sim-chunk": "whole"},
	"in pieces":               {"x-sim-chunk": "bytes:7", "x-sim-eol": "crlf", "x-sim-comments": "1"},
	"compressed":              {"x-sim-gzip": "accepted"},
	"event by event, limited": {"x-limit": "tokens"},
	"in one piece, limited":   {"x-limit": "tokens", "x-sim-chunk": "whole"},
	"in pieces, limited":      {"x-limit": "tokens", "x-sim-chunk": "bytes:7", "x-sim-eol": "crlf", "x-sim-comments": "1"},
	"compressed, limited":     {"x-limit": "tokens", "x-sim-gzip": "accepted"},
}

// client asks with an official client: all jobs, each answered at the same place of the list.
type client func(t *testing.T, url string, jobs []job) []outcome

// job is one request: a flow in one of its variants.
type job struct {
	Flow    string            `json:"flow"`
	Headers map[string]string `json:"headers"`

	variant string
}

// outcome is what a client saw, or its error.
type outcome struct {
	Seen  seen   `json:"seen"`
	Error string `json:"error"`
}

// seen is what a client makes of an answer.
type seen struct {
	Model   string     `json:"model"`
	Content string     `json:"content"`
	Finish  string     `json:"finish"`  // why the answer ended
	Calls   []toolCall `json:"calls"`   // with their arguments put together
	Vectors []string   `json:"vectors"` // the first number of each embedding

	Chunks  int `json:"chunks"`  // of a stream: its chunks or events
	Empty   int `json:"empty"`   // those that are there for the usage alone
	Reports int `json:"reports"` // those that have a usage, or 1 for a whole answer that has one

	Prompt     int64 `json:"prompt"`
	Completion int64 `json:"completion"`
	Total      int64 `json:"total"`
	Cached     int64 `json:"cached"`
}

type toolCall struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}

func TestOfficialClientsDoNotNotice(t *testing.T) {
	t.Parallel()
	e := start(t)
	for _, test := range []struct {
		name   string
		ask    client
		others func(flow) bool // the flows that the client doesn't have
	}{
		{"openai-go", askOpenAI, func(f flow) bool { return f.operation == "messages" }},
		{"anthropic-sdk-go", askAnthropic, func(f flow) bool { return f.operation != "messages" }},
		{"openai-python", askOpenAIPython, func(f flow) bool { return f.operation == "messages" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			var jobs []job
			for _, f := range flows {
				if !test.others(f) {
					jobs = append(jobs, f.jobs(test.name)...)
				}
			}
			outcomes := test.ask(t, e.URL, jobs)
			if len(outcomes) != len(jobs) {
				t.Fatalf("%d outcomes for %d jobs", len(outcomes), len(jobs))
			}
			records := recordsByTrace(t, e, jobs)
			for i, j := range jobs {
				t.Run(j.Flow+"/"+j.variant, func(t *testing.T) {
					f := flowByName(j.Flow)
					f.checkSeen(t, outcomes[i])
					f.checkRecord(t, records[j.trace()])
				})
			}
			t.Run("is charged", func(t *testing.T) { checkCharge(t, e, test.name, jobs) })
		})
	}
}

func start(t *testing.T) *harness.Envoy {
	t.Helper()
	_, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{EmbeddingDim: dimensions, PromptTokens: promptTokens, CachedTokens: cachedTokens})
	return harness.Start(t, harness.Options{Config: config, Upstream: address, Concurrency: 2})
}

// jobs are a flow's requests by a client, told apart by their traceparent.
func (f flow) jobs(client string) (jobs []job) {
	for variant, more := range variants {
		headers := map[string]string{"x-user-id": client, "traceparent": client + "/" + f.name + "/" + variant}
		maps.Copy(headers, f.headers)
		maps.Copy(headers, more)
		jobs = append(jobs, job{Flow: f.name, Headers: headers, variant: variant})
	}
	return jobs
}

func (j job) trace() string { return j.Headers["traceparent"] }

// recordsByTrace waits until all jobs are in the access log.
func recordsByTrace(t *testing.T, e *harness.Envoy, jobs []job) map[string]harness.Record {
	t.Helper()
	records := map[string]harness.Record{}
	harness.Await(t, patience, "all requests are in the access log", func() bool {
		for _, r := range e.AccessLog(0) {
			records[r.Text("traceparent")] = r
		}
		for _, j := range jobs {
			if records[j.trace()] == nil {
				return false
			}
		}
		return true
	})
	return records
}

func (f flow) checkSeen(t *testing.T, got outcome) {
	t.Helper()
	if got.Error != "" {
		t.Errorf("the client has the error %s", got.Error)
		return
	}
	want := f.want
	want.Model = model
	if gotText, wantText := text(t, got.Seen), text(t, want); gotText != wantText {
		t.Errorf("the client saw\n%s, want\n%s", gotText, wantText)
	}
}

// text is what was seen, as a message shows it.
func text(t *testing.T, s seen) string {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// checkRecord looks for what the filter published. It reads the usage even where the client didn't ask for it.
func (f flow) checkRecord(t *testing.T, record harness.Record) {
	t.Helper()
	want := map[string]string{
		"status": "200", "decision": "ALLOWED", "operation": f.operation, "usage_source": "reported",
		"request_model": model, "response_model": model,
		"prompt_tokens": strconv.Itoa(promptTokens), "completion_tokens": strconv.Itoa(f.tokens),
		"total_tokens": strconv.Itoa(promptTokens + f.tokens), "cached_tokens": strconv.Itoa(cachedTokens),
	}
	if f.operation == "embeddings" {
		delete(want, "cached_tokens") // which nobody tells there
	}
	record.Want(t, want)
}

// checkCharge compares what is left of a client's limit with what its limited requests used. It asks for one token, which is
// reserved then.
func checkCharge(t *testing.T, e *harness.Envoy, client string, jobs []job) {
	t.Helper()
	want := quantity
	for _, j := range jobs {
		if j.Headers["x-limit"] != "" {
			want -= flowByName(j.Flow).tokens
		}
	}
	body := strings.NewReader(`{"model":"` + model + `","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+"/v1/chat/completions", body)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "x-user-id": client, "x-limit": "tokens"} {
		request.Header.Set(name, value)
	}
	response, err := e.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	left := response.Header.Get("x-ratelimit-remaining-tokens")
	if n, err := strconv.Atoi(left); err != nil || n+1 < want || n+1 > want+givenBack {
		t.Errorf("%q tokens are left of the limit, want %d", left, want)
	}
}

// each asks for one job after the other.
func each(t *testing.T, jobs []job, ask func(context.Context, job) (seen, error)) (outcomes []outcome) {
	t.Helper()
	for _, j := range jobs {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		s, err := ask(ctx, j)
		cancel()
		o := outcome{Seen: s}
		if err != nil {
			o.Error = err.Error()
		}
		outcomes = append(outcomes, o)
	}
	return outcomes
}
