//go:build mesh

package istiotest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/test/mesh/cluster"
)

// workload is what pods have in common, and what Istio's agent is told of them.
type workload struct {
	kind, namespace, name string
	labels                map[string]string
}

// The gateways, as Istio's own chart for gateways has them, and inference servers with sidecars.
var (
	ingress = workload{"router", gatewayNamespace, "istio-ingress", map[string]string{"app": "istio-ingress", "istio": "ingress"}}
	servers = workload{"sidecar", serverNamespace, "vllm", map[string]string{"app": "vllm"}}
)

const (
	gatewayNamespace = "istio-ingress"
	serverNamespace  = "llm"
)

// proxy is a pod with Istio's agent and the stock Envoy: what Istio runs as a gateway, or adds to a pod as a sidecar.
type proxy struct {
	*cluster.Pod
	admin string // of Envoy's admin interface
	agent *envoyproc.Process
}

// startProxy runs a proxy until the test ends.
func startProxy(t *testing.T, w workload, name, ip string) *proxy {
	t.Helper()
	pod, err := kube.NewPod(name, ip)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Pod: pod}
	object := cluster.PodObject{Namespace: w.namespace, Labels: w.labels}
	if err := errors.Join(kube.CreateNamespace(w.namespace), pod.Publish(object)); err != nil {
		t.Fatal(err)
	}
	if p.agent, err = pod.Run("agent", w.command(t, pod)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.agent.Stop(5 * time.Second)
		if t.Failed() {
			t.Log(kube.LogTail("istiod"))
			t.Log(p.faults())
		}
	})
	if p.admin, err = pod.Forward(15000); err != nil {
		t.Fatal(err)
	}
	p.admin = "http://" + p.admin
	return p
}

// command is that of the container with Istio's agent, in a folder with the files that a pod would have mounted.
func (w workload) command(t *testing.T, pod *cluster.Pod) *exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	w.writeFiles(t, pod, dir)
	labels, err := json.Marshal(w.labels)
	if err != nil {
		t.Fatal(err)
	}
	const istiod = "istiod.istio-system.svc:15012"
	command := exec.Command("sh", "-c", `mkdir -p /var/lib/istio/data && exec "$@"`, "sh", // a volume of the pod's
		filepath.Join(bin.istio, "pilot-agent"), "proxy", w.kind,
		"--domain="+w.namespace+".svc.cluster.local", "--templateFile="+filepath.Join(bin.istio, "envoy_bootstrap.json"),
		"--proxyComponentLogLevel=wasm:debug")
	command.Dir = dir
	command.Env = append(os.Environ(),
		"CLOUD_PLATFORM=none", "JWT_POLICY=third-party-jwt", "PILOT_CERT_PROVIDER=istiod", "CA_ADDR="+istiod,
		"INSTANCE_IP="+pod.IP, "POD_NAME="+pod.Name, "POD_NAMESPACE="+w.namespace, "SERVICE_ACCOUNT=default",
		"ISTIO_META_CLUSTER_ID=Kubernetes", "ISTIO_META_WORKLOAD_NAME="+w.name, "ISTIO_METAJSON_LABELS="+string(labels),
		"TRUST_DOMAIN=cluster.local", "ISTIO_BOOTSTRAP_OVERRIDE="+filepath.Join(dir, bootstrapFile),
		"WASM_INSECURE_REGISTRIES="+registry, // speaks plain HTTP
		fmt.Sprintf("PROXY_CONFIG={binaryPath: %q, configPath: %q, discoveryAddress: %s, concurrency: 2, terminationDrainDuration: 1s}",
			bin.envoy, filepath.Join(dir, "proxy"), istiod))
	return command
}

// bootstrapFile is what the injector mounts for the annotation of which istio/base/bootstrap.yaml tells.
const bootstrapFile = "custom_bootstrap.json"

func (w workload) writeFiles(t *testing.T, pod *cluster.Pod, dir string) {
	t.Helper()
	token, err := kube.Token(w.namespace, "default", "--audience=istio-ca",
		"--bound-object-kind=Pod", "--bound-object-name="+pod.Name)
	if err != nil {
		t.Fatal(err)
	}
	configMap := func(name, key string) (string, error) {
		return kube.Kubectl("get", "configmap", name, "-n", w.namespace, "-o", `jsonpath={.data.`+key+`}`)
	}
	var certificate string
	if err := kube.Await(nil, "istiod has given its root certificate to the namespace", func() error {
		certificate, err = configMap("istio-ca-root-cert", `root-cert\.pem`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	bootstrap, err := configMap("spillway-bootstrap", `custom_bootstrap\.json`)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"var/run/secrets/tokens/istio-token": token, "var/run/secrets/istio/root-cert.pem": certificate, bootstrapFile: bootstrap,
	} {
		file = filepath.Join(dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// ask is a GET of Envoy's admin interface; "" as long as it doesn't answer.
func (p *proxy) ask(path string) string {
	request, err := http.NewRequest(http.MethodGet, p.admin+path, nil)
	if err != nil {
		return ""
	}
	a, err := send(request)
	if err != nil || a.status != http.StatusOK {
		return ""
	}
	return a.body
}

var statValue = regexp.MustCompile(`(?m): (\d+)$`)

// stat is the sum of the counters and gauges whose names match a regular expression.
func (p *proxy) stat(t *testing.T, pattern string) (sum int) {
	t.Helper()
	for _, match := range statValue.FindAllStringSubmatch(p.ask("/stats?filter="+url.QueryEscape(pattern)), -1) {
		n, err := strconv.Atoi(match[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// log is what agent and Envoy have printed so far, access log included.
func (p *proxy) log() string { return kube.Log(p.Name + ".agent") }

// faults is the end of the log without the access lop.
func (p *proxy) faults() string {
	var lines []string
	for line := range strings.Lines(p.log()) {
		if !strings.HasPrefix(line, "{") {
			lines = append(lines, line)
		}
	}
	return p.Name + ":\n" + strings.Join(lines[max(0, len(lines)-40):], "")
}
