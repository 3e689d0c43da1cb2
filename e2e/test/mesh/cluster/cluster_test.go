//go:build mesh

package cluster

import (
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

var kube *Cluster

func TestMain(m *testing.M) {
	Main(m, func() (err error) {
		kube, err = Start()
		return err
	})
}

func TestManifests(t *testing.T) {
	const good = "{apiVersion: v1, kind: ConfigMap, metadata: {name: some, namespace: default}, data: {key: value}}"
	if err := kube.Apply(good); err != nil {
		t.Fatal(err)
	}
	value, err := kube.Kubectl("get", "configmap", "some", "-o", "jsonpath={.data.key}")
	if err != nil || value != "value" {
		t.Errorf("the object has %q, %v", value, err)
	}
	if err := kube.Apply(strings.Replace(good, ", data:", ", dada:", 1)); err == nil || !strings.Contains(err.Error(), "dada") {
		t.Errorf("a field that isn't there: error %v, want one that names it", err)
	}
}

// A pod can be reached at its address, and knows the names that were given; what listens inside only is reached by Forward.
func TestPods(t *testing.T) {
	pod, err := kube.NewPod("web", "10.20.0.2")
	if err != nil {
		t.Fatal(err)
	}
	if err := pod.Publish(PodObject{Namespace: "default"}); err == nil {
		t.Error("a pod whose ServiceAccount nobody made was taken")
	}
	if err := kube.CreateServiceAccount("default", "default"); err != nil {
		t.Fatal(err)
	}
	if err := pod.Publish(PodObject{Namespace: "default"}); err != nil {
		t.Fatal(err)
	}
	if err := AddHost(NodeIP, "node.test"); err != nil {
		t.Fatal(err)
	}
	seen, err := pod.Output(exec.Command("cat", "/etc/hosts"))
	if err != nil || !strings.Contains(seen, "node.test") {
		t.Errorf("the pod's hosts are %q, %v", seen, err)
	}
	server, err := pod.Run("server", exec.Command("python3", "-m", "http.server", "--bind", "127.0.0.1", "8080"))
	if err != nil {
		t.Fatal(err)
	}
	if connection, err := net.Dial("tcp", "10.20.0.2:8080"); err == nil {
		_ = connection.Close()
		t.Error("what listens inside the pod only was reached from outside")
	}
	address, err := pod.Forward(8080)
	if err != nil {
		t.Fatal(err)
	}
	if err := kube.Await(server, "the server answers", func() error {
		response, err := http.Get("http://" + address)
		if err != nil {
			return err
		}
		defer func() { _ = response.Body.Close() }()
		_, err = io.ReadAll(response.Body)
		return err
	}); err != nil {
		t.Error(err)
	}
}
