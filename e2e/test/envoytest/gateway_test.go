// Package envoytest tests Spillway's promises in a real Envoy, from a client's request to the server behind it.
package envoytest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

const (
	chatPath       = "/v1/chat/completions"
	embeddingsPath = "/v1/embeddings"

	chatBody  = `{"model":"mock-llm","messages":[{"role":"user","content":"hello"}]}`
	probeBody = `{"model":"probe","input":"hello"}`

	// seedQuota is a quota that four answers of the simulator's 76 tokens use up. Of its window an hour and twelve minutes give a token back: during a test
	// nothing.
	seedQuota = `{"limits": [` + seedLimit + `]}`
	seedLimit = `{"name": "user-completion-tokens", "per": ["user"], "unit": "completionTokens", "quantity": 300, "window": "360h"}`

	// patience bounds everything that a test waits for, unless it says otherwise.
	patience = harness.Patience
)

// gateway is an Envoy with the filter, and the simulated server behind it.
type gateway struct {
	*harness.Envoy
	sim    *llmsim.Server
	direct string // the simulator's own URL
}

// start runs a gateway until the test ends. The simulator's records have all request headers.
func start(t *testing.T, options harness.Options, simulator llmsim.Options) *gateway {
	t.Helper()
	if simulator.RecordHeaders == nil {
		simulator.RecordHeaders = []string{"*"}
	}
	sim, address := harness.Simulate(t, "127.0.0.1", simulator)
	options.Upstream = address
	return &gateway{Envoy: harness.Start(t, options), sim: sim, direct: "http://" + address}
}

// headers are a request's headers, as name and value in turn.
type headers []string

func user(name string, more ...string) headers { return append(headers{"x-user-id", name}, more...) }

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string {
	return fmt.Sprintf("status %d, headers %v, body %.300s", a.status, a.header, a.body)
}

// number is a header's value; it fails the test when that is not a number.
func (a answer) number(t *testing.T, name string) int {
	t.Helper()
	n, err := strconv.Atoi(a.header.Get(name))
	if err != nil {
		t.Fatalf("the header %s is not a number: %v (%v)", name, err, a)
	}
	return n
}

// newRequest is a request to send with client.
func newRequest(t *testing.T, method, url string, h headers, body io.Reader) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(h); i += 2 {
		request.Header.Add(h[i], h[i+1])
	}
	return request
}

// try sends a request and reads the answer. It may be called from any goroutine.
func (g *gateway) try(request *http.Request) (answer, error) {
	response, err := g.Client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, body}, err
}

func (g *gateway) do(t *testing.T, request *http.Request) answer {
	t.Helper()
	a, err := g.try(request)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// post sends a request through the gateway.
func (g *gateway) post(t *testing.T, path, body string, h headers) answer {
	t.Helper()
	return g.do(t, newRequest(t, http.MethodPost, g.URL+path, h, strings.NewReader(body)))
}

func (g *gateway) chat(t *testing.T, h headers) answer {
	t.Helper()
	return g.post(t, chatPath, chatBody, h)
}

// remaining is what a limit of completion tokens leaves a user.
func (g *gateway) remaining(t *testing.T, name string) int {
	t.Helper()
	return g.look(t, name).number(t, "x-ratelimit-remaining-tokens") + 1
}

// look asks for one token, which is reserved, and gets none. It counts as a request.
func (g *gateway) look(t *testing.T, name string) answer {
	t.Helper()
	a := g.post(t, chatPath, strings.Replace(chatBody, "{", `{"max_tokens":1,`, 1), user(name, "x-sim-tokens", "0"))
	if a.status != http.StatusOK {
		t.Fatalf("asking what is left of %s's quota: %v", name, a)
	}
	return a
}

// received are the simulator's records of a user's requests.
func (g *gateway) received(name string) (records []llmsim.Request) {
	for _, r := range g.sim.Requests() {
		if r.Headers["x-user-id"] == name {
			records = append(records, r)
		}
	}
	return records
}

// awaitServer waits until the simulator's totals fulfil a condition.
func (g *gateway) awaitServer(t *testing.T, what string, condition func(llmsim.Stats) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := g.sim.Await(ctx, condition); err != nil {
		t.Fatalf("awaiting that %s: %v; the simulator has %+v", what, err, g.sim.Stats())
	}
}

// logged waits for the access log's record of a request that was sent with this traceparent header.
func (g *gateway) logged(t *testing.T, id string) (record harness.Record) {
	t.Helper()
	harness.Await(t, patience, "the access log has the request "+id, func() bool {
		for _, r := range g.AccessLog(0) {
			if r.Text("traceparent") == id {
				record = r
			}
		}
		return record != nil
	})
	return record
}

// counter is the value of the filter's counter with these labels, as name and value in turn; 0 if there is none.
func (g *gateway) counter(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	for _, sample := range g.Samples(name, labels...) {
		if len(sample.Labels) == len(labels)/2 {
			return sample.Value
		}
	}
	return 0
}

// statuses sends the same request n times in a row.
func statuses(n int, send func() answer) string {
	var list []string
	for range n {
		list = append(list, strconv.Itoa(send().status))
	}
	return strings.Join(list, " ")
}

func wantStatus(t *testing.T, a answer, status int) {
	t.Helper()
	if a.status != status {
		t.Fatalf("want status %d, got %v", status, a)
	}
}

func wantHeaders(t *testing.T, a answer, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got := a.header.Get(name); got != value {
			t.Errorf("the header %s is %q, want %q", name, got, value)
		}
	}
}

func wantSameBytes(t *testing.T, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Errorf("%d bytes came, want %d; the first difference is at byte %d: %q, want %q",
		len(got), len(want), at, excerpt(got, at), excerpt(want, at))
}

func excerpt(b []byte, at int) []byte { return b[at:min(at+60, len(b))] }
