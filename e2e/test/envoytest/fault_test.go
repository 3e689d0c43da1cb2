package envoytest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// strictConfig makes a request reserve all of its output bound.
const strictConfig = `{"limits": [
	{"name": "tokens", "per": ["user"], "unit": "completionTokens", "quantity": 10000, "window": "8760h", "admission": "strict"}
]}`

const vmReloads = "wasm.spillway.vm_reload_success"

func TestAFaultInTheFilter(t *testing.T) {
	t.Parallel()
	wasm, err := envoyproc.LocateTrapWasm()
	if err != nil {
		t.Fatal(err)
	}
	g := start(t, harness.Options{Wasm: wasm, Config: strictConfig}, llmsim.Options{})

	contained, err := envoyproc.ContainsPanics(wasm)
	if err != nil {
		t.Fatal(err)
	}
	if contained {
		t.Run("a panic costs no more than its own request's limits", func(t *testing.T) { panicInOne(t, g) })
	} else {
		t.Run("a panic kills the VM, which comes back with the balances", func(t *testing.T) { dieAndComeBack(t, g, "kim", "panic") })
	}
	t.Run("a dead VM comes back with the balances and forgets reservations after two lease periods", func(t *testing.T) {
		dieAndComeBack(t, g, "lena", "die")
	})
}

func panicInOne(t *testing.T, g *gateway) {
	a := g.chat(t, user("kim", "x-spillway-trap", "panic"))
	wantStatus(t, a, http.StatusOK)
	if a.header.Get("x-ratelimit-limit-tokens") != "" {
		t.Errorf("the request was limited all the same: %v", a)
	}
	if n := g.counter(t, "spillway_errors_total", "reason", "panic"); n != 1 {
		t.Errorf("spillway_errors_total{reason=panic} is %v, want 1", n)
	}
	if !strings.Contains(g.Logs(), "a fault in request_headers was contained") {
		t.Error("the log doesn't tell of the panic")
	}
	if n := g.Stats(vmReloads)[vmReloads]; n != 0 {
		t.Errorf("the VM was started again %d times, want it to live on", n)
	}
	wantStatus(t, g.chat(t, user("kim")), http.StatusOK)
}

// dieAndComeBack kills the VM, in the way that is told, while a stream of a user's has 4000 tokens reserved.
func dieAndComeBack(t *testing.T, g *gateway, name, trap string) {
	const quantity, used, reserved = 10000, 76, 4000
	wantStatus(t, g.chat(t, user(name)), http.StatusOK)
	if left := g.remaining(t, name); left != quantity-used {
		t.Fatalf("%d tokens are left before the stream, want %d", left, quantity-used)
	}
	stream := sendSlowStream(t, g, name, reserved)
	if left := g.remaining(t, name); left != quantity-used-reserved {
		t.Fatalf("%d tokens are left beside the stream, want %d", left, quantity-used-reserved)
	}

	reloads := g.Stats(vmReloads)[vmReloads]
	died := time.Now()
	wantStatus(t, g.chat(t, user(name, "x-spillway-trap", trap)), http.StatusServiceUnavailable)
	if err := <-stream; err == nil {
		t.Error("the stream ended well, although the VM is dead")
	}
	harness.Await(t, patience, "the VM is back", func() bool {
		return g.chat(t, user("other")).status == http.StatusOK
	})
	t.Logf("the VM was back after %v", time.Since(died))
	if n := g.Stats(vmReloads)[vmReloads]; n == reloads {
		t.Error("Envoy counts no reload of the VM")
	}

	left := g.remaining(t, name)
	harness.Await(t, patience, "the dead stream's reservation is forgotten", func() bool {
		before := left
		left = g.remaining(t, name)
		if left < before {
			t.Fatalf("%d tokens are left, and were %d before", left, before)
		}
		return left > quantity-reserved
	})
	t.Logf("the reservation was gone after %v", time.Since(died))
	if left != quantity-used {
		t.Errorf("%d tokens are left in the end, want the %d less the %d that were used", left, quantity, used)
	}
}

// sendSlowStream starts a stream of so many tokens, and returns when it runs. How it ends is sent to the channel.
func sendSlowStream(t *testing.T, g *gateway, name string, tokens int) <-chan error {
	t.Helper()
	before := g.sim.Stats()
	ended := make(chan error, 1)
	go func() {
		body := strings.Replace(streamBody, "{", fmt.Sprintf(`{"max_tokens":%d,`, tokens), 1)
		h := user(name, "x-sim-tokens", fmt.Sprint(tokens), "x-sim-itl", "50ms")
		_, err := g.try(newRequest(t, http.MethodPost, g.URL+chatPath, h, strings.NewReader(body)))
		ended <- err
	}()
	g.awaitServer(t, "the stream runs", func(s llmsim.Stats) bool { return s.Tokens > before.Tokens })
	return ended
}

// Envoy is not set up as the filter is told: it holds the headers, and never shows the body. Each request that had to be let go is
// counted, and once that is known of the host, none has to wait any more.
func TestAMisconfiguredHostDoesNotHangRequests(t *testing.T) {
	t.Parallel()
	const guard = 2 * time.Second
	g := start(t, harness.Options{Hold: harness.HoldBroken, Config: seedQuota}, llmsim.Options{})
	took := func(name string) time.Duration {
		began := time.Now()
		if a, err := g.try(newRequest(t, http.MethodPost, g.URL+chatPath, user(name), strings.NewReader(chatBody))); err != nil || a.status != 200 {
			t.Errorf("%v, error %v; want status 200", a, err)
		}
		return time.Since(began)
	}

	kept := func() float64 { return g.counter(t, "spillway_errors_total", "reason", "body_not_delivered") }
	if d := took("max"); d < guard {
		t.Errorf("the first request took %v, want %v and more", d, guard)
	}
	if n := kept(); n != 1 {
		t.Errorf("spillway_errors_total{reason=body_not_delivered} is %v, want 1", n)
	}
	if !strings.Contains(g.Logs(), "set allow_on_headers_stop_iteration: true") {
		t.Error("the log doesn't say what to set")
	}

	var both sync.WaitGroup
	for _, name := range []string{"nina", "olaf"} {
		both.Go(func() { took(name) })
	}
	both.Wait()
	known := kept()
	for i := range 5 {
		took(fmt.Sprint("late", i))
	}
	if n := kept(); n != known || n > 3 {
		t.Errorf("of 8 requests %v had to be let go, %v of the first three: want none after those", n, known)
	}
	if got := statuses(5, func() answer { return g.chat(t, user("paul")) }); got != "200 200 200 200 429" {
		t.Errorf("limits without the body: got %s, want 200 200 200 200 429", got)
	}
}
