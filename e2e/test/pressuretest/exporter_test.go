package pressuretest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// measured is an Envoy that asks the real gpuexporter. Each test starts that with its own arguments, at one address.
type measured struct {
	*bed
	address string
}

// in gives the same Envoy to a subtest.
func (m *measured) in(t *testing.T) *measured {
	b := *m.bed
	b.t = t
	return &measured{&b, m.address}
}

// exporterProcess is a running gpuexporter.
type exporterProcess struct {
	*envoyproc.Process
	log *bytes.Buffer // to be read when it has ended
}

// run starts the exporter until the test ends, and returns when it has measured something.
func (m *measured) run(args ...string) exporterProcess {
	m.t.Helper()
	return runExporter(m.t, m.address, args...)
}

func runExporter(t *testing.T, address string, args ...string) exporterProcess {
	t.Helper()
	binary, err := envoyproc.LocateExporter()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(binary, append([]string{"--listen=" + address, "--node=test", "--nvml=off", "--interval=100ms"}, args...)...)
	x := exporterProcess{log: new(bytes.Buffer)}
	command.Stderr = x.log
	if x.Process, err = envoyproc.Start(command); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		x.Stop(5 * time.Second)
		if t.Failed() {
			t.Logf("the exporter's log:\n%s", x.log)
		}
	})
	harness.Await(t, patience, "the exporter is ready", func() bool {
		select {
		case <-x.Done():
			t.Fatalf("the exporter ended: %v:\n%s", x.Err(), x.log)
		default:
		}
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return x
}

func (x exporterProcess) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(x.PID(), signal); err != nil {
		t.Fatal(err)
	}
	if signal == syscall.SIGKILL {
		<-x.Done()
	}
}

// profile writes a profile for --simulate, and gives the flag.
func profile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "profile.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return "--simulate=" + path
}

// still is a profile in which nothing moves.
func still(t *testing.T, share float64) string {
	return profile(t, fmt.Sprintf("instances: [{name: a, activeDecodeBlocks: %g, activePrefillTokens: 0}]", share))
}

func TestTheRealExporter(t *testing.T) {
	t.Parallel()
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePorts(t, 1)[0])
	m := &measured{behind(t, harness.Options{Config: config("full", ""), Exporter: address, Concurrency: 4}), address}
	for _, test := range []struct {
		name string
		run  func(t *testing.T, m *measured)
	}{
		{"a simulated ramp", ramp},
		{"a thousand peers", thousandPeers},
		{"an exporter that hangs", hang},
		{"vLLM's own metrics", engine},
		{"an exporter that is killed", killed},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, m.in(t)) })
	}
}

// stages are the answers as an upstream fills: 0.85 of the blocks is the threshold, times 0.8, 0.9, 0.95 and 1.
var stages = []string{
	join(ok, ok, ok, ok), join(ceiling, ok, ok, ok), join(ceiling, ceiling, ok, ok), join(ceiling, ceiling, ceiling, ok), join(busy, busy, busy, busy),
}

// ramp lets three instances fill from a half to the brim, and be relieved. What a machine is too slow to see in one round is
// seen in the next.
func ramp(t *testing.T, m *measured) {
	m.run(profile(t, `
repeat: 9s
instances:
  - {name: a, count: 3, activePrefillTokens: 100, activeDecodeBlocks: [
      {at: 0s, value: 0.5}, {at: 1s, value: 0.62}, {at: 2500ms, value: 0.74}, {at: 4s, value: 0.79}, {at: 5500ms, value: 0.84},
      {at: 7s, value: 1}, {at: 8s, value: 1}, {at: 8s, value: 0.5}]}`))
	for _, stage := range append(stages, stages[0]) {
		m.becomes(stage)
	}
	harness.Await(t, patience, "the gauges", func() bool { return gauge(m.bed, "spillway_pressure", "kind", "instances") == 3 })
	harness.Await(t, patience, "an age of less than two seconds", func() bool {
		age := gauge(m.bed, "spillway_pressure_age_milliseconds")
		return age >= 0 && age < 2000
	})
}

// vllm serves the metrics of a real vLLM 0.32.0, with a KV cache that is as full as the test says.
type vllm struct {
	text  string
	mu    sync.Mutex
	share float64
	hangs bool
}

func (v *vllm) fill(share float64, hangs bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.share, v.hangs = share, hangs
}

func (v *vllm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	share, hangs := v.share, v.hangs
	v.mu.Unlock()
	if hangs {
		<-r.Context().Done()
		return
	}
	const gauge = `vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} `
	_, _ = io.WriteString(w, strings.Replace(v.text, gauge+"0.0", fmt.Sprint(gauge, share), 1))
}

func engine(t *testing.T, m *measured) {
	const fetches, scrapes = 500 * time.Millisecond, 250 * time.Millisecond
	slower := strings.NewReplacer(`"interval":"300ms"`, `"interval":"500ms"`, `"staleAfter":"1500ms"`, `"staleAfter":"2s"`)
	if err := m.Reconfigure(slower.Replace(config("full", ""))); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(harness.InRepository(t, "gpuexporter/internal/engine/testdata/vllm-0.32.0.txt"))
	if err != nil {
		t.Fatal(err)
	}
	v := &vllm{text: string(text)}
	v.fill(0.5, false)
	m.run("--interval="+scrapes.String(), "--engine=vllm="+harness.Serve(t, v))
	for i, share := range []float64{0.5, 0.7, 0.78, 0.82, 1} {
		v.fill(share, false)
		m.becomes(stages[i])
	}
	v.fill(0.5, false)
	took := m.becomes(stages[0])
	t.Logf("relieved %v after the engine; it is scraped every %v, and that is fetched every %v", took, scrapes, fetches)
	// The exporter lives, but its measurement grows old: that counts, too.
	v.fill(0.5, true)
	m.becomes(join(stale, stale, stale, stale))
	v.fill(0.5, false)
	m.becomes(stages[0])
}

// killed is what each onStale does when the exporter is killed, and that its successor is heard.
func killed(t *testing.T, m *measured) {
	for onStale, want := range map[string]string{
		"ignore": stages[0], "hold": stages[4], "full": join(stale, stale, stale, stale),
	} {
		if err := m.Reconfigure(config(onStale, "")); err != nil {
			t.Fatal(err)
		}
		x := m.run(still(t, 1))
		m.becomes(stages[4])
		before := m.bed.Sum("spillway_errors_total", "reason", "pressure_fetch")
		x.signal(t, syscall.SIGKILL)
		m.awaitStale(before)
		m.becomes(want)
		x = m.run(still(t, 0.7))
		m.becomes(stages[1])
		x.Stop(5 * time.Second)
	}
}

// hang stops an exporter: connections to it are opened, and nothing comes.
func hang(t *testing.T, m *measured) {
	x := m.run(still(t, 0.5))
	m.becomes(stages[0])
	before := m.bed.Sum("spillway_errors_total", "reason", "pressure_fetch")
	x.signal(t, syscall.SIGSTOP)
	t.Cleanup(func() { _ = syscall.Kill(x.PID(), syscall.SIGCONT) })
	m.awaitStale(before)
	m.becomes(join(stale, stale, stale, stale))
	x.signal(t, syscall.SIGCONT)
	m.becomes(stages[0])
}

// awaitStale waits until what was fetched is older than it may be, and that is seen.
func (m *measured) awaitStale(before float64) {
	m.t.Helper()
	harness.Await(m.t, patience, "fetches that fail, and an age that grows", func() bool {
		return m.bed.Sum("spillway_errors_total", "reason", "pressure_fetch") > before && gauge(m.bed, "spillway_pressure_age_milliseconds") > 1500
	})
}
