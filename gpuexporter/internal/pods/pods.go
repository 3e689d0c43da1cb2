// Package pods says which pod has a GPU, as the kubelet of this machine knows: by its pod-resources socket, without asking the
// API server.
package pods

import (
	"context"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/spillway-proxy/spillway/gpuexporter/internal/source"
)

const (
	// maxAnswer bounds the kubelet's answer, in bytes: what the kubelet itself allows.
	maxAnswer = 16 << 20
	// resources begins the names of what NVIDIA's device plugin gives out: nvidia.com/gpu, nvidia.com/gpu.shared.
	resources = "nvidia.com/"
)

// Source asks a kubelet.
type Source struct {
	kubelet podresources.PodResourcesListerClient
}

// New makes a source that asks at the socket, which may come and go. Nothing is asked yet.
func New(socket string) (*Source, error) {
	connection, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
	if err != nil {
		return nil, err
	}
	return &Source{kubelet: podresources.NewPodResourcesListerClient(connection)}, nil
}

// Sample asks once who has which GPU. A GPU that several containers share is nobody's: its numbers are those of all.
func (s *Source) Sample(ctx context.Context) (source.Sample, error) {
	answer, err := s.kubelet.List(ctx, &podresources.ListPodResourcesRequest{})
	if err != nil {
		return source.Sample{}, err
	}
	sample := source.Sample{Targets: 1, Owners: map[string]source.Owner{}, Notes: map[string]int{}}
	for _, pod := range answer.GetPodResources() {
		for _, container := range pod.GetContainers() {
			owner := source.Owner{Namespace: pod.GetNamespace(), Pod: pod.GetName(), Container: container.GetName()}
			for _, devices := range container.GetDevices() {
				if !strings.HasPrefix(devices.GetResourceName(), resources) {
					continue
				}
				for _, id := range devices.GetDeviceIds() {
					device := base(id)
					if other, taken := sample.Owners[device]; taken && other != owner {
						sample.Owners[device] = source.Owner{}
						continue
					}
					sample.Owners[device] = owner
				}
			}
		}
	}
	for device, owner := range sample.Owners {
		if owner == (source.Owner{}) {
			delete(sample.Owners, device)
			sample.Notes["gpus_shared"]++
		}
	}
	return sample, nil
}

// base is the GPU that a device is a copy of: NVIDIA's plugin numbers copies as UUID::2, GKE's as nvidia0/vgpu2.
func base(id string) string {
	id, _, _ = strings.Cut(id, "::")
	if gpu, _, virtual := strings.Cut(id, "/vgpu"); virtual {
		return gpu
	}
	return id
}
