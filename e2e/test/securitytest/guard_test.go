package securitytest

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

const onePerDay = `{"limits":[{"name":"one","per":["user"],"match":{"models":["mock*"]},"unit":"requests","quantity":1,"window":"24h"}]}`

// Slow clients don't make the filter stop holding, whatever it has seen of the host before: what is refused after them has not been
// seen by the server.
func TestSlowClientsDoNotEndHolding(t *testing.T) {
	t.Parallel()
	const longerThanTheGuard = 2500 * time.Millisecond
	server := newUpstream(t, nil)
	e := harness.Start(t, harness.Options{Upstream: server.URL, Config: onePerDay})
	var slow []*raw
	for i := range 60 {
		r := dial(t, e)
		r.head(chatPath, fmt.Sprint("slow", i%2), "Content-Length", fmt.Sprint(len(chatBody)))
		slow = append(slow, r)
	}
	time.Sleep(longerThanTheGuard) // not for anything to happen, but to be this late
	for i := range 2 {
		if begun, _ := server.saw(fmt.Sprint("slow", i)); begun != 0 {
			t.Fatal("the server saw a request that is not decided")
		}
	}
	count := map[int]int{}
	for _, r := range slow {
		r.write(chatBody)
		status, _, _ := r.response()
		count[status]++
	}
	if count[http.StatusOK] != 2 || count[http.StatusTooManyRequests] != 58 {
		t.Errorf("statuses of 60 requests of two users who may ask once: %v", count)
	}
	if n := metric(e, "spillway_errors_total", "reason", "body_not_delivered"); n != 0 {
		t.Errorf("the host is blamed for %d slow clients", n)
	}
	for i := range 5 {
		if status, _, _ := post(t, e, chatPath, "fast", chatBody); (status == http.StatusOK) != (i == 0) {
			t.Errorf("request %d: %d", i, status)
		}
	}
	for user, want := range map[string]int{"slow0": 1, "slow1": 1, "fast": 1} {
		if begun, _ := server.saw(user); begun != want {
			t.Errorf("the server saw %d requests of %s, want %d", begun, user, want)
		}
	}
}

// A host that keeps bodies back is found out, also by clients that are slow as well, and one that is set right afterwards is noticed.
func TestAHostThatKeepsBodiesBackIsToldFromSlowClients(t *testing.T) {
	t.Parallel()
	server := newUpstream(t, nil)
	e := harness.Start(t, harness.Options{Upstream: server.URL, Hold: harness.HoldBroken, Config: onePerDay})
	kept := func() int { return metric(e, "spillway_errors_total", "reason", "body_not_delivered") }
	slow := dial(t, e)
	slow.head(chatPath, "slow", "Content-Length", fmt.Sprint(len(chatBody)))
	if status, _, body := post(t, e, chatPath, "ann", chatBody); status != http.StatusOK {
		t.Fatalf("a request whose body is kept back: %d %s", status, body)
	}
	if n := kept(); n != 1 {
		t.Errorf("%d bodies are said to be kept back, want 1", n)
	}
	if begun, _ := server.saw("slow"); begun != 0 {
		t.Error("the server saw the request of a client that has sent no body")
	}
	slow.write(chatBody)
	if status, _, body := slow.response(); status != http.StatusOK {
		t.Errorf("the slow client: %d %s", status, body)
	}
	if n := kept(); n != 2 {
		t.Errorf("%d bodies are said to be kept back, want 2", n)
	}
	configure(t, e, harness.HoldStopIteration, onePerDay)
	for range 2 {
		post(t, e, chatPath, "bob", chatBody)
	}
	if begun, _ := server.saw("bob"); begun != 1 {
		t.Errorf("with the host set right, the server saw %d of bob's requests, want 1", begun)
	}
}
