package pressuretest

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// fetch is one that came to an exporter. Each of Envoy's workers has connections of its own, so it tells who fetched.
type fetch struct {
	at   time.Time
	from string
}

// witness is an exporter that notes who fetches.
type witness struct {
	mu      sync.Mutex
	fetches []fetch
}

func (w *witness) ServeHTTP(to http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	w.fetches = append(w.fetches, fetch{time.Now(), r.RemoteAddr})
	w.mu.Unlock()
	_, _ = io.WriteString(to, `{"version":1,"instances":[]}`)
}

func (w *witness) all() []fetch {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.fetches)
}

// A request kills the VM that has it, which is one of two. Whether or not that one was the last that fetched, fetches go on.
// Rounds are repeated until it was; which of the VMs is first in an interval is up to their
// timers, and that of Envoy's main thread, which gets no requests, can't be killed. That another one takes over is shown
// without chance in the package pressure.
func TestFetchesGoOnWhenAWorkerDies(t *testing.T) {
	t.Parallel()
	const interval, rounds = 500 * time.Millisecond, 8
	wasm, err := envoyproc.LocateTrapWasm()
	if err != nil {
		t.Fatal(err)
	}
	w := &witness{}
	b := behind(t, harness.Options{
		Config: strings.Replace(config("ignore", ""), "300ms", interval.String(), 1), Exporter: harness.Serve(t, w), Concurrency: 2, Wasm: wasm,
	})
	for range rounds {
		b.revive()
		before := len(w.all())
		harness.Await(t, patience, "somebody fetches", func() bool { return len(w.all()) > before })
		b.kill()
		before = len(w.all()) // the last of these was made before the death, or just beside it
		harness.Await(t, patience, "fetches go on", func() bool { return len(w.all()) >= before+3 })
		fetches := w.all()
		last := fetches[before-1]
		if !slices.ContainsFunc(fetches[before:], func(f fetch) bool { return f.from == last.from }) {
			t.Logf("%s fetched and died; %s did so %v later", last.from, fetches[before].from, fetches[before].at.Sub(last.at))
			return
		}
	}
	t.Logf("in %d rounds the one that died was never the one that fetched", rounds)
}

// kill ends the VM of one worker.
func (b *bed) kill() {
	b.t.Helper()
	if status := b.alone("x-spillway-trap", "die"); status != http.StatusServiceUnavailable {
		b.t.Fatalf("the request that kills got status %d, want 503", status)
	}
}

// revive sends requests until all workers answer: a VM that has died is made anew for the next request.
func (b *bed) revive() {
	b.t.Helper()
	harness.Await(b.t, patience, "all workers answer", func() bool {
		for range 10 { // to one worker or the other, as it happens
			if b.alone("x-user-id", "a") != http.StatusOK {
				return false
			}
		}
		return true
	})
}

// alone sends a request on a connection of its own.
func (b *bed) alone(header, value string) int {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.URL+"/v1/chat/completions", strings.NewReader(`{"model":"m"}`))
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set(header, value)
	request.Close = true
	response, err := b.Client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}
