//go:build mesh

// Package istiotest tests the manifests of istio/ as users meet them: applied by kubectl to a real API server, translated by
// Istio's own istiod, fetched by Istio's agent, run in the stock Envoy.
//
// All tests share one control plane. Each starts the gateways that it needs.
package istiotest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/test/mesh/cluster"
)

// patience bounds what a control plane does in a second or two, on a machine that is doing other things.
const patience = 5 * time.Minute

// What the tests share, and what they run.
var (
	kube *cluster.Cluster
	bin  struct{ envoy, exporter, image, wasm, istio, crds string }
	root string // of the repository
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
		return startIstio()
	})
}

// locate finds all programs, so that a missing one is told of before minutes have passed.
func locate() error {
	var errs [6]error
	root, errs[0] = envoyproc.Root()
	bin.envoy, bin.wasm, errs[1] = envoyproc.Locate()
	bin.exporter, errs[2] = envoyproc.LocateExporter()
	bin.istio, errs[3] = cluster.Locate("SPILLWAY_ISTIO", "istioctl", "make istio")
	bin.crds, errs[4] = cluster.Locate("SPILLWAY_PROMETHEUS_CRD", "servicemonitors.yaml", "make prometheus-crd")
	bin.image = filepath.Join(root, "build", "spillway-image")
	_, errs[5] = os.Stat(bin.image)
	return errors.Join(errs[:]...)
}

// meshConfig is what a mesh's operator sets. The rest is Istio's minimal profile: istiod, and no gateway.
const meshConfig = `
apiVersion: install.istio.io/v1alpha1
kind: IstioOperator
spec:
  profile: minimal
  meshConfig:
    accessLogFile: /dev/stdout
    accessLogEncoding: JSON
    accessLogFormat: |
      {"status": "%RESPONSE_CODE%", "status_details": "%RESPONSE_CODE_DETAILS%", "user": "%REQ(X-USER-ID)%",
       "decision": "%FILTER_STATE(wasm.spillway.decision:PLAIN)%", "gate": "%FILTER_STATE(wasm.spillway.gate:PLAIN)%",
       "reason": "%FILTER_STATE(wasm.spillway.reason:PLAIN)%", "limit": "%FILTER_STATE(wasm.spillway.limit:PLAIN)%", "priority": "%FILTER_STATE(wasm.spillway.priority:PLAIN)%",
       "request_model": "%FILTER_STATE(wasm.gen_ai.request.model:PLAIN)%",
       "prompt_tokens": "%FILTER_STATE(wasm.gen_ai.prompt.tokens:PLAIN)%",
       "completion_tokens": "%FILTER_STATE(wasm.gen_ai.completion.tokens:PLAIN)%",
       "usage_source": "%FILTER_STATE(wasm.gen_ai.usage.source:PLAIN)%"}
  values:
    telemetry: {enabled: false} # its filters are in Istio's own build of Envoy only
`

// istioNamespace is where istiod's objects are; its programs run in the tests' own network namespace.
const istioNamespace = "istio-system"

// startIstio installs Istio's own manifests and runs istiod with the rights that they give it.
func startIstio() error {
	if err := installIstio(); err != nil {
		return fmt.Errorf("install Istio: %w", err)
	}
	for _, name := range []string{"istiod.istio-system.svc", "istiod.istio-system.svc.cluster.local"} {
		if err := cluster.AddHost(cluster.NodeIP, name); err != nil {
			return err
		}
	}
	kubeconfig, err := kube.ServiceAccountKubeconfig(istioNamespace, "istiod")
	if err != nil {
		return err
	}
	command := exec.Command(filepath.Join(bin.istio, "pilot-discovery"), "discovery",
		"--monitoringAddr=:15014", "--domain=cluster.local")
	command.Dir = kube.Dir
	command.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig,
		"REVISION=default", "PILOT_CERT_PROVIDER=istiod", "CLUSTER_ID=Kubernetes", "CLOUD_PLATFORM=none", "PLATFORM=",
		"POD_NAME=istiod-0", "POD_NAMESPACE="+istioNamespace, "SERVICE_ACCOUNT=istiod",
		// Two filters that are in Istio's own build of Envoy only.
		"PILOT_ENABLE_ALPN_FILTER=false", "PILOT_ENABLE_METADATA_EXCHANGE=false")
	istiod, err := kube.Run("istiod", command)
	if err != nil {
		return err
	}
	if err := awaitIstiod(istiod); err != nil {
		return fmt.Errorf("%w\n%s", err, kube.LogTail("istiod"))
	}
	// Else Istio checks only what is labelled with its revision.
	_, err = istioctl("tag", "set", "default", "--revision", "default", "--overwrite", "-d", filepath.Join(bin.istio, "manifests"))
	return err
}

func installIstio() error {
	file := filepath.Join(kube.Dir, "istio.yaml")
	if err := os.WriteFile(file, []byte(meshConfig), 0o600); err != nil {
		return err
	}
	manifests, err := istioctl("manifest", "generate", "-d", filepath.Join(bin.istio, "manifests"), "-f", file)
	if err != nil {
		return err
	}
	if err := errors.Join(kube.CreateNamespace(istioNamespace), kube.Apply(manifests), kube.AwaitCRDs()); err != nil {
		return err
	}
	return kube.SetEndpoints(istioNamespace, "istiod", map[string]int{
		"grpc-xds": 15010, "https-dns": 15012, "https-webhook": 15017, "http-monitoring": 15014,
	}, cluster.NodeIP)
}

// awaitIstiod waits until istiod serves, and the API server asks it about every object of its kinds.
func awaitIstiod(istiod *envoyproc.Process) error {
	if err := kube.AwaitOK(istiod, "istiod is ready", "http://127.0.0.1:8080/ready"); err != nil {
		return err
	}
	return kube.Await(istiod, "istiod has put its validation in force", func() error {
		policy, err := kube.Kubectl("get", "validatingwebhookconfiguration", "istio-validator-istio-system",
			"-o", "jsonpath={.webhooks[0].failurePolicy}")
		if err == nil && policy != "Fail" {
			err = fmt.Errorf("failurePolicy is %q", policy)
		}
		return err
	})
}

func istioctl(args ...string) (string, error) {
	command := exec.Command(filepath.Join(bin.istio, "istioctl"), args...)
	command.Env = kube.Env()
	return cluster.Output(command)
}
