//go:build mesh

package gatewaytest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/harness/fleetproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
	"github.com/spillway-proxy/spillway/e2e/test/mesh/cluster"
)

const (
	namespace = "llm" // of all manifests
	answer    = 76    // tokens of the simulator's
	patience  = 5 * time.Minute
	redisPort = 6379 // of this network namespace's own 127.0.0.1

	registry = cluster.NodeIP + ":5000"
)

// bed is the gateway of envoygateway/gateway.yaml: two Envoys, what they share, and a server behind them.
type bed struct {
	t      *testing.T
	urls   []string // of the gateways
	admins []string // of their admin interfaces
	sim    *llmsim.Server

	ratelimit *envoyproc.Process
}

func startBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{t: t, sim: startServer(t)}
	b.apply("gateway.yaml")
	serveImage(t)

	c, files, err := deployed("--field-selector=metadata.name=envoy-ratelimit")
	if err != nil {
		t.Fatal(err)
	}
	_, b.ratelimit = b.start("ratelimit", ratelimitIP, "envoy-rate-limit", files, c, bin.fleet.Ratelimit)

	c, files, err = deployed("-l", "gateway.envoyproxy.io/owning-gateway-name=llm")
	if err != nil {
		t.Fatal(err)
	}
	for i, ip := range proxyIPs {
		pod, _ := b.start(fmt.Sprint("proxy-", i), ip, "envoy", files, c, bin.envoy)
		admin, err := pod.Forward(19000)
		if err != nil {
			t.Fatal(err)
		}
		b.urls = append(b.urls, "http://"+ip+":10080") // Envoy Gateway adds 10000 to ports that only root may listen on
		b.admins = append(b.admins, "http://"+admin)
	}
	return b
}

// start runs a container's program until the test ends.
func (b *bed) start(name, ip, secret string, files map[string]string, c container, program string) (*pod, *envoyproc.Process) {
	b.t.Helper()
	pod, err := newPod(name, ip, secret, files)
	if err != nil {
		b.t.Fatal(err)
	}
	env := c.environment(name)
	process, err := pod.start("main", env, append([]string{program}, c.arguments(env)...)...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		process.Stop(5 * time.Second)
		if b.t.Failed() {
			b.t.Log(kube.LogTail(name + ".main"))
		}
	})
	return pod, process
}

// startServer puts a simulated server behind the Service llm.
func startServer(t *testing.T) *llmsim.Server {
	t.Helper()
	sim, address := harness.Simulate(t, cluster.NodeIP, llmsim.Options{Tokens: answer, RecordHeaders: []string{"x-user-id"}})
	_, text, _ := net.SplitHostPort(address)
	port, err := strconv.Atoi(text)
	if err := errors.Join(err, kube.CreateNamespace(namespace),
		kube.Apply(`{apiVersion: v1, kind: Service, metadata: {name: llm, namespace: llm}, spec: {ports: [{name: http, port: 8000}]}}`),
		kube.SetEndpoints(namespace, "llm", map[string]int{"http": port}, cluster.NodeIP)); err != nil {
		t.Fatal(err)
	}
	return sim
}

func serveImage(t *testing.T) {
	t.Helper()
	server, err := kube.Run("registry", exec.Command(bin.image, "serve", "--wasm="+bin.wasm, "--listen="+registry,
		"--repository=spillway", "--tag=v0.0.0"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Stop(time.Second) })
	if err := kube.Await(server, "the registry serves", func() error {
		response, err := http.Get("http://" + registry + "/v2/")
		if err == nil {
			_ = response.Body.Close()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// manifest is a file of envoygateway/, with the registry that is there.
func manifest(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "envoygateway", file))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "registry.example/", registry+"/")
}

func (b *bed) apply(files ...string) {
	b.t.Helper()
	for _, file := range files {
		if err := kube.Apply(manifest(b.t, file)); err != nil {
			b.t.Fatalf("%s: %v", file, err)
		}
	}
}

// only applies these files, and takes away what others have left.
func (b *bed) only(files ...string) {
	b.t.Helper()
	const kinds = "envoyextensionpolicy,backendtrafficpolicy,envoypatchpolicy,clienttrafficpolicy"
	if _, err := kube.Kubectl("delete", kinds, "--all", "-n", namespace); err != nil {
		b.t.Fatal(err)
	}
	b.apply(files...)
}

// awaitForce waits until both proxies have a route that charges in this way, and the filter.
func (b *bed) awaitForce(charge string) {
	b.t.Helper()
	for i := range b.urls {
		harness.Await(b.t, patience, fmt.Sprintf("proxy %d charges %s", i, charge), func() bool {
			return strings.Contains(get(b.admins[i]+"/config_dump?resource=dynamic_route_configs"), charge)
		})
		// The route is in force before the module is loaded: until then, requests pass without it.
		harness.Await(b.t, patience, fmt.Sprintf("proxy %d has the filter", i), func() bool {
			r, err := b.send(i, "probe", false)
			return err == nil && r.header.Get("x-ratelimit-limit-tokens") == "300"
		})
	}
	if _, err := fleetproc.Command(redisPort, "FLUSHALL"); err != nil {
		b.t.Fatalf("ask Redis: %v", err)
	}
}

func get(url string) string {
	response, err := http.Get(url)
	if err != nil {
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	body, _ := io.ReadAll(response.Body)
	return string(body)
}

// reply is a response that was read to its end.
type reply struct {
	status int
	header http.Header
	body   string
}

// client opens a connection for each request, so that none goes to a listener that drains.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

func (b *bed) send(proxy int, user string, stream bool) (reply, error) {
	return b.sendBody(proxy, user, fmt.Sprintf(`{"model":"mock","stream":%v,"messages":[{"role":"user","content":"introduce yourself"}]}`, stream))
}

func (b *bed) sendBody(proxy int, user, body string) (reply, error) {
	request, err := http.NewRequestWithContext(b.t.Context(), http.MethodPost, b.urls[proxy]+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	request.Header.Set("content-type", "application/json")
	if user != "" {
		request.Header.Set("x-user-id", user)
	}
	response, err := client.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(text)}, err
}

// inTurn sends n requests to one proxy after the other, each when what those before it used is charged, if it is at all.
func (b *bed) inTurn(n int, user string, stream, charged bool) string {
	b.t.Helper()
	used := 0
	var statuses []string
	for i := range n {
		r, err := b.send(i%len(b.urls), user, stream)
		if err != nil {
			b.t.Fatal(err)
		}
		statuses = append(statuses, strconv.Itoa(r.status))
		if r.status == http.StatusOK && charged {
			used += answer
			harness.Await(b.t, patience, fmt.Sprint(user, " is charged ", used), func() bool { return b.charged(user) == used })
		}
	}
	return strings.Join(statuses, " ")
}

// charged is what Redis has counted for a user.
func (b *bed) charged(user string) int {
	b.t.Helper()
	total, err := fleetproc.Charged(redisPort, "*_"+user+"_*")
	if err != nil {
		b.t.Fatalf("ask Redis: %v", err)
	}
	return total
}

// received counts what the server has seen of a user, be it headers alone.
func (b *bed) received(user string) (n int) {
	for _, r := range b.sim.Requests() {
		if r.Headers["x-user-id"] == user {
			n++
		}
	}
	return n
}
