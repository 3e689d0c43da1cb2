package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// URL is where the API server listens: on all addresses of the tests' network namespace.
const URL = "https://" + NodeIP + ":6443"

// patience bounds what takes a fraction of a second, or a few, on a machine that does nothing else.
const patience = 5 * time.Minute

// Cluster is a running API server.
type Cluster struct {
	Dir        string // of its files, and of all logs
	Kubeconfig string // of an administrator

	bin string // etcd, kube-apiserver and kubectl
}

// Start runs etcd and an API server. They end with the test's process.
func Start() (*Cluster, error) {
	bin, err := Locate("SPILLWAY_KUBE", "kube-apiserver", "make kube")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("/run", "cluster-") // in memory, and in no other mount namespace: nothing to clean up
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, Kubeconfig: filepath.Join(dir, "admin.kubeconfig"), bin: bin}
	if err := errors.Join(writePKI(dir), c.writeKubeconfig(c.Kubeconfig,
		fmt.Sprintf("{client-certificate: %s, client-key: %s}", c.path(adminCert), c.path(adminKey)))); err != nil {
		return nil, err
	}
	if err := c.startServers(); err != nil {
		return nil, err
	}
	return c, nil
}

// Locate returns the folder that a variable of the environment names, which must hold a file.
func Locate(variable, file, command string) (string, error) {
	dir := os.Getenv(variable)
	if dir == "" {
		return "", fmt.Errorf("%s is not set: run `make test-mesh`, which sets it to what `%s` builds", variable, command)
	}
	if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
		return "", fmt.Errorf("no %s in %q (%s): run `%s`", file, dir, variable, command)
	}
	return dir, nil
}

func (c *Cluster) path(file string) string { return filepath.Join(c.Dir, file) }

func (c *Cluster) writeKubeconfig(path, user string) error {
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, certificate-authority: %s}}]
users: [{name: test, user: %s}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
`, URL, c.path(caCert), user)
	return os.WriteFile(path, []byte(text), 0o600)
}

func (c *Cluster) startServers() error {
	const etcd, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
	if _, err := c.Run("etcd", exec.Command(filepath.Join(c.bin, "etcd"), "--data-dir="+c.path("etcd"),
		"--unsafe-no-fsync", "--log-level=warn", "--listen-client-urls="+etcd, "--advertise-client-urls="+etcd,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer)); err != nil {
		return err
	}
	server, err := c.Run("kube-apiserver", exec.Command(filepath.Join(c.bin, "kube-apiserver"), "--etcd-servers="+etcd,
		"--bind-address=0.0.0.0", "--advertise-address="+NodeIP, "--secure-port=6443",
		"--cert-dir="+c.path("certs"), "--tls-cert-file="+c.path(serverCert), "--tls-private-key-file="+c.path(serverKey),
		"--client-ca-file="+c.path(caCert), "--authorization-mode=Node,RBAC", "--allow-privileged=true",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+c.path(serviceAccounts+".pub"),
		"--service-account-signing-key-file="+c.path(serviceAccounts+".key"),
		"--service-cluster-ip-range="+serviceNetwork,
		"--enable-aggregator-routing=true", // calls webhooks by their EndpointSlices: nothing makes addresses of Services work
		"--profiling=false"))
	if err != nil {
		return err
	}
	return c.Await(server, "the API server serves", func() error {
		_, err := c.Kubectl("get", "namespace", "default", "--request-timeout=5s")
		return err
	})
}

// Run starts a program that ends with the test's process. Its output goes to a file of which Log tells.
func (c *Cluster) Run(name string, command *exec.Cmd) (*envoyproc.Process, error) {
	// Appended to: a program that opens its /dev/stdout writes at an offset of its own.
	log, err := os.OpenFile(c.path(name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the program has its own
	command.Stdout, command.Stderr = log, log
	return envoyproc.Start(command)
}

// Log is what a program has printed so far.
func (c *Cluster) Log(name string) string {
	text, err := os.ReadFile(c.path(name + ".log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// LogTail is the end of a log, for messages.
func (c *Cluster) LogTail(name string) string {
	lines := strings.Split(strings.TrimSpace(c.Log(name)), "\n")
	return name + ":\n" + strings.Join(lines[max(0, len(lines)-25):], "\n")
}

// Await tries until it works. It gives up when a process that it depends on has ended (nil if there is none), or after a
// minute, and then says what was wrong with the last try. what completes "wait until ...".
func (c *Cluster) Await(process *envoyproc.Process, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var ended <-chan struct{}
	if process != nil {
		ended = process.Done()
	}
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("wait until %s: its process ended (%v); last: %w", what, process.Err(), err)
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: not within %v: %w", what, patience, err)
		case <-time.After(5 * envoyproc.PollInterval): // a try is often a program of its own
		}
	}
}

// AwaitOK waits until a URL answers with 200.
func (c *Cluster) AwaitOK(process *envoyproc.Process, what, url string) error {
	return c.Await(process, what, func() error {
		response, err := http.Get(url)
		if err != nil {
			return err
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", response.StatusCode)
		}
		return nil
	})
}
