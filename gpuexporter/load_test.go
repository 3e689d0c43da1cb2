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

// The whole program with an NVML call that hangs, and 1,000 scrapes a second for two seconds. That no handler waits for a
// source is proven in internal/server without a clock; here a machine shows what that comes to. Its numbers are in the log.
// The limit of 50 ms is asserted of half of the scrapes, where the machine manages to send that many.
func TestAThousandScrapesASecondWhileNVMLHangs(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	url, stop := program(t, func(string) nvidia.Library { return &stuck{release: release} }, "--timeout=100ms")
	await(t, func() bool {
		_, metrics := ask(url + "/metrics")
		return strings.Contains(metrics, `gpuexporter_source_hung{kind="nvml",source="nvml"} 1`)
	})
	for _, path := range []string{"/v1/pressure", "/metrics"} {
		const requests = 2000
		began := time.Now()
		took := load(t, url+path, requests, time.Millisecond)
		elapsed := time.Since(began)
		slices.Sort(took)
		median := took[requests/2]
		t.Logf("%s: %d scrapes in %v, median %v, 99 %% under %v, slowest %v", path, requests, elapsed, median, took[requests*99/100], took[requests-1])
		limit := 50 * time.Millisecond
		if elapsed > requests*time.Millisecond*5/4 {
			t.Log("this machine, or this build, is too slow to send 1,000 a second")
			limit = time.Second
		}
		if median > limit {
			t.Errorf("%s: median %v", path, median)
		}
	}
	d := read(t, url)
	if len(d.Instances) != 1 || d.Instances[0].AgeSeconds < 3 || *d.Instances[0].GPUs[0].MemoryUsedBytes != 1<<30 {
		t.Errorf("%+v: want the GPU, with an age of more than 3 s", d.Instances)
	}
	if _, metrics := ask(url + "/metrics"); !strings.Contains(metrics, `gpuexporter_source_samples_total{kind="nvml",result="late",source="nvml"} 1`) {
		t.Error("the measurement was repeated while it hung, or isn't counted as late")
	}
	if status, log := stop(); status != 0 || strings.Count(log, "source is down") != 1 {
		t.Errorf("status %d:\n%s", status, log)
	}
}

// load sends requests at a steady pace, 64 at a time at most, and gives how long each took.
func load(t *testing.T, url string, requests int, pace time.Duration) []time.Duration {
	t.Helper()
	const workers = 64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}, Timeout: 20 * time.Second}
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
