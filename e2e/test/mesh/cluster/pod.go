package cluster

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// Pod is a network namespace with an address in the cluster's network, in which a test runs what a container would.
type Pod struct {
	Name, IP string

	cluster *Cluster
}

// PodObject describes the Pod object that stands for a Pod.
type PodObject struct {
	Namespace, ServiceAccount string // "" is "default"
	Labels                    map[string]string
}

// NewPod makes the network namespace of a pod. ip is in the same network as NodeIP: 10.20.0.2 to 10.20.0.254. All ports of
// all pods can be reached from each other and from the test.
func (c *Cluster) NewPod(name, ip string) (*Pod, error) {
	link := "v" + ip[strings.LastIndexByte(ip, '.')+1:] // a link's name has no more than 15 characters
	for _, command := range []string{
		"ip netns add " + name,
		"ip link add name " + link + " type veth peer name eth0 netns " + name,
		"ip link set " + link + " master pods up",
		"ip -n " + name + " link set lo up",
		"ip -n " + name + " addr add " + ip + podNetwork + " dev eth0",
		"ip -n " + name + " link set eth0 up",
	} {
		if _, err := Output(exec.Command("sh", "-c", command)); err != nil {
			return nil, err
		}
	}
	return &Pod{Name: name, IP: ip, cluster: c}, nil
}

// Run starts a program in the pod, with a /var/lib of its own. Its log has the pod's name and its own: "pod.name".
func (p *Pod) Run(name string, command *exec.Cmd) (*envoyproc.Process, error) {
	return p.cluster.Run(p.Name+"."+name, p.inside(command))
}

// Output runs a program in the pod, and returns what it prints.
func (p *Pod) Output(command *exec.Cmd) (string, error) { return Output(p.inside(command)) }

// inside is the command, run in the pod's network. `ip netns exec` also makes a mount namespace.
func (p *Pod) inside(command *exec.Cmd) *exec.Cmd {
	args := append([]string{"netns", "exec", p.Name, "sh", "-c", `mount -t tmpfs tmpfs /var/lib && exec "$@"`, "sh", command.Path},
		command.Args[1:]...)
	inside := exec.Command("ip", args...)
	inside.Env, inside.Dir, inside.Stdin = command.Env, command.Dir, command.Stdin
	return inside
}

// Forward makes a port at which something listens on the pod's 127.0.0.1 reachable, as `kubectl port-forward` would, and
// returns its address.
func (p *Pod) Forward(port int) (address string, err error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	address = fmt.Sprintf("%s:%d", p.IP, port)
	command := exec.Command(self)
	command.Env = append(os.Environ(), fmt.Sprintf("%s=%s 127.0.0.1:%d", relayVariable, address, port))
	_, err = p.Run(fmt.Sprintf("forward-%d", port), command)
	return address, err
}

// serveRelay copies between connections to one address and another: "LISTEN TARGET".
func serveRelay(addresses string) error {
	from, to, _ := strings.Cut(addresses, " ")
	listener, err := net.Listen("tcp", from)
	if err != nil {
		return err
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go relay(client, to)
	}
}

func relay(client net.Conn, to string) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return // as if nobody listened
	}
	defer func() { _ = server.Close() }()
	go func() { _, _ = io.Copy(server, client) }()
	_, _ = io.Copy(client, server)
}

// Publish creates the Pod object, on a node, running and ready: in place of scheduler and kubelet.
func (p *Pod) Publish(o PodObject) error {
	c := p.cluster
	const node = "node"
	account := o.ServiceAccount
	if account == "" {
		account = "default"
	}
	for _, object := range []any{
		map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": node}},
		map[string]any{
			"apiVersion": "v1", "kind": "Pod",
			"metadata": map[string]any{"name": p.Name, "namespace": o.Namespace, "labels": o.Labels},
			"spec": map[string]any{
				"serviceAccountName": account, "nodeName": node, "automountServiceAccountToken": false,
				"containers": []any{map[string]any{"name": "main", "image": "none.invalid/none"}},
			},
		},
	} {
		if err := c.ApplyObject(object); err != nil {
			return err
		}
	}
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"phase": "Running", "podIP": p.IP, "podIPs": []any{map[string]any{"ip": p.IP}}, "hostIP": NodeIP,
		"conditions": []any{map[string]any{"type": "Ready", "status": "True"}},
	}})
	if err != nil {
		return err
	}
	_, err = c.Kubectl("patch", "pod", p.Name, "--namespace", o.Namespace, "--subresource=status", "--type=merge",
		"-p", string(status))
	return err
}
