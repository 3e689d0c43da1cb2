package clienttest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// askOpenAIPython runs all jobs in one Python program.
func askOpenAIPython(t *testing.T, url string, jobs []job) []outcome {
	t.Helper()
	packages, version := harness.PythonPackages(t, "openai-python", "openai", "requirements.txt")
	input, err := json.Marshal(map[string]any{"url": url + "/v1", "model": model, "tools": tools, "jobs": jobs})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, "python3", filepath.Join("testdata", "openai_flows.py"))
	// Nothing else of the environment: neither settings of the client nor other packages.
	command.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PYTHONPATH=" + packages, "PYTHONNOUSERSITE=1",
		"EXPECTED_VERSION=" + version,
	}
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = bytes.NewReader(input), &stdout, &stderr
	if err := command.Run(); err != nil {
		t.Fatalf("run OpenAI's Python client: %v\n%s\nIf %q was made by another Python, remove it and run `make openai-python`.",
			err, stderr.Bytes(), packages)
	}
	var outcomes []outcome
	if err := json.Unmarshal(stdout.Bytes(), &outcomes); err != nil {
		t.Fatalf("the Python program's output is not what it should be: %v: %s", err, stdout.Bytes())
	}
	return outcomes
}
