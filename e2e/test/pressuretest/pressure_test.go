// Package pressuretest shows that the filter, in a real Envoy, refuses by what the exporter says of engines and GPUs.
package pressuretest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

const (
	patience = harness.Patience
	interval = 300 * time.Millisecond
)

// exporter answers what it is told to.
type exporter struct {
	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request)
}

func (x *exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	answer := x.answer
	x.mu.Unlock()
	answer(w, r)
}

func (x *exporter) say(answer func(w http.ResponseWriter, r *http.Request)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.answer = answer
}

// blocks says how much of each instance's KV cache is in use.
func (x *exporter) blocks(shares ...float64) {
	var instances []string
	for i, share := range shares {
		instances = append(instances, fmt.Sprintf(`{"name":"%d","gpus":[],"activeDecodeBlocks":%g,"activePrefillTokens":0,"ageSeconds":0}`, i, share))
	}
	body := `{"version":1,"time":"2026-01-01T00:00:00Z","instances":[` + strings.Join(instances, ",") + `]}`
	x.say(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
}

func config(onStale, more string) string {
	return `{"upstreams":[{"name":"llm","pressure":{"mode":"enforce","onStale":"` + onStale + `"}}],` + more +
		`"pressureSource":{"interval":"300ms","timeout":"300ms","staleAfter":"1500ms"}}`
}

// bed is an Envoy with an exporter and a server behind it.
type bed struct {
	*harness.Envoy
	*exporter
	t    *testing.T
	sent int // requests
}

func start(t *testing.T, workers int, config string) *bed {
	t.Helper()
	x := &exporter{}
	x.blocks(0)
	b := behind(t, harness.Options{Config: config, Exporter: harness.Serve(t, x), Concurrency: workers})
	b.exporter = x
	return b
}

// behind is an Envoy with a server behind it, and an exporter that the options name.
func behind(t *testing.T, options harness.Options) *bed {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`)
	}))
	t.Cleanup(server.Close)
	options.Upstream = server.URL
	return &bed{Envoy: harness.Start(t, options), t: t}
}

// ask sends a request of a priority and gives the answer's status and reason, and its body.
func (b *bed) ask(priority string) (what, body string) {
	b.t.Helper()
	return b.askFor("m", priority)
}

func (b *bed) askFor(model, priority string) (what, body string) {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.URL+"/v1/chat/completions", strings.NewReader(`{"model":"`+model+`"}`))
	if err != nil {
		b.t.Fatal(err)
	}
	b.sent++
	request.Header.Set("x-priority", priority)
	response, err := b.Client.Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.TrimSpace(fmt.Sprint(response.StatusCode, " ", response.Header.Get("x-spillway-reason"))), string(text)
}

// all asks with each priority, from LOW to URGENT.
func (b *bed) all() string {
	b.t.Helper()
	var all []string
	for _, priority := range []string{"low", "normal", "high", "urgent"} {
		what, _ := b.ask(priority)
		all = append(all, what)
	}
	return strings.Join(all, ", ")
}

// becomes waits until the priorities are answered like this, and says how long that took.
func (b *bed) becomes(want string) time.Duration {
	b.t.Helper()
	began, got := time.Now(), ""
	harness.Await(b.t, patience, "answers of "+want, func() bool {
		got = b.all()
		return got == want
	})
	return time.Since(began)
}

const (
	ok      = "200"
	ceiling = "429 pressure/ceiling"
	busy    = "503 pressure/busy"
	stale   = "503 pressure/stale"
)

func join(answers ...string) string { return strings.Join(answers, ", ") }

func TestPressureInEnvoy(t *testing.T) {
	t.Parallel() // most of it is waiting
	for _, workers := range []int{4, 1} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			t.Parallel()
			b := start(t, workers, config("ignore", `"errorFormat":"dynamo",`))
			t.Run("low priorities are shed first", func(t *testing.T) { shed(t, b) })
			t.Run("one worker fetches for all", func(t *testing.T) { fetchOnce(t, b) })
			t.Run("what is refused costs nothing, and a shadow refuses nothing", func(t *testing.T) { chosen(t, b) })
			if workers == 1 {
				return // what follows takes long, and is the same with one
			}
			for onStale, want := range map[string]string{
				"ignore": join(ok, ok, ok, ok), "hold": join(busy, busy, busy, busy), "full": join(stale, stale, stale, stale),
			} {
				t.Run("an exporter that fails harms no more than it may: "+onStale, func(t *testing.T) { fail(t, b, onStale, want) })
			}
		})
	}
}

func shed(t *testing.T, b *bed) {
	// The thresholds are 0.85 of the blocks, times 0.8, 0.9, 0.95 and 1.
	for _, step := range []struct {
		share float64
		want  string
	}{
		{0.5, join(ok, ok, ok, ok)},
		{0.7, join(ceiling, ok, ok, ok)},
		{0.78, join(ceiling, ceiling, ok, ok)},
		{0.82, join(ceiling, ceiling, ceiling, ok)},
		{1, join(busy, busy, busy, busy)},
		{0.5, join(ok, ok, ok, ok)},
	} {
		b.blocks(step.share)
		b.becomes(step.want)
	}
	b.blocks(1, 1, 0.6)
	b.becomes(join(ok, ok, ok, ok)) // one of three is free
	b.blocks(1, 1, 0.9)
	b.becomes(join(busy, busy, busy, busy))
	const want = `{"message":"Every instance of upstream llm is busy: KV-cache blocks in use 90 %, threshold 85 %. Please try again in 300ms.",` +
		`"type":"service_unavailable","code":503}`
	var what, body string
	harness.Await(t, patience, "a refusal in the words of a busy upstream", func() bool { // which is let pass while a busy machine is too slow to fetch
		what, body = b.ask("urgent")
		return what == busy
	})
	if body != want {
		t.Errorf("the answer is %s, want %s", body, want)
	}
	for _, error := range b.Samples("spillway_errors_total") {
		if error.Labels["reason"] != "pressure_fetch" { // the machine's, too: what is said above was fetched
			t.Errorf("errors: %v", error)
		}
	}
	harness.Await(t, patience, "the gauges", func() bool {
		return gauge(b, "spillway_pressure", "kind", "active_decode_blocks") == 900 && gauge(b, "spillway_pressure", "kind", "instances") == 3
	})
}

func chosen(t *testing.T, b *bed) {
	// Model "other" has no limit. What was fetched is good for as long as a busy machine takes.
	limited := func(mode string) string {
		lasting := strings.NewReplacer("enforce", mode, `"staleAfter":"1500ms"`, `"staleAfter":"1h"`)
		return lasting.Replace(config("ignore", `"statusCode":{"pressure":529},"limits":[{"name":"one-`+mode+`","per":["priority"],"unit":"requests",`+
			`"match":{"models":["m"]},"quantity":1,"window":"720h"}],`))
	}
	everywhere := func(what, want string) { // in each worker
		t.Helper()
		harness.Await(t, patience, what, func() bool {
			for range 20 {
				b.Client.CloseIdleConnections() // the next request comes to any worker
				if got, _ := b.askFor("other", "urgent"); got != want {
					return false
				}
			}
			return true
		})
	}
	const overloaded, limit = "529 pressure/busy", "429 limits/requests_exceeded"
	if err := b.Reconfigure(limited("enforce")); err != nil {
		t.Fatal(err)
	}
	b.blocks(1)
	everywhere("everybody is refused", overloaded)
	if got, want := b.all()+"; "+b.all(), join(overloaded, overloaded, overloaded, overloaded); got != want+"; "+want {
		t.Errorf("got %s, want %s twice", got, want)
	}
	b.blocks(0)
	everywhere("it is relieved", ok)
	what, _ := b.ask("low")
	if again, _ := b.ask("low"); what != ok || again != limit {
		t.Errorf("got %s and %s, want %s and %s: what was refused for pressure is not charged", what, again, ok, limit)
	}

	if err := b.Reconfigure(limited("shadow")); err != nil {
		t.Fatal(err)
	}
	b.blocks(1)
	shadowed := func() float64 { return b.Sum("spillway_requests_total", "decision", "SHADOW") }
	harness.Await(t, patience, "all workers know it", func() bool {
		const asked = 20
		before := shadowed()
		for range asked {
			b.Client.CloseIdleConnections() // the next request comes to any worker
			b.askFor("other", "low")
		}
		return shadowed() == before+asked
	})
	before := b.shadows(t)
	if got, want := b.all()+"; "+b.all(), join(ok, ok, ok, ok)+"; "+join(limit, limit, limit, limit); got != want {
		t.Errorf("in shadow mode: got %s, want %s", got, want)
	}
	// Of a request that a limit refuses, the record tells of the limit.
	harness.Await(t, patience, "four records of what would have been refused", func() bool { return b.shadows(t) == before+4 })
}

// shadows counts the records of what pressure would have refused, once all requests so far are logged.
func (b *bed) shadows(t *testing.T) (n int) {
	t.Helper()
	for _, r := range b.AccessLog(b.sent) {
		if r.Text("decision") == "SHADOW" && r.Text("gate") == "pressure" && r.Text("reason") == "busy" && r.Text("status") == "200" {
			n++
		}
	}
	return n
}

// gauge gives a gauge's value, by its labels; -1 if it is not there.
func gauge(b *bed, name string, labels ...string) float64 {
	if samples := b.Samples(name, labels...); len(samples) > 0 {
		return samples[0].Value
	}
	return -1
}

func fetchOnce(t *testing.T, b *bed) {
	// One in each interval: if two workers fetched, it would be more, and however slow the machine is, it is never more. Envoy counts them when it sends
	// them: a server that gets no turn may hear of several at once.
	const fetches, more = 20, 3 // more: one that the first look has missed, one whose interval the last one begins, and one by a timer that is early
	const name = "cluster.gpuexporter.upstream_rq_total"
	sent := func() int { return int(b.Stats(name)[name]) }
	began, before := time.Now(), sent()
	harness.Await(t, patience, "some fetches", func() bool { return sent() >= before+fetches })
	n := sent() - before
	if most := int(time.Since(began)/interval) + more; n > most {
		t.Errorf("%d fetches in %v, want at most %d", n, time.Since(began), most)
	}
}

func fail(t *testing.T, b *bed, onStale, want string) {
	if err := b.Reconfigure(config(onStale, "")); err != nil {
		t.Fatal(err)
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	text := func(status int, body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"it hangs":            hang,
		"it fails":            text(500, `{"version":1,"instances":[]}`),
		"it sends garbage":    text(200, "<html>no</html>"),
		"it sends no version": text(200, `{"instances":[{"activeDecodeBlocks":0}]}`),
	} {
		b.blocks(1)
		b.becomes(join(busy, busy, busy, busy))
		b.say(answer)
		before := b.Sum("spillway_errors_total", "reason", "pressure_fetch")
		harness.Await(t, patience, name+": errors", func() bool { return b.Sum("spillway_errors_total", "reason", "pressure_fetch") > before+5 }) // more than a second of it
		b.becomes(want)
		b.blocks(0)
		b.becomes(join(ok, ok, ok, ok))
	}
	// What it says wrongly is as if it had not said it.
	b.say(text(200, `{"version":1,"instances":[{"activeDecodeBlocks":-3},{"activeDecodeBlocks":"full"},{"activeDecodeBlocks":1e9}]}`))
	harness.Await(t, patience, "wrong values", func() bool { return b.Sum("spillway_errors_total", "reason", "pressure_value") >= 3 })
	b.becomes(join(ok, ok, ok, ok))
}
