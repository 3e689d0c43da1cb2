//go:build mesh

package istiotest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/test/mesh/cluster"
)

// documented runs the command of docs/istio.md that begins so, as its reader would.
func documented(t *testing.T, begins string, environment ...string) {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(root, "docs", "istio.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(doc), "\n$ "+begins)
	if !found {
		t.Fatalf("docs/istio.md has no command that begins with %q", begins)
	}
	command := begins
	for line := range strings.Lines(after) {
		command += line
		if !strings.HasSuffix(line, "\\\n") {
			break
		}
	}
	shell := exec.Command("bash", "-euo", "pipefail", "-c", command)
	shell.Dir = root
	shell.Env = append(kube.Env(), environment...)
	shell.Env = append(shell.Env, "PATH="+filepath.Dir(kube.KubectlPath())+":"+os.Getenv("PATH"))
	if _, err := cluster.Output(shell); err != nil {
		t.Fatal(err)
	}
}
