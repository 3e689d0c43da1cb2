//go:build linux && cgo

package main

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/nvidia"
)

// kubelet is one whose pod vllm-0 has GPU 0.
type kubelet struct {
	podresources.UnimplementedPodResourcesListerServer
}

func (kubelet) List(context.Context, *podresources.ListPodResourcesRequest) (*podresources.ListPodResourcesResponse, error) {
	return &podresources.ListPodResourcesResponse{PodResources: []*podresources.PodResources{{
		Name: "vllm-0", Namespace: "llm", Containers: []*podresources.ContainerResources{{Name: "vllm", Devices: []*podresources.ContainerDevices{
			{ResourceName: "nvidia.com/gpu", DeviceIds: []string{"GPU-00000000-0000-0000-0000-000000000000"}},
		}}},
	}}}, nil
}

func startKubelet(t *testing.T) (socket string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "kubelet") // t.TempDir's names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket = filepath.Join(dir, "kubelet.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	podresources.RegisterPodResourcesListerServer(server, kubelet{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return socket
}

// What dashboards for dcgm-exporter ask for, with a pod's labels; and what it says there is read back by an exporter that takes
// it for a dcgm-exporter.
func TestDCGMExportersNames(t *testing.T) {
	library := func(string) nvidia.Library { return nvidia.FromNVML(dgx(t)) }
	url, stop := program(t, library, "--node=dgx", "--metrics=dcgm", "--pod-resources="+startKubelet(t))
	await(t, func() bool { return len(scrape(t, url).Of("DCGM_FI_DEV_GPU_UTIL", "pod", "vllm-0")) == 1 })
	_, text := ask(url + "/metrics")
	const first = `{Hostname="dgx",UUID="GPU-00000000-0000-0000-0000-000000000000",container="vllm",device="nvidia0",gpu="0",modelName="Mock NVIDIA A100-SXM4-40GB",namespace="llm",pod="vllm-0"}`
	for _, line := range []string{
		"# HELP DCGM_FI_DEV_FB_USED Framebuffer memory used (in MiB).", "# TYPE DCGM_FI_DEV_FB_USED gauge",
		"DCGM_FI_DEV_GPU_UTIL" + first + " 87", "DCGM_FI_DEV_MEM_COPY_UTIL" + first + " 45", "DCGM_FI_DEV_FB_USED" + first + " 1024",
		"DCGM_FI_DEV_FB_FREE" + first + " 39936", "DCGM_FI_DEV_POWER_USAGE" + first + " 391.25", "DCGM_FI_DEV_ENFORCED_POWER_LIMIT" + first + " 400",
		"DCGM_FI_DEV_GPU_TEMP" + first + " 64", "DCGM_FI_DEV_CLOCKS_EVENT_REASONS" + first + " 4", "DCGM_FI_DEV_MIG_MODE" + first + " 0",
		"# TYPE DCGM_FI_DEV_ECC_SBE_VOL_TOTAL counter", "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL" + first + " 2", "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL" + first + " 0",
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("nothing of %s", line)
		}
	}
	metrics := scrape(t, url)
	if free := metrics.Of("DCGM_FI_DEV_FB_FREE", "gpu", "4", "pod", "", "container", "", "namespace", ""); len(free) != 1 {
		t.Errorf("a GPU of no pod: %+v", free)
	}
	if lost := metrics.Of("gpuexporter_gpu_lost", "gpu", "2"); lost.Sum() != 1 || strings.Contains(text, "gpuexporter_gpu_memory_used_bytes") {
		t.Errorf("lost %+v, or told twice", lost)
	}
	reader, stopReader := program(t, without, "--node=dgx", "--dcgm="+url)
	await(t, func() bool { return len(read(t, reader).Instances) == 1 })
	direct, again := read(t, url).Instances[0].GPUs, read(t, reader).Instances[0].GPUs
	if len(direct) != 8 || len(again) != 7 { // the lost one tells nothing
		t.Fatalf("%d and %d GPUs", len(direct), len(again))
	}
	if a, b := direct[0], again[0]; a.UUID != b.UUID || *a.MemoryUsedBytes != *b.MemoryUsedBytes || *a.MemoryTotalBytes != *b.MemoryTotalBytes ||
		*a.Utilization != *b.Utilization || *a.Throttled != *b.Throttled {
		t.Errorf("%+v and %+v", a, b)
	}
	for _, stop := range []func() (int, string){stopReader, stop} {
		if status, log := stop(); status != 0 {
			t.Errorf("status %d:\n%s", status, log)
		}
	}
}

// Without the kubelet GPUs are told all the same, and knowing who has them is not enough to be ready.
func TestWithoutAKubelet(t *testing.T) {
	url, stop := program(t, without, "--nvml=off", "--peer=http://127.0.0.1:1", "--metrics=dcgm", "--pod-resources="+startKubelet(t))
	await(t, func() bool { return scrape(t, url).Of("gpuexporter_source_up", "kind", "pods").Sum() == 1 })
	if code, text := ask(url + "/readyz"); code != 503 {
		t.Errorf("%d %s", code, text)
	}
	stop()
	url, stop = program(t, without, "--simulate=steady", "--metrics=dcgm", "--pod-resources=/nowhere.sock")
	await(t, func() bool { return len(scrape(t, url).Of("DCGM_FI_DEV_GPU_UTIL", "pod", "")) > 0 })
	if status, log := stop(); status != 0 || !strings.Contains(log, "source is down") {
		t.Errorf("status %d:\n%s", status, log)
	}
}
