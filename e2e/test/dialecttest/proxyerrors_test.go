package dialecttest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// upstreamHeader chooses the server: what official clients are told to call their user.
const upstreamHeader = "x-user-id"

// largest is the largest body that passes.
const largest = 64 << 10

// proxyError is a way in which Envoy answers in a server's place.
type proxyError struct {
	name   string // of the cluster, too
	status int
	reason string
	words  string
	// What the APIs call it: OpenAI's type and code, Anthropic's type, and Gemini's status.
	openAI, code, anthropic, gemini string
}

var proxyErrors = func() (list []proxyError) {
	down := proxyError{"", 503, "upstream/unreachable", "The model server can't be reached.",
		"server_error", "service_unavailable", "overloaded_error", "UNAVAILABLE"}
	broken, slow := down, down
	broken.reason, broken.words = "upstream/broken", "The model server broke off before it answered."
	slow.status, slow.reason, slow.words = 504, "upstream/timeout", "The model server took too long to answer."
	slow.anthropic, slow.gemini = "timeout_error", "DEADLINE_EXCEEDED"
	lost := proxyError{"", 404, "proxy/no_route", "The proxy has no route for this request.",
		"invalid_request_error", "not_found", "not_found_error", "NOT_FOUND"}
	astray := lost
	astray.status, astray.anthropic, astray.gemini = 503, "overloaded_error", "UNAVAILABLE"
	large := proxyError{"", 413, "proxy/too_large", "The request is larger than the proxy takes.",
		"invalid_request_error", "request_too_large", "request_too_large", "INVALID_ARGUMENT"}
	late := slow
	late.status, late.reason, late.words = 408, "proxy/request_timeout", "The rest of the request didn't come in time."
	late.openAI, late.code = "invalid_request_error", "request_timeout"
	garbled := broken
	garbled.status, garbled.anthropic, garbled.gemini = 502, "api_error", "INTERNAL"
	add := func(name string, p proxyError) {
		p.name = name
		list = append(list, p)
	}
	add("refused", down)      // nothing listens there
	add("nobody", down)       // a cluster without servers
	add("not-tls", down)      // it doesn't speak TLS
	add("untrusted", down)    // nobody vouches for its certificate
	add("reset", broken)      // it hangs up on every request
	add("garbled", garbled)   // it doesn't speak HTTP
	add("silent", slow)       // its route has a timeout
	add("no-route", lost)     // none is for the header
	add("no-cluster", astray) // its route leads nowhere
	add("too-large", large)   // its body
	add("unfinished", late)   // a part of its body never comes
	return list
}()

// wants is what an error says in the dialect of a request.
func (p proxyError) wants(r refusal) map[string]string {
	switch {
	case r.want["error.param"] != "":
		return map[string]string{"error.message": p.words, "error.type": p.openAI, "error.code": p.code, "error.param": "<nil>"}
	case r.want["type"] != "":
		return map[string]string{"type": "error", "error.type": p.anthropic, "error.message": p.words}
	case r.want["error.status"] != "":
		return map[string]string{"error.code": strconv.Itoa(p.status), "error.status": p.gemini, "error.message": p.words}
	}
	return map[string]string{"error": p.words}
}

// What Envoy answers itself is an error of the API that was asked, in place of Envoy's words.
func TestEnvoysOwnErrorsSpeakTheDialect(t *testing.T) {
	t.Parallel()
	e := startBroken(t)
	for _, request := range refusals {
		for _, failure := range proxyErrors {
			t.Run(request.name+", "+failure.name, func(t *testing.T) {
				t.Parallel()
				response, body := askBroken(t, e, request, failure.name)
				wantProxyError(t, failure, request, response, body)
			})
		}
	}
	for name, ask := range officialClients(e.URL) {
		for _, failure := range proxyErrors {
			if failure.name == "too-large" || failure.name == "unfinished" { // theirs are small, and whole
				continue
			}
			t.Run(name+", "+failure.name, func(t *testing.T) {
				t.Parallel()
				wantClientsError(t, failure, ask(t, failure.name))
			})
		}
	}
}

// wantClientsError wants an official client to have read all that the answer says.
func wantClientsError(t *testing.T, want proxyError, err error) {
	t.Helper()
	var openAIs *openai.Error
	var anthropics *anthropic.Error
	switch {
	case errors.As(err, &openAIs):
		if openAIs.StatusCode != want.status || openAIs.Message != want.words || openAIs.Type != want.openAI || openAIs.Code != want.code {
			t.Errorf("OpenAI's client has read %v, want %+v", err, want)
		}
	case errors.As(err, &anthropics):
		if raw := anthropics.RawJSON(); anthropics.StatusCode != want.status || !strings.Contains(raw, want.words) || !strings.Contains(raw, want.anthropic) {
			t.Errorf("Anthropic's client has read %v, want %+v", err, want)
		}
	default:
		t.Errorf("the client's error is %T %v, want one of its own", err, err)
	}
}

// askBroken sends a request of which Envoy knows no server that answers.
func askBroken(t *testing.T, e *harness.Envoy, r refusal, upstream string) (*http.Response, []byte) {
	t.Helper()
	text, headers := r.body, map[string]string{upstreamHeader: upstream}
	switch upstream {
	case "too-large":
		text = strings.Replace(text, "{", "{"+strings.Repeat(" ", 2*largest), 1)
	case "unfinished":
		return send(t, e, r.path, unfinished{strings.NewReader(text), t.Context()}, int64(len(text)+1), headers)
	}
	return post(t, e, r.path, text, headers)
}

// unfinished is a body of which the end never comes.
type unfinished struct {
	beginning io.Reader
	ctx       context.Context
}

func (u unfinished) Read(b []byte) (int, error) {
	if n, err := u.beginning.Read(b); err == nil {
		return n, nil
	}
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}

func wantProxyError(t *testing.T, want proxyError, request refusal, response *http.Response, body []byte) {
	t.Helper()
	if response.StatusCode != want.status {
		t.Fatalf("the answer is %d %s, want %d", response.StatusCode, body, want.status)
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "X-Spillway-Reason": want.reason} {
		if got := response.Header.Get(name); got != value {
			t.Errorf("the header %s is %q, want %q", name, got, value)
		}
	}
	var document map[string]any
	if err := json.Unmarshal(body, &document); err != nil {
		t.Fatalf("the body is not JSON: %v: %q", err, body)
	}
	for path, value := range want.wants(request) {
		if got := at(document, path); got != value {
			t.Errorf("%s is %q, want %q, in %s", path, got, value, body)
		}
	}
}

// startBroken starts an Envoy whose servers are all broken, each in its way.
func startBroken(t *testing.T) *harness.Envoy {
	t.Helper()
	trusted := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(trusted.Close)
	plain := harness.Serve(t, http.NotFoundHandler())
	silent := serveRaw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	reset := serveRaw(t, func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_ = c.Close()
	})
	garbled := serveRaw(t, func(c net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(c))
		_, _ = io.WriteString(c, "What do you mean?\r\n\r\n")
		_ = c.Close()
	})
	tls := map[string]any{"name": "envoy.transport_sockets.tls", "typed_config": map[string]any{
		"@type":              "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
		"common_tls_context": map[string]any{"validation_context": map[string]any{"trusted_ca": map[string]any{"filename": "/etc/ssl/certs/ca-certificates.crt"}}},
	}}
	clusters := []any{
		cluster("refused", "127.0.0.1:9", nil), cluster("nobody", "", nil), cluster("not-tls", plain, tls),
		cluster("untrusted", strings.Replace(trusted.URL, "https", "http", 1), tls), cluster("reset", reset, nil), cluster("garbled", garbled, nil), cluster("silent", silent, nil),
		cluster("too-large", plain, nil), cluster("unfinished", plain, nil),
	}
	const held = `{"limits": [{"name": "all", "per": ["user"], "unit": "totalTokens", "quantity": 1000000000, "window": "1h"}]}`
	return harness.Start(t, harness.Options{Config: held, Clusters: clusters, Concurrency: 2, Edit: func(b *envoyproc.Bootstrap) {
		listener := []any{"static_resources", "listeners", envoyproc.Named(envoyproc.Gateway)}
		b.Set(largest, append(listener, "per_connection_buffer_limit_bytes")...)
		routes := []any{route("no-cluster", "0s")}
		for _, c := range clusters {
			name, timeout := c.(map[string]any)["name"].(string), "0s"
			if name == "silent" {
				timeout = "0.2s"
			}
			leads := route(name, timeout)
			if name == "unfinished" {
				leads["route"].(map[string]any)["idle_timeout"] = "0.2s"
			}
			routes = append(routes, leads)
		}
		config := append(listener, "filter_chains", 0, "filters", 0, "typed_config", "route_config")
		b.Set(false, append(config, "validate_clusters")...)
		b.Set(routes, append(config, "virtual_hosts", 0, "routes")...)
	}})
}

// route leads who asks for it to a cluster.
func route(name, timeout string) map[string]any {
	wanted := map[string]any{"name": upstreamHeader, "string_match": map[string]any{"exact": name}}
	return map[string]any{
		"match": map[string]any{"prefix": "/", "headers": []any{wanted}},
		"route": map[string]any{"cluster": name, "timeout": timeout},
	}
}

// serveRaw serves connections until the test ends.
func serveRaw(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(connection)
		}
	}()
	return listener.Addr().String()
}

// cluster is one with a server at the address; "": with none.
func cluster(name, address string, socket map[string]any) map[string]any {
	servers := []any{}
	if address != "" {
		host, port, _ := envoyproc.SplitAddress(strings.TrimPrefix(address, "http://"))
		servers = append(servers, map[string]any{"endpoint": map[string]any{"address": map[string]any{
			"socket_address": map[string]any{"address": host, "port_value": port},
		}}})
	}
	c := map[string]any{
		"name": name, "connect_timeout": "5s",
		"load_assignment": map[string]any{"cluster_name": name, "endpoints": []any{map[string]any{"lb_endpoints": servers}}},
	}
	if socket != nil {
		c["transport_socket"] = socket
	}
	return c
}

// What waits for its turn longer than Envoy lets it is told so by an error of its API.
func TestWhatWaitsTooLongInEnvoyIsToldSo(t *testing.T) {
	t.Parallel()
	busy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	const first = "first" // that one is silent, and isn't ended for that
	e := harness.Start(t, harness.Options{
		Config:   `{"upstreams": [{"name": "llm", "concurrency": {"max": 1}}], "limits": [{"name": "all", "unit": "totalTokens", "quantity": 1000000000, "window": "1h"}]}`,
		Upstream: harness.Serve(t, busy), StreamIdleTimeout: 2 * time.Second, Edit: func(b *envoyproc.Bootstrap) {
			lasting := route(first, "0s")
			to := lasting["route"].(map[string]any)
			to["cluster"], to["idle_timeout"] = "llm", "0s"
			others := map[string]any{"match": map[string]any{"prefix": "/"}, "route": map[string]any{"cluster": "llm", "timeout": "0s"}}
			b.Set([]any{lasting, others}, "static_resources", "listeners", envoyproc.Named(envoyproc.Gateway), "filter_chains", 0, "filters", 0,
				"typed_config", "route_config", "virtual_hosts", 0, "routes")
		},
	})
	lasts, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+chatPath, strings.NewReader(`{"model":"m","messages":[],"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	lasts.Header.Set("Content-Type", "application/json")
	lasts.Header.Set(upstreamHeader, first)
	response, err := e.Client.Do(lasts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() }) // after the requests that wait
	go func() { _, _ = io.Copy(io.Discard, response.Body) }()
	slow := proxyError{
		status: 504, reason: "proxy/timeout", words: "The request waited longer than the proxy lets it.",
		openAI: "server_error", code: "service_unavailable", anthropic: "timeout_error", gemini: "DEADLINE_EXCEEDED",
	}
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			answer, body := post(t, e, r.path, r.body, nil)
			wantProxyError(t, slow, r, answer, body)
		})
	}
}
