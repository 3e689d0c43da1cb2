// Package identitytest tests, in a real Envoy with one worker and with four, who a request is taken to be from: by signed tokens, certificates,
// addresses, parameters and cookies; and what comes of it for groups and sessions. Each test is also the attempt to be somebody else, nobody, or many.
package identitytest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

const (
	chat  = "/v1/chat/completions"
	hello = `{"model":"llama","messages":[{"role":"user","content":"hello"}]}`
	tls2  = "mtls" // the listener that asks for certificates
)

// gateway is an Envoy that verifies tokens and, at a listener of its own, certificates.
type gateway struct {
	*harness.Envoy
	keys      *keys
	authority *authority
	sent      int // requests that have been answered
}

func start(t *testing.T, workers int) *gateway {
	t.Helper()
	g := &gateway{keys: newKeys(t), authority: newAuthority(t)}
	upstream := harness.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Model string }
		_ = json.NewDecoder(r.Body).Decode(&asked)
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("content-type", "application/json")
		_, _ = fmt.Fprintf(w, `{"model":%q,"choices":[{"message":{"content":"hi"}}],"usage":{"prompt_tokens":2,"completion_tokens":8,"total_tokens":10}}`, asked.Model)
	}))
	g.Envoy = harness.Start(t, harness.Options{Upstream: upstream, Concurrency: workers, Edit: func(b *envoyproc.Bootstrap) {
		b.Edit(func(root map[string]any) { g.edit(t, root) })
	}})
	harness.Await(t, harness.Patience, "the listener for certificates listens", func() bool { return g.Address(tls2) != "" })
	return g
}

// edit puts a filter that verifies tokens in front of Spillway, and a listener beside the gateway's that verifies certificates.
func (g *gateway) edit(t *testing.T, root map[string]any) {
	t.Helper()
	harness.Visit(root, func(object map[string]any) {
		if filters, ok := object["http_filters"].([]any); ok {
			object["http_filters"] = append([]any{g.tokens(t)}, filters...)
		}
	})
	resources := root["static_resources"].(map[string]any)
	listeners := resources["listeners"].([]any)
	var second map[string]any
	if err := json.Unmarshal(encodeJSON(t, listeners[0]), &second); err != nil {
		t.Fatal(err)
	}
	second["name"] = tls2
	certificate, key := g.authority.issue(t, "spiffe://example/gateway")
	text := func(s string) map[string]any { return map[string]any{"inline_string": s} }
	second["filter_chains"].([]any)[0].(map[string]any)["transport_socket"] = map[string]any{
		"name": "envoy.transport_sockets.tls",
		"typed_config": map[string]any{
			"@type":                      "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
			"require_client_certificate": true,
			"common_tls_context": map[string]any{
				"tls_certificates":   []any{map[string]any{"certificate_chain": text(certificate), "private_key": text(key)}},
				"validation_context": map[string]any{"trusted_ca": text(g.authority.pem())},
			},
		},
	}
	resources["listeners"] = append(listeners, second)
}

// tokens is a filter that lets pass what has no token, or a forged one, without its claims.
func (g *gateway) tokens(t *testing.T) map[string]any {
	return map[string]any{
		"name": "envoy.filters.http.jwt_authn",
		"typed_config": map[string]any{
			"@type": "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
			"providers": map[string]any{"company": map[string]any{
				"issuer": issuer, "payload_in_metadata": "payload", "local_jwks": map[string]any{"inline_string": g.keys.jwks(t)},
			}},
			"rules": []any{map[string]any{"match": map[string]any{"prefix": "/"}, "requires": map[string]any{"requires_any": map[string]any{"requirements": []any{
				map[string]any{"provider_name": "company"}, map[string]any{"allow_missing_or_failed": map[string]any{}},
			}}}}},
		},
	}
}

// configure puts an identity and limits into force.
func (g *gateway) configure(t *testing.T, identity, limits string, more ...string) {
	t.Helper()
	config := `{"identity":` + identity + `,"limits":[` + limits + `]` + strings.Join(more, "") + `}`
	if err := g.Reconfigure(config); err != nil {
		t.Fatal(err)
	}
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) reason() string { return a.header.Get("x-spillway-reason") }

// from is a client at a local address, with a connection of its own for each request, so that all workers get some.
func from(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}
}

// asks sends a chat; headers are such as "x-user-id: ann".
func (g *gateway) asks(t *testing.T, client *http.Client, url string, headers ...string) answer {
	t.Helper()
	return g.sends(t, client, http.MethodPost, url, hello, headers...)
}

func (g *gateway) sends(t *testing.T, client *http.Client, method, url, text string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	g.sent++
	request.Header.Set("traceparent", fmt.Sprint("request-", g.sent))
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		request.Header.Add(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// wants sends so many chats, which pass, or are refused for a reason.
func (g *gateway) wants(t *testing.T, n int, reason string, headers ...string) (last answer) {
	t.Helper()
	return g.wantsFrom(t, from("127.0.0.1"), g.URL+chat, n, reason, headers...)
}

func (g *gateway) wantsFrom(t *testing.T, client *http.Client, url string, n int, reason string, headers ...string) (last answer) {
	t.Helper()
	for i := range n {
		last = g.asks(t, client, url, headers...)
		if last.reason() != reason || (last.status == http.StatusOK) != (reason == "") {
			t.Errorf("%.200v, the %d. time: %d %s %.300s, want %q", headers, i+1, last.status, last.reason(), last.body, reason)
		}
	}
	return last
}

// last is the access log's record of the latest request. It may stand before that of an earlier one, which another worker logs later.
func (g *gateway) last(t *testing.T) (last harness.Record) {
	t.Helper()
	harness.Await(t, harness.Patience, "the access log has the latest request", func() bool {
		for _, r := range g.AccessLog(0) {
			if r.Text("traceparent") == fmt.Sprint("request-", g.sent) {
				last = r
			}
		}
		return last != nil
	})
	return last
}

// charged wants a subject to be the one for which the latest request was refused.
func (g *gateway) charged(t *testing.T, want string) {
	t.Helper()
	if got := g.last(t).Text("subject"); got != want && !(strings.HasSuffix(want, "*") && strings.HasPrefix(got, want[:len(want)-1])) {
		t.Errorf("charged to %q, want %q", got, want)
	}
}
