// Package securitytest tests, in a real Envoy, what somebody tries who wants more than his share, or less for the others. One file a
// kind; each test is the attack.
package securitytest

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// patience bounds everything that a test waits for: other tests may have the machine.
const patience = harness.Patience

const chatPath = "/v1/chat/completions"

// hello is a chat's request.
const hello = `{"model":"llama","messages":[{"role":"user","content":"hello"}]}`

// gateway is an Envoy with the filter, and a server behind it.
type gateway struct {
	*harness.Envoy
	t *testing.T
}

// start runs a gateway until the test ends.
func start(t *testing.T, options harness.Options, server http.Handler) *gateway {
	t.Helper()
	options.Upstream = harness.Serve(t, server)
	return &gateway{harness.Start(t, options), t}
}

// configure puts a configuration into force.
func (g *gateway) configure(t *testing.T, config string) {
	t.Helper()
	if err := g.Reconfigure(config); err != nil {
		t.Fatal(err)
	}
}

// completes answers everything as a chat whose answer is of so many tokens.
func completes(tokens int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("content-type", "application/json")
		_, _ = fmt.Fprintf(w, `{"model":"llama","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":24,"completion_tokens":%d,"total_tokens":%d}}`,
			tokens, tokens+24)
	})
}

// answer is what a client got.
type answer struct {
	status  int
	headers http.Header
	body    string
}

func (a answer) reason() string { return a.headers.Get("x-spillway-reason") }

// send sends a request byte by byte as it is written here: what no client library would send, too. Headers are lines such as
// "x-user-id: ann".
func (g *gateway) send(t *testing.T, method, target, body string, headers ...string) answer {
	t.Helper()
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s %s HTTP/1.1\r\nhost: llm\r\nconnection: close\r\n", method, target)
	for _, header := range headers {
		text.WriteString(header + "\r\n")
	}
	if body != "" {
		fmt.Fprintf(&text, "content-type: application/json\r\ncontent-length: %d\r\n", len(body))
	}
	text.WriteString("\r\n" + body)
	connection, err := net.DialTimeout("tcp", strings.TrimPrefix(g.URL, "http://"), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(patience))
	if _, err := connection.Write(text.Bytes()); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return answer{response.StatusCode, response.Header, string(got)}
}

// statuses are those of requests one after the other: "200 200 429".
func statuses(n int, send func(i int) answer) string {
	var got []string
	for i := range n {
		got = append(got, fmt.Sprint(send(i).status))
	}
	return strings.Join(got, " ")
}
