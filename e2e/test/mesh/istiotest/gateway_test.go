//go:build mesh

package istiotest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// gateway is a proxy that leads to the server behind it.
type gateway struct {
	*proxy
	url string
}

// startGateway runs a gateway until the test ends.
func startGateway(t *testing.T, name, ip string) *gateway {
	t.Helper()
	return &gateway{startProxy(t, ingress, name, ip), "http://" + ip}
}

// answer is a response whose body has been read.
type answer struct {
	status int
	header http.Header
	body   string
}

// chat asks for the simulator's 76 tokens in the name of a user. headers are pairs.
func (g *gateway) chat(t *testing.T, user string, headers ...string) answer {
	t.Helper()
	a, err := g.try(user, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (g *gateway) try(user string, headers ...string) (answer, error) {
	return g.tryUntil(context.Background(), user, headers...)
}

// tryUntil lets the client leave when ctx ends.
func (g *gateway) tryUntil(ctx context.Context, user string, headers ...string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/v1/chat/completions",
		strings.NewReader(`{"model": "mock", "max_completion_tokens": 100, "messages": [{"role": "user", "content": "introduce yourself"}]}`))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("content-type", "application/json")
	request.Header.Set("x-user-id", user)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	return send(request)
}

// client opens a connection for each request, so that none goes to a listener that drains.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

func send(request *http.Request) (answer, error) {
	response, err := client.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(body)}, err
}

// statuses are those of n requests of a user, one after the other.
func (g *gateway) statuses(t *testing.T, user string, n int) string {
	t.Helper()
	var all []string
	for range n {
		all = append(all, strconv.Itoa(g.chat(t, user).status))
	}
	return strings.Join(all, " ")
}

// records waits for n entries of a user in the access log.
func (g *gateway) records(t *testing.T, user string, n int) (records []harness.Record) {
	t.Helper()
	harness.Await(t, patience, fmt.Sprintf("%d requests of %s are in the access log", n, user), func() bool {
		records = nil
		for line := range strings.Lines(g.log()) {
			var r harness.Record
			if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &r) == nil && r.Text("user") == user {
				records = append(records, r)
			}
		}
		return len(records) >= n
	})
	return records
}
