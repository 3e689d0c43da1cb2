package clienttest

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// askOpenAIPython runs all jobs in one Python program.
func askOpenAIPython(t *testing.T, url string, jobs []job) []outcome {
	t.Helper()
	packages := locateOpenAIPython(t)
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
		"EXPECTED_VERSION=" + openAIPythonVersion(t),
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

// locateOpenAIPython is the directory of the Python packages: SPILLWAY_OPENAI_PYTHON, or else the one in the cache.
func locateOpenAIPython(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("SPILLWAY_OPENAI_PYTHON")
	if dir == "" {
		cache := os.Getenv("XDG_CACHE_HOME") // as the Makefile has it, on every system
		if cache == "" {
			cache = filepath.Join(os.Getenv("HOME"), ".cache")
		}
		dir = filepath.Join(cache, "spillway", "openai-python-"+openAIPythonVersion(t))
	}
	if _, err := os.Stat(filepath.Join(dir, "openai", "__init__.py")); err != nil {
		t.Fatalf("OpenAI's Python client is not at %q: run `make openai-python` to fetch it", dir)
	}
	return dir
}

// openAIPythonVersion is the version that requirements.txt pins.
func openAIPythonVersion(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if version, found := strings.CutPrefix(strings.TrimSpace(line), "openai=="); found {
			return version
		}
	}
	t.Fatal("requirements.txt does not pin openai")
	return ""
}
