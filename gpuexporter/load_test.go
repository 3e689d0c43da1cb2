package main

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/gpu"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/nvidia"
)

// stuck is NVML with one GPU, whose second measurement never returns.
type stuck struct {
	release chan struct{}
	counted int
}

func (*stuck) Open() error {
	return nil
}

func (*stuck) Close() {}

func (s *stuck) Count() (int, error) {
	// The first is the start's probe, the second the first measurement.
	if s.counted++; s.counted > 2 {
		<-s.release
	}
	return 1, nil
}

func (s *stuck) Device(int) (nvidia.Device, error)             { return s, nil }
func (*stuck) UUID() (string, error)                           { return "GPU-0", nil }
func (*stuck) Name() (string, error)                           { return "Stuck", nil }
func (*stuck) Memory() (used, total uint64, err error)         { return 1 << 30, 2 << 30, nil }
func (*stuck) Utilization() (compute, memory float64, e error) { return 0.5, 0.5, nil }
func (*stuck) Power() (float64, error)                         { return 0, nvidia.ErrNotSupported }
func (*stuck) PowerLimit() (float64, error)                    { return 0, nvidia.ErrNotSupported }
func (*stuck) Temperature() (float64, error)                   { return 0, nvidia.ErrNotSupported }
func (*stuck) Throttle() (gpu.Reasons, error)                  { return 0, nvidia.ErrNotSupported }
func (*stuck) ECC() (corrected, uncorrected uint64, e error)   { return 0, 0, nvidia.ErrNotSupported }
func (*stuck) MIG() (bool, []gpu.Partition, error)             { return false, nil, nvidia.ErrNotSupported }
func (*stuck) Processes() ([]gpu.Process, error)               { return nil, nvidia.ErrNotSupported }

// The whole program with an NVML call that hangs as long as the test does, and 1,000 scrapes a second for two seconds: all of
// them are answered, so none waits for it. That no handler waits for a source is also proven in internal/server, without a clock.
// How quick a machine is at it is in the log.
func TestAThousandScrapesASecondWhileNVMLHangs(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	url, stop := program(t, func(string) nvidia.Library { return &stuck{release: release} }, "--timeout=100ms")
	await(t, func() bool {
		return scrape(t, url).Of("gpuexporter_source_hung", "kind", "nvml", "source", "nvml").Sum() == 1
	})
	// On a machine that was busy just then, the good measurement before may have been late as well.
	const hangs = 2
	before := late(t, url)
	for _, path := range []string{"/v1/pressure", "/metrics"} {
		const requests = 2000
		began := time.Now()
		took := load(t, url+path, requests, time.Millisecond)
		elapsed := time.Since(began)
		slices.Sort(took)
		t.Logf("%s: %d scrapes in %v, median %v, 99 %% under %v, slowest %v", path, requests, elapsed, took[requests/2], took[requests*99/100], took[requests-1])
	}
	d := read(t, url)
	if len(d.Instances) != 1 || d.Instances[0].AgeSeconds < 3 || *d.Instances[0].GPUs[0].MemoryUsedBytes != 1<<30 {
		t.Errorf("%+v: want the GPU, with an age of more than 3 s", d.Instances)
	}
	if after := late(t, url); after != before || before == 0 {
		t.Errorf("late measurements: %g when it began to hang, and %g after many intervals, want the same and at least one", before, after)
	}
	if status, log := stop(); status != 0 || !strings.Contains(log, "source is down") || strings.Count(log, "source is down") > hangs {
		t.Errorf("status %d:\n%s", status, log)
	}
}

// late is how many measurements came late.
func late(t *testing.T, url string) float64 {
	t.Helper()
	return scrape(t, url).Of("gpuexporter_source_samples_total", "kind", "nvml", "source", "nvml", "result", "late").Sum()
}

// load sends requests at a steady pace, 64 at a time at most, and gives how long each took.
func load(t *testing.T, url string, requests int, pace time.Duration) []time.Duration {
	t.Helper()
	const workers = 64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}, Timeout: patience}
	defer client.CloseIdleConnections()
	took := make([]time.Duration, requests)
	var next atomic.Int64
	var running sync.WaitGroup
	start := time.Now()
	for range workers {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < requests; i = int(next.Add(1)) - 1 {
				time.Sleep(time.Until(start.Add(time.Duration(i) * pace)))
				began := time.Now()
				response, err := client.Get(url)
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				if took[i] = time.Since(began); response.StatusCode != http.StatusOK {
					t.Errorf("status %d", response.StatusCode)
				}
			}
		})
	}
	running.Wait()
	return took
}
