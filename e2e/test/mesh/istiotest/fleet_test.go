//go:build mesh

package istiotest

import (
	"bufio"
	"errors"
	"fmt"
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
	"github.com/spillway-proxy/spillway/e2e/support/harness/fleetproc"
	"github.com/spillway-proxy/spillway/e2e/test/mesh/cluster"
	"github.com/spillway-proxy/spillway/internal/manifest"
)

const ratelimitNamespace = "spillway-ratelimit"

// Everything at once: two gateways with the filter, the limit that they share, and the pressure of the servers behind both.
func TestFleet(t *testing.T) {
	sim := startServer(t)
	deployExporter(t)
	deploy(t, func(config object) { set(t, config, "upstreams.0.pressure.mode", "enforce") })
	redis := startRatelimit(t)
	kubectl(t, "apply", "--server-side", "--force-conflicts", "-k", manifests("ratelimit"))
	gateways := []*gateway{startGateway(t, "ingress-1", "10.20.0.11"), startGateway(t, "ingress-2", "10.20.0.12")}
	for _, g := range gateways {
		g.awaitRoute(t)
		g.awaitLimit(t, 300)
	}
	t.Run("one limit for both gateways", func(t *testing.T) {
		harness.AwaitHour(t, 5*time.Minute) // a new window of ratelimit's would begin with the next
		sim.Reset()
		var got []string
		for i := range 6 {
			g := gateways[i%len(gateways)]
			got = append(got, strconv.Itoa(g.chat(t, "fleet").status))
			// What a request used is counted when it has ended, and a moment later.
			harness.Await(t, patience, "Redis has counted it", func() bool { return charged(t, redis, "fleet") == min(i+1, 4)*76 })
		}
		if all := strings.Join(got, " "); all != "200 200 200 200 429 429" {
			t.Errorf("got %s, want 200 200 200 200 429 429", all)
		}
		if n := sim.Stats().Received; n != 4 {
			t.Errorf("the server saw %d requests, want the 4 that passed", n)
		}
		for _, g := range gateways { // the filter alone, which counts for each gateway, would have let them pass
			g.records(t, "fleet", 3)[2].Want(t, map[string]string{
				"status": "429", "decision": "REJECTED", "gate": "limits", "reason": "fleet_exceeded", "limit": "user-tokens",
			})
		}
	})
	t.Run("full servers are spared by both gateways", func(t *testing.T) {
		runExporter(t, 0.95)
		for i, g := range gateways {
			harness.Await(t, patience, g.Name+" refuses because servers are busy", func() bool {
				a, err := g.try(fmt.Sprint("busy-", i))
				return err == nil && a.status == http.StatusServiceUnavailable && a.header.Get("x-spillway-reason") == "pressure/busy"
			})
		}
	})
}

// startRatelimit runs ratelimit and Redis as the Deployments of istio/ratelimit say, each in a pod, and returns Redis's address.
func startRatelimit(t *testing.T) (redis string) {
	t.Helper()
	programs, err := fleetproc.Locate()
	if err != nil {
		t.Fatal(err)
	}
	redis = "10.20.0.31:6379"
	store := container(t, "ratelimit", "redis")
	list, _ := store["args"].([]any)
	args := []string{"--protected-mode", "no"} // as in its image
	for _, arg := range list[1:] {
		args = append(args, fmt.Sprint(arg))
	}
	runPod(t, "redis", redis, exec.Command(programs.Redis, args...))
	service := container(t, "ratelimit", "ratelimit")
	command := exec.Command(programs.Ratelimit)
	command.Env = append(os.Environ(), environment(t, service)...)
	command.Env = append(command.Env, "RUNTIME_ROOT="+mounted(t)) // as a ConfigMap is mounted
	if err := cluster.AddHost("10.20.0.31", "redis.spillway-ratelimit.svc"); err != nil {
		t.Fatal(err)
	}
	runPod(t, "ratelimit", "10.20.0.30:8081", command)
	if err := errors.Join(kube.CreateNamespace(ratelimitNamespace),
		kube.SetEndpoints(ratelimitNamespace, "ratelimit", map[string]int{"grpc": 8081}, "10.20.0.30")); err != nil {
		t.Fatal(err)
	}
	return redis
}

// runPod runs a program in a pod of its own until the test ends, and returns when it listens.
func runPod(t *testing.T, name, address string, command *exec.Cmd) {
	t.Helper()
	ip, _, _ := strings.Cut(address, ":")
	pod, err := kube.NewPod(name, ip)
	if err != nil {
		t.Fatal(err)
	}
	process, err := pod.Run("main", command)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		process.Stop(5 * time.Second)
		if t.Failed() {
			t.Log(kube.LogTail(name + ".main"))
		}
	})
	if err := kube.Await(process, name+" listens", func() error {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// container is the only container of a Deployment of a folder of istio/.
func container(t *testing.T, dir, deployment string) object {
	t.Helper()
	for _, o := range renderedAll(t, dir, "Deployment") {
		if manifest.At(o, "metadata.name") == deployment {
			c, _ := manifest.At(o, "spec.template.spec.containers.0").(map[string]any)
			return c
		}
	}
	t.Fatalf("%s has no Deployment %s", dir, deployment)
	return nil
}

// environment is what a container's env says.
func environment(t *testing.T, container object) (variables []string) {
	t.Helper()
	list, _ := container["env"].([]any)
	for _, element := range list {
		variable, _ := element.(map[string]any)
		variables = append(variables, fmt.Sprintf("%v=%v", variable["name"], variable["value"]))
	}
	return variables
}

// mounted is a folder with the ConfigMap of istio/ratelimit where the container has it.
func mounted(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "ratelimit", "config")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	data, _ := rendered(t, "ratelimit", "ConfigMap")["data"].(map[string]any)
	for name, text := range data {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fmt.Sprint(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// charged is what Redis has counted for a user.
func charged(t *testing.T, redis, user string) int {
	t.Helper()
	connection, err := net.Dial("tcp", redis)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	const sum = "local sum = 0 for _, key in ipairs(redis.call('KEYS', ARGV[1])) do sum = sum + redis.call('GET', key) end return sum"
	if _, err := fmt.Fprintf(connection, "EVAL %q 0 llm_user_%s_*\r\n", sum, user); err != nil {
		t.Fatal(err)
	}
	reply, err := bufio.NewReader(connection).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(reply, ":")))
	if err != nil {
		t.Fatalf("Redis answers %q", reply)
	}
	return n
}
