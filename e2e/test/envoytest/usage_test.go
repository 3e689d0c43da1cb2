package envoytest

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// usageConfig gives back a token in nearly an hour: during a test nothing.
const usageConfig = `{"limits": [
	{"name": "tokens", "per": ["user"], "unit": "completionTokens", "quantity": 10000, "window": "8760h"},
	{"name": "requests", "per": ["user"], "unit": "requests", "quantity": 1000, "window": "8760h"}
]}`

func chargeUse(t *testing.T, g *gateway) {
	reconfigure(t, g, usageConfig)
	t.Run("a client that leaves a stream is charged what it had received", func(t *testing.T) { leave(t, g) })
	t.Run("a server's 500, 503 and 429 are charged as requests without tokens", func(t *testing.T) {
		for _, status := range []string{"500", "503", "429"} {
			wantCharges(t, g, user("failing-"+status, "x-sim-status", status), status, 0, 1)
		}
	})
	t.Run("a server that can't be reached is refunded", func(t *testing.T) {
		wantCharges(t, g, user("unreached", "x-upstream", "unreachable"), "503", 0, 0)
	})
	t.Run("a server's 400 is charged as a request without tokens", func(t *testing.T) {
		wantCharges(t, g, user("wrong", "x-sim-status", "400"), "400", 0, 1)
	})
	t.Run("a good answer is charged its tokens", func(t *testing.T) {
		wantCharges(t, g, user("good"), "200", 76, 1)
	})
	t.Run("a stream that the server breaks off is charged what passed", func(t *testing.T) {
		h := user("cut", "x-sim-abort-after", "30", "traceparent", "cut")
		if _, err := g.try(newRequest(t, http.MethodPost, g.URL+chatPath, h, strings.NewReader(streamBody))); err == nil {
			t.Error("the client does not see that the stream broke off")
		}
		g.logged(t, "cut").Want(t, map[string]string{"completion_tokens": "30", "usage_source": "counted"})
		if left := g.remaining(t, "cut"); left != 10000-30 {
			t.Errorf("%d tokens are left, want %d", left, 10000-30)
		}
	})
}

// unreachable is a cluster whose server does not listen; routeToUnreachable sends it the requests that say so.
var unreachable = map[string]any{
	"name": "unreachable", "connect_timeout": "1s",
	"load_assignment": map[string]any{"cluster_name": "unreachable", "endpoints": []any{map[string]any{
		"lb_endpoints": []any{map[string]any{"endpoint": map[string]any{"address": map[string]any{
			"socket_address": map[string]any{"address": "127.0.0.1", "port_value": 9},
		}}}},
	}}},
}

func routeToUnreachable(b *envoyproc.Bootstrap) {
	routes := []any{
		map[string]any{
			"match": map[string]any{"prefix": "/", "headers": []any{map[string]any{
				"name": "x-upstream", "string_match": map[string]any{"exact": "unreachable"},
			}}},
			"route": map[string]any{"cluster": "unreachable"},
		},
		map[string]any{"match": map[string]any{"prefix": "/"}, "route": map[string]any{"cluster": "llm", "timeout": "0s"}},
	}
	b.Set(routes, "static_resources", "listeners", envoyproc.Named(envoyproc.Gateway), "filter_chains", 0, "filters", 0,
		"typed_config", "route_config", "virtual_hosts", envoyproc.Named("llm"), "routes")
}

// wantCharges sends five requests that are answered with a status, and checks what each costs. Looking costs a request.
func wantCharges(t *testing.T, g *gateway, h headers, status string, tokens, requests int) {
	t.Helper()
	const times = 5
	look := func() (tokens, requests int) {
		a := g.look(t, h[1])
		return a.number(t, "x-ratelimit-remaining-tokens"), a.number(t, "x-ratelimit-remaining-requests")
	}
	tokensBefore, requestsBefore := look()
	if got, want := statuses(times, func() answer { return g.chat(t, h) }), strings.TrimSpace(strings.Repeat(status+" ", times)); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	tokensAfter, requestsAfter := look()
	if got := tokensBefore - tokensAfter; got != times*tokens {
		t.Errorf("%d answers of %s were charged %d tokens, want %d", times, status, got, times*tokens)
	}
	if got := requestsBefore - requestsAfter - 1; got != times*requests {
		t.Errorf("%d answers of %s were charged as %d requests, want %d", times, status, got, times*requests)
	}
}

// leave hangs up in the middle of a stream: it is charged what the client has received at least, and at most what the server had sent by then, however long
// that took a busy machine.
func leave(t *testing.T, g *gateway) {
	const half = 50
	h := user("leaver", "x-sim-tokens", "1000000", "x-sim-itl", "15ms", "traceparent", "leaver")
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	request := newRequest(t, http.MethodPost, g.URL+chatPath, h, strings.NewReader(streamBody))
	response, err := g.Client.Do(request.WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	lines, got := bufio.NewScanner(response.Body), 0
	for got < half && lines.Scan() {
		if strings.Contains(lines.Text(), `"content":"`) {
			got++
		}
	}
	hangUp()
	_ = response.Body.Close()

	record := g.logged(t, "leaver")
	record.Want(t, map[string]string{"decision": "ALLOWED", "usage_source": "counted", "response_model": "mock-llm"})
	var sent llmsim.Request
	harness.Await(t, patience, "the server knows that its client has left", func() bool {
		sent = g.received("leaver")[0]
		return sent.Outcome != llmsim.InFlight
	})
	var charged int
	if _, err := fmt.Sscan(record.Text("completion_tokens"), &charged); err != nil || charged < got || charged > sent.Tokens {
		t.Errorf("the access log has %q completion tokens, want the %d that the client had received, or no more than the %d that the server had sent",
			record.Text("completion_tokens"), got, sent.Tokens)
	}
	if left := g.remaining(t, "leaver"); left != 10000-charged {
		t.Errorf("%d tokens are left, want %d less the %d charged", left, 10000, charged)
	}
}
