package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/nvidia"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/pressure"
	"github.com/spillway-proxy/spillway/internal/promtext"
)

// noDriver is NVML on a machine without a driver.
type noDriver struct{ nvidia.Library }

func (noDriver) Open() error {
	return fmt.Errorf("%w: no libnvidia-ml.so.1", nvidia.ErrUnavailable)
}

// hung is NVML of a driver that doesn't answer until it is released.
type hung struct {
	nvidia.Library
	release chan struct{}
}

func (h hung) Open() error {
	<-h.release
	return errors.New("released")
}

func without(string) nvidia.Library {
	return noDriver{}
}

func TestWithoutAnythingToMeasureItEndsWithOneLine(t *testing.T) {
	for name, args := range map[string][]string{
		"no driver":               nil,
		"no driver, and needed":   {"--nvml=on", "--simulate=steady"},
		"NVML is off":             {"--nvml=off"},
		"an address that's taken": {"--simulate=steady", "--listen=256.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := run(t.Context(), args, &stdout, &stderr, without); status != 1 {
				t.Errorf("status %d", status)
			}
			if out := stderr.String(); strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "gpuexporter: ") || stdout.Len() > 0 {
				t.Errorf("stdout %q, stderr %q", stdout.String(), out)
			}
		})
	}
}

func TestHelpEndsWell(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), []string{"--help"}, &stdout, &stderr, without); status != 0 || stdout.Len() == 0 || stderr.Len() > 0 {
		t.Errorf("status %d, stderr %q", status, stderr.String())
	}
}

// patience bounds whatever a test waits for. It is no measure of anything: other programs may have the machine.
const patience = 5 * time.Minute

// logged is what a program has written so far.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// up is the line in which a program says where it listens, as text or as JSON.
var up = regexp.MustCompile(`gpuexporter is up.*address"?[=:]"?([0-9.]+:\d+)`)

// program runs the whole of it, until stop is called, which gives the exit status and what was logged.
func program(t *testing.T, library func(string) nvidia.Library, args ...string) (url string, stop func() (int, string)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var stderr logged
	status := make(chan int, 1)
	go func() {
		// A busy machine may take its time for a measurement; what hangs has a shorter timeout.
		args := append([]string{"--listen=127.0.0.1:0", "--node=n", "--interval=100ms", "--timeout=1m"}, args...)
		status <- run(ctx, args, io.Discard, &stderr, library)
	}()
	var address []string
	await(t, func() bool { address = up.FindStringSubmatch(stderr.String()); return address != nil })
	return "http://" + address[1], func() (int, string) {
		cancel()
		select {
		case s := <-status:
			return s, stderr.String()
		case <-time.After(patience):
			t.Fatal("it doesn't end")
			return 0, ""
		}
	}
}

func await(t *testing.T, what func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !what(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it doesn't come")
		}
	}
}

func ask(url string) (int, string) {
	response, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

func scrape(t *testing.T, url string) promtext.Samples {
	t.Helper()
	_, text := ask(url + "/metrics")
	metrics, err := promtext.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return metrics
}

func read(t *testing.T, url string) pressure.Document {
	t.Helper()
	_, body := ask(url + "/v1/pressure")
	d, err := pressure.Decode([]byte(body), 1000)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestItServesAndStops(t *testing.T) {
	url, stop := program(t, without, "--simulate=steady", "--log-format=json")
	await(t, func() bool { return len(read(t, url).Instances) == 2 })
	if d := read(t, url); d.Instances[0].Name != "n/steady-0" || *d.Instances[0].ActiveDecodeBlocks != 0.4 {
		t.Errorf("%+v", d)
	}
	metrics := scrape(t, url)
	for _, want := range [][]string{
		{"go_goroutines"}, {"process_open_fds"}, {"gpuexporter_build_info", "goversion", runtime.Version()},
		{"gpuexporter_gpu_utilization_ratio", "gpu", "0", "name", "Simulated GPU"},
	} {
		if len(metrics.Of(want[0], want[1:]...)) == 0 {
			t.Errorf("nothing of %s", want)
		}
	}
	status, log := stop()
	if status != 0 {
		t.Errorf("status %d", status)
	}
	for line := range strings.Lines(log) {
		if !json.Valid([]byte(line)) {
			t.Errorf("no JSON: %s", line)
		}
	}
	if !strings.Contains(log, `"msg":"stopping"`) {
		t.Errorf("log:\n%s", log)
	}
}

// Real exporters that read each other and themselves: every instance is told once, whoever is asked.
func TestExportersMerge(t *testing.T) {
	a, stopA := program(t, without, "--simulate=steady", "--node=a")
	b, stopB := program(t, without, "--simulate=saw", "--node=b", "--peer="+a)
	c, stopC := program(t, without, "--nvml=off", "--node=c", "--peer="+a, "--peer="+b, "--peer=http://127.0.0.1:1")
	await(t, func() bool { // all of them, and fresh
		instances := read(t, c).Instances
		return len(instances) == 5 && !slices.ContainsFunc(instances, func(i pressure.Instance) bool { return i.AgeSeconds > 10 })
	})
	// a's two instances come from a, and through b.
	await(t, func() bool {
		metrics := scrape(t, c)
		dead := metrics.Of("gpuexporter_source_up", "kind", "peer", "source", "http://127.0.0.1:1/v1/pressure")
		return len(dead) == 1 && dead.Sum() == 0 &&
			metrics.Of("gpuexporter_fleet_instances").Sum() == 5 && metrics.Of("gpuexporter_fleet_instances_duplicate").Sum() == 2
	})
	for _, stop := range []func() (int, string){stopC, stopB, stopA} {
		if status, log := stop(); status != 0 {
			t.Errorf("status %d:\n%s", status, log)
		}
	}
}

// Two exporters measure one GPU, and a third one merges them, and one that relays it: it is told once.
func TestAGPUThatTwoExportersMeasureIsToldOnce(t *testing.T) {
	one := func(string) nvidia.Library { return &stuck{} } // measures twice, then hangs: the second measurement stays
	a, stopA := program(t, one, "--node=a")
	b, stopB := program(t, one, "--node=b")
	relay, stopRelay := program(t, without, "--nvml=off", "--node=r", "--peer="+a, "--peer="+b)
	merged, stopMerged := program(t, without, "--nvml=off", "--node=c", "--peer="+relay, "--peer="+b, "--peer="+a)
	for _, url := range []string{relay, merged} {
		await(t, func() bool {
			return scrape(t, url).Of("gpuexporter_fleet_gpus_duplicate").Sum() == 1
		})
		if _, document := ask(url + "/v1/pressure"); strings.Count(document, `"uuid":"GPU-0"`) != 1 {
			t.Errorf("want GPU-0 once: %s", document)
		}
	}
	for _, stop := range []func() (int, string){stopMerged, stopRelay, stopB, stopA} {
		if status, log := stop(); status != 0 {
			t.Errorf("status %d:\n%s", status, log)
		}
	}
}

func TestADriverThatHangsFromTheStartStopsNothing(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	url, stop := program(t, func(string) nvidia.Library { return hung{release: release} }, "--timeout=50ms")
	await(t, func() bool {
		return scrape(t, url).Of("gpuexporter_source_hung", "kind", "nvml", "source", "nvml").Sum() == 1
	})
	if code, _ := ask(url + "/readyz"); code != 503 {
		t.Errorf("ready: %d", code)
	}
	if status, log := stop(); status != 0 || !strings.Contains(log, "NVML did not answer in time") {
		t.Errorf("status %d:\n%s", status, log)
	}
}

// An engine that fails keeps its last numbers, whose age grows.
func TestAnEngineThatFails(t *testing.T) {
	text, err := os.ReadFile("internal/engine/testdata/vllm-0.32.0.txt")
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan string, 1)
	answers <- string(text)
	engine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case text := <-answers:
			fmt.Fprint(w, text)
		default:
			fmt.Fprint(w, "vllm:num_requests_running what\n")
		}
	}))
	defer engine.Close()
	url, stop := program(t, without, "--engine=vllm="+engine.URL)
	await(t, func() bool { d := read(t, url); return len(d.Instances) == 1 && d.Instances[0].AgeSeconds > 0.3 })
	if d := read(t, url); d.Instances[0].Name != "n/vllm" || *d.Instances[0].Running != 0 {
		t.Errorf("%+v", d)
	}
	if status, log := stop(); status != 0 || !strings.Contains(log, "source is down") || !strings.Contains(log, "no GPU to measure here") {
		t.Errorf("status %d:\n%s", status, log)
	}
}

// lint is what `promtool check metrics` finds.
func lint(t *testing.T, metrics string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(metrics)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetricsHaveNoLint(t *testing.T) {
	url, stop := program(t, without, "--simulate=oom")
	await(t, func() bool { return len(read(t, url).Instances) == 1 })
	_, metrics := ask(url + "/metrics")
	lint(t, metrics)
	stop()
}

// golden compares with a file, which UPDATE_GOLDEN=1 writes.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}
