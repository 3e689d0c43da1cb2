package pods

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

// kubelet answers as a kubelet, over gRPC on a socket.
type kubelet struct {
	podresources.UnimplementedPodResourcesListerServer
	answer *podresources.ListPodResourcesResponse
	err    error
}

func (k *kubelet) List(context.Context, *podresources.ListPodResourcesRequest) (*podresources.ListPodResourcesResponse, error) {
	return k.answer, k.err
}

func serve(t *testing.T, path string, k *kubelet) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	podresources.RegisterPodResourcesListerServer(server, k)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	return func() {
		server.Stop()
		if err := <-ended; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	}
}

// socket gives a path that is short enough for a socket.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pods")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "kubelet.sock")
}

func pod(name, container string, resource string, ids ...string) *podresources.PodResources {
	return &podresources.PodResources{Name: name, Namespace: "llm", Containers: []*podresources.ContainerResources{{
		Name: container, Devices: []*podresources.ContainerDevices{{ResourceName: resource, DeviceIds: ids}},
	}}}
}

func TestWhoHasWhichGPU(t *testing.T) {
	path := socket(t)
	stop := serve(t, path, &kubelet{answer: &podresources.ListPodResourcesResponse{PodResources: []*podresources.PodResources{
		pod("vllm-0", "vllm", "nvidia.com/gpu", "GPU-0", "GPU-1"),
		pod("small-0", "small", "nvidia.com/gpu.shared", "GPU-2::0", "GPU-2::3"),
		pod("crowd-0", "crowd", "nvidia.com/gpu.shared", "GPU-3::0"),
		pod("crowd-1", "crowd", "nvidia.com/gpu.shared", "GPU-3::1"),
		pod("crowd-2", "crowd", "nvidia.com/gpu.shared", "GPU-3::2"),
		pod("gke-0", "gke", "nvidia.com/gpu", "nvidia4/vgpu1"),
		pod("part-0", "part", "nvidia.com/mig-1g.5gb", "MIG-5::7"),
		pod("other-0", "other", "example.com/nic", "GPU-9"),
		{Name: "none-0", Namespace: "llm"}, nil,
	}}})
	defer stop()
	s, err := New(path)
	if err != nil {
		t.Fatal(err)
	}
	sample, err := s.Sample(t.Context())
	want := map[string]source.Owner{
		"GPU-0":   {Namespace: "llm", Pod: "vllm-0", Container: "vllm"},
		"GPU-1":   {Namespace: "llm", Pod: "vllm-0", Container: "vllm"},
		"GPU-2":   {Namespace: "llm", Pod: "small-0", Container: "small"},
		"nvidia4": {Namespace: "llm", Pod: "gke-0", Container: "gke"},
		"MIG-5":   {Namespace: "llm", Pod: "part-0", Container: "part"},
	}
	if err != nil || !maps.Equal(sample.Owners, want) || sample.Notes["gpus_shared"] != 1 {
		t.Errorf("%+v, %v", sample, err)
	}
}

// A kubelet that is restarted is asked again; one that has no such service, or too much to say, is an error.
func TestAKubeletComesAndGoes(t *testing.T) {
	path := socket(t)
	s, err := New(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sample(t.Context()); err == nil {
		t.Error("no error without a kubelet")
	}
	for _, k := range []*kubelet{
		{err: errors.New("not ready")},
		{answer: &podresources.ListPodResourcesResponse{PodResources: []*podresources.PodResources{{Name: strings.Repeat("x", maxAnswer)}}}},
	} {
		stop := serve(t, path, k)
		fresh, err := New(path) // which doesn't wait for gRPC's pause after a failed attempt
		if err != nil {
			t.Fatal(err)
		}
		if sample, err := fresh.Sample(t.Context()); err == nil {
			t.Errorf("%+v", sample)
		}
		stop()
	}
	good := &kubelet{answer: &podresources.ListPodResourcesResponse{PodResources: []*podresources.PodResources{pod("a", "b", "nvidia.com/gpu", "GPU-0")}}}
	stop := serve(t, path, good)
	defer func() { stop() }()
	for err = errors.New("not asked"); err != nil; {
		var sample source.Sample
		if sample, err = s.Sample(t.Context()); err == nil && len(sample.Owners) != 1 {
			t.Errorf("%+v", sample)
		}
		if t.Context().Err() != nil {
			t.Fatal(err)
		}
	}
}
