//go:build mesh

// Package gatewaytest tests the manifests of envoygateway/ as users meet them: applied by kubectl to a real API server, translated
// by the real Envoy Gateway, in the stock Envoy, with the real envoyproxy/ratelimit and Redis.
//
// Nothing makes pods here: the tests run what Envoy Gateway's Deployments say, each in a network namespace of its own.
package gatewaytest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/harness/fleetproc"
	"github.com/spillway-proxy/spillway/e2e/test/mesh/cluster"
)

// system is where Envoy Gateway and all that it deploys live.
const system = "envoy-gateway-system"

// The pods' addresses.
const (
	controllerIP = "10.20.0.20"
	ratelimitIP  = "10.20.0.21"
)

var proxyIPs = []string{"10.20.0.22", "10.20.0.23"}

// What the tests share, and what they run.
var (
	kube *cluster.Cluster
	root string // of the repository
	bin  struct {
		envoy, wasm, image, gateway string
		fleet                       fleetproc.Programs
	}
)

func TestMain(m *testing.M) {
	cluster.Main(m, func() error {
		if err := locate(); err != nil {
			return err
		}
		var err error
		if kube, err = cluster.Start(); err != nil {
			return err
		}
		if err := errors.Join(install(), startController()); err != nil {
			return fmt.Errorf("Envoy Gateway: %w", err)
		}
		return nil
	})
}

// locate finds all programs, so that a missing one is told of before minutes have passed.
func locate() error {
	var errs [5]error
	root, errs[0] = envoyproc.Root()
	bin.envoy, bin.wasm, errs[1] = envoyproc.Locate()
	bin.fleet, errs[2] = fleetproc.Locate()
	bin.gateway, errs[3] = cluster.Locate("SPILLWAY_ENVOY_GATEWAY", "envoy-gateway", "make envoy-gateway")
	bin.image = filepath.Join(root, "build", "spillway-image")
	_, errs[4] = os.Stat(bin.image)
	return errors.Join(errs[:]...)
}

// objects are those of Envoy Gateway's Helm chart that it looks for: its own Deployment owns what it makes.
const objects = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: envoy-gateway, namespace: envoy-gateway-system}
---
apiVersion: v1
kind: Service
metadata: {name: envoy-gateway, namespace: envoy-gateway-system}
spec: {selector: {app: envoy-gateway}, ports: [{name: grpc, port: 18000}, {name: ratelimit, port: 18001}, {name: wasm, port: 18002}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: envoy-gateway, namespace: envoy-gateway-system}
spec:
  selector: {matchLabels: {app: envoy-gateway}}
  template:
    metadata: {labels: {app: envoy-gateway}}
    spec: {serviceAccountName: envoy-gateway, containers: [{name: envoy-gateway, image: none.invalid/none}]}
`

// install does what the Helm chart would: custom resources, the controller's objects, certificates.
func install() error {
	if _, err := kube.Kubectl("apply", "--server-side", "-f", filepath.Join(bin.gateway, "crds")); err != nil {
		return err
	}
	if err := errors.Join(kube.AwaitCRDs(), kube.CreateNamespace(system), kube.Apply(objects)); err != nil {
		return err
	}
	command := exec.Command(filepath.Join(bin.gateway, "envoy-gateway"), "certgen", "--disable-topology-injector")
	command.Env = append(kube.Env(), "ENVOY_GATEWAY_NAMESPACE="+system, "KUBERNETES_CLUSTER_DOMAIN=cluster.local")
	_, err := cluster.Output(command)
	return err
}

// startController runs Envoy Gateway with the configuration that envoygateway/ has, and Redis, of which that tells.
func startController() error {
	hosts := map[string][]string{
		cluster.NodeIP: {"redis.redis-system.svc.cluster.local"},
		controllerIP:   {"envoy-gateway", "envoy-gateway." + system + ".svc", "envoy-gateway." + system + ".svc.cluster.local", "envoy-gateway." + system + ".svc.cluster.local."},
		ratelimitIP:    {"envoy-ratelimit." + system + ".svc.cluster.local"},
	}
	for ip, names := range hosts {
		for _, name := range names {
			if err := cluster.AddHost(ip, name); err != nil {
				return err
			}
		}
	}
	if _, err := kube.Run("redis", exec.Command(bin.fleet.Redis, "--protected-mode", "no", "--save", "", "--dir", kube.Dir)); err != nil {
		return err
	}
	pod, err := newPod("envoy-gateway", controllerIP, "envoy-gateway", nil)
	if err != nil {
		return err
	}
	controller, err := pod.start("envoy-gateway", append(kube.Env(), "ENVOY_GATEWAY_NAMESPACE="+system, "KUBERNETES_CLUSTER_DOMAIN=cluster.local"),
		"sh", "-c", `mkdir -p /var/lib/eg && exec "$@"`, "sh",
		filepath.Join(bin.gateway, "envoy-gateway"), "server", "--config-path", filepath.Join(root, "envoygateway", "config.yaml"))
	if err != nil {
		return err
	}
	return kube.AwaitOK(controller, "Envoy Gateway is ready", "http://"+controllerIP+":8081/readyz")
}
