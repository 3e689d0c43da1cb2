package securitytest

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// A VM that dies with requests that wait takes none of them from their subjects' limits; what had reached the server is counted.
func TestADeadVMGivesBackWhatItNeverSent(t *testing.T) {
	t.Parallel()
	wasm, err := envoyproc.LocateTrapWasm()
	if err != nil {
		t.Fatal(err)
	}
	server := newActor(t)
	g := &limited{start(t, harness.Options{Wasm: wasm, Config: `{
		"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":10,"window":"720h","refund":[404]}],
		"upstreams":[{"name":"u","concurrency":{"max":1},"queue":{"maxWait":{"normal":"1h"}}}]}`}, server), server}
	g.begin(t, "ann", unbounded, "hang")
	harness.Await(t, patience, "ann's request is at the server", func() bool { return server.count(server.reached, "ann") == 1 })
	g.begin(t, "bob", unbounded, "")      // waits for its turn
	g.begin(t, "cid", unbounded[:20], "") // waits for its body
	for _, user := range []string{"ann", "bob", "cid"} {
		harness.Await(t, patience, user+"'s request is charged", func() bool { return g.requestsLeft(t, user) == 9 })
	}

	if a := g.send(t, "POST", chatPath, unbounded, "x-user-id: eve", "x-spillway-trap: die"); a.status != 503 {
		t.Fatalf("the VM lives: %d", a.status)
	}
	for user, left := range map[string]int{"bob": 10, "cid": 10, "ann": 9} {
		harness.Await(t, patience, fmt.Sprintf("%s has %d requests left", user, left), func() bool { return g.requestsLeft(t, user) == left })
	}
}

// begin sends a request, and leaves it open until the test ends. What is short of the body's length is not sent.
func (g *limited) begin(t *testing.T, user, body, act string) {
	t.Helper()
	connection, err := net.DialTimeout("tcp", strings.TrimPrefix(g.URL, "http://"), patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nhost: llm\r\nx-user-id: %s\r\nx-act: %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
		chatPath, user, act, len(unbounded), body)
	if err != nil {
		t.Fatal(err)
	}
}

// requestsLeft is how many requests a user has left; -1 while nobody says. To ask costs nothing: the limit refunds a 404.
func (g *limited) requestsLeft(t *testing.T, user string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, g.URL+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("x-user-id", user)
	r.Header.Set("x-act", "status=404")
	response, err := g.Client.Do(r)
	if err != nil {
		return -1
	}
	_ = response.Body.Close()
	n, err := strconv.Atoi(response.Header.Get("x-ratelimit-remaining-requests"))
	if response.StatusCode != http.StatusNotFound || err != nil {
		return -1
	}
	return n + 1
}
