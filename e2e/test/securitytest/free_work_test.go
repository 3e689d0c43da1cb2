package securitytest

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// freeWork: what reaches the upstream counts, whatever comes of it.
func (g *limited) freeWork(t *testing.T) {
	const limits = `"limits":[{"name":"%s","per":["user"],"unit":"requests","quantity":3,"window":"8760h"%s},
		{"name":"t","per":["user"],"unit":"totalTokens","quantity":100000,"window":"8760h"}]`
	g.configure(t, `{`+fmt.Sprintf(limits, "r", "")+`}`)
	tries := func(name string, send func(user string)) {
		user := strings.ReplaceAll(name, " ", "-")
		for range 12 {
			send(user)
		}
		n := 0
		harness.Await(t, patience, name+": three have come to the server", func() bool { n = g.server.count(g.server.reached, user); return n >= 3 })
		if n != 3 {
			t.Errorf("%s: %d of 12 requests reached the server, want 3", name, n)
		}
	}
	for name, send := range map[string]func(user string){
		"429":            func(user string) { g.act(t, user, "status=429") },
		"503":            func(user string) { g.act(t, user, "status=503") },
		"400":            func(user string) { g.act(t, user, "status=400") },
		"reset":          func(user string) { g.act(t, user, "reset") },
		"left":           func(user string) { g.leave(t, user, "hang", unbounded) },
		"left a stream":  func(user string) { g.leave(t, user, "stream", unboundedStream) },
		"never streamed": func(user string) { g.leave(t, user, "hang", unboundedStream) },
	} {
		tries(name, send)
	}
	g.routeTimeout(t, "0.2s")
	tries("timeout", func(user string) { g.act(t, user, "hang") })
	g.routeTimeout(t, "0s")
	for user, least := range map[string]int{"timeout": 256 + 10, "left": 256 + 10, "left-a-stream": 10, "never-streamed": 10} { // 10: of the prompt
		if used := 100_000 - g.left(t, user); used < 3*least {
			t.Errorf("%s: three requests used %d tokens, want %d at least", user, used, 3*least)
		}
	}
	if used := 100_000 - g.left(t, "503"); used > 3 {
		t.Errorf("three answers 503 used %d tokens", used)
	}

	g.configure(t, `{`+fmt.Sprintf(limits, "refunding", `,"refund":["5xx",429]`)+`}`)
	for range 5 {
		g.act(t, "refunded", "status=429")
		g.act(t, "refunded", "status=503")
	}
	if n := g.server.count(g.server.reached, "refunded"); n != 10 {
		t.Errorf("with a refund, %d of 10 requests reached the server", n)
	}

	g.configure(t, `{"upstreams":[{"name":"u","breaker":{"mode":"enforce","minRequests":4,"window":"1h","openFor":"1h"}}]}`)
	g.routeTimeout(t, "0.2s")
	defer g.routeTimeout(t, "0s")
	var last answer
	for i := range 8 {
		last = g.act(t, fmt.Sprintf("patient%d", i), "hang")
	}
	if last.status != 503 || !strings.HasPrefix(last.reason(), "breaker/") {
		t.Errorf("after 7 timeouts the breaker lets pass: %d, %s", last.status, last.reason())
	}
}

// routeTimeout sets for how long Envoy waits for an answer; 0s is without end.
func (g *limited) routeTimeout(t *testing.T, timeout string) {
	t.Helper()
	err := g.ReplaceListeners(func(listeners []map[string]any) {
		harness.Visit(listeners, func(object map[string]any) {
			if _, isRoute := object["cluster"]; isRoute && object["timeout"] != nil {
				object["timeout"] = timeout
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A server that can't be reached costs nothing.
func TestWhatNeverReachesTheUpstreamCostsNothing(t *testing.T) {
	t.Parallel()
	g := &gateway{harness.Start(t, harness.Options{Config: `{"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":3,"window":"24h"}]}`}), t}
	if got := statuses(5, func(int) answer { return g.send(t, "POST", chatPath, unbounded, "x-user-id: ann") }); got != "503 503 503 503 503" {
		t.Errorf("got %s, want 503 each time", got)
	}
}

const unboundedStream = `{"model":"llama","stream":true,"messages":[{"role":"user","content":"hello"}]}`

// leave sends a request and hangs up when it is at the server, and has begun to answer if it streams. It returns when the server knows; a request
// that is refused is not waited for.
func (g *limited) leave(t *testing.T, user, act, body string) {
	t.Helper()
	connection, err := net.DialTimeout("tcp", strings.TrimPrefix(g.URL, "http://"), patience)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	_ = connection.SetDeadline(time.Now().Add(patience))
	reached, gone := g.server.count(g.server.reached, user), g.server.count(g.server.gone, user)
	_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nhost: llm\r\nx-user-id: %s\r\nx-act: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
		chatPath, user, act, len(body), body)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		if response, err := http.ReadResponse(bufio.NewReader(connection), nil); err == nil {
			_ = response.Body.Close
		}
	}()
	harness.Await(t, patience, "the request is at the server or answered", func() bool {
		select {
		case <-answered:
			return true
		default:
			return act != "stream" && g.server.count(g.server.reached, user) > reached
		}
	})
	if g.server.count(g.server.reached, user) == reached {
		return
	}
	_ = connection.Close()
	harness.Await(t, patience, "the server knows that its client left", func() bool { return g.server.count(g.server.gone, user) > gone })
}

// left is how many tokens a user has left, whose requests are used up.
func (g *limited) left(t *testing.T, user string) int {
	t.Helper()
	g.configure(t, `{"limits":[{"name":"t","per":["user"],"unit":"totalTokens","quantity":100000,"window":"8760h"}]}`)
	fresh := strings.Replace(unbounded, "llama", "fresh", 1) // nothing was learned of it
	a := g.send(t, "POST", chatPath, fresh, "x-user-id: "+user, "x-act: status=400")
	n, err := strconv.Atoi(a.headers.Get("x-ratelimit-remaining-tokens"))
	if err != nil {
		t.Fatalf("%s: %v", user, err)
	}
	return n + 256 + len(unbounded)/4 + 1 // without what this request reserved
}
