// Package limittest tests, in a real Envoy with one worker and with four, what limits do beside refusing: requests that go to a cheaper server while
// little is left, what clients are told, changes while it runs, and the examples of limits as their users meet them.
package limittest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

const (
	chatPath     = "/v1/chat/completions"
	messagesPath = "/v1/messages"
	chatBody     = `{"model":"large","max_tokens":10,"messages":[{"role":"user","content":"hello"}]}`
	messageBody  = `{"model":"claude","max_tokens":10,"messages":[{"role":"user","content":"hello"}]}`
)

// gateway is an Envoy with two servers behind it: requests with the header x-budget: low go to the cheaper one, those with any other value of it to
// nowhere.
type gateway struct {
	*harness.Envoy
	sent int // requests that have been answered, but those to the admin surface
}

// serve is a server that says who it is, and which of the headers that matter came to it.
func serve(t *testing.T, name string) string {
	return harness.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("content-type", "application/json")
		w.Header().Set("x-served-by", name)
		w.Header()["X-Saw"] = r.Header.Values("x-budget")
		if r.Header.Get("x-fail") != "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		if r.URL.Path == messagesPath {
			_, _ = fmt.Fprint(w, `{"type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hi"}],"usage":{"input_tokens":2,"output_tokens":8}}`)
			return
		}
		_, _ = fmt.Fprint(w, `{"model":"large","choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":2,"completion_tokens":8,"total_tokens":10}}`)
	}))
}

// start runs a gateway until the test ends.
func start(t *testing.T, options harness.Options) *gateway {
	t.Helper()
	options.Upstream = serve(t, "large")
	cheaper := strings.TrimPrefix(serve(t, "cheaper"), "http://")
	options.Edit = func(b *envoyproc.Bootstrap) {
		b.Edit(func(root map[string]any) { addCheaper(t, root, cheaper) })
	}
	return &gateway{Envoy: harness.Start(t, options)}
}

// addCheaper adds a cluster at an address, and the routes there.
func addCheaper(t *testing.T, root map[string]any, address string) {
	resources := root["static_resources"].(map[string]any)
	clusters := resources["clusters"].([]any)
	cluster := copied(t, clusters[slices.IndexFunc(clusters, func(c any) bool { return c.(map[string]any)["name"] == "llm" })])
	cluster["name"] = "cheaper"
	host, port, _ := strings.Cut(address, ":")
	harness.Visit(cluster, func(object map[string]any) {
		if _, is := object["cluster_name"]; is {
			object["cluster_name"] = "cheaper"
		}
		if at, is := object["socket_address"].(map[string]any); is {
			at["address"], at["port_value"] = host, json.Number(port)
		}
	})
	resources["clusters"] = append(clusters, cluster)
	harness.Visit(root, func(object map[string]any) {
		routes, is := object["routes"].([]any)
		if !is || routes[0].(map[string]any)["route"] == nil {
			return
		}
		header := func(matcher map[string]any) []any { return []any{matcher} }
		low, other := copied(t, routes[0]), copied(t, routes[0])
		low["match"] = map[string]any{"prefix": "/", "headers": header(map[string]any{"name": "x-budget", "string_match": map[string]any{"exact": "low"}})}
		low["route"].(map[string]any)["cluster"] = "cheaper"
		other["match"] = map[string]any{"prefix": "/", "headers": header(map[string]any{"name": "x-budget", "present_match": true})}
		delete(other, "route")
		other["direct_response"] = map[string]any{"status": 418}
		object["routes"] = append([]any{low, other}, routes...)
	})
}

func copied(t *testing.T, from any) (to map[string]any) {
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, &to)
	}
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
}

// way is which server has answered, with what it saw of x-budget and what the client is told: "cheaper [low] u".
func (a answer) way() string {
	return strings.TrimSpace(fmt.Sprint(a.header.Get("x-served-by"), " ", a.header.Values("x-saw"), " ", a.header.Get("x-spillway-nearly")))
}

// asks sends a request of a user on a connection of its own, so that all workers get some; headers are such as "x-team: a".
func (g *gateway) asks(t *testing.T, user, path, body string, headers ...string) answer {
	t.Helper()
	return g.send(t, http.MethodPost, g.URL+path, body, append([]string{"x-user-id: " + user}, headers...)...)
}

func (g *gateway) send(t *testing.T, method, url, body string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("content-type", "application/json")
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header[name] = append(request.Header[name], value)
	}
	request.Close = true
	response, err := g.Client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	g.sent++
	return answer{response.StatusCode, response.Header, string(text)}
}

// nearly waits until so many requests passed while little was left of a limit, in the way that status says.
func (g *gateway) nearly(t *testing.T, limit, status string, n float64) {
	t.Helper()
	harness.Await(t, harness.Patience, fmt.Sprint(n, " of ", limit, " are counted as ", status), func() bool {
		return g.Sum("spillway_nearly_total", "limit", limit, "status", status) == n
	})
}

func (g *gateway) chat(t *testing.T, user string, headers ...string) answer {
	t.Helper()
	return g.asks(t, user, chatPath, chatBody, headers...)
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
