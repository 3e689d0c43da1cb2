package envoytest

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// garbageConfig has limits that look at everything a client can send.
const garbageConfig = `{
	"models": {"labels": ["*"]},
	"usage": {"maxRequestBytes": 65536},
	"limits": [
		{"name": "tokens", "per": ["user", "model", "header:x-team"], "unit": "completionTokens", "quantity": 1000000, "window": "1h"},
		{"name": "cost", "per": ["tenant", "priority"], "unit": "cost", "quantity": 1000000000, "window": "1h", "admission": "strict"},
		{"name": "requests", "per": ["key"], "unit": "requests", "quantity": 1000000, "window": "1h", "match": {"headers": {"x-team": "*a*"}}}
	]
}`

func answerGarbage(t *testing.T, g *gateway) {
	reconfigure(t, g, garbageConfig)
	before := g.sim.Stats().Received
	random := rand.New(rand.NewPCG(1, 2))
	answered := map[int]int{}
	for i := range 200 {
		request := garbage(random)
		status, err := g.raw(request)
		if err != nil || status >= 500 {
			t.Errorf("request %d: status %d, %v: %.500q", i, status, err, request)
		}
		answered[status]++
	}
	received := g.sim.Stats().Received - before
	t.Logf("answers by status: %v; the server received %d", answered, received)
	if answered[200] < 20 || answered[400] < 20 || received < 100 {
		t.Error("the requests are not mixed: some should be answered, and most should get through Envoy")
	}
	if n := g.counter(t, "spillway_errors_total", "reason", "panic"); n != 0 {
		t.Errorf("%v callbacks panicked", n)
	}
	for name, value := range g.Stats("wasm.spillway.vm_reload") {
		if value != 0 {
			t.Errorf("%s is %d, want the VM to have lived", name, value)
		}
	}
	wantStatus(t, g.chat(t, user("after")), http.StatusOK)
}

// raw sends bytes as they are and reads one answer's status.
func (g *gateway) raw(request []byte) (status int, err error) {
	conn, err := net.DialTimeout("tcp", strings.TrimPrefix(g.URL, "http://"), patience)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	if _, err := conn.Write(request); err != nil {
		return 0, err
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// garbage is an HTTP/1.1 request of which some parts are wrong, by chance; its framing is always right.
func garbage(r *rand.Rand) []byte {
	method, path, body := "POST", chatPath, []byte(chatBody)
	if chance(r, 50) {
		body = garbageBody(r)
	}
	if chance(r, 30) {
		path = garbagePath(r)
	}
	if chance(r, 10) {
		method = pick(r, "PUT", "GET", "DELETE", "OPTIONS")
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n", method, path)
	for _, name := range []string{"x-user-id", "x-tenant-id", "x-priority", "authorization", "x-team", "content-type", "accept", "x-user-id"} {
		if chance(r, 20) {
			fmt.Fprintf(&b, "%s: %s\r\n", name, garbageValue(r))
		}
	}
	if chance(r, 30) {
		b.WriteString("transfer-encoding: chunked\r\n\r\n")
		for len(body) > 0 {
			n := 1 + r.IntN(len(body))
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
			body = body[n:]
		}
		b.WriteString("0\r\n\r\n")
		return b.Bytes()
	}
	fmt.Fprintf(&b, "content-length: %d\r\n\r\n%s", len(body), body)
	return b.Bytes()
}

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

func garbagePath(r *rand.Rand) string {
	if chance(r, 50) {
		return pick(r, "/v1/completions", embeddingsPath, "//v1//chat/../chat/completions", chatPath+"?x=%00;a=/embeddings")
	}
	b := []byte("/")
	for range r.IntN(200) {
		b = append(b, pick(r, "/", "%", "..", "?", "#", ";", "=", "a", "%2f", "%00", "é", "models/", ":generateContent")...)
	}
	return string(b)
}

func garbageValue(r *rand.Rand) string {
	switch r.IntN(5) {
	case 0:
		return ""
	case 1:
		return strings.Repeat("a", r.IntN(4000))
	case 2:
		return pick(r, "gzip", "identity", "high", "URGENT", "Bearer x", "application/json", "text/event-stream")
	default:
		b := make([]byte, r.IntN(80))
		for i := range b {
			b[i] = byte(' ' + r.IntN(256-' '))
			if b[i] == 0x7f {
				b[i] = 'a'
			}
		}
		return string(b)
	}
}

func garbageBody(r *rand.Rand) []byte {
	good := pick(r, chatBody, streamBody, probeBody, `{"model":"m","prompt":["a","b"],"max_tokens":7,"n":3}`)
	switch r.IntN(7) {
	case 0:
		return nil
	case 1: // a bit of it is wrong
		b := []byte(good)
		b[r.IntN(len(b))] = byte(r.IntN(256))
		return b
	case 2: // it ends too early
		return []byte(good[:r.IntN(len(good))])
	case 3: // bytes of any kind
		b := make([]byte, r.IntN(100_000))
		for i := range b {
			b[i] = byte(r.IntN(256))
		}
		return b
	case 4: // deeper than anyone needs
		n := r.IntN(50_000)
		return []byte(`{"messages":` + strings.Repeat(pick(r, "[", `{"a":`), n) + strings.Repeat("]", r.IntN(n+1)) + "}")
	case 5: // values that no one expects
		odd := pick(r, "1e999", "-1", "9223372036854775808", "null", `""`, "[]", "{}", "true", `"\ud800"`, "0.5", `"`+strings.Repeat("m", 5000)+`"`)
		key := pick(r, "model", "max_tokens", "max_completion_tokens", "n", "stream", "stream_options", "messages")
		return fmt.Appendf(nil, `{"%s":%s,%s`, key, odd, good[1:])
	default:
		return []byte(good)
	}
}

func pick(r *rand.Rand, from ...string) string { return from[r.IntN(len(from))] }
