//go:build mesh

package istiotest

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
	"github.com/spillway-proxy/spillway/e2e/test/mesh/cluster"
	"github.com/spillway-proxy/spillway/internal/manifest"
)

// registry has the filter's image.
const registry = cluster.NodeIP + ":5000"

// serveImage starts the registry, once for all tests, and says what the image is called there: its name, tag and digest.
var serveImage = sync.OnceValues(func() (image string, err error) {
	server, err := kube.Run("registry", exec.Command(bin.image, "serve", "--wasm="+bin.wasm, "--listen="+registry))
	if err != nil {
		return "", err
	}
	err = kube.Await(server, "the registry serves", func() error {
		line, found := strings.CutPrefix(kube.Log("registry"), "serving ")
		if !found || !strings.HasSuffix(line, "\n") {
			return errors.New(kube.Log("registry"))
		}
		image = strings.TrimSpace(line)
		return nil
	})
	return image, err
})

// manifests is the folder istio/.
func manifests(path ...string) string {
	return filepath.Join(append([]string{root, "istio"}, path...)...)
}

// deploy applies the overlay for gateways as its users do: from a kustomization of theirs that names their image and, where
// change isn't nil, changes the configuration. At the end of the test nothing of it is left.
func deploy(t *testing.T, change func(config object)) {
	t.Helper()
	deployOverlay(t, "gateway", gatewayNamespace, change)
}

func deployOverlay(t *testing.T, overlay, namespace string, change func(config object)) {
	t.Helper()
	image, err := serveImage()
	if err := errors.Join(err, kube.CreateNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	overlay = filepath.Join("overlays", overlay)
	patches := []object{{"op": "add", "path": "/spec/url", "value": "oci://" + image}}
	if change != nil {
		config, ok := manifest.At(rendered(t, overlay, "WasmPlugin"), "spec.pluginConfig").(map[string]any)
		if !ok {
			t.Fatalf("%s has no configuration", overlay)
		}
		change(config)
		patches = append(patches, object{"op": "add", "path": "/spec/pluginConfig", "value": config})
	}
	applyPatched(t, manifests(overlay), object{"target": object{"kind": "WasmPlugin"}, "patch": text(t, patches)})
	removeAtEnd(t, namespace)
}

func removeAtEnd(t *testing.T, namespace string) {
	t.Cleanup(func() { kubectl(t, "delete", "wasmplugin,envoyfilter", "--all", "-n", namespace) })
}

// applyPatched applies a kustomization with more patches.
func applyPatched(t *testing.T, dir string, patches ...object) {
	t.Helper()
	own := t.TempDir()
	relative, err := filepath.Rel(own, dir) // kustomize takes no other
	if err != nil {
		t.Fatal(err)
	}
	file := object{
		"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
		"resources": []string{relative}, "patches": patches,
	}
	if err := os.WriteFile(filepath.Join(own, "kustomization.yaml"), []byte(text(t, file)), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "apply", "--server-side", "--force-conflicts", "-k", own)
}

// patchPlugin is `kubectl patch` of the WasmPlugin's spec: what isn't named stays.
func patchPlugin(t *testing.T, spec object) {
	t.Helper()
	kubectl(t, "patch", pluginName(t), "-n", gatewayNamespace, "--type=merge", "-p", text(t, object{"spec": spec}))
}

// pluginName is the only WasmPlugin of the gateways: "wasmplugin.extensions.istio.io/...".
func pluginName(t *testing.T) string {
	t.Helper()
	names := strings.Fields(kubectl(t, "get", "wasmplugin", "-n", gatewayNamespace, "-o", "name"))
	if len(names) != 1 {
		t.Fatalf("the gateways have WasmPlugins %q, want one", names)
	}
	return names[0]
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	printed, err := kube.Kubectl(args...)
	if err != nil {
		t.Fatal(err)
	}
	return printed
}

// routing is what the users of a gateway have before there is Spillway: its Service, a server, and the way to it.
const routing = `
apiVersion: v1
kind: Service
metadata: {name: istio-ingress, namespace: istio-ingress}
spec:
  selector: {istio: ingress}
  ports: [{name: http, port: 80}]
---
apiVersion: v1
kind: Service
metadata: {name: llm, namespace: llm}
spec:
  ports: [{name: http, port: 8000}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ingress, namespace: istio-ingress}
spec:
  selector: {istio: ingress}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: llm, namespace: istio-ingress}
spec:
  hosts: ["*"]
  gateways: [ingress]
  http: [{route: [{destination: {host: llm.llm.svc.cluster.local, port: {number: 8000}}}]}]
`

// startServer puts a simulated server behind the gateways until the test ends.
func startServer(t *testing.T) *llmsim.Server {
	t.Helper()
	sim, address := harness.Simulate(t, cluster.NodeIP, llmsim.Options{RecordHeaders: []string{"x-user-id"}})
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err := errors.Join(err, kube.CreateNamespace(gatewayNamespace), kube.CreateNamespace(serverNamespace), kube.Apply(routing),
		kube.SetEndpoints(serverNamespace, "llm", map[string]int{"http": number}, cluster.NodeIP)); err != nil {
		t.Fatal(err)
	}
	return sim
}

// awaitRoute waits until a gateway leads to the server.
func (g *gateway) awaitRoute(t *testing.T) {
	t.Helper()
	harness.Await(t, patience, "the gateway leads to the server", func() bool {
		select {
		case <-g.agent.Done():
			t.Fatalf("the agent ended: %v", g.agent.Err())
		default:
		}
		a, err := g.try("route")
		return err == nil && a.status == http.StatusOK
	})
}

// awaitLimit waits until a limit of tokens is in force.
func (g *gateway) awaitLimit(t *testing.T, tokens int) {
	t.Helper()
	probes++
	harness.Await(t, patience, fmt.Sprintf("the limit is %d tokens", tokens), func() bool {
		a, err := g.try(fmt.Sprint("probe-", probes))
		return err == nil && a.header.Get("x-ratelimit-limit-tokens") == strconv.Itoa(tokens)
	})
}

var probes int // gives each wait a user of its own

// quota is the limit of output tokens that each user has in an hour.
func quota(tokens int) object {
	return object{
		"name": "user-completion-tokens", "per": []string{"user"}, "unit": "completionTokens", "quantity": tokens, "window": "1h",
	}
}
