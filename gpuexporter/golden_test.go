//go:build linux && cgo

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock"
	"github.com/NVIDIA/go-nvml/pkg/nvml/mock/dgxa100"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/nvidia"
	"github.com/spillway-proxy/spillway/gpuexporter/internal/settings"
)

// dgx is the bindings' own mock of a DGX A100, with values for what it leaves out: GPU 1 is in MIG mode, GPU 2 is lost, and
// GPU 3 and those after it support nothing but memory.
func dgx(t *testing.T) nvml.Interface {
	t.Helper()
	server := dgxa100.New()
	for i := range server.Devices {
		d, ok := server.Devices[i].(*dgxa100.Device)
		if !ok {
			t.Fatalf("GPU %d is a %T", i, server.Devices[i])
		}
		d.UUID = fmt.Sprintf("GPU-00000000-0000-0000-0000-%012d", i)
		d.MemoryInfo.Used = uint64(i+1) << 30
		code := nvml.SUCCESS
		if i > 2 {
			code = nvml.ERROR_NOT_SUPPORTED
		}
		measures(d, code)
		if i == 1 {
			partition(d)
		}
		if i == 2 {
			d.GetMemoryInfoFunc = func() (nvml.Memory, nvml.Return) { return nvml.Memory{}, nvml.ERROR_GPU_IS_LOST }
		}
	}
	return server
}

func measures(d *dgxa100.Device, code nvml.Return) {
	d.GetUtilizationRatesFunc = func() (nvml.Utilization, nvml.Return) { return nvml.Utilization{Gpu: 87, Memory: 45}, code }
	d.GetPowerUsageFunc = func() (uint32, nvml.Return) { return 391250, code }
	d.GetEnforcedPowerLimitFunc = func() (uint32, nvml.Return) { return 400000, code }
	d.GetTemperatureFunc = func(nvml.TemperatureSensors) (uint32, nvml.Return) { return 64, code }
	d.GetCurrentClocksThrottleReasonsFunc = func() (uint64, nvml.Return) { return nvml.ClocksThrottleReasonSwPowerCap, code }
	d.GetTotalEccErrorsFunc = func(kind nvml.MemoryErrorType, _ nvml.EccCounterType) (uint64, nvml.Return) {
		return map[nvml.MemoryErrorType]uint64{nvml.MEMORY_ERROR_TYPE_CORRECTED: 2}[kind], code
	}
	d.GetComputeRunningProcessesFunc = func() ([]nvml.ProcessInfo, nvml.Return) {
		return []nvml.ProcessInfo{{Pid: 4242, UsedGpuMemory: 1 << 29}, {Pid: 4243, UsedGpuMemory: ^uint64(0)}}, code
	}
	if code != nvml.SUCCESS {
		d.GetMigModeFunc = func() (int, int, nvml.Return) { return 0, 0, code }
	}
}

func partition(d *dgxa100.Device) {
	d.MigMode = nvml.DEVICE_MIG_ENABLE
	d.GetMaxMigDeviceCountFunc = func() (int, nvml.Return) { return 2, nvml.SUCCESS }
	d.GetMigDeviceHandleByIndexFunc = func(i int) (nvml.Device, nvml.Return) {
		if i > 0 {
			return nil, nvml.ERROR_NOT_FOUND
		}
		return &mock.Device{
			GetUUIDFunc:       func() (string, nvml.Return) { return "MIG-00000000-0000-0000-0000-000000000001", nvml.SUCCESS },
			GetMemoryInfoFunc: func() (nvml.Memory, nvml.Return) { return nvml.Memory{Used: 1 << 28, Total: 5 << 30}, nvml.SUCCESS },
		}, nvml.SUCCESS
	}
}

// engineTransport answers as a busy vLLM.
type engineTransport struct{ text string }

func (e engineTransport) RoundTrip(*http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	fmt.Fprint(w, e.text)
	return w.Result(), nil
}

func busyVLLM(t *testing.T) *http.Client {
	t.Helper()
	text, err := os.ReadFile("internal/engine/testdata/vllm-0.32.0.txt")
	if err != nil {
		t.Fatal(err)
	}
	const labels = `{engine="0",model_name="tiny"} `
	busy := strings.NewReplacer(
		"vllm:kv_cache_usage_perc"+labels+"0.0", "vllm:kv_cache_usage_perc"+labels+"0.75",
		"vllm:num_requests_running"+labels+"0.0", "vllm:num_requests_running"+labels+"4.0",
		"vllm:num_requests_waiting"+labels+"0.0", "vllm:num_requests_waiting"+labels+"8.0",
	).Replace(string(text))
	return &http.Client{Transport: engineTransport{busy}}
}

// The whole of /metrics and /v1/pressure, of a DGX A100 with a vLLM on it.
func TestGolden(t *testing.T) {
	config, err := settings.Parse([]string{"--node=dgx", "--engine=vllm=http://vllm:8000"}, "v", &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	library := func(string) nvidia.Library { return nvidia.FromNVML(dgx(t)) }
	client := busyVLLM(t)
	synctest.Test(t, func(t *testing.T) {
		e := exporter{config: config, log: slog.New(slog.DiscardHandler), now: time.Now, id: "golden", client: client}
		if err := e.addSources(t.Context(), library); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		e.board.Start(ctx)
		time.Sleep(1400 * time.Millisecond)
		handler := e.handler()
		metrics := request(handler, "/metrics")
		lint(t, metrics)
		golden(t, "metrics.txt", own(metrics))
		var indented bytes.Buffer
		if err := json.Indent(&indented, []byte(request(handler, "/v1/pressure")), "", "  "); err != nil {
			t.Fatal(err)
		}
		golden(t, "pressure.json", indented.String())
		cancel()
		e.board.Wait()
	})
}

func request(h http.Handler, path string) string {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Body.String()
}

// own leaves out what the process tells of itself, which is never the same.
func own(metrics string) string {
	var kept strings.Builder
	for line := range strings.Lines(metrics) {
		name := strings.TrimPrefix(strings.TrimPrefix(line, "# HELP "), "# TYPE ")
		if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") && !strings.HasPrefix(name, "gpuexporter_build_info") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}
