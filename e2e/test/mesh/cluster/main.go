// Package cluster gives tests a real Kubernetes API: etcd, kube-apiserver and kubectl, without containers. There is no kubelet
// and no controller: tests run programs themselves, each in a network namespace that stands for its pod, and write the
// objects (Pods, EndpointSlices) that would tell of them.
//
// Everything happens in namespaces of the kernel's that end with the test's process, so that nothing outlives it, listens
// on the machine's own addresses, or sees the machine's network:
//
//	func TestMain(m *testing.M) {
//		cluster.Main(m, func() error {
//			c, err := cluster.Start()
//			...
//		})
//	}
package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const (
	insideVariable = "SPILLWAY_MESH_INSIDE" // set in the namespaces
	relayVariable  = "SPILLWAY_MESH_RELAY"  // "LISTEN TARGET": the process is a relay (Pod.Forward)
)

// NodeIP is the address of the tests' own network namespace, in which the API server runs, as pods see it.
const NodeIP = "10.20.0.1"

// podNetwork is the network that NodeIP and all pods are in; the API server, which checks nothing of it, gives services
// addresses that lead nowhere.
const podNetwork = "/24"

// Main is a TestMain for packages that need a cluster: it runs setUp, then the tests, in namespaces of their own. It needs
// root, util-linux and iproute2.
func Main(m *testing.M, setUp func() error) {
	if relay := os.Getenv(relayVariable); relay != "" {
		fail(serveRelay(relay))
	}
	if os.Getenv(insideVariable) == "" {
		fail(enter())
	}
	if err := errors.Join(prepare(), setUp()); err != nil {
		fail(err)
	}
	os.Exit(m.Run())
}

// fail ends the process, and with it all others of its namespace.
func fail(err error) {
	fmt.Fprintln(os.Stderr, "e2e/test/mesh:", err)
	os.Exit(1)
}

// enter replaces the process by one in new namespaces; it returns only if it can't. When unshare ends, by a signal too, the
// kernel ends all that runs in them.
func enter() error {
	if os.Geteuid() != 0 {
		return errors.New("these tests make network, mount and process namespaces, which only root may: run `make test-mesh` as root")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return fmt.Errorf("install util-linux: %w", err)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("install iproute2: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append([]string{"unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", self}, os.Args[1:]...)
	return fmt.Errorf("run %q: %w", unshare, syscall.Exec(unshare, args, append(os.Environ(), insideVariable+"=1")))
}

// hosts is what programs in the namespaces see as /etc/hosts.
const hosts = "/run/hosts"

// AddHost gives an address a name, as a DNS server would, for all programs and pods.
func AddHost(ip, name string) error {
	file, err := os.OpenFile(hosts, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(file, ip, name)
	return errors.Join(err, file.Close())
}

// prepare makes the network, names, and empty ones of the folders that programs insist on writing to.
func prepare() error {
	for _, command := range []string{
		"mount -t tmpfs tmpfs /run", // `ip netns` keeps its names there
		"mount -t tmpfs tmpfs /var/lib",
		"echo 127.0.0.1 localhost > " + hosts + " && mount --bind " + hosts + " /etc/hosts",
		"ip link set lo up",
		"ip link add name pods type bridge",
		"ip addr add " + NodeIP + podNetwork + " dev pods",
		"ip link set pods up",
	} {
		if _, err := Output(exec.Command("sh", "-c", command)); err != nil {
			return err
		}
	}
	return nil
}

// Output runs a command and returns what it prints; the error has what it prints as one.
func Output(command *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
