package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// KubectlPath is the program that Kubectl runs.
func (c *Cluster) KubectlPath() string { return filepath.Join(c.bin, "kubectl") }

// Env is the environment of programs that act as the administrator.
func (c *Cluster) Env() []string {
	return append(os.Environ(), "KUBECONFIG="+c.Kubeconfig, "HOME="+c.Dir)
}

// Kubectl runs kubectl as the administrator, and returns what it prints. The error has what it prints as one.
func (c *Cluster) Kubectl(args ...string) (string, error) { return c.KubectlInput("", args...) }

// KubectlInput is Kubectl with an input, which is the file "-".
func (c *Cluster) KubectlInput(input string, args ...string) (string, error) {
	command := exec.Command(c.KubectlPath(), args...)
	command.Env, command.Stdin = c.Env(), strings.NewReader(input)
	return Output(command)
}

// Apply applies manifests, YAML or JSON, on the server's side. Fields that others set are taken over.
func (c *Cluster) Apply(manifests string) error {
	_, err := c.KubectlInput(manifests, "apply", "--server-side", "--force-conflicts", "-f", "-")
	return err
}

// ApplyObject applies an object that is encoded as JSON.
func (c *Cluster) ApplyObject(object any) error {
	text, err := json.Marshal(object)
	if err != nil {
		return err
	}
	return c.Apply(string(text))
}

// AwaitCRDs waits until all custom resources can be used.
func (c *Cluster) AwaitCRDs() error {
	_, err := c.Kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	return err
}

// CreateNamespace creates a namespace, if there is none, and the ServiceAccount that every pod has by default, which a
// controller would make.
func (c *Cluster) CreateNamespace(name string) error {
	namespace := map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": name}}
	if err := c.ApplyObject(namespace); err != nil {
		return err
	}
	return c.CreateServiceAccount(name, "default")
}

// CreateServiceAccount creates a ServiceAccount, if there is none.
func (c *Cluster) CreateServiceAccount(namespace, name string) error {
	return c.ApplyObject(map[string]any{
		"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": name, "namespace": namespace},
	})
}

// Token is a token of a ServiceAccount, with more arguments for `kubectl create token`.
func (c *Cluster) Token(namespace, serviceAccount string, args ...string) (string, error) {
	args = append([]string{"create", "token", serviceAccount, "--namespace", namespace, "--duration=2h"}, args...)
	token, err := c.Kubectl(args...)
	return strings.TrimSpace(token), err
}

// ServiceAccountKubeconfig writes a kubeconfig with which a program is a ServiceAccount, with the rights that it has.
func (c *Cluster) ServiceAccountKubeconfig(namespace, name string) (path string, err error) {
	token, err := c.Token(namespace, name)
	if err != nil {
		return "", err
	}
	path = c.path(namespace + "." + name + ".kubeconfig")
	return path, c.writeKubeconfig(path, fmt.Sprintf("{token: %s}", token))
}

// SetEndpoints makes addresses the endpoints of a Service, in place of the controller that would. ports are the Service's,
// by name, with the numbers that the endpoints have them at.
func (c *Cluster) SetEndpoints(namespace, service string, ports map[string]int, addresses ...string) error {
	slicePorts := []any{}
	for name, number := range ports {
		slicePorts = append(slicePorts, map[string]any{"name": name, "port": number, "protocol": "TCP"})
	}
	endpoints := []any{}
	for _, address := range addresses {
		endpoints = append(endpoints, map[string]any{"addresses": []string{address}, "conditions": map[string]any{"ready": true}})
	}
	return c.ApplyObject(map[string]any{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
		"metadata": map[string]any{
			"name": service + "-test", "namespace": namespace,
			"labels": map[string]string{"kubernetes.io/service-name": service},
		},
		"ports": slicePorts, "endpoints": endpoints,
	})
}
