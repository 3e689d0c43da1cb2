//go:build mesh

package istiotest

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/test/mesh/cluster"
)

// installCRDs installs the Prometheus operator's custom resources, which istio/monitoring needs.
func installCRDs(t *testing.T) {
	t.Helper()
	for _, crd := range []string{"servicemonitors", "prometheusrules"} {
		kubectl(t, "apply", "--server-side", "-f", filepath.Join(bin.crds, crd+".yaml"))
	}
	if err := kube.AwaitCRDs(); err != nil {
		t.Fatal(err)
	}
}

// createNamespaces creates those that the manifests name: their own, and those that users have.
func createNamespaces(t *testing.T) {
	t.Helper()
	own, err := filepath.Glob(manifests("*", "namespace.yaml"))
	if err != nil || len(own) == 0 {
		t.Fatalf("found the namespaces %q, %v", own, err)
	}
	for _, file := range own {
		kubectl(t, "apply", "--server-side", "--force-conflicts", "-f", file)
	}
	for _, name := range []string{gatewayNamespace, serverNamespace, "monitoring"} {
		if err := kube.CreateNamespace(name); err != nil {
			t.Fatal(err)
		}
	}
}

// yamlFiles are the manifests of istio/, and the folders with a kustomization.
func yamlFiles(t *testing.T) (files, kustomizations []string) {
	t.Helper()
	err := filepath.WalkDir(manifests(), func(path string, entry fs.DirEntry, err error) error {
		switch name := filepath.Base(path); {
		case err != nil:
			return err
		case entry.IsDir() && name == "testdata":
			return filepath.SkipDir
		case name == "kustomization.yaml":
			kustomizations = append(kustomizations, filepath.Dir(path))
		case filepath.Ext(name) == ".yaml" && !strings.HasSuffix(name, "_test.yaml"):
			files = append(files, path)
		}
		return nil
	})
	if err != nil || len(files) < 10 || len(kustomizations) < 4 {
		t.Fatalf("istio/ has %q and the kustomizations %q, %v", files, kustomizations, err)
	}
	return files, kustomizations
}

// The API server knows the fields of all objects, and asks Istio about its own.
func TestEveryManifestIsAccepted(t *testing.T) {
	installCRDs(t)
	createNamespaces(t)
	files, kustomizations := yamlFiles(t)
	for _, file := range files {
		if _, err := kube.Kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", file); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, dir := range kustomizations {
		if _, err := kube.Kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", "-k", dir); err != nil {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

// Istio's analyzer looks at all objects together, and at what they refer to.
func TestAnalyzerFindsNothing(t *testing.T) {
	startServer(t)
	installCRDs(t)
	createNamespaces(t)
	pod, err := kube.NewPod("ingress-3", "10.20.0.13")
	if err != nil {
		t.Fatal(err)
	}
	if err := pod.Publish(cluster.PodObject{Namespace: gatewayNamespace, Labels: ingress.labels}); err != nil {
		t.Fatal(err)
	}
	_, kustomizations := yamlFiles(t)
	for _, dir := range kustomizations {
		file := filepath.Join(t.TempDir(), "all.yaml")
		if err := os.WriteFile(file, []byte(kubectl(t, "kustomize", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
		// IST0133 is what it says of each EnvoyFilter: that there may be other ways.
		if report, err := istioctl("analyze", "--all-namespaces", "--suppress=IST0133=EnvoyFilter *",
			"--output-threshold=Warning", "--failure-threshold=Warning", file); err != nil {
			t.Errorf("%s: %v\n%s", dir, err, report)
		}
	}
}

// Each is what somebody may write by mistake. Its first line is what the refusal says.
func TestMistakesAreRefused(t *testing.T) {
	installCRDs(t)
	files, err := filepath.Glob(manifests("testdata", "broken", "*.yaml"))
	if err != nil || len(files) < 6 {
		t.Fatalf("found the mistakes %q, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			manifest, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			first, _, _ := strings.Cut(string(manifest), "\n")
			want, ok := strings.CutPrefix(first, "# refused: ")
			if !ok {
				t.Fatalf("it begins with %q, want \"# refused: ...\"", first)
			}
			_, err = kube.Kubectl("apply", "--server-side", "--dry-run=server", "-f", file)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want one that says %q", err, want)
			}
		})
	}
}
